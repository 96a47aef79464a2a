"""Answers, as they go out on a connection: of the application, of the fast lane, of a stream, and to what is refused.

What waitress answers by itself, for requests that never reach the application, has the form of all our errors.

Source: RFC 9457; contract, section 3.
"""

from __future__ import annotations

import functools
import json
import logging
from typing import Any

from waitress.channel import ClientDisconnected
from waitress.task import ErrorTask, WSGITask
from waitress.utilities import RequestEntityTooLarge, build_http_date

from pyoco_server.errors import PyocoServerError
from pyoco_server.gateway.answers import ANSWER_HEADERS
from pyoco_server.gateway.fast_lane import BEGUN, Begun
from pyoco_server.gateway.problems import CONTENT_TYPE, body_too_large, problem_document
from pyoco_server.gateway.streams import HAND_OVER, Stream

logger = logging.getLogger(__name__)

#: Of an answer with JSON, but for its length and its moment.
_JSON_HEADERS = (("Content-Type", "application/json"), *ANSWER_HEADERS)


class ProblemTask(ErrorTask):
    """Answers a request that cannot be passed on with a problem document."""

    def execute(self) -> None:
        error = self.request.error
        err_id: str | None = None
        path = self.request.path or "/"
        status, title, detail = error.code, error.reason, str(error.body)
        if isinstance(error, RequestEntityTooLarge):
            ours = body_too_large(path, self.request.adj.max_request_body_size)
            title, detail, err_id = type(ours).title(), ours.detail, ours.err_id
        # The rest of a body, of a head or of what is no HTTP at all.
        self.channel.has_unread_input = True
        body = json.dumps(problem_document(status, title, detail, path, err_id)).encode()
        self.status = f"{status} {error.reason}"
        self.response_headers = [
            ("Content-Type", CONTENT_TYPE),
            ("Content-Length", str(len(body))),
            ("X-Content-Type-Options", "nosniff"),
        ]
        self.set_close_on_finish()
        self.write(b"" if getattr(self.request, "command", None) == "HEAD" else body)


class StreamGoesOn(BaseException):
    """An answer has begun that others go on with: waitress is not to end it.

    No :class:`Exception`, which waitress would take for a failure.
    """

    def __init__(self, stream: Stream, answer: AnswerTask) -> None:
        super().__init__()
        self.stream = stream
        self.answer = answer


class AnswerTask(WSGITask):
    """Sends the head of an answer together with its first piece; waitress would call the kernel for each.

    Where the application hands a stream over, the answer goes on with it after the application's own pieces.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._handed_over: list[Stream] = []

    def get_environment(self) -> dict[str, Any]:
        environ: dict[str, Any] = super().get_environment()
        environ[HAND_OVER] = self._handed_over.append
        environ[BEGUN] = self.request.take_begun()
        return environ

    def _answer(self, body: bytes) -> None:
        """Answer with JSON, as the application would."""
        self.complete = True
        length = str(len(body))
        if self.version == "1.1" and self.request.headers.get("CONNECTION", "").lower() != "close":
            # Waitress makes the same of the headers, in as much time as all the rest of the answer takes.
            self.wrote_header = True
            self.channel.write_soon(_head(int(self.start_time), length) + body)
            return
        self.response_headers = [*_JSON_HEADERS, ("Content-Length", length)]
        self.write(body)

    def execute(self) -> None:
        begun: Begun | None = self.request.begun
        if begun is not None and begun.is_at_hand:
            self._answer(self.request.take_begun().body())
            return
        try:
            super().execute()
        except BaseException as exc:
            for stream in self._handed_over:
                stream.close()
            if isinstance(exc, PyocoServerError) and self.wrote_header:
                # One of its pieces could not be made, and what was sent of it cannot be taken back: its client
                # sees by the end of the connection that it is not whole.
                logger.warning("the answer to %s breaks off: %s", self.request.path, exc, extra={"err_id": exc.err_id})
                raise ClientDisconnected from exc
            raise

    def finish(self) -> None:
        for stream in self._handed_over:
            raise StreamGoesOn(stream, self)
        super().finish()

    def send(self, data: bytes) -> None:
        """Send a piece of a stream, from the thread that goes on with it.

        :raises ClientDisconnected: nobody is there any more.
        """
        self.channel.server.serving.channel = self.channel
        # Into a new buffer: waitress keeps in each what was sent, too, up to a megabyte for as long as a watch is open.
        self.channel.current_outbuf_count = self.channel.adj.outbuf_high_watermark
        self.write(data)

    def end(self) -> None:
        """End a stream, and close its connection as the head has said; does not wait for the client."""
        self.channel.server.serving.channel = self.channel
        if self.chunked_response:
            self.channel.add_last(b"0\r\n\r\n")
        self.channel.close_when_sent()

    def write(self, data: bytes) -> None:
        if data and self.complete and self.has_body and not self.wrote_header:
            self.channel.head = self.build_response_header()
            self.wrote_header = True
        super().write(data)
        if self.channel.head:
            # None of the data is part of the answer.
            self.channel.write_soon(b"")


@functools.lru_cache(maxsize=64)
def _head(moment: int, length: str) -> bytes:
    """Give the head of an answer with JSON that leaves its connection open.

    :param moment: unix seconds.
    """
    headers = (*_JSON_HEADERS, ("Content-Length", length), ("Date", build_http_date(moment)))
    return "\r\n".join(["HTTP/1.1 200 OK", *(f"{name}: {value}" for name, value in headers), "", ""]).encode()
