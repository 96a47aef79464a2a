"""The HTTP client against a real server of a few lines: what it sends, how it reads streams and errors."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from pyoco_server.client import http
from pyoco_server.client.event_stream import EventDecoder
from pyoco_server.client.http import PyocoHttpClient
from pyoco_server.errors import GatewayRefused, GatewayUnreachable, InvalidInput

Answer = Callable[["Handler"], None]


@dataclass
class Request:
    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes


@dataclass
class FakeGateway:
    """Answers each request with the next answer, the last one again and again, and keeps what was asked."""

    url: str = ""
    answers: list[Answer] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)

    def next_answer(self) -> Answer:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    gateway: FakeGateway

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.gateway.requests.append(Request(self.command, url.path, parse_qs(url.query), headers, body))
        self.gateway.next_answer()(self)

    do_POST = do_GET

    def log_message(self, *args: object) -> None:
        pass


def json_answer(document: object, status: int = 200, kind: str = "application/json") -> Answer:
    return text_answer(json.dumps(document), status, kind)


def text_answer(text: str, status: int = 200, kind: str = "text/html", **headers: str) -> Answer:
    def answer(handler: Handler) -> None:
        content = text.encode()
        handler.send_response(status)
        handler.send_header("content-type", kind)
        handler.send_header("content-length", str(len(content)))
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(content)

    return answer


def stream_answer(
    *pieces: bytes, chunked: bool = True, cut: bool = False, then: Callable[[], object] | None = None
) -> Answer:
    """Send an event stream piece by piece; ``cut`` ends a chunked one without its last chunk."""

    def answer(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("content-type", "text/event-stream; charset=utf-8")
        handler.send_header("transfer-encoding" if chunked else "connection", "chunked" if chunked else "close")
        handler.end_headers()
        for piece in pieces:
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece)
        if then is not None:
            then()
        if chunked and not cut:
            handler.wfile.write(b"0\r\n\r\n")
        handler.close_connection = cut or not chunked

    return answer


def snapshot_event(status: str, updated_at: float, event_id: str | None = None) -> bytes:
    data = {"run_id": "r1", "ts": updated_at, "snapshot": {"status": status, "updated_at": updated_at}}
    lines = [f"id: {event_id}"] if event_id else []
    return "\n".join([*lines, "event: snapshot", f"data: {json.dumps(data)}", "", ""]).encode()


class Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """A client that gave up, as some tests want it, is no news."""


@pytest.fixture
def gateway() -> Iterator[FakeGateway]:
    fake = FakeGateway()
    handler = type("BoundHandler", (Handler,), {"gateway": fake})
    with Server(("127.0.0.1", 0), handler) as server:
        fake.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield fake
        server.shutdown()
        thread.join()


@pytest.fixture
def client(gateway: FakeGateway) -> Iterator[PyocoHttpClient]:
    with PyocoHttpClient(gateway.url, timeout_sec=5) as opened:
        yield opened


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port that refuses: bound, so that nobody else takes it, and not listening."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


def statuses(events: list[dict[str, Any]]) -> list[str]:
    return [event["data"]["snapshot"]["status"] for event in events]


class TestEventDecoder:
    def test_an_event_cut_at_every_byte_is_the_same_event(self) -> None:
        text = '\ufeff: hello\r\nid: 7\r\nevent: snapshot\r\ndata: {"k": "あ"}\r\n\r\n'.encode()
        decoder = EventDecoder()
        events = [event for index in range(len(text)) for event in decoder.feed(text[index : index + 1])]
        assert events == [{"event": "snapshot", "data": {"k": "あ"}, "id": "7"}]

    @pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
    def test_each_line_end_of_the_standard_ends_a_line(self, end: str) -> None:
        text = end.join(['data: {"x":', "data: 1}", "", "data: {}", "", ""])
        assert [event["data"] for event in EventDecoder().feed(text.encode())] == [{"x": 1}, {}]

    def test_line_ends_that_only_python_knows_stay_in_the_data(self) -> None:
        events = list(EventDecoder().feed('data: {"x": "a\u2028b\x85c"}\n\n'.encode()))
        assert events[0]["data"] == {"x": "a\u2028b\x85c"}

    def test_comments_empty_events_and_unknown_fields_are_ignored(self) -> None:
        text = b": tick\n\nevent: lonely\n\nretry: 10\nwhat: else\ndata: {}\n\n"
        assert list(EventDecoder().feed(text)) == [{"event": "message", "data": {}}]

    def test_an_id_holds_for_the_events_after_it(self) -> None:
        events = list(EventDecoder().feed(b"id: 3\ndata: {}\n\ndata: {}\n\nid: 4\ndata: {}\n\n"))
        assert [event["id"] for event in events] == ["3", "3", "4"]

    def test_an_event_that_the_end_cut_off_is_not_given(self) -> None:
        assert list(EventDecoder().feed(b"data: {}\n")) == []

    @pytest.mark.parametrize("data", [b"{", b"[1]", b"nonsense"])
    def test_data_that_is_no_json_object_is_an_error(self, data: bytes) -> None:
        with pytest.raises(ValueError):
            list(EventDecoder().feed(b"data: " + data + b"\n\n"))


class TestRequests:
    def test_submit_run_sends_only_what_was_given(self, gateway: FakeGateway, client: PyocoHttpClient) -> None:
        gateway.answers = [json_answer({"run_id": "r1", "status": "PENDING"})]
        assert client.submit_run("main") == {"run_id": "r1", "status": "PENDING"}
        client.submit_run("main", {"x": 1}, tag="gpu", tags=["a"])
        first, second = (json.loads(request.body) for request in gateway.requests)
        assert first == {"flow_name": "main", "params": {}}
        assert second == {"flow_name": "main", "params": {"x": 1}, "tag": "gpu", "tags": ["a"]}
        assert gateway.requests[0].headers["content-type"] == "application/json"

    @pytest.mark.parametrize("value", [float("nan"), {1, 2}])
    def test_a_parameter_that_json_cannot_carry_is_not_sent(
        self, gateway: FakeGateway, client: PyocoHttpClient, value: object
    ) -> None:
        with pytest.raises(InvalidInput, match="JSON values"):
            client.submit_run("main", {"x": value})
        assert gateway.requests == []

    def test_submit_run_yaml_sends_the_file_byte_for_byte(self, gateway: FakeGateway, client: PyocoHttpClient) -> None:
        gateway.answers = [json_answer({"run_id": "r1", "status": "PENDING"})]
        client.submit_run_yaml("a: あ\r\nb: 1\n", flow_name="main", tag="hello")
        request = gateway.requests[0]
        assert request.path == "/runs/yaml"
        assert "a: あ\r\nb: 1\n".encode() in request.body
        assert b'name="workflow"; filename="flow.yaml"' in request.body
        assert b'name="flow_name"\r\n\r\nmain\r\n' in request.body
        assert b'name="tag"\r\n\r\nhello\r\n' in request.body

    def test_reads_ask_the_routes_of_the_contract(self, gateway: FakeGateway, client: PyocoHttpClient) -> None:
        gateway.answers = [json_answer({})]
        client.get_run("r/1 あ")
        client.get_run_with_records("r1")
        client.get_tasks("r1")
        asked = [(request.path, request.query) for request in gateway.requests]
        assert asked == [
            ("/runs/r%2F1%20%E3%81%82", {}),
            ("/runs/r1", {"include": ["records"]}),
            ("/runs/r1/tasks", {}),
        ]

    @pytest.mark.parametrize("run_id", ["", ".", ".."])
    def test_an_id_that_would_name_another_route_is_refused(
        self, gateway: FakeGateway, client: PyocoHttpClient, run_id: str
    ) -> None:
        for read in (client.get_run, client.get_tasks, client.watch_run):
            with pytest.raises(InvalidInput):
                read(run_id)
        assert gateway.requests == []

    def test_list_runs_leaves_out_what_was_not_given(self, gateway: FakeGateway, client: PyocoHttpClient) -> None:
        gateway.answers = [json_answer([{"run_id": "r1"}])]
        assert client.list_runs(status="FAILED", full=True, limit=2) == [{"run_id": "r1"}]
        assert gateway.requests[0].query == {"status": ["FAILED"], "include": ["full"], "limit": ["2"]}

    def test_list_runs_vnext_always_asks_for_pages(self, gateway: FakeGateway, client: PyocoHttpClient) -> None:
        gateway.answers = [json_answer({"items": [{"run_id": "r1"}], "next_cursor": "c"})]
        assert client.list_runs_vnext() == {"items": [{"run_id": "r1"}], "next_cursor": "c"}
        client.list_runs_vnext(cursor="c", limit=1)
        assert [request.query for request in gateway.requests] == [
            {"updated_after": ["0.0"]},
            {"cursor": ["c"], "limit": ["1"]},
        ]

    def test_the_api_key_goes_out_in_the_header_that_was_named(self, gateway: FakeGateway) -> None:
        gateway.answers = [json_answer({})]
        with PyocoHttpClient(gateway.url + "/", api_key="k.s", api_key_header="X-Team") as client:
            client.get_run("r1")
        assert gateway.requests[0].headers["x-team"] == "k.s"
        assert gateway.requests[0].path == "/runs/r1"

    def test_a_key_that_no_header_can_carry_is_refused_without_being_shown(self) -> None:
        with pytest.raises(InvalidInput) as caught:
            PyocoHttpClient(api_key="se\ncret")
        assert "cret" not in str(caught.value)


class TestErrors:
    def test_a_problem_document_gives_detail_and_faults(self, gateway: FakeGateway, client: PyocoHttpClient) -> None:
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

    def test_a_fault_that_the_detail_names_already_is_not_repeated(
        self, gateway: FakeGateway, client: PyocoHttpClient
    ) -> None:
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
        self, gateway: FakeGateway, client: PyocoHttpClient, detail: object, words: str
    ) -> None:
        gateway.answers = [json_answer({"detail": detail}, 404)]
        with pytest.raises(GatewayRefused, match=f"^HTTP 404 GET /runs/nope: {words}$"):
            client.get_run("nope")

    def test_an_error_that_is_no_json_is_shown_in_part(self, gateway: FakeGateway, client: PyocoHttpClient) -> None:
        gateway.answers = [text_answer("<h1>Bad\n Gateway</h1>" + "x" * 1000, 502)]
        with pytest.raises(GatewayRefused) as caught:
            client.get_run("r1")
        assert str(caught.value).startswith("HTTP 502 GET /runs/r1: <h1>Bad Gateway</h1>xxx")
        assert len(str(caught.value)) < 300

    def test_an_answer_that_is_no_json_asks_whether_this_is_a_gateway(
        self, gateway: FakeGateway, client: PyocoHttpClient
    ) -> None:
        gateway.answers = [text_answer("<h1>It works</h1>")]
        with pytest.raises(GatewayRefused, match="address of a Pyoco gateway"):
            client.get_run("r1")
        with pytest.raises(GatewayRefused, match="event stream was expected"):
            next(client.watch_run("r1"))

    def test_a_redirect_is_told_and_not_followed(self, gateway: FakeGateway, client: PyocoHttpClient) -> None:
        gateway.answers = [text_answer("", 302, location="https://elsewhere.example/runs")]
        with pytest.raises(GatewayRefused, match=r"moved to https://elsewhere\.example/runs"):
            client.submit_run("main")
        assert len(gateway.requests) == 1

    def test_a_refused_connection_is_told_in_plain_words(self, closed_port: int) -> None:
        with PyocoHttpClient(f"http://127.0.0.1:{closed_port}") as client:
            with pytest.raises(GatewayUnreachable) as caught:
                client.submit_run("main")
        message = str(caught.value)
        assert f"No connection to the gateway at http://127.0.0.1:{closed_port}: Connection refused." in message
        assert "may have been carried out" not in message

    def test_an_address_without_a_scheme_is_told_as_that(self) -> None:
        with (
            PyocoHttpClient("localhost") as client,
            pytest.raises(GatewayUnreachable, match="'localhost' is not"),
        ):
            client.get_run("r1")

    def test_a_submission_without_an_answer_says_that_it_may_have_been_done(self, gateway: FakeGateway) -> None:
        def hang_up(handler: Handler) -> None:
            handler.close_connection = True

        gateway.answers = [hang_up]
        with PyocoHttpClient(gateway.url) as client:
            with pytest.raises(GatewayUnreachable, match="may have been carried out"):
                client.submit_run("main")

    def test_a_gateway_that_does_not_answer_is_given_up_in_time(self, gateway: FakeGateway) -> None:
        release = threading.Event()
        gateway.answers = [lambda handler: release.wait(10) and None]
        try:
            with PyocoHttpClient(gateway.url, timeout_sec=0.2) as client:
                with pytest.raises(GatewayUnreachable, match=r"No answer .* within 0\.2 s"):
                    client.get_run("r1")
        finally:
            release.set()


class TestWatch:
    @pytest.mark.parametrize("chunked", [True, False])
    def test_an_event_arrives_while_the_stream_is_open(
        self, gateway: FakeGateway, client: PyocoHttpClient, chunked: bool
    ) -> None:
        release = threading.Event()
        gateway.answers = [
            stream_answer(
                b": hello\n\n", snapshot_event("RUNNING", 1.0), chunked=chunked, then=lambda: release.wait(10)
            )
        ]
        events = client.watch_run("r1")
        try:
            assert next(events)["data"]["snapshot"]["status"] == "RUNNING"
            assert not release.is_set()
        finally:
            release.set()
        assert list(events) == []

    def test_a_large_snapshot_arrives_whole(self, gateway: FakeGateway, client: PyocoHttpClient) -> None:
        data = json.dumps({"snapshot": {"output": "x" * 1_000_000}}).encode()
        gateway.answers = [stream_answer(b"data: " + data[:70_000], data[70_000:] + b"\n\n")]
        assert len(next(client.watch_run("r1"))["data"]["snapshot"]["output"]) == 1_000_000

    def test_one_stream_is_asked_for_as_given(self, gateway: FakeGateway, client: PyocoHttpClient) -> None:
        gateway.answers = [stream_answer(snapshot_event("RUNNING", 1.0))]
        assert len(list(client.watch_run("r1", include_records=True, since=2.5, timeout_sec=7))) == 1
        assert [request.path for request in gateway.requests] == ["/runs/r1/watch"]
        assert gateway.requests[0].query == {"include": ["records"], "since": ["2.5"], "timeout_sec": ["7"]}

    def test_silence_is_an_error_after_its_limit(self, gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(http, "WATCH_SILENCE_SEC", 0.2)
        release = threading.Event()
        gateway.answers = [stream_answer(snapshot_event("RUNNING", 1.0), then=lambda: release.wait(10))]
        try:
            with PyocoHttpClient(gateway.url, timeout_sec=0.2) as client:
                events = client.watch_run("r1")
                next(events)
                with pytest.raises(GatewayUnreachable, match=r"silent for 0\.2 s"):
                    next(events)
        finally:
            release.set()

    def test_a_stream_that_breaks_is_an_error_unless_the_watch_goes_on(
        self, gateway: FakeGateway, client: PyocoHttpClient
    ) -> None:
        gateway.answers = [stream_answer(snapshot_event("RUNNING", 1.0), cut=True)]
        events = client.watch_run("r1")
        next(events)
        with pytest.raises(GatewayUnreachable, match="broke in the watch of run r1"):
            next(events)

    def test_until_terminal_goes_on_over_ends_breaks_and_refusals_that_pass(
        self, gateway: FakeGateway, client: PyocoHttpClient
    ) -> None:
        gateway.answers = [
            stream_answer(snapshot_event("PENDING", 1.0, "11")),
            stream_answer(snapshot_event("RUNNING", 2.0, "12"), cut=True),
            json_answer({"detail": "NATS does not answer."}, 503),
            stream_answer(snapshot_event("COMPLETED", 3.0, "13"), snapshot_event("RUNNING", 4.0)),
        ]
        events = list(client.watch_run("r1", until_terminal=True))
        assert statuses(events) == ["PENDING", "RUNNING", "COMPLETED"]
        resumed = [request.headers.get("last-event-id") for request in gateway.requests]
        assert resumed == [None, "11", "12", "12"]
        assert {request.query["timeout_sec"][0] for request in gateway.requests} == {"600"}

    def test_until_terminal_does_not_repeat_the_state_that_a_0_5_1_gateway_sends_again(
        self, gateway: FakeGateway, client: PyocoHttpClient
    ) -> None:
        running = snapshot_event("RUNNING", 1.0)
        gateway.answers = [stream_answer(running), stream_answer(running, snapshot_event("FAILED", 2.0))]
        assert statuses(list(client.watch_run("r1", until_terminal=True))) == ["RUNNING", "FAILED"]
        assert [request.query.get("since") for request in gateway.requests] == [None, ["1.0"]]

    def test_until_terminal_ends_when_its_time_is_over(self, gateway: FakeGateway, client: PyocoHttpClient) -> None:
        gateway.answers = [stream_answer(snapshot_event("RUNNING", 1.0))]
        assert statuses(list(client.watch_run("r1", until_terminal=True, timeout_sec=1))) == ["RUNNING"]
        assert len(gateway.requests) > 1
        assert {request.query["timeout_sec"][0] for request in gateway.requests} == {"1"}

    def test_until_terminal_still_fails_at_once_where_the_run_or_the_gateway_is_missing(
        self, gateway: FakeGateway, client: PyocoHttpClient, closed_port: int
    ) -> None:
        gateway.answers = [json_answer({"detail": "run not found"}, 404)]
        with pytest.raises(GatewayRefused, match="404"):
            next(client.watch_run("nope", until_terminal=True))
        with PyocoHttpClient(f"http://127.0.0.1:{closed_port}") as nobody:
            with pytest.raises(GatewayUnreachable):
                next(nobody.watch_run("r1", until_terminal=True))

    def test_until_terminal_ends_at_once_where_the_run_goes_away(
        self, gateway: FakeGateway, client: PyocoHttpClient
    ) -> None:
        gone = json_answer({"detail": "run not found"}, 404)
        gateway.answers = [stream_answer(snapshot_event("RUNNING", 1.0)), gone]
        events = client.watch_run("r1", until_terminal=True)
        next(events)
        with pytest.raises(GatewayRefused, match="404"):
            next(events)
        assert len(gateway.requests) == 2

    def test_until_terminal_gives_up_a_gateway_that_stays_away(
        self, gateway: FakeGateway, client: PyocoHttpClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(http, "WATCH_OUTAGE_MAX_SEC", 0.3)
        gateway.answers = [
            stream_answer(snapshot_event("RUNNING", 1.0)),
            json_answer({"detail": "away"}, 503),
        ]
        events = client.watch_run("r1", until_terminal=True)
        next(events)
        with pytest.raises(GatewayRefused, match="503"):
            next(events)
        assert len(gateway.requests) > 2

    def test_closing_the_client_ends_a_watch_that_waits(self, gateway: FakeGateway, client: PyocoHttpClient) -> None:
        gateway.answers = [stream_answer(snapshot_event("RUNNING", 1.0), then=client.close)]
        assert statuses(list(client.watch_run("r1", until_terminal=True))) == ["RUNNING"]
        assert len(gateway.requests) == 1
