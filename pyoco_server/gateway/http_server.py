"""The HTTP server: waitress, on a thread of its own.

Source: design, section 8.
"""

from __future__ import annotations

import contextlib
import functools
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from waitress.adjustments import Adjustments
from waitress.server import TcpWSGIServer

from pyoco_server.gateway.app import create_app
from pyoco_server.gateway.channel import Channel, channel_class, dismiss_slow
from pyoco_server.gateway.context import Gateway
from pyoco_server.gateway.fast_lane import FastLane
from pyoco_server.gateway.limits import max_body_bytes
from pyoco_server.gateway.sockets import Sockets
from pyoco_server.gateway.streams import Streams
from pyoco_server.service import Deadline, Service

#: Threads for requests; each that follows a log or waits for the end of a run takes one more.
_REQUEST_THREADS = 32
#: Connections beyond the threads: kept-alive ones, and those that wait for a thread.
_SPARE_CONNECTIONS = 200
_CHANNEL_TIMEOUT_SEC = 60
#: So much of an answer is in memory before its thread waits for the client. waitress keeps what was sent, too, up to
#: this size, and what a thread once took stays its own: with the 16 MiB of waitress 18 MB for each that sent a wheel.
_ANSWER_BUFFER_BYTES = 1024 * 1024
BACKLOG = 1024
#: How often it is looked for clients that do not let their requests come.
_LOOK_SEC = 0.5
#: How long one turn may take before the thread that receives counts as stuck.
_PATIENCE_SEC = 10.0


class _Server(TcpWSGIServer):
    """Waitress's server, which here knows which of its connections a thread serves."""

    def __init__(self, sockets: Sockets, streams: Streams, lane: FastLane, **options: Any) -> None:
        self.sockets = sockets
        self.streams = streams
        self._lane = lane
        #: The thread that receives, once it runs.
        self.receiver = 0
        #: The connections of requests that have come and are not begun.
        self._received: deque[Channel] = deque()
        #: The connection that the present thread serves.
        self.serving = threading.local()
        super().__init__(**options)

    def add_task(self, task: Channel) -> None:
        """Have the next request of a connection begun; from any thread.

        The thread that receives calls it in the midst of reading, and others when they have served the one before.
        """
        self._received.append(task)
        if threading.get_ident() != self.receiver:
            self.wake()

    def begin_received(self) -> None:
        """Begin what has been received: in the fast lane, or on a thread for requests."""
        while self._received:
            channel = self._received.popleft()
            if not channel.begin(self._lane):
                self.give_to_thread(channel)

    def give_to_thread(self, task: Any) -> None:
        """Have a thread for requests call ``task.service()``."""
        super().add_task(task)

    def pull_trigger(self) -> None:
        """Wake the thread that receives, if the connection that the present thread serves waits for something new.

        waitress calls it after each request.
        """
        if self.sockets.look_again(self.serving.channel):
            self.wake()

    def wake(self) -> None:
        """Wake the thread that receives."""
        with contextlib.suppress(OSError):
            # It is closed when the server has ended before it was told to.
            self.trigger.pull_trigger()


class HttpServer(Service):
    """Waitress on a thread of its own, stopped without cutting off answers.

    :param listener: bound and listening already, so that a port in use is known before anything else starts.
    :param streams: goes on with the answers that are streams; to be started before, and stopped after.
    """

    patience_sec = _PATIENCE_SEC

    def __init__(
        self, listener: socket.socket, gateway: Gateway, streams: Streams, on_failure: Callable[[Service], None]
    ) -> None:
        super().__init__("pyoco-http", on_failure)
        threads = _REQUEST_THREADS + gateway.config.max_watches
        channels: dict[int, Any] = {}
        self._sockets = Sockets(channels)
        adjustments = Adjustments(
            threads=threads,
            connection_limit=threads + _SPARE_CONNECTIONS,
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
            self._sockets,
            streams,
            FastLane(gateway),
            application=create_app(gateway),
            map=channels,
            _sock=listener,
            adj=adjustments,
            bind_socket=False,
            sockinfo=(listener.family, listener.type, listener.proto, listener.getsockname()),
        )
        self._server.channel_class = channel_class(functools.partial(max_body_bytes, gateway.config))
        self._drained = Deadline(0)
        self._next_look = 0.0

    def stop(self, deadline: Deadline) -> bool:
        """Accept nothing more, let answers that have begun end within the deadline, then close."""
        self._drained = deadline
        return super().stop(deadline)

    def wake(self) -> None:
        self._server.wake()

    def run(self) -> None:
        self._server.receiver = threading.get_ident()
        self._sockets.look_at_all()
        while not self.is_stopping:
            self._turn(1.0)
        # The listener alone: who comes now is refused and may ask another gateway, and does not wait for the end here.
        self._server.asyncore.dispatcher.close(self._server)
        while self._close_idle() and not self._drained.has_passed:
            self._turn(0.05)
        self._server.task_dispatcher.shutdown(timeout=1)
        self._server.close()
        self._server.asyncore.close_all(self._server._map, ignore_all=True)
        self._sockets.close()

    def _turn(self, timeout_sec: float) -> None:
        self.beat()
        server = self._server
        self._sockets.turn(timeout_sec)
        # It counts its connections, and ends those that have been idle for long, whenever it is asked.
        self._sockets.look_again(server)
        if server.in_connection_overflow or time.monotonic() >= self._next_look:
            dismiss_slow(list(server.active_channels.values()), is_full=server.in_connection_overflow)
            self._next_look = time.monotonic() + _LOOK_SEC
            self._sockets.look_at_all()
        server.begin_received()

    def _close_idle(self) -> bool:
        """Close the connections on which nothing is answered, kept-alive ones above all; say whether any is left."""
        is_busy = False
        for channel in list(self._server.active_channels.values()):
            if channel.is_waiting:
                channel.handle_close()
            else:
                is_busy = True
        self._sockets.look_at_all()
        return is_busy
