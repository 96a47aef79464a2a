"""How the gateway speaks HTTP, whatever the route: methods, versions, bodies, connections."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack

import pytest
import requests

from tests.support.gateway import LocalGateway, problem
from tests.support.waiting import eventually

ALLOWED = {
    "/health": "GET, HEAD, OPTIONS",
    "/ready": "GET, HEAD, OPTIONS",
    "/runs": "GET, HEAD, OPTIONS, POST",
    "/runs/x": "GET, HEAD, OPTIONS",
    "/runs/x/tasks": "GET, HEAD, OPTIONS",
    "/runs/x/watch": "GET, HEAD, OPTIONS",
    "/runs/x/cancel": "OPTIONS, POST",
    "/workers": "GET, HEAD, OPTIONS",
    "/workers/x": "OPTIONS, PATCH",
    "/metrics": "GET, HEAD, OPTIONS",
}


@pytest.mark.parametrize("path", ALLOWED)
@pytest.mark.parametrize("method", ["PUT", "DELETE", "TRACE", "NONSENSE"])
def test_a_wrong_method_is_answered_with_those_that_are_right(shared: LocalGateway, path: str, method: str) -> None:
    answer = shared.ask(method, path)
    problem(answer, 405)
    assert answer.headers["Allow"] == ALLOWED[path]


def test_posting_to_a_route_that_only_reads_is_a_wrong_method(shared: LocalGateway) -> None:
    assert problem(shared.ask("POST", "/runs/x/watch"), 405)
    assert problem(shared.ask("PATCH", "/runs/yaml"), 405)


@pytest.mark.parametrize("path", ["/ui/queues", "/"])
def test_a_wrong_method_to_a_page_is_told_so_whoever_sent_it(shared: LocalGateway, path: str) -> None:
    answer = shared.ask("PUT", path)
    assert answer.status_code == 405
    assert answer.headers["Allow"] == "GET, HEAD, OPTIONS"


@pytest.mark.parametrize("path", ALLOWED)
def test_options_says_what_a_route_takes(shared: LocalGateway, path: str) -> None:
    answer = shared.ask("OPTIONS", path)
    assert (answer.status_code, answer.content) == (200, b"")
    assert "Content-Type" not in answer.headers
    assert set(answer.headers["Allow"].split(", ")) == set(ALLOWED[path].split(", "))


@pytest.mark.parametrize("path", ["/nothing", "/runs/", "/runs//x", "/runs/x/y/z", "/static/../runs", "/%00"])
def test_an_unknown_path_is_a_problem_document(shared: LocalGateway, path: str) -> None:
    answer = shared.raw(f"GET {path} HTTP/1.0\r\n\r\n".encode())
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.0 404 "), answer
    assert b"application/problem+json" in head
    assert json.loads(body)["status"] == 404


@pytest.mark.parametrize(
    "run_id",
    [
        "*",
        ">",
        "a.*",
        "a.>",
        "a%20b",
        "%20",
        "x" * 300,
        "a%2Fb",
        "%2e%2e",
        "%00",
        "a%00b",
        "%FF",
        "..",
        "nope",
        "a%0Ab",
    ],
    ids=lambda value: value[:12],
)
@pytest.mark.parametrize("suffix", ["", "/tasks", "/watch"])
def test_an_id_that_no_run_has_is_not_found(shared: LocalGateway, run_id: str, suffix: str) -> None:
    shared.submit()
    answer = shared.raw(f"GET /runs/{run_id}{suffix} HTTP/1.0\r\n\r\n".encode())
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.0 404 "), answer
    assert b"application/problem+json" in head
    assert len(body) < 2000


def test_an_unknown_run_has_the_id_of_its_error(shared: LocalGateway) -> None:
    assert problem(shared.get("/runs/nope"), 404)["err_id"] == "ERR-PYOCO-0005"


@pytest.mark.parametrize(
    ("accepted", "title"),
    [
        (None, "There is no such run."),
        ("ja", "その実行は見つかりません。"),
        ("ja-JP,en;q=0.5", "その実行は見つかりません。"),
        ("en,ja;q=0.5", "There is no such run."),
        ("fr, *;q=0.1", "There is no such run."),
        ("ja;q=0", "There is no such run."),
    ],
)
def test_an_error_has_its_title_in_the_language_that_is_asked_for(
    shared: LocalGateway, accepted: str | None, title: str
) -> None:
    answer = shared.get("/runs/nope", headers={} if accepted is None else {"Accept-Language": accepted})
    assert (problem(answer, 404)["title"], answer.headers["Vary"]) == (title, "Accept-Language")
    assert answer.json()["detail"] == "There is no run nope."
    assert title in answer.text


@pytest.mark.parametrize("path", ["/runs", "/runs/nope", "/workers", "/wheels", "/metrics", "/health", "/nothing", "/"])
def test_no_cache_between_keeps_an_answer_for_somebody_else(shared: LocalGateway, path: str) -> None:
    assert shared.get(path).headers["Cache-Control"] == "private, no-cache"


def test_the_first_page_is_html_under_the_strict_policy(shared: LocalGateway) -> None:
    answer = shared.get("/")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/html")
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "<script" not in answer.text


@pytest.mark.parametrize("path", ["/health", "/runs", "/", "/ready", "/nothing"])
def test_head_answers_as_get_without_the_body(shared: LocalGateway, path: str) -> None:
    got, head = shared.get(path), shared.ask("HEAD", path)
    assert head.status_code == got.status_code
    assert head.content == b""
    assert head.headers["Content-Type"] == got.headers["Content-Type"]


def test_a_connection_is_kept_for_many_requests_and_closed_for_http_1_0(shared: LocalGateway) -> None:
    with socket.create_connection(("127.0.0.1", shared.port), timeout=5) as connection:
        for _ in range(3):
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
            received = b""
            while b'"ok"' not in received:
                received += connection.recv(65536)
            assert received.startswith(b"HTTP/1.1 200 ")
    assert shared.raw(b"GET /health HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.0 200 ")


def test_requests_that_come_in_one_packet_are_answered_in_their_order(shared: LocalGateway) -> None:
    last = b"GET /nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    answer = shared.raw(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n" * 2 + last)
    assert re.findall(rb"HTTP/1\.1 (\d+)", answer) == [b"200", b"200", b"404"]


def test_a_body_in_chunks_is_read(shared: LocalGateway) -> None:
    body = b'{"flow_name": "main"}'
    chunks = b"".join(b"%x\r\n%s\r\n" % (1, body[place : place + 1]) for place in range(len(body))) + b"0\r\n\r\n"
    answer = shared.raw(
        b"POST /runs HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n" + chunks
    )
    assert answer.startswith(b"HTTP/1.1 200 "), answer


def test_a_client_that_waits_for_100_continue_is_told_to_go_on(shared: LocalGateway) -> None:
    body = b'{"flow_name": "main"}'
    with socket.create_connection(("127.0.0.1", shared.port), timeout=5) as connection:
        head = b"POST /runs HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(body)
        connection.sendall(head)
        assert connection.recv(65536).startswith(b"HTTP/1.1 100 ")
        connection.sendall(body)
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    ("request_line", "status"),
    [(b"GET /health HTTP/1.1", b"200"), (b"POST /runs HTTP/1.1\r\nContent-Length: 0", b"422")],
)
def test_a_client_that_asks_first_and_has_no_body_is_answered_as_is_what_it_asks_next(
    shared: LocalGateway, request_line: bytes, status: bytes
) -> None:
    first = request_line + b"\r\nHost: x\r\nExpect: 100-continue\r\n\r\n"
    answers = shared.raw(first + b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert re.findall(rb"HTTP/1\.1 (\d+) ", answers) == [status, b"200"]


def test_a_client_that_asks_first_is_told_at_once_that_its_body_is_too_large(shared: LocalGateway) -> None:
    head = b"POST /runs HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 9000000\r\n\r\n"
    with socket.create_connection(("127.0.0.1", shared.port), timeout=5) as connection:
        connection.sendall(head)
        assert connection.recv(65536).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize(("path", "err_id"), [("/runs", "ERR-PYOCO-0002"), ("/runs/yaml", "ERR-PYOCO-0016")])
@pytest.mark.parametrize("size", [3_000_000, 20_000_000])
def test_a_body_that_is_too_large_is_refused_before_it_is_read_and_the_client_learns_why(
    shared: LocalGateway, path: str, err_id: str, size: int
) -> None:
    answer = requests.post(shared.url + path, data=b"x" * size, timeout=5)
    assert problem(answer, 413)["err_id"] == err_id


def test_what_is_not_http_is_answered_with_a_problem_document(shared: LocalGateway) -> None:
    for request, status in (
        (b"NONSENSE\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nContent-Length: many\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nTransfer-Encoding: magic\r\n\r\n", 501),
        (b"GET / HTTP/1.1\r\nX: " + b"y" * 400_000 + b"\r\n\r\n", 431),
    ):
        head, _, body = shared.raw(request).partition(b"\r\n\r\n")
        assert f" {status} ".encode() in head.split(b"\r\n")[0], head
        assert b"application/problem+json" in head
        assert json.loads(body)["status"] == status


def test_clients_that_send_slowly_or_never_end_do_not_hold_up_others(serve: Callable[..., LocalGateway]) -> None:
    gateway = serve(PYOCO_MAX_WATCHES="0")
    with ExitStack() as open_ones:
        for number in range(60):
            connection = open_ones.enter_context(socket.create_connection(("127.0.0.1", gateway.port), timeout=5))
            head = b"POST /runs HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{"
            connection.sendall(head if number % 2 else head[:20])
        began_at = time.monotonic()
        gateway.submit()
        assert time.monotonic() - began_at < 3


def test_a_client_that_leaves_in_mid_body_leaves_nothing_behind(shared: LocalGateway) -> None:
    server = shared.http_server
    with socket.create_connection(("127.0.0.1", shared.port), timeout=5) as connection:
        connection.sendall(b"POST /runs HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")
        own = connection.getsockname()
        eventually(lambda: any(c.addr == own for c in list(server.active_channels.values())), what="the connection")
    eventually(lambda: all(c.addr != own for c in list(server.active_channels.values())), what="its end")
