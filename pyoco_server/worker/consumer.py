"""The thread that fetches jobs for free slots.

A work-queue stream gives each tag a consumer of its own, so a worker with five tags has five to ask. It must not
ask them all at once and wait, for a pull that is open while the last slot fills brings a job that nobody has room
for, and handing it back costs one of its twenty deliveries; and it must not wait for one after the other, which
makes every job of the other tags wait. So one pull is open at a time, made only while a slot is free, of a tag that is
known to have jobs, in rotation. Four things tell of jobs:

- a delivery, which says how many of its tag are behind it;
- a hint: the worker belongs to the group of idle workers of each tag, one of which hears of each job. A hinted pull
  waits a little, because the job is only just being stored. What it hears while no slot is free is passed on to the
  others, and then it leaves the group of that tag. When its last slot fills it does the same with what it has not asked
  for yet, and with what it did not get: MaxAckPending may keep that back until another worker makes room;
- a look at the counts of tags, which takes no job: of those whose group it has left, after it has joined again, and of
  those that are kept back. A tag is *followed* from then on: no job of it can come without a hint;
- a turn: each tag is asked once a second whatever is known, and on until nothing comes. Jobs whose lease is over or
  whose delay has passed are not counted, and give no hint.

So a run after which nothing is new costs no look and no joining, however many tags there are. After any trouble nothing
is followed any more, and the worker looks again.

Source: design, section 5.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from pyoco_server.bridge.client import Bus
from pyoco_server.bridge.messages import Delivery, pending_count
from pyoco_server.errors import BusError, PyocoServerError, ResourceMissing, Unavailable
from pyoco_server.logs import RateLimit
from pyoco_server.service import Service
from pyoco_server.stores.queue import Queue
from pyoco_server.worker.lease import Lease
from pyoco_server.worker.slot import Slot
from pyoco_server.worker.work import OneRun, Work

logger = logging.getLogger(__name__)

#: How long a pull waits for what should be there: shorter, and a busy server says that nothing waits.
_WAITING_JOB_SEC = 0.002
#: How long a pull waits for a job of which a hint told: as long as storing it takes on a slow disk.
_HINTED_JOB_SEC = 0.05
#: How long a tag that is not followed may wait for a look while there are other jobs, or its own are kept back.
_LOOK_SEC = 0.1
#: How long a tag may go without being asked.
_ASK_SEC = 1.0
_TROUBLE_PAUSE_SEC = 0.5
#: How long one step may take before the thread counts as stuck: some requests that NATS does not answer.
_PATIENCE_SEC = 60.0
#: How often it comes round while no slot is free.
_REST_SEC = 5.0


@dataclass
class _Known:
    """What is known of the jobs of one tag.

    :ivar waiting_count: jobs that waited at the last look, or behind the last delivery, where MaxAckPending may keep
        some back.
    :ivar hint_count: hints that came since, and after which it was not asked.
    :ivar has_missed: whether it gave nothing after a hint, and jobs may wait all the same, of which nobody else was
        told.
    :ivar is_due: whether it is asked even so.
    :ivar is_followed: whether some idle worker was told of each job that this one does not know of.
    :ivar has_refused: whether it gave nothing at the last pull, although jobs waited.
    :ivar is_held_back: whether the last look found jobs beyond MaxAckPending, or it has refused twice, as one that is
        paused does, or a busy server: nobody tells when they may be had.
    """

    waiting_count: int = 0
    hint_count: int = 0
    has_missed: bool = False
    is_due: bool = False
    is_followed: bool = False
    has_refused: bool = False
    is_held_back: bool = False

    def is_worth_asking(self) -> bool:
        return self.is_due or self.waiting_count > 0 or self.hint_count > 0

    def is_uncertain(self) -> bool:
        # Where jobs wait, a delivery says how many are behind it.
        return not self.is_followed and self.waiting_count == 0


class Consumer(Service):
    """Gives jobs of its tags to slots that are free.

    :param poll_timeout_sec: how long an idle worker goes without asking (a second at most).
    :param serves: whether it fetches of its own accord, or only where :meth:`take_one` asks for a run.
    """

    def __init__(
        self,
        bus: Bus,
        queue: Queue,
        new_lease: Callable[[Delivery], Lease],
        tags: list[str],
        poll_timeout_sec: float,
        *,
        on_failure: Callable[[Service], None],
        serves: bool,
    ) -> None:
        super().__init__("pyoco-consumer", on_failure)
        # One that waits for the end of a run does not come round.
        self.patience_sec = _PATIENCE_SEC if serves else None
        self._queue = queue
        self._new_lease = new_lease
        self._hints = queue.hints(tags, self._hear)
        self._poll_timeout_sec = poll_timeout_sec
        self._serves = serves
        self._wanted: OneRun | None = None
        self._log_limit = RateLimit()
        self._changed = threading.Condition()
        self._free: deque[Slot] = deque()
        #: The tag whose turn it is stands first.
        self._known = {tag: _Known() for tag in tags}
        #: When to look at the counts of tags that are not followed, by the monotonic clock.
        self._look_at = 0.0
        self._settled_count = 0
        #: Which tag is to be asked next whatever is known, and when.
        self._round = itertools.cycle(tags)
        self._ask_at = 0.0
        bus.on_reconnect(self._look_again)

    def slot_is_free(self, slot: Slot) -> None:
        """Note a slot that can take a run."""
        with self._changed:
            self._free.append(slot)
            self._changed.notify_all()

    def job_has_settled(self) -> None:
        """Note that a job has left a slot for good or for later, which may have made room for another one."""
        with self._changed:
            self._settled_count += 1
            if any(known.is_held_back for known in self._known.values()):
                self._look_at = 0.0
                self._changed.notify_all()

    def take_one(self, wanted: OneRun) -> None:
        """Fetch jobs until one of them is a run that is executed, or the time is over; one such wait at a time.

        A consumer that is to stop ends the wait at once.
        """
        with self._changed:
            if self.is_stopping:
                wanted.end()
                return
            self._wanted = wanted
            self._changed.notify_all()

    def withdraw(self, wanted: OneRun) -> None:
        """Fetch no more jobs for somebody who waits no longer; works also when the wait is over."""
        with self._changed:
            if self._wanted is wanted:
                self._wanted = None

    def wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def run(self) -> None:
        while self._wait_until_wanted():
            wanted, work, trouble = self._wanted, None, None
            try:
                work = self._step()
            except (BusError, Unavailable) as exc:
                trouble = exc
                self._recover(exc)
            if work is not None:
                self._give(work)
            if wanted is not None:
                self._look_at_wait(wanted, work, trouble)
        self._pass_on_hints()
        self._hints.leave()
        if self._wanted is not None:
            self._wanted.end()

    def _wait_until_wanted(self) -> bool:
        """Wait until a job can be used here; ``False`` = it is time to stop."""
        if not self._is_wanted():
            self._pass_on_hints()
        with self._changed:
            self.beat()
            while not self._changed.wait_for(lambda: self._is_wanted() or self.is_stopping, _REST_SEC):
                self.beat()
        return not self.is_stopping

    def _is_wanted(self) -> bool:
        return bool(self._free) and (self._serves or self._wanted is not None)

    def _look_at_wait(self, wanted: OneRun, work: Work | None, trouble: PyocoServerError | None) -> None:
        """End the wait for one run when it has been executed, or the time is over."""
        if work is not None:
            if not self._is_wanted():
                self._pass_on_hints()
            work.is_done.wait()
            wanted.run_id = work.run_id
        if wanted.run_id is None and not wanted.patience.has_passed:
            return
        wanted.trouble = trouble
        self.withdraw(wanted)
        wanted.end()

    def _step(self) -> Work | None:
        """Do the next thing that may bring a job: look, ask the next tag that is known to have one, or wait to hear."""
        now = time.monotonic()
        self._take_turn(now)
        uncertain = [tag for tag, known in self._known.items() if known.is_uncertain()]
        tag = next((tag for tag, known in self._known.items() if known.is_worth_asking()), None)
        is_idle = tag is None and not all(self._known[other].is_held_back for other in uncertain)
        if uncertain and (is_idle or now >= self._look_at):
            self._look(uncertain)
        elif tag is not None:
            return self._ask(tag)
        else:
            self._wait_to_hear()
        return None

    def _take_turn(self, now: float) -> None:
        """Give the next tag its turn, where that is due; one at a time, so that hints are not kept waiting."""
        if now >= self._ask_at:
            self._ask_at = now + min(_ASK_SEC, self._poll_timeout_sec) / len(self._known)
            self._known[next(self._round)].is_due = True

    def _look(self, tags: list[str]) -> None:
        """Be told of all jobs of these tags from now on, and see which wait already."""
        with self._changed:
            # Before the look, so that what is missed during it is not forgotten.
            self._look_at = time.monotonic() + _LOOK_SEC
            for tag in tags:
                self._known[tag].is_followed = True
            settled_count = self._settled_count
        self._hints.join(tags)
        found = self._queue.waiting(tags)
        with self._changed:
            for tag, waiting in found.items():
                known = self._known[tag]
                known.waiting_count, known.is_held_back = waiting.count, waiting.is_held_back
                known.is_followed = known.is_followed and not waiting.is_held_back
                known.has_missed = known.has_missed and (waiting.count > 0 or waiting.is_held_back)
                known.has_refused = known.has_refused and waiting.count > 0
            if self._settled_count != settled_count:
                self._look_at = 0.0

    def _ask(self, tag: str) -> Work | None:
        with self._changed:
            # Taken out and put in: it stands behind the others now, whose turn it is.
            known = self._known[tag] = self._known.pop(tag)
            hint_count = known.hint_count
        delivery = self._queue.pull(tag, wait_sec=_HINTED_JOB_SEC if hint_count else _WAITING_JOB_SEC)
        with self._changed:
            if delivery is None:
                # All that was known has been taken by others, or is kept back; what was heard meanwhile is news.
                if hint_count or known.waiting_count:
                    known.is_followed = False
                if known.waiting_count:
                    known.is_held_back, known.has_refused = known.has_refused, True
                known.waiting_count, known.is_due = 0, False
                known.has_missed = known.has_missed or hint_count > 0
                known.hint_count -= hint_count
            else:
                known.waiting_count = pending_count(delivery.reply)
                known.has_refused = False
                known.has_missed = known.has_missed and known.waiting_count > 0
                known.hint_count -= bool(hint_count)
        # From here on, and not from the claim: that may have to wait for NATS, or for the end of the run before.
        return Work(self._new_lease(delivery), tag) if delivery is not None else None

    def _give(self, work: Work) -> None:
        # In the lock, so that who has asked this thread to stop can stop the slots: none is given a job after that.
        with self._changed:
            if self._is_wanted() and not self.is_stopping:
                self._free.popleft().give(work)
                return
        work.hand_back()

    def _pass_on_hints(self) -> None:
        """Pass on what was heard of and is of no use here now."""
        unused = []
        with self._changed:
            for tag, known in self._known.items():
                # Of all that was missed one hint tells: there may be thousands, and no room for any of them.
                count = known.hint_count + known.has_missed
                if count:
                    unused += [tag] * count
                    known.hint_count, known.has_missed, known.is_followed = 0, False, False
        if unused:
            self._hints.pass_on(unused)

    def _hear(self, tag: str) -> bool:
        """Take a hint; ``False`` = there is no use for it here, and the group of the tag is left."""
        with self._changed:
            known = self._known[tag]
            if not self._is_wanted() or self.is_stopping:
                known.is_followed = False
                return False
            known.hint_count += 1
            self._changed.notify_all()
            return True

    def _wait_to_hear(self) -> None:
        with self._changed:
            if self.is_stopping or any(known.hint_count for known in self._known.values()):
                return
            due = [self._ask_at]
            if any(known.is_uncertain() for known in self._known.values()):
                due.append(self._look_at)
            wait_sec = max(0.0, min(due) - time.monotonic())
            if self._wanted is not None:
                wait_sec = min(wait_sec, self._wanted.patience.remaining_sec)
            self._changed.wait(wait_sec)

    def _look_again(self) -> None:
        """After a reconnect, on the loop thread: hints have been lost."""
        with self._changed:
            self._follow_nothing()
            self._changed.notify_all()

    def _follow_nothing(self) -> None:
        self._look_at = 0.0
        for known in self._known.values():
            known.is_followed = False

    def _recover(self, trouble: PyocoServerError) -> None:
        """Create what somebody has deleted, and begin anew after a pause."""
        if not self.is_stopping and self._log_limit.allows("trouble"):
            logger.warning("no jobs can be fetched at the moment: %s", trouble)
        if isinstance(trouble, ResourceMissing):
            with contextlib.suppress(BusError, Unavailable):
                for tag in self._known:
                    self.beat()
                    self._queue.ensure(tag)
        self.pause(_TROUBLE_PAUSE_SEC)
        with self._changed:
            self._follow_nothing()
