"""Connections, and clients that neither let their requests come nor take their answers.

Left to itself waitress would keep a connection for ever on which a byte comes now and then, or whose client reads
nothing, and accept no other one when there are many of them.

Source: RFC 9112, section 9.6 (how to close a connection without losing the answer); RFC 9110, section 15.5.9 (408).
"""

from __future__ import annotations

import contextlib
import functools
import socket
import time
from collections.abc import Callable, Collection
from types import SimpleNamespace
from typing import Any

from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.utilities import BadRequest

from pyoco_server.errors import PyocoServerError
from pyoco_server.gateway.answer_tasks import AnswerTask, ProblemTask, StreamGoesOn
from pyoco_server.gateway.fast_lane import Begun, FastLane

#: How much of a refused body is still read and thrown away, and for how long; whoever sends more may lose the answer.
_MAX_DRAINED_BYTES = 64 * 1024 * 1024
_MAX_DRAINING_SEC = 20.0
#: A request may take so long to come, and then as long as it brings so much a second.
GRACE_SEC = 20.0
MIN_BYTES_PER_SEC = 1_000
#: So long a client may take nothing of what waits for it; and after so long it must have taken as much a second.
STALL_SEC = 60.0
#: Where every connection is taken, one of so many is closed at a time.
_CLOSED_SHARE = 8


class RequestTimeout(BadRequest):
    """A request did not come in time."""

    code = 408
    reason = "Request Timeout"


class Channel(HTTPChannel):
    """A connection that lets a client read why its request was refused.

    Closed with unread bytes in it, the connection would be reset, and the client lose the answer. So our side is
    closed first, and what still comes is thrown away until the client has closed, too.
    """

    task_class = AnswerTask
    error_task_class = ProblemTask
    #: Goes out before what is written next.
    head = b""
    #: Set by the task that refused a request.
    has_unread_input = False
    #: Whether a thread is at sending what it has written.
    _is_sending = False
    #: Whether the answer is whole, and what still comes is thrown away.
    is_draining = False
    _drained_bytes = 0
    _draining_since = 0.0
    #: The request that is coming, and how much of it has come.
    _coming: Any = None
    _coming_bytes = 0
    #: Since when something has waited for the client, at every look; ``time.monotonic()``.
    _behind_since: float | None = None
    #: How much it has taken since, and when it did so last.
    _taken_bytes = 0
    _taken_at = 0.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        #: Since when it is coming, or the connection is idle; ``time.monotonic()``.
        self._since = time.monotonic()
        self.server.sockets.look_again(self)

    def received(self, data: bytes) -> Any:
        taken = super().received(data)
        if self.request is not self._coming:
            self._coming, self._coming_bytes, self._since = self.request, 0, time.monotonic()
        self._coming_bytes += len(data)
        return taken

    @property
    def is_waiting(self) -> bool:
        """Whether nothing is answered here: the client is to send."""
        return not self.requests and not self.total_outbufs_len

    @property
    def waits_for_client(self) -> bool:
        """Whether nothing goes on here until the client sends, or takes what was sent."""
        return self.is_waiting or self._behind_since is not None

    def look(self, now: float) -> None:
        """Take note of what is waited for; time counts from the first look at which it was the same."""
        if not self.is_waiting:
            # Until now the client could not send, or had nothing to.
            self._since, self._coming_bytes = now, 0
        if not self.is_behind:
            self._behind_since = None
        elif self._behind_since is None:
            self._behind_since = self._taken_at = now
            self._taken_bytes = 0

    def is_too_slow(self, now: float) -> bool:
        """Say whether the request that is coming takes too long."""
        in_time_sec = GRACE_SEC + self._coming_bytes / MIN_BYTES_PER_SEC
        return self._coming is not None and not self.is_draining and now - self._since > in_time_sec

    def has_stalled(self, now: float) -> bool:
        """Say whether the client takes nothing of what waits for it, or takes it too slowly."""
        if self._behind_since is None:
            return False
        in_time_sec = STALL_SEC + self._taken_bytes / MIN_BYTES_PER_SEC
        return now - self._taken_at > STALL_SEC or now - self._behind_since > in_time_sec

    def use(self, now: float) -> float:
        """Give what to compare connections by: the bytes a second that come or are taken.

        As if each had begun with as many as are asked for: who has just come counts for more than who brings little,
        and idle ones count for less and less.
        """
        since, moved_bytes = self._since, self._coming_bytes if self._coming is not None else 0
        if self._behind_since is not None:
            since, moved_bytes = self._behind_since, self._taken_bytes
        return (MIN_BYTES_PER_SEC + moved_bytes) / (1 + now - since)

    def begin(self, lane: FastLane) -> bool:
        """Have the fast lane begin the request that has come; on the thread that receives, the bridge's.

        :return: whether it has; else a thread for requests has to.
        """
        request = self.requests[0]
        # Who writes an answer waits for a client that has left too much untaken; what the lane adds is far less than
        # the other half.
        is_far_behind = self.total_outbufs_len > self.adj.outbuf_high_watermark // 2
        if request.error is not None or request.begun is not None or is_far_behind:
            return False
        return lane.begin(request, functools.partial(self._go_on, request))

    def _go_on(self, request: Any, begun: Begun) -> None:
        """Answer the request that the lane has begun, or have a thread for requests find out why it cannot be."""
        request.begun = begun
        if begun.is_at_hand:
            self.service()
        else:
            self.server.add_task(self)

    def service(self) -> None:
        self.server.serving.channel = self
        request = self.requests[0]
        try:
            super().service()
        except StreamGoesOn as going:
            # Its request stays with the connection, which therefore counts as busy.
            self.server.streams.add(going.stream, going.answer)
        begun: Begun | None = request.take_begun()
        if begun is not None:
            # Its client has left, so waitress has not asked for an answer. What was refused has to be withdrawn.
            with contextlib.suppress(PyocoServerError):
                begun.body()

    @property
    def is_behind(self) -> bool:
        """Whether the client has not taken yet what was sent."""
        return bool(self.total_outbufs_len)

    def add_last(self, data: bytes) -> None:
        """Add a few bytes to what is unsent, however much that is; what is written else waits for a client to read."""
        with self.outbuf_lock:
            if self.connected:
                self.outbufs[-1].append(data)
                self.total_outbufs_len += len(data)

    def close_when_sent(self) -> None:
        """Let go of the requests, and close when what was written is on its way; waitress does so for other answers."""
        with self.requests_lock:
            self.close_when_flushed = True
            for request in self.requests:
                request.close()
            self.requests = []
        self.server.pull_trigger()

    def write_soon(self, data: Any) -> Any:
        if self.head:
            data, self.head = self.head + data, b""
        self._is_sending = True
        try:
            return super().write_soon(data)
        finally:
            self._is_sending = False
            if self.total_outbufs_len:
                self.server.pull_trigger()

    def send(self, data: bytes, do_close: bool = True) -> int:
        sent: int = super().send(data, do_close)
        if sent:
            self._taken_bytes += sent
            self._taken_at = time.monotonic()
        return sent

    def drop(self) -> None:
        """Close at once, whatever is unsent or unread; a thread that waits for the client to read goes on."""
        super().handle_close()

    def give_up(self) -> None:
        """Answer the request that is coming with 408, and close."""
        with self.requests_lock:
            assert self._coming is not None, "nothing is coming"
            self._coming.error = RequestTimeout("The request did not come in time: send it faster.")
            self.requests.append(self._coming)
            self.request = self._coming = None
        self.server.add_task(self)

    def shutdown_writing(self) -> None:
        """Tell the client that the answer is whole, and go on listening to it."""
        assert self.socket is not None
        self.socket.shutdown(socket.SHUT_WR)

    def send_continue(self) -> None:
        request = self.request
        if request is not None and (request.error is not None or request.completed):
            # Nothing is to be sent: the answer is there already, or there is no body.
            request.expect_continue = False
            return
        super().send_continue()

    def readable(self) -> Any:
        if self.is_draining:
            return True
        if self._is_about_to_be_sent:
            is_closing = self.will_close or self.close_when_flushed
            return not is_closing and len(self.requests) <= self.adj.channel_request_lookahead
        return super().readable()

    def writable(self) -> Any:
        if self.is_draining or self._is_about_to_be_sent:
            return self.will_close
        return super().writable()

    @property
    def _is_about_to_be_sent(self) -> bool:
        """Whether what is unsent is on its way to the kernel, and does not wait for the thread that receives.

        That one would else wait for the kernel to take what it must not send, which is at once, again and again.
        """
        # At the watermark itself waitress has not told the thread that waits there.
        return self._is_sending and self.total_outbufs_len < self.adj.outbuf_high_watermark

    def handle_read(self) -> None:
        if not self.is_draining:
            super().handle_read()
            return
        data = b""
        with contextlib.suppress(OSError):
            data = self.recv(self.adj.recv_bytes)
        self._drained_bytes += len(data)
        is_over = time.monotonic() - self._draining_since > _MAX_DRAINING_SEC
        if not data or self._drained_bytes > _MAX_DRAINED_BYTES or is_over:
            self.handle_close()

    def handle_close(self) -> None:
        if not self.server.is_receiving:
            # That thread may be counting its connections.
            self.will_close = True
            self.server.pull_trigger()
            return
        if self.has_unread_input and self.connected and not self.is_draining:
            self.is_draining = True
            self._draining_since = time.monotonic()
            # The maintenance of waitress sets it again when nothing comes for long.
            self.will_close = False
            with contextlib.suppress(OSError):
                self.shutdown_writing()
                return
        super().handle_close()


