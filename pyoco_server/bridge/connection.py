"""The connection to NATS: its life, its loop thread, and single requests on that loop.

Source: design, section 2.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar, cast

import nats.aio.msg
import nats.errors

from pyoco_server.bridge import arrivals
from pyoco_server.bridge.loop import LoopThread
from pyoco_server.bridge.messages import Write
from pyoco_server.bridge.refusals import Client, denied_subject, refusal
from pyoco_server.bridge.translate import PAYLOAD_TOO_LARGE, translate
from pyoco_server.contract import names
from pyoco_server.errors import BusError, BusUnavailable, PyocoServerError, SignInRefused
from pyoco_server.logs import RateLimit
from pyoco_server.service import Deadline
from pyoco_server.sign_in import SignIn, addresses

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: Who signs in as nobody, and to whom no server need prove itself.
NOBODY = SignIn()
#: Where clients of NATS take their answers unless they are told otherwise.
ANY_INBOX = "_INBOX"
#: One try of a request; a leader that has just moved answers the next one.
TRY_TIMEOUT_SEC = 2.0
#: A server that answers nothing for three of these is left for another one of its cluster: well before the lease of a
#: job is over, so that a run whose worker was connected to it goes on and does not begin again elsewhere.
_PING_SEC = 3
_MISSED_PINGS = 2
#: What is read at once. For more than half of this the C library asks the kernel for memory, which costs five times
#: as much as to read a message.
_READ_BYTES = 64 * 1024
#: Of a message in a stream.
_LARGEST_SEQ = 2**64 - 1


class Connection:
    """A connection to NATS that reconnects for ever.

    :param urls: servers of one cluster, separated by commas; user, password or token may stand in them.
    :param name: what NATS knows it by.
    :param sign_in: who it is for NATS, where that does not stand in ``urls``, and what TLS is made with.
    :param inbox: root of the subjects on which it takes answers.
    :raises InvalidSetting: a file of ``sign_in`` cannot be used.
    """

    def __init__(self, urls: str, *, name: str, sign_in: SignIn = NOBODY, inbox: str = ANY_INBOX) -> None:
        self._urls = [address.url for address in addresses(urls)]
        self._options: dict[str, Any] = {"name": name, "inbox_prefix": inbox, "tls": sign_in.tls()}
        self._options.update(sign_in.options(urls))
        self._loop = LoopThread()
        self._client = Client(wants_tls=sign_in.wants_tls(urls))
        self._requests = arrivals.Requests(self._client)
        self._log_limit = RateLimit()
        self._reconnected: list[Callable[[], None]] = []
        self._disconnected: list[Callable[[], None]] = []
        self._last_error: str | None = None
        #: How often a server has refused to let this process in, and why the last one did.
        self._refusals = 0
        self._refusal: str | None = None
        self._was_reset = False
        self._has_connected = False
        self._steady_since = time.monotonic()

    def connect(self, timeout_sec: float) -> None:
        """Connect, or give up after ``timeout_sec``; afterwards the connection mends itself.

        :raises SignInRefused: servers answered, and none let this process in.
        :raises BusUnavailable: no server answered in time. Both messages name the addresses that were tried.
        """
        self._loop.start()
        try:
            self._loop.call(self._connect(timeout_sec), timeout_sec=timeout_sec + 5)
        except BaseException:
            self._loop.stop(Deadline(2))
            raise

    def close(self, deadline: Deadline) -> None:
        """Flush, disconnect and stop the loop thread; works twice."""
        with contextlib.suppress(PyocoServerError):
            self._loop.call(self._close(), timeout_sec=max(0.1, deadline.remaining_sec))
        self._loop.stop(deadline)

    @property
    def thread(self) -> LoopThread:
        """The loop thread, for whoever looks whether it comes round, or has something else done there."""
        return self._loop

    @property
    def is_connected(self) -> bool:
        return self._client.is_connected

    @property
    def has_ended(self) -> bool:
        """Whether the connection is closed for good, as after :meth:`close` or when NATS ended it with a reason.

        nats-py does not reconnect after every reason: an expired login, for one, is final.
        """
        return self._client.is_closed

    @property
    def steady_sec(self) -> float:
        """For how long NATS has been there without a break, as far as what was asked over this connection shows."""
        return time.monotonic() - self._steady_since

    def note_silence(self) -> None:
        """Note that NATS has not answered in time."""
        self._steady_since = time.monotonic()

    @property
    def last_error(self) -> str | None:
        """What the connection last complained about, for ``/ready`` and messages."""
        return self._last_error

    @property
    def is_clustered(self) -> bool:
        """Say whether the server belongs to a cluster."""
        return bool(self.server_info.get("cluster"))

    @property
    def server_info(self) -> Mapping[str, Any]:
        """What the connected server has said of itself, in its own words (``INFO``)."""
        return self._client._server_info

    def accepts(self, write: Write) -> bool:
        """Say whether the message is small enough for the server."""
        return len(write.payload) + _header_bytes(write.after(_LARGEST_SEQ).headers) <= self._client.max_payload

    @property
    def max_payload_bytes(self) -> int:
        return self._client.max_payload

    def on_reconnect(self, callback: Callable[[], None]) -> None:
        """Have ``callback`` called, on the loop thread, after each reconnect; it must not block."""
        self._reconnected.append(callback)

    def on_disconnect(self, callback: Callable[[], None]) -> None:
        """Have ``callback`` called, on the loop thread, whenever the connection is lost; it must not block."""
        self._disconnected.append(callback)

    # -- for this package -------------------------------------------------------------------------------------

    async def subscribe(self, subject: str, take: Callable[[nats.aio.msg.Msg], None]) -> Any:
        """Have ``take`` called with each message, see :func:`arrivals.subscribe`."""
        return await arrivals.subscribe(self._client, subject, take)

    def new_inbox(self) -> str:
        return self._client.new_inbox()

    async def publish(self, subject: str, payload: bytes, reply: str = "") -> None:
        try:
            await self._client.publish(subject, payload, reply=reply)
        except (nats.errors.Error, OSError) as exc:
            raise translate(exc, subject) from exc

    async def request(
        self, subject: str, payload: bytes, headers: dict[str, str] | None = None, timeout_sec: float = TRY_TIMEOUT_SEC
    ) -> nats.aio.msg.Msg:
        """Ask once, for answers that come under the inbox's own subject."""
        if not self._client.is_connected:
            raise BusUnavailable(f"There is no connection to NATS for {subject}.")
        if not names.is_subject(subject):
            # A server says no word of it, and whoever asked would wait for as long as for one that is away.
            raise BusError(f"NATS has no subject {subject!r}.")
        size = len(payload) + _header_bytes(headers)
        if size > self._client.max_payload:
            # nats-py looks at the payload alone, and the server ends the connection of whoever sends more: for good.
            raise BusError(f"NATS accepts no message of {size} bytes on {subject}.", err_code=PAYLOAD_TOO_LARGE)
        try:
            return await self._requests.ask(subject, payload, headers, timeout_sec)
        except (nats.errors.Error, OSError) as exc:
            if isinstance(exc, nats.errors.TimeoutError):
                self.note_silence()
            raise translate(exc, subject) from exc

    @property
    def connection(self) -> Client:
        """The connection itself, for what this package asks of it in another way."""
        return self._client

    def call(self, work: Coroutine[Any, Any, T], *, timeout_sec: float) -> T:
        """Run a coroutine of this package on the loop."""
        return self._loop.call(work, timeout_sec=timeout_sec)

    def spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        """Start a coroutine of this package on the loop."""
        self._loop.spawn(work)

    # -- on the loop ------------------------------------------------------------------------------------------

    async def _connect(self, timeout_sec: float) -> None:
        options: dict[str, Any] = {
            **self._options,
            "max_reconnect_attempts": -1,
            "reconnect_time_wait": 0.5,
            "connect_timeout": 2,
            "ping_interval": _PING_SEC,
            "max_outstanding_pings": _MISSED_PINGS,
            # Without this a call that failed while disconnected is sent after the reconnect, behind our back.
            "pending_size": -1,
            "error_cb": self._on_error,
            "disconnected_cb": self._on_disconnect,
            "reconnected_cb": self._on_reconnect,
        }
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_sec
        attempt = loop.create_task(self._client.connect(self._urls, **options))
        # Each of them may be asked once: only one of a cluster may know the user already.
        while not attempt.done() and loop.time() < deadline and self._refusals < len(self._urls):
            await asyncio.sleep(0.01)
        if not attempt.done():
            attempt.cancel()
        elif attempt.exception() is not None:
            self._note_error(cast(Exception, attempt.exception()))
        if not self._client.is_connected:
            await self._drop_transport()
            where = ", ".join(self._urls)
            if self._was_reset and self.server_info.get("auth_required"):
                # What the server said of it is lost where it hangs up before it has read our ping.
                self._note_error(nats.errors.Error("authorization violation"))
            if self._refusal is not None:
                raise SignInRefused(f"NATS at {where} does not let this process in: {self._refusal}")
            reason = f" ({self._last_error})" if self._last_error else ""
            raise BusUnavailable(f"No NATS server answered at {where}{reason}.")
        await self._requests.start()
        self._has_connected = True
        self._steady_since = time.monotonic()
        self._set_up_socket()

    async def _drop_transport(self) -> None:
        """Close the socket of an attempt that has failed: nats-py leaves it to the garbage collector."""
        # What was just cancelled comes to its end first, and may have made one by then.
        await asyncio.sleep(0)
        if self._client._transport is not None:
            self._client._transport.close()
            await asyncio.sleep(0)

    def _set_up_socket(self) -> None:
        """Have the kernel end a connection whose other end takes nothing any more, and read it in pieces.

        nats-py would wait for ever to send its ping behind what could not be sent, and to close the connection. And
        asyncio would map and unmap memory for each message that comes.
        """
        writer = getattr(self._client._transport, "_io_writer", None)
        if writer is None:
            return
        if hasattr(writer.transport, "max_size"):
            writer.transport.max_size = _READ_BYTES
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            limit_ms = (_MISSED_PINGS + 1) * _PING_SEC * 1000
            # It may have been lost again by now.
            with contextlib.suppress(OSError):
                writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, limit_ms)

    async def _close(self) -> None:
        if self._client.is_connected:
            with contextlib.suppress(nats.errors.Error, OSError):
                await self._client.flush(timeout=1)
        # What is unsent by now stays so: nats-py would send it to whoever is gone, and stop half-way.
        self._client._pending.clear()
        self._client._pending_data_size = 0
        await self._client.close()

    def _note_error(self, exc: Exception) -> None:
        self._was_reset = isinstance(exc, ConnectionResetError)
        self._refusal = refusal(exc)
        self._refusals += self._refusal is not None
        self._last_error = self._refusal or str(exc) or type(exc).__name__

    async def _on_error(self, exc: Exception) -> None:
        denied = denied_subject(exc)
        if denied is not None:
            self._requests.deny(*denied)
        self._note_error(exc)
        if not self._client.is_connected and self._client._transport is not None:
            # nats-py leaves the socket of an attempt that has failed to the garbage collector.
            self._client._transport.close()
        # What keeps the first connection from being made is told by the error of connect().
        # One subject that is not permitted stands for all others: runs and their logs have one each.
        if self._has_connected and self._log_limit.allows("denied" if denied else self._last_error or ""):
            logger.warning("NATS: %s", self._last_error, extra={"err_id": BusUnavailable.err_id})

    async def _on_disconnect(self) -> None:
        for callback in self._disconnected:
            callback()
        if not self._client.is_closed and self._log_limit.allows("disconnected"):
            logger.warning("the connection to NATS was lost; reconnecting", extra={"err_id": BusUnavailable.err_id})

    async def _on_reconnect(self) -> None:
        self._set_up_socket()
        self._steady_since = time.monotonic()
        logger.info("connected to NATS again")
        for callback in self._reconnected:
            callback()


def _header_bytes(headers: dict[str, str] | None) -> int:
    """Count what headers take on the wire, at most."""
    if not headers:
        return 0
    return 16 + sum(len(name) + len(value) + 4 for name, value in headers.items())
