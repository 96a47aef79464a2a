"""Jobs of a work queue on their way through a worker: fetched, kept in progress, acknowledged.

Source: design, section 5; ADR-15 (pull requests).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Awaitable, Callable, Sequence

import nats.aio.msg
import nats.errors

from pyoco_server.bridge.client import Bus
from pyoco_server.bridge.connection import TRY_TIMEOUT_SEC
from pyoco_server.bridge.messages import Delivery, Waiting, delivery_counts
from pyoco_server.bridge.translate import api_answer, translate
from pyoco_server.contract import names
from pyoco_server.errors import BusTimeout, BusUnavailable, ResourceMissing
from pyoco_server.logs import LogId, RateLimit

logger = logging.getLogger(__name__)

#: How long after its expiry the answer to a pull is still awaited.
_GRACE_SEC = 2.0


class Deliveries:
    """Fetches jobs and holds their leases, over one connection."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._pulls: dict[str, _Pulls] = {}
        self._in_progress: set[str] = set()
        self._log_limit = RateLimit()
        bus.on_reconnect(self._give_up_pulls)

    def pull(self, stream: str, durable: str, *, wait_sec: float) -> Delivery | None:
        """Take at most one job; the caller owns its lease. One pull of a durable at a time.

        The server ends the pull. It is never cancelled, for that can strand the next job until its AckWait is over;
        and never of the kind that does not wait, for that stays open without an end where jobs wait and MaxAckPending
        is reached.

        :param wait_sec: how long the server keeps the pull open; a millisecond is enough to get what waits already.
        :return: ``None`` when nothing came.
        :raises ResourceMissing: there is no such consumer.
        :raises BusUnavailable: no answer; may be repeated. A job that comes after that is handed back.
        """
        return self._bus.call(self._pull(stream, durable, wait_sec), timeout_sec=wait_sec + _GRACE_SEC + 1)

    def waiting(self, stream: str, durables: Sequence[str]) -> list[Waiting]:
        """Look up how many jobs each durable could deliver now, without taking one.

        :raises ResourceMissing: one of the consumers does not exist.
        :raises BusUnavailable: no answer; may be repeated.
        """
        return self._bus.call(self._waiting(stream, durables), timeout_sec=TRY_TIMEOUT_SEC + 1)

    def ack(self, delivery: Delivery) -> None:
        """End the job; returns when the server has confirmed it.

        :raises BusUnavailable: not confirmed; the job may come again. A server that was killed may have forgotten
            the delivery: then it answers nothing, however often it is asked, and delivers the job anew.
        """
        self._settle(lambda: self._bus.request(delivery.reply, b"+ACK"))

    def nak(self, delivery: Delivery, delay_sec: float = 0.0) -> None:
        """Hand the job back, to be delivered again after ``delay_sec``.

        :raises BusUnavailable: not confirmed; the end of the lease hands it back.
        """
        if delay_sec > 0:
            word = b'-NAK {"delay": %d}' % int(delay_sec * 1e9)
            self._settle(lambda: self._bus.request(delivery.reply, word))
        else:
            self._settle(lambda: _hand_back(self._bus, delivery.reply, delivery.subject))

    def term(self, delivery: Delivery, reason: str) -> None:
        """Take the job out of the queue for good.

        :raises BusUnavailable: not confirmed; the job may come again.
        """
        self._settle(lambda: self._bus.request(delivery.reply, b"+TERM " + reason.encode()))

    def _settle(self, attempt: Callable[[], Awaitable[object]]) -> None:
        """Try once: what is not settled comes again, and waiting for it would hold up a slot."""
        self._bus.patiently(attempt, TRY_TIMEOUT_SEC)

    def renew(self, replies: Sequence[str]) -> None:
        """Renew leases once, of deliveries that any connection was given; what has ended meanwhile stays ended.

        :param replies: their ``reply`` subjects.
        """
        self._bus.call(self._renew(replies), timeout_sec=TRY_TIMEOUT_SEC + 1)

    def keep_in_progress(self, delivery: Delivery) -> None:
        """Renew the delivery's lease on every tick until :meth:`release`; a busy task cannot starve this."""
        self._in_progress.add(delivery.reply)

    def release(self, delivery: Delivery) -> None:
        """Stop renewing the lease."""
        self._in_progress.discard(delivery.reply)

    def start_ticks(self, interval_sec: float) -> None:
        """Begin to renew the leases of :meth:`keep_in_progress`."""
        self._bus.spawn(self._tick_for_ever(interval_sec))
        self._bus.on_reconnect(lambda: self._bus.spawn(self._tick()))

    async def _pull(self, stream: str, durable: str, wait_sec: float) -> Delivery | None:
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{durable}"
        pulls = self._pulls.get(subject)
        if pulls is None:
            pulls = self._pulls[subject] = _Pulls(self._bus, subject)
        answer = await pulls.next(wait_sec)
        headers = answer.headers or {}
        status = headers.get("Status")
        if status is None:
            num_delivered, seq, _ = delivery_counts(answer.reply)
            return Delivery(answer.subject, answer.data, seq, num_delivered, answer.reply, headers)
        if status in ("404", "408"):
            return None
        description = headers.get("Description", "")
        if status == "503" or (status == "409" and "Deleted" in description):
            raise ResourceMissing(f"Nobody serves the queue {durable} of {stream}: it is to be created.")
        raise BusUnavailable(f"NATS ended a pull from {durable} with {status} {description}.")

    async def _waiting(self, stream: str, durables: Sequence[str]) -> list[Waiting]:
        return list(await asyncio.gather(*(self._waiting_one(stream, durable) for durable in durables)))

    async def _waiting_one(self, stream: str, durable: str) -> Waiting:
        endpoint = f"CONSUMER.INFO.{stream}.{durable}"
        answer = await self._bus.request(f"$JS.API.{endpoint}", b"")
        info = api_answer(answer.data, endpoint)
        count, limit = int(info["num_pending"]), int(info["config"].get("max_ack_pending", -1))
        room = max(0, limit - int(info["num_ack_pending"])) if limit > 0 else count
        return Waiting(min(count, room), is_held_back=count > room)

    def _give_up_pulls(self) -> None:
        for pulls in self._pulls.values():
            pulls.give_up()

    async def _tick_for_ever(self, interval_sec: float) -> None:
        while not self._bus.connection.is_closed:
            await asyncio.sleep(interval_sec)
            await self._tick()

    async def _tick(self) -> None:
        await self._renew(list(self._in_progress))

    async def _renew(self, replies: Sequence[str]) -> None:
        for reply in replies:
            try:
                await self._bus.connection.publish(reply, b"+WPI")
            except (nats.errors.Error, OSError) as exc:
                # The next tick makes up for it, or the reconnect.
                if self._log_limit.allows("tick"):
                    extra = {"err_id": LogId.LEASE_NOT_RENEWED}
                    logger.warning("the leases of jobs in work cannot be renewed: %s", exc, extra=extra)


