"""The connection to NATS, for threads: every call blocks, has a deadline and raises our errors.

Requests speak the JetStream API as JSON (``$JS.API.…``) and not through nats-py's own wrappers: those drop
settings that they do not know, leave consumers behind and retry in ways of their own (nats-facts, traps 1 to 7).

Source: design, section 2.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

import nats
import nats.aio.msg
import nats.errors

from pyoco_server.bridge.answers import rfc3339, stored_message, unix_seconds
from pyoco_server.bridge.loop import LoopThread
from pyoco_server.bridge.messages import Stored, Write
from pyoco_server.bridge.translate import PAYLOAD_TOO_LARGE, api_answer, is_retryable, translate
from pyoco_server.contract import names
from pyoco_server.errors import (
    BusError,
    BusTimeout,
    BusUnavailable,
    KeyMissing,
    PyocoServerError,
    RevisionConflict,
)
from pyoco_server.logs import RateLimit
from pyoco_server.service import Deadline

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: One try of a request; a leader that has just moved answers the next one.
TRY_TIMEOUT_SEC = 2.0
_RETRY_PAUSE_SEC = 0.1
#: Messages that are asked for at the same time when many are read.
_READS_AT_A_TIME = 50
#: Retry budget of a worker: an election in a cluster of three takes five to seven seconds.
WORKER_BUDGET_SEC = 15.0
#: Retry budget of a gateway request, its last try included: the published clients give up after five seconds.
GATEWAY_BUDGET_SEC = 4.0


class Bus:
    """A connection to NATS that reconnects for ever.

    :param urls: servers of one cluster, separated by commas; user, password or token may stand in them.
    :param budget_sec: seconds that an idempotent call may spend on retries.
    :param waits_when_down: whether calls wait for a lost connection within the budget (worker) or fail at once
        (gateway).
    """

    def __init__(self, urls: str, *, name: str, budget_sec: float, waits_when_down: bool) -> None:
        self._urls = [url.strip() for url in urls.split(",") if url.strip()]
        self._name = name
        self._budget_sec = budget_sec
        self._waits_when_down = waits_when_down
        self._loop = LoopThread()
        self._client = nats.NATS()
        self._log_limit = RateLimit()
        self._reconnected: list[Callable[[], None]] = []
        self._disconnected: list[Callable[[], None]] = []
        self._last_error: str | None = None
        self._has_connected = False

    # -- life -------------------------------------------------------------------------------------------------

    def connect(self, timeout_sec: float) -> None:
        """Connect, or give up after ``timeout_sec``; afterwards the connection mends itself.

        :raises BusUnavailable: no server answered in time; the message names the addresses that were tried.
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
    def is_connected(self) -> bool:
        return self._client.is_connected

    @property
    def has_ended(self) -> bool:
        """Whether the connection is closed for good, as after :meth:`close` or when NATS ended it with a reason.

        nats-py does not reconnect after every reason: an expired login, for one, is final.
        """
        return self._client.is_closed

    def stop_waiting(self) -> None:
        """Have calls fail at once from now on while the connection is lost: a stop must not wait for NATS."""
        self._waits_when_down = False

    @property
    def last_error(self) -> str | None:
        """What the connection last complained about, for ``/ready`` and messages."""
        return self._last_error

    @property
    def is_clustered(self) -> bool:
        """Say whether the server belongs to a cluster."""
        return bool(self._client._server_info.get("cluster"))

    def accepts(self, write: Write) -> bool:
        """Say whether the message is small enough for the server."""
        return len(write.payload) + _header_bytes(write.headers) <= self._client.max_payload

    @property
    def max_payload_bytes(self) -> int:
        return self._client.max_payload

    def on_reconnect(self, callback: Callable[[], None]) -> None:
        """Have ``callback`` called, on the loop thread, after each reconnect; it must not block."""
        self._reconnected.append(callback)

    def on_disconnect(self, callback: Callable[[], None]) -> None:
        """Have ``callback`` called, on the loop thread, whenever the connection is lost; it must not block."""
        self._disconnected.append(callback)

    # -- requests ---------------------------------------------------------------------------------------------

    def api(
        self, endpoint: str, body: dict[str, Any] | None = None, *, budget_sec: float | None = None
    ) -> dict[str, Any]:
        """Ask the JetStream API.

        :param endpoint: what follows ``$JS.API.``.
        :raises BusError: refused; subclasses tell a missing stream, key or a revision conflict.
        :raises BusUnavailable: no answer within the budget.
        """
        return self.patiently(lambda: self._api(endpoint, body), budget_sec)

    def write(self, *writes: Write, budget_sec: float | None = None) -> list[int]:
        """Store messages one after the other, in one hop to the loop thread; the first refusal ends it.

        A compare-and-set whose answer was lost is looked up: if what stands there is what was written, it
        succeeded.

        :return: the sequences (in a KV bucket: the new revisions).
        :raises RevisionConflict: a write expected another revision. Every error names in ``completed`` the
            sequences of the writes that were confirmed before it.
        :raises BusUnavailable: see :meth:`api`; a write that timed out may have been done (``BusTimeout``).
        """
        net = self._net(budget_sec) * len(writes)
        return self._loop.call(self._write_all(writes, budget_sec), timeout_sec=net)

    def write_each(
        self, groups: Sequence[Sequence[Write]], *, budget_sec: float | None = None
    ) -> list[list[int] | BusError | BusUnavailable]:
        """Store several groups of messages at the same time, in one hop to the loop thread.

        Within a group it is as with :meth:`write`: one message after the other, and the first refusal ends it. A
        group knows nothing of the others. All of them are in memory and on their way together, so the caller bounds
        their number.

        :return: for each group what :meth:`write` would have given or raised.
        """
        net = self._net(budget_sec) * max([1, *(len(group) for group in groups)])
        return self._loop.call(self._write_each(groups, budget_sec), timeout_sec=net)

    def last(self, stream: str, subject: str, *, budget_sec: float | None = None) -> Stored:
        """Read the last message of a subject from the stream's leader, so that one reads one's own writes.

        :raises KeyMissing: there is none.
        :raises ResourceMissing: there is no such stream.
        """
        body = {"last_by_subj": subject}
        return stored_message(self.api(f"STREAM.MSG.GET.{stream}", body, budget_sec=budget_sec))

    def last_of_each(self, stream: str, subjects: Sequence[str]) -> list[Stored | None]:
        """Read the last message of several subjects from the stream's leader, in one hop to the loop thread.

        :return: in the order of ``subjects``; ``None`` where there is none.
        """
        return self._loop.call(self._last_of_each(stream, subjects), timeout_sec=self._net(None))

    def following(self, stream: str, subject: str, seq: int) -> Stored:
        """Read the first message from ``seq`` on whose subject matches.

        :raises KeyMissing: there is none.
        """
        return stored_message(self.api(f"STREAM.MSG.GET.{stream}", {"seq": seq, "next_by_subj": subject}))

    def first_since(self, stream: str, subject: str, moment: float) -> Stored:
        """Read the first message that was stored at ``moment`` (unix seconds) or later and whose subject matches.

        A server before 2.11 knows no such moment and gives the first message of all.

        :raises KeyMissing: there is none.
        """
        body = {"start_time": rfc3339(moment), "next_by_subj": subject}
        return stored_message(self.api(f"STREAM.MSG.GET.{stream}", body))

    def server_time(self, stream: str) -> float:
        """Give the time by the clock of the stream's leader, unix seconds."""
        return unix_seconds(self.api(f"STREAM.INFO.{stream}")["ts"])

    # -- for this package -------------------------------------------------------------------------------------

    async def subscribe(self, inbox: str, take: Callable[[nats.aio.msg.Msg], Awaitable[None]]) -> Any:
        """Subscribe without a limit on what waits: a feed asks for bounded batches."""
        return await self._client.subscribe(inbox, cb=take, pending_msgs_limit=-1, pending_bytes_limit=-1)

    def new_inbox(self) -> str:
        return self._client.new_inbox()

    async def publish(self, subject: str, payload: bytes, reply: str = "") -> None:
        try:
            await self._client.publish(subject, payload, reply=reply)
        except nats.errors.Error as exc:
            raise translate(exc, subject) from exc

    async def request(
        self, subject: str, payload: bytes, headers: dict[str, str] | None = None, timeout_sec: float = TRY_TIMEOUT_SEC
    ) -> nats.aio.msg.Msg:
        """Ask once, for answers that come under the inbox's own subject."""
        if not self._client.is_connected:
            # nats-py would refuse it, too, but keep what waits for the answer: a little more memory with each try.
            raise BusUnavailable(f"There is no connection to NATS for {subject}.")
        size = len(payload) + _header_bytes(headers)
        if size > self._client.max_payload:
            # nats-py looks at the payload alone, and the server ends the connection of whoever sends more: for good.
            raise BusError(f"NATS accepts no message of {size} bytes on {subject}.", err_code=PAYLOAD_TOO_LARGE)
        try:
            return await self._client.request(subject, payload, timeout=timeout_sec, headers=headers)
        except (nats.errors.Error, OSError) as exc:
            raise translate(exc, subject) from exc

    @property
    def connection(self) -> nats.NATS:
        """The connection itself, for what this package asks of it in another way."""
        return self._client

    def call(self, work: Coroutine[Any, Any, T], *, timeout_sec: float) -> T:
        """Run a coroutine of this package on the loop."""
        return self._loop.call(work, timeout_sec=timeout_sec)

    def spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        """Start a coroutine of this package on the loop."""
        self._loop.spawn(work)

    def patiently(self, attempt: Callable[[], Awaitable[T]], budget_sec: float | None = None) -> T:
        """Repeat an idempotent request until it is answered or the budget is spent, and wait for that."""
        return self._loop.call(self._patiently(attempt, budget_sec), timeout_sec=self._net(budget_sec))

    # -- on the loop ------------------------------------------------------------------------------------------

    async def _connect(self, timeout_sec: float) -> None:
        options: dict[str, Any] = {
            "name": self._name,
            "max_reconnect_attempts": -1,
            "reconnect_time_wait": 0.5,
            "connect_timeout": 2,
            "ping_interval": 10,
            "max_outstanding_pings": 2,
            # Without this a call that failed while disconnected is sent after the reconnect, behind our back.
            "pending_size": -1,
            "error_cb": self._on_error,
            "disconnected_cb": self._on_disconnect,
            "reconnected_cb": self._on_reconnect,
        }
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_sec
        attempt = loop.create_task(self._client.connect(self._urls, **options))
        while not attempt.done() and loop.time() < deadline:
            await asyncio.sleep(0.01)
        if not attempt.done():
            attempt.cancel()
            reason = f" ({self._last_error})" if self._last_error else ""
            raise BusUnavailable(f"No NATS server answered at {', '.join(_public(self._urls))}{reason}.")
        if attempt.exception() is not None:
            error = attempt.exception()
            raise BusUnavailable(f"NATS at {', '.join(_public(self._urls))} refused the connection: {error}")
        self._has_connected = True

    async def _close(self) -> None:
        if self._client.is_connected:
            with contextlib.suppress(nats.errors.Error, OSError):
                await self._client.flush(timeout=1)
        await self._client.close()

    async def _on_error(self, exc: Exception) -> None:
        self._last_error = str(exc) or type(exc).__name__
        # What keeps the first connection from being made is told by the error of connect().
        if self._has_connected and self._log_limit.allows(self._last_error):
            logger.warning("NATS: %s", self._last_error, extra={"err_id": BusUnavailable.err_id})

    async def _on_disconnect(self) -> None:
        for callback in self._disconnected:
            callback()
        if not self._client.is_closed and self._log_limit.allows("disconnected"):
            logger.warning("the connection to NATS was lost; reconnecting", extra={"err_id": BusUnavailable.err_id})

    async def _on_reconnect(self) -> None:
        logger.info("connected to NATS again")
        for callback in self._reconnected:
            callback()

    def _net(self, budget_sec: float | None) -> float:
        """Seconds after which even a coroutine that lost its own deadline is given up."""
        return (self._budget_sec if budget_sec is None else budget_sec) + 2 * TRY_TIMEOUT_SEC + 1

    def _deadline(self, budget_sec: float | None) -> float:
        return asyncio.get_running_loop().time() + (self._budget_sec if budget_sec is None else budget_sec)

    async def _patiently(self, attempt: Callable[[], Awaitable[T]], budget_sec: float | None = None) -> T:
        """Repeat an idempotent request until it is answered or the budget is spent."""
        return await self._until(self._deadline(budget_sec), attempt)

    async def _until(self, deadline: float, attempt: Callable[[], Awaitable[T]]) -> T:
        """Repeat a request as long as one more try can end before the deadline; the first is always made."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                return await attempt()
            except PyocoServerError as exc:
                given_up = not self._client.is_connected and not self._waits_when_down
                if given_up or not is_retryable(exc) or loop.time() + TRY_TIMEOUT_SEC >= deadline:
                    raise
            await asyncio.sleep(_RETRY_PAUSE_SEC)

    async def _api(self, endpoint: str, body: dict[str, Any] | None) -> dict[str, Any]:
        payload = b"" if body is None else json.dumps(body).encode()
        answer = await self.request(f"$JS.API.{endpoint}", payload)
        return api_answer(answer.data, endpoint)

    async def _write_all(self, writes: Sequence[Write], budget_sec: float | None) -> list[int]:
        done: list[int] = []
        deadline = self._deadline(budget_sec)
        for write in writes:
            try:
                done.append(await self._write(write, deadline))
            except (BusError, BusUnavailable) as exc:
                exc.completed = tuple(done)
                raise
        return done

    async def _write_each(
        self, groups: Sequence[Sequence[Write]], budget_sec: float | None
    ) -> list[list[int] | BusError | BusUnavailable]:
        async def write_one(group: Sequence[Write]) -> list[int] | BusError | BusUnavailable:
            try:
                return await self._write_all(group, budget_sec)
            except (BusError, BusUnavailable) as exc:
                return exc.without_frames()

        if len(groups) == 1:
            # The most frequent case by far, and tasks are not free.
            return [await write_one(groups[0])]
        return list(await asyncio.gather(*(write_one(group) for group in groups)))

    async def _write(self, write: Write, deadline: float) -> int:
        was_lost = False

        async def attempt() -> int:
            nonlocal was_lost
            try:
                answer = await self.request(write.subject, write.payload, write.headers)
            except BusTimeout:
                was_lost = True
                raise
            return int(api_answer(answer.data, write.subject)["seq"])

        try:
            return await self._until(deadline, attempt)
        except RevisionConflict:
            if not was_lost:
                raise
            stored = await self._after_loss(write, deadline)
            if stored is None or stored.payload != write.payload:
                raise
            return stored.seq
        except (BusError, BusUnavailable) as exc:
            if was_lost and not isinstance(exc, BusTimeout):
                # A later try was refused or not sent at all, but an earlier one may have arrived.
                raise BusTimeout(str(exc)) from exc
            raise

    async def _after_loss(self, write: Write, deadline: float) -> Stored | None:
        """Look whether a try that was not answered has arrived, now that a later one met a conflict.

        :raises BusTimeout: nobody can say.
        """
        try:
            return await self._until(deadline, lambda: self._last_of(write.subject))
        except KeyMissing:
            # The conflict is about another subject of the write's pattern.
            return None
        except (BusError, BusUnavailable) as exc:
            raise BusTimeout(str(exc)) from exc

    async def _last_of_each(self, stream: str, subjects: Sequence[str]) -> list[Stored | None]:
        found: list[Stored | None] = []

        async def read(subject: str) -> Stored | None:
            try:
                return stored_message(await self._api(f"STREAM.MSG.GET.{stream}", {"last_by_subj": subject}))
            except KeyMissing:
                return None

        for start in range(0, len(subjects), _READS_AT_A_TIME):
            some = subjects[start : start + _READS_AT_A_TIME]
            found += await asyncio.gather(*(read(subject) for subject in some))
        return found

    async def _last_of(self, subject: str) -> Stored:
        kind, bucket = subject.split(".", 2)[:2]
        stream = names.object_stream(bucket) if kind == names.OBJECT_ROOT else names.bucket_stream(bucket)
        return stored_message(await self._api(f"STREAM.MSG.GET.{stream}", {"last_by_subj": subject}))


def _header_bytes(headers: dict[str, str] | None) -> int:
    """Count what headers take on the wire, at most."""
    if not headers:
        return 0
    return 16 + sum(len(name) + len(value) + 4 for name, value in headers.items())


def _public(urls: list[str]) -> list[str]:
    """Give the addresses without the user and password that may stand in them."""
    return [re.sub(r"//[^@/]*@", "//", url) for url in urls]
