"""What waitress answers by itself, in the form of all our errors: requests that never reach the application.

Source: RFC 9457; contract, section 3; RFC 9112, section 9.6 (how to close a connection without losing the answer).
"""

# waitress is published without types for its calls.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.task import ErrorTask
from waitress.utilities import RequestEntityTooLarge

from pyoco_server.gateway.problems import CONTENT_TYPE, body_too_large, problem_document

#: How much of a refused body is still read and thrown away; whoever sends more may lose the answer.
_MAX_DRAINED_BYTES = 64 * 1024 * 1024


class ProblemTask(ErrorTask):
    """Answers a request that cannot be passed on with a problem document."""

    def execute(self) -> None:
        error = self.request.error
        err_id: str | None = None
        # A request whose first line made no sense has none.
        path = getattr(self.request, "path", None) or "/"
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


class Channel(HTTPChannel):
    """A connection that lets a client read why its request was refused.

    Closed with unread bytes in it, the connection would be reset, and the client lose the answer. So our side is
    closed first, and what still comes is thrown away until the client has closed, too.
    """

    error_task_class = ProblemTask
    #: Set by the task that refused a request.
    has_unread_input = False
    _is_draining = False
    _drained_bytes = 0

    def shutdown_writing(self) -> None:
        """Tell the client that the answer is whole, and go on listening to it."""
        assert self.socket is not None
        self.socket.shutdown(socket.SHUT_WR)

    def send_continue(self) -> None:
        request = self.request
        if request is not None and request.error is not None:
            # It is not to be sent: the answer is there already.
            request.expect_continue = False
            return
        super().send_continue()

    def readable(self) -> Any:
        return True if self._is_draining else super().readable()

    def writable(self) -> Any:
        return self.will_close if self._is_draining else super().writable()

    def handle_read(self) -> None:
        if not self._is_draining:
            super().handle_read()
            return
        data = b""
        with contextlib.suppress(OSError):
            data = self.recv(self.adj.recv_bytes)
        self._drained_bytes += len(data)
        if not data or self._drained_bytes > _MAX_DRAINED_BYTES:
            self.handle_close()

    def handle_close(self) -> None:
        if self.has_unread_input and self.connected and not self._is_draining:
            self._is_draining = True
            # The maintenance of waitress sets it again when nothing comes for long.
            self.will_close = False
            with contextlib.suppress(OSError):
                self.shutdown_writing()
                return
        super().handle_close()


def channel_class(max_body_bytes: Callable[[str], int]) -> type[Channel]:
    """Make the class of a server's connections.

    :param max_body_bytes: gives the largest body that a path takes; waitress itself knows one limit for all.
    """

    class Parser(HTTPRequestParser):
        def parse_header(self, header_plus: bytes) -> None:
            super().parse_header(header_plus)
            # Nothing but the limit is read of the settings from here on.
            self.adj = SimpleNamespace(max_request_body_size=max_body_bytes(self.path))

    class LimitedChannel(Channel):
        parser_class = Parser

    return LimitedChannel
