"""The HTTP server: waitress, whose connections are served by the bridge's thread.

Requests come in and answers go out where the messages of NATS do, so that most requests are begun, carried out and
answered on one thread: two of them would spend a third of their time on who may go on (bench/README.md). It waits for
nothing but its sockets, and for the disk where a large body goes to a file; all else is done by waitress's pool.

Source: design, section 8.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import logging
import os
import resource
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from waitress.adjustments import Adjustments
from waitress.server import TcpWSGIServer

from pyoco_server.bridge.loop import LoopThread
from pyoco_server.errors import BusUnavailable
from pyoco_server.gateway.app import create_app
from pyoco_server.gateway.channel import Channel, channel_class, dismiss_slow
from pyoco_server.gateway.context import Gateway
from pyoco_server.gateway.fast_lane import FastLane
from pyoco_server.gateway.limits import max_body_bytes
from pyoco_server.gateway.pool import Pool
from pyoco_server.gateway.sockets import Sockets
from pyoco_server.gateway.streams import Streams
from pyoco_server.logs import RateLimit
from pyoco_server.service import Deadline, Service

logger = logging.getLogger(__name__)

#: Threads for requests; each that follows a log or waits for the end of a run takes one more.
_REQUEST_THREADS = 32
#: Connections beyond the threads: kept-alive ones, and those that wait for a thread.
_SPARE_CONNECTIONS = 200
#: Files that one connection may hold: its socket, a large body and a large answer.
_FILES_PER_CONNECTION = 3
#: Files that a gateway has open besides: NATS, the read model, what libraries read.
_OTHER_FILES = 256
_CHANNEL_TIMEOUT_SEC = 60
#: So much of an answer is in memory before its thread waits for the client. waitress keeps what was sent, too, up to
#: this size, and what a thread once took stays its own: with the 16 MiB of waitress 18 MB for each that sent a wheel.
_ANSWER_BUFFER_BYTES = 1024 * 1024
BACKLOG = 1024
#: How often it is looked for clients that do not let their requests come.
_LOOK_SEC = 0.5
#: How often it is looked, at a stop, whether the last answers have ended.
_DRAIN_LOOK_SEC = 0.05
#: What is left of a stop's time for closing, in which the threads for requests may take a second.
_POOL_SEC = 1.0
_CLOSING_SEC = 1.5
#: What the kernel says when it has nothing left for another connection.
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class _Server(TcpWSGIServer):
    """Waitress's server, which here knows which of its connections a thread serves."""

    def __init__(self, loop: LoopThread, sockets: Sockets, streams: Streams, lane: FastLane, **options: Any) -> None:
        self._loop = loop
        self.sockets = sockets
        self.streams = streams
        self._lane = lane
        #: Whether the loop is at a turn of this server.
        self._is_turning = False
        #: Whether the kernel had nothing for another connection since it was looked last.
        self._is_exhausted = False
        self._log_limit = RateLimit()
        #: The connections of requests that have come and are not begun.
        self._received: deque[Channel] = deque()
        #: The connection that the present thread serves.
        self.serving = threading.local()
        super().__init__(**options)
        # Full it wakes the loop as well, and the loop itself writes there.
        os.set_blocking(self.trigger.trigger, False)

    def add_task(self, task: Channel) -> None:
        """Have the next request of a connection begun; from any thread.

        Called in a turn, in the midst of reading, and by whoever has served the request before.
        """
        self._received.append(task)
        if not (self.is_receiving and self._is_turning):
            self._wake()

    def turn(self, *, looks: bool) -> None:
        """Receive what has come, and begin it: in the fast lane, or on a thread for requests.

        :param looks: whether to look for clients that are slow, too.
        """
        self._is_turning = True
        try:
            self.sockets.turn()
            self.sockets.look_again(self)
            is_full = self.in_connection_overflow or self._is_exhausted
            if looks or is_full:
                closed_count = dismiss_slow(list(self.active_channels.values()), is_full=is_full)
                # Where there is no room, whoever wants in would be tried again and again.
                self._is_exhausted = self._is_exhausted and not (closed_count or looks)
                self.sockets.look_at_all()
            while self._received:
                channel = self._received.popleft()
                if not channel.begin(self._lane):
                    self.give_to_thread(channel)
        finally:
            self._is_turning = False
        self.sockets.tell()

    def accept(self) -> Any:
        try:
            return super().accept()
        except OSError as exc:
            if exc.errno not in _EXHAUSTED:
                raise
            self._is_exhausted = True
            if self._log_limit.allows("accept"):
                logger.warning(
                    "a client waits to be accepted, because this machine allows no more than the %d connections that "
                    "there are: %s. Raise the limit of open files (ulimit -n, or LimitNOFILE= of the unit).",
                    len(self.active_channels),
                    exc,
                )
            return None

    def readable(self) -> Any:
        # It counts its connections, and ends those that have been idle for long, whenever it is asked.
        return super().readable() and not self._is_exhausted

    def give_to_thread(self, task: Any) -> None:
        """Have a thread for requests call ``task.service()``."""
        super().add_task(task)

    @property
    def is_receiving(self) -> bool:
        """Whether the present thread is the one that receives, which alone closes connections."""
        return self._loop.is_current

    def pull_trigger(self) -> None:
        """Have the kernel told, if the connection that the present thread serves waits for something new.

        waitress calls it after each request.
        """
        if not self.sockets.look_again(self.serving.channel):
            return
        if self.is_receiving:
            self.sockets.tell()
        else:
            self._wake()

    def _wake(self) -> None:
        """Have the loop turn this server."""
        with contextlib.suppress(OSError):
            # It is closed when the server has ended before it was told to.
            self.trigger.pull_trigger()


