"""What the HTTP client makes of refusals, nonsense and silence."""

from __future__ import annotations

import threading

import pytest

from pyoco_server.client.http import PyocoHttpClient
from pyoco_server.errors import GatewayRefused, GatewayUnreachable
from tests.support.fake_gateway import FakeGateway, Handler, json_answer, text_answer


def test_a_problem_document_gives_detail_and_faults(gateway: FakeGateway, client: PyocoHttpClient) -> None:
    problem = {
        "title": "The workflow file is not valid.",
        "detail": "flow.yaml has a fault.",
        "err_id": "ERR-PYOCO-0002",
        "errors": [{"loc": "tasks.load", "msg": "has no callable", "line": 4, "column": 3}],
    }
    gateway.answers = [json_answer(problem, 422, "application/problem+json")]
    with pytest.raises(GatewayRefused) as caught:
        client.submit_run("main")
    assert str(caught.value) == (
        "HTTP 422 POST /runs: flow.yaml has a fault.; line 4, column 3, tasks.load: has no callable"
    )
    assert (caught.value.status, caught.value.problem) == (422, problem)


def test_a_fault_that_the_detail_names_already_is_not_repeated(gateway: FakeGateway, client: PyocoHttpClient) -> None:
    fault = {"loc": "query.limit", "msg": "must be 1 to 200"}
    gateway.answers = [json_answer({"detail": "query.limit: must be 1 to 200", "errors": [fault]}, 422)]
    with pytest.raises(GatewayRefused) as caught:
        client.list_runs(limit=999)
    assert str(caught.value) == "HTTP 422 GET /runs: query.limit: must be 1 to 200"


@pytest.mark.parametrize(
    ("detail", "words"),
    [
        ("run not found", "run not found"),
        ([{"loc": ["query", "limit"], "msg": "too large"}], "query.limit: too large"),
    ],
)
def test_both_shapes_of_a_0_5_1_error_are_read(
    gateway: FakeGateway, client: PyocoHttpClient, detail: object, words: str
) -> None:
    gateway.answers = [json_answer({"detail": detail}, 404)]
    with pytest.raises(GatewayRefused, match=f"^HTTP 404 GET /runs/nope: {words}$"):
        client.get_run("nope")


@pytest.mark.parametrize(
    ("status", "is_for_now"),
    [(404, False), (409, False), (429, True), (500, False), (502, True), (503, True), (504, True)],
)
def test_a_refusal_says_whether_another_try_may_succeed(
    gateway: FakeGateway, client: PyocoHttpClient, status: int, is_for_now: bool
) -> None:
    gateway.answers = [json_answer({"detail": "no"}, status)]
    with pytest.raises(GatewayRefused) as caught:
        client.get_run("r1")
    assert caught.value.retryable is is_for_now


def test_an_error_that_is_no_json_is_shown_in_part(gateway: FakeGateway, client: PyocoHttpClient) -> None:
    gateway.answers = [text_answer("<h1>Bad\n Gateway</h1>" + "x" * 1000, 502)]
    with pytest.raises(GatewayRefused) as caught:
        client.get_run("r1")
    assert str(caught.value).startswith("HTTP 502 GET /runs/r1: <h1>Bad Gateway</h1>xxx")
    assert len(str(caught.value)) < 300


def test_an_answer_that_is_no_json_asks_whether_this_is_a_gateway(
    gateway: FakeGateway, client: PyocoHttpClient
) -> None:
    gateway.answers = [text_answer("<h1>It works</h1>")]
    with pytest.raises(GatewayRefused, match="address of a Pyoco gateway"):
        client.get_run("r1")
    with pytest.raises(GatewayRefused, match="event stream was expected"):
        next(client.watch_run("r1"))


def test_a_redirect_is_told_and_not_followed(gateway: FakeGateway, client: PyocoHttpClient) -> None:
    gateway.answers = [text_answer("", 302, location="https://elsewhere.example/runs")]
    with pytest.raises(GatewayRefused, match=r"moved to https://elsewhere\.example/runs"):
        client.submit_run("main")
    assert len(gateway.requests) == 1


def test_a_refused_connection_is_told_in_plain_words(closed_port: int) -> None:
    with PyocoHttpClient(f"http://127.0.0.1:{closed_port}") as client:
        with pytest.raises(GatewayUnreachable) as caught:
            client.submit_run("main")
    message = str(caught.value)
    assert f"No connection to the gateway at http://127.0.0.1:{closed_port}: Connection refused." in message
    assert "may have been carried out" not in message


def test_an_address_without_a_scheme_is_told_as_that() -> None:
    with (
        PyocoHttpClient("localhost") as client,
        pytest.raises(GatewayUnreachable, match="'localhost' is not"),
    ):
        client.get_run("r1")


def test_a_submission_without_an_answer_says_that_it_may_have_been_done(gateway: FakeGateway) -> None:
    def hang_up(handler: Handler) -> None:
        handler.close_connection = True

    gateway.answers = [hang_up]
    with PyocoHttpClient(gateway.url) as client:
        with pytest.raises(GatewayUnreachable, match="may have been carried out"):
            client.submit_run("main")


def test_a_gateway_that_does_not_answer_is_given_up_in_time(gateway: FakeGateway) -> None:
    release = threading.Event()
    gateway.answers = [lambda handler: release.wait(10) and None]
    try:
        with PyocoHttpClient(gateway.url, timeout_sec=0.2) as client:
            with pytest.raises(GatewayUnreachable, match=r"No answer .* within 0\.2 s"):
                client.get_run("r1")
    finally:
        release.set()
