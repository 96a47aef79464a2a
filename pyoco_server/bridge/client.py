"""Requests to JetStream, for threads: every call blocks, has a deadline and raises our errors.

Requests speak the JetStream API as JSON (``$JS.API.…``) and not through nats-py's own wrappers: those drop
settings that they do not know, leave consumers behind and retry in ways of their own (nats-facts, traps 1 to 7).

Source: design, section 2.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from pyoco_server.bridge.answers import rfc3339, stored_message, unix_seconds
from pyoco_server.bridge.connection import ANY_INBOX, NOBODY, TRY_TIMEOUT_SEC, Connection
from pyoco_server.bridge.messages import Outcome, Stored, Write
from pyoco_server.bridge.translate import api_answer, is_retryable
from pyoco_server.config import Config
from pyoco_server.contract import names
from pyoco_server.errors import (
    BusError,
    BusTimeout,
    BusUnavailable,
    KeyMissing,
    PyocoServerError,
    RevisionConflict,
)
from pyoco_server.sign_in import SignIn

T = TypeVar("T")

_RETRY_PAUSE_SEC = 0.1
#: Messages that are asked for at the same time when many are read.
_READS_AT_A_TIME = 50
#: Retry budget of a worker: an election in a cluster of three takes five to seven seconds.
WORKER_BUDGET_SEC = 15.0
#: Retry budget of a gateway request, its last try included: the published clients give up after five seconds.
GATEWAY_BUDGET_SEC = 4.0


class Bus(Connection):
    """A connection with the requests that stores and operations make; idempotent ones are repeated within a budget.

    :param urls: this, ``sign_in`` and ``inbox``: see :class:`Connection`.
    :param budget_sec: seconds that an idempotent call may spend on retries.
    :param waits_when_down: whether calls wait for a lost connection within the budget (worker) or fail at once
        (gateway).
    """

    def __init__(
        self,
        urls: str,
        *,
        name: str,
        budget_sec: float,
        waits_when_down: bool,
        sign_in: SignIn = NOBODY,
        inbox: str = ANY_INBOX,
    ) -> None:
        super().__init__(urls, name=name, sign_in=sign_in, inbox=inbox)
        self._budget_sec = budget_sec
        self._waits_when_down = waits_when_down

    @classmethod
    def of(cls, config: Config, role: str, *, name: str, budget_sec: float, waits_when_down: bool = False) -> Bus:
        """Make the connection that the settings of a process ask for.

        :param role: what kind of program it is, see :data:`names.ROLES`.
        """
        return cls(
            config.nats_url,
            name=name,
            budget_sec=budget_sec,
            waits_when_down=waits_when_down,
            sign_in=config.sign_in,
            inbox=names.inbox(role),
        )

    def stop_waiting(self) -> None:
        """Have calls fail at once from now on while the connection is lost: no stop and no request must wait for it."""
        self._waits_when_down = False

    def api(
        self,
        endpoint: str,
        body: dict[str, Any] | None = None,
        *,
        budget_sec: float | None = None,
        try_sec: float = TRY_TIMEOUT_SEC,
    ) -> dict[str, Any]:
        """Ask the JetStream API.

        :param endpoint: what follows ``$JS.API.``.
        :param try_sec: how long a single answer may take.
        :raises BusError: refused; subclasses tell a missing stream, key or a revision conflict.
        :raises BusUnavailable: no answer within the budget.
        """
        work = self._patiently(lambda: self._api(endpoint, body, try_sec), budget_sec)
        return self._loop.call(work, timeout_sec=self._net(budget_sec) + try_sec)

    def api_all(self, *requests: tuple[str, dict[str, Any]]) -> list[dict[str, Any] | BusError]:
        """Ask the JetStream API several things at the same time, in one hop to the loop thread.

        :param requests: endpoints and bodies, see :meth:`api`.
        :return: in their order, the answers, or what the server said instead.
        :raises BusUnavailable: one of them was not answered within the budget.
        """
        return self._loop.call(self._api_all(requests), timeout_sec=self._net(None) + TRY_TIMEOUT_SEC)

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

    def begin_write(self, writes: Sequence[Write], done: Callable[[Outcome[list[int]]], None]) -> None:
        """Store messages as :meth:`write` does, without waiting for it.

        :param done: called with what :meth:`write` gives or raises, see :meth:`LoopThread.begin`.
        """
        self._loop.begin(self._write_all(writes, None), done)

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

    def begin_last(self, stream: str, subject: str, done: Callable[[Outcome[Stored]], None]) -> None:
        """Read the last message of a subject as :meth:`last` does, without waiting for it.

        :param done: called with what :meth:`last` gives or raises, see :meth:`LoopThread.begin`.
        """

        async def read() -> Stored:
            return await self._until(self._deadline(None), lambda: self._last(stream, subject))

        self._loop.begin(read(), done)

    def last_of_each(self, stream: str, subjects: Sequence[str]) -> list[Stored | None]:
        """Read the last message of several subjects from the stream's leader, in one hop to the loop thread.

        :return: in the order of ``subjects``; ``None`` where there is none.
        """
        return self._loop.call(self._last_of_each(stream, subjects), timeout_sec=self._net(None))

    def following(self, stream: str, subject: str, seq: int, *, budget_sec: float | None = None) -> Stored:
        """Read the first message from ``seq`` on whose subject matches.

        :raises KeyMissing: there is none.
        """
        body = {"seq": seq, "next_by_subj": subject}
        return stored_message(self.api(f"STREAM.MSG.GET.{stream}", body, budget_sec=budget_sec))

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

    def patiently(self, attempt: Callable[[], Awaitable[T]], budget_sec: float | None = None) -> T:
        """Repeat an idempotent request until it is answered or the budget is spent, and wait for that."""
        return self._loop.call(self._patiently(attempt, budget_sec), timeout_sec=self._net(budget_sec))

    # -- on the loop ------------------------------------------------------------------------------------------

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

    async def _api(
        self, endpoint: str, body: dict[str, Any] | None, try_sec: float = TRY_TIMEOUT_SEC
    ) -> dict[str, Any]:
        payload = b"" if body is None else json.dumps(body).encode()
        answer = await self.request(f"$JS.API.{endpoint}", payload, timeout_sec=try_sec)
        return api_answer(answer.data, endpoint)

    async def _api_all(self, requests: Sequence[tuple[str, dict[str, Any]]]) -> list[dict[str, Any] | BusError]:
        async def ask(endpoint: str, body: dict[str, Any]) -> dict[str, Any] | BusError:
            try:
                return await self._patiently(lambda: self._api(endpoint, body))
            except BusError as exc:
                return exc.without_frames()

        return list(await asyncio.gather(*(ask(*request) for request in requests)))

    async def _write_all(self, writes: Sequence[Write], budget_sec: float | None) -> list[int]:
        done: list[int] = []
        deadline = self._deadline(budget_sec)
        for write in writes:
            try:
                done.append(await self._write(write.after(done[-1]) if done else write, deadline))
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
                return await self._last(stream, subject)
            except KeyMissing:
                return None

        for start in range(0, len(subjects), _READS_AT_A_TIME):
            some = subjects[start : start + _READS_AT_A_TIME]
            found += await asyncio.gather(*(read(subject) for subject in some))
        return found

    async def _last_of(self, subject: str) -> Stored:
        kind, bucket = subject.split(".", 2)[:2]
        stream = names.object_stream(bucket) if kind == names.OBJECT_ROOT else names.bucket_stream(bucket)
        return await self._last(stream, subject)

    async def _last(self, stream: str, subject: str) -> Stored:
        return stored_message(await self._api(f"STREAM.MSG.GET.{stream}", {"last_by_subj": subject}))