class _Pulls:
    """The pulls of one durable, one after the other, on the loop thread.

    Their answers come in on one subscription, which stays for as long as the connection: a job that comes too late
    still finds somebody, who hands it back. A job comes under its own subject and the end of a pull under the one
    that the pull named, so a late end is told from the present one.
    """

    def __init__(self, bus: Bus, subject: str) -> None:
        self._bus = bus
        self._subject = subject
        self._inbox = bus.new_inbox()
        self._is_open = False
        self._count = 0
        self._answer: asyncio.Future[nats.aio.msg.Msg] | None = None

    async def next(self, wait_sec: float) -> nats.aio.msg.Msg:
        """Pull once, and give the job or the status that ended the pull.

        :raises BusUnavailable: not sent, or not answered in time.
        """
        if not self._is_open:
            try:
                await self._bus.subscribe(f"{self._inbox}.*", self._take)
            except nats.errors.Error as exc:
                raise translate(exc, self._subject) from exc
            self._is_open = True
        self._count += 1
        answer: asyncio.Future[nats.aio.msg.Msg] = asyncio.get_running_loop().create_future()
        self._answer = answer
        request = json.dumps({"batch": 1, "expires": int(wait_sec * 1e9)}).encode()
        try:
            await self._bus.publish(self._subject, request, reply=f"{self._inbox}.{self._count}")
            await asyncio.wait([answer], timeout=wait_sec + _GRACE_SEC)
            if not answer.done():
                self._bus.note_silence()
                raise BusTimeout(f"NATS did not answer in time on {self._subject}.")
            return answer.result()
        finally:
            self._answer = None

    def give_up(self) -> None:
        """Wait no longer: after a reconnect the server knows nothing of the pull."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(BusUnavailable("The connection to NATS was lost during a pull."))

    def _take(self, message: nats.aio.msg.Msg) -> None:
        is_job = "Status" not in (message.headers or {})
        if not is_job and message.subject != f"{self._inbox}.{self._count}":
            return
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(message)
        elif is_job:
            # Not awaited here: the answers of later pulls come in behind this one.
            self._bus.spawn(self._hand_back(message))

    async def _hand_back(self, message: nats.aio.msg.Msg) -> None:
        logger.info("a job came when nobody waited for it any more, and is handed back")
        with contextlib.suppress(BusUnavailable):
            await _hand_back(self._bus, message.reply, message.subject)


async def _hand_back(bus: Bus, reply: str, subject: str) -> None:
    """Hand a job back and tell an idle worker of it.

    :raises BusUnavailable: not confirmed.
    """
    await bus.request(reply, b"-NAK")
    await bus.publish(names.hint_subject(subject), b"")