class HttpServer(Service):
    """Waitress behind the loop, and the thread that opens it and closes it without cutting off answers.

    That thread sleeps in between; the bridge's does the work, in turns.

    :param listener: bound and listening already, so that a port in use is known before anything else starts.
    :param streams: goes on with the answers that are streams; to be started before, and stopped after.
    """

    def __init__(
        self, listener: socket.socket, gateway: Gateway, streams: Streams, on_failure: Callable[[Service], None]
    ) -> None:
        super().__init__("pyoco-http", on_failure)
        threads = _REQUEST_THREADS + gateway.config.max_watches
        connections = threads + _SPARE_CONNECTIONS
        _allow_files(_FILES_PER_CONNECTION * connections + _OTHER_FILES)
        channels: dict[int, Any] = {}
        self._loop = gateway.bus.thread
        sockets = Sockets(channels)
        adjustments = Adjustments(
            connection_limit=connections,
            # Without it nobody notices that the client of a silent stream has left (nats-facts, I).
            channel_request_lookahead=1,
            channel_timeout=_CHANNEL_TIMEOUT_SEC,
            outbuf_high_watermark=_ANSWER_BUFFER_BYTES,
            # The history of the wheels keeps what proxies say; nothing else believes it.
            clear_untrusted_proxy_headers=False,
            backlog=BACKLOG,
            ident=None,
        )
        self._server = _Server(
            self._loop,
            sockets,
            streams,
            FastLane(gateway),
            application=create_app(gateway),
            dispatcher=Pool(threads),
            map=channels,
            _sock=listener,
            adj=adjustments,
            bind_socket=False,
            sockinfo=(listener.family, listener.type, listener.proto, listener.getsockname()),
        )
        self._server.channel_class = channel_class(functools.partial(max_body_bytes, gateway.config))
        self._drained = Deadline(0)
        self._next_look = 0.0
        #: Set when the work of the loop is over: by a stop, or by what has gone wrong there.
        self._is_over = threading.Event()
        self._trouble: Exception | None = None

    def stop(self, deadline: Deadline) -> bool:
        """Accept nothing more, let answers that have begun end within the deadline, then close."""
        self._drained = Deadline(max(0.0, deadline.remaining_sec - _CLOSING_SEC))
        return super().stop(deadline)

    def wake(self) -> None:
        self._is_over.set()

    def run(self) -> None:
        try:
            with self._loop.watching(self._server.sockets.fileno(), self._turn, every_sec=_LOOK_SEC):
                self._is_over.wait()
                # A loop that is stuck, or has ended, serves nobody any more.
                with contextlib.suppress(BusUnavailable):
                    self._drain()
            if self._trouble is not None:
                raise self._trouble
        finally:
            self._close()

    def _drain(self) -> None:
        """Accept nobody any more, and wait until what was asked is answered, or the time for that is over."""
        # The listener alone: who comes now is refused and may ask another gateway, and does not wait for the end.
        self._loop.do(functools.partial(self._server.asyncore.dispatcher.close, self._server))
        while self._trouble is None and self._loop.do(self._close_idle) and not self._drained.has_passed:
            time.sleep(_DRAIN_LOOK_SEC)

    def _turn(self) -> None:
        """Do what there is to do; on the loop."""
        now = time.monotonic()
        looks = now >= self._next_look
        if looks:
            self._next_look = now + _LOOK_SEC
        try:
            self._server.turn(looks=looks)
        except Exception as exc:
            # The loop would go on as if nothing had been.
            self._trouble = exc
            self._is_over.set()

    def _close(self) -> None:
        """Close all that there is, when the loop does not look at it any more."""
        server = self._server
        # Who waits for a client to read has nobody to wait for any more.
        for channel in list(server.active_channels.values()):
            channel.drop()
        server.task_dispatcher.shutdown(timeout=_POOL_SEC)
        server.close()
        server.asyncore.close_all(server._map, ignore_all=True)
        server.sockets.close()

    def _close_idle(self) -> bool:
        """Close the connections on which nothing is answered, kept-alive ones above all; say whether any is left.

        One whose client has not sent all of a request that was refused is left, until it has had time to read why.
        """
        for channel in list(self._server.active_channels.values()):
            if channel.is_waiting and not channel.is_draining:
                channel.handle_close()
        self._server.sockets.look_at_all()
        self._server.sockets.tell()
        return bool(self._server.active_channels)


def _allow_files(count: int) -> None:
    """Have this process allowed so many open files, or as many as may be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        # A unit's filter of system calls may refuse it; its own limit counts then.
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