def dismiss_slow(channels: Collection[Channel], *, is_full: bool) -> int:
    """Give up requests that come and answers that are taken too slowly, and where no connection is left, those of the
    clients that send and take least.

    To be called on the thread that receives.

    :return: how many were closed.
    """
    now = time.monotonic()
    for channel in channels:
        channel.look(now)
    if is_full:
        waiting = sorted((each for each in channels if each.waits_for_client), key=lambda each: each.use(now))
        for channel in waiting[: max(1, len(waiting) // _CLOSED_SHARE)]:
            channel.drop()
    for channel in channels:
        if not channel.connected:
            continue
        if channel.has_stalled(now):
            channel.drop()
        elif channel.is_waiting and channel.is_too_slow(now):
            channel.give_up()
    return sum(not channel.connected for channel in channels)


def channel_class(max_body_bytes: Callable[[str], int]) -> type[Channel]:
    """Make the class of a server's connections.

    :param max_body_bytes: gives the largest body that a path takes; waitress itself knows one limit for all.
    """

    class Parser(HTTPRequestParser):
        #: What the fast lane has made of it.
        begun: Begun | None = None
        #: Waitress names it in its messages, also where the first line made no sense.
        path = "/"

        def take_begun(self) -> Begun | None:
            """Give what the fast lane has made of it, to whoever asks first: what it holds holds the request."""
            begun, self.begun = self.begun, None
            return begun

        def parse_header(self, header_plus: bytes) -> None:
            super().parse_header(header_plus)
            # Nothing but the limit is read of the settings from here on.
            self.adj = SimpleNamespace(max_request_body_size=max_body_bytes(self.path))

    class LimitedChannel(Channel):
        parser_class = Parser

    return LimitedChannel
