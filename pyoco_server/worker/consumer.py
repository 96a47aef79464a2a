"""The thread that fetches jobs for free slots.

A work-queue stream gives each tag a consumer of its own, so a worker with five tags has five to ask. It must not
ask them all at once and wait, for a pull that is open while the last slot fills brings a job that nobody has room
for, and handing it back costs one of its twenty deliveries; and it must not wait for one after the other, which
makes every job of the other tags wait. So one pull is open at a time, made only while a slot is free, of a tag that is
known to have jobs, in rotation. Four things tell of jobs:

- a delivery, which says how many of its tag are behind it;
- a look at the counts of all tags, which takes none: now and then while some tag is not known to have jobs;
- a hint: when no tag has a job, the worker joins the group of idle workers, looks once more for what came in between,
  and waits to hear. A hinted pull waits a little, because the job is only just being stored. When its last slot fills,
  the worker leaves the group, and what it heard and has no room for is passed on to the others;
- a turn: each tag is asked once a second whatever is known, and on until nothing comes. Jobs whose lease is over or
  whose delay has passed are not counted, and give no hint.

After any trouble nothing of this counts any more, and the worker looks again.

Source: design, section 5.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import math
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
#: How old the counts may grow where no hint tells of jobs: so long a tag may wait until it has its turn.
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
    :ivar hint_count: hints that came since and were not followed.
    :ivar is_due: whether it is asked even so.
    """

    waiting_count: int = 0
    hint_count: int = 0
    is_due: bool = False

    def is_worth_asking(self) -> bool:
        return self.is_due or self.waiting_count > 0 or self.hint_count > 0


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
        #: Whether this worker is a member of the group.
        self._is_idle = False
        #: The tag whose turn it is stands first.
        self._known = {tag: _Known() for tag in tags}
        #: When to look at the counts, by the monotonic clock.
        self._look_at = 0.0
        #: Whether the last look found jobs beyond MaxAckPending: nobody tells when they may be had.
        self._is_held_back = False
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
            if self._is_held_back:
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
        self._be_busy()
        if self._wanted is not None:
            self._wanted.end()

    def _wait_until_wanted(self) -> bool:
        """Wait until a job can be used here; ``False`` = it is time to stop."""
        if not self._is_wanted():
            self._be_busy()
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
            work.is_done.wait()
            wanted.run_id = work.run_id
        if wanted.run_id is None and not wanted.patience.has_passed:
            return
        wanted.trouble = trouble
        self.withdraw(wanted)
        wanted.end()

    def _step(self) -> Work | None:
        """Do the next thing that may bring a job: ask the next tag that is known to have one, else wait to hear."""
        self._refresh()
        tag = next((tag for tag, known in self._known.items() if known.is_worth_asking()), None)
        if tag is not None:
            return self._ask(tag)
        if self._is_idle:
            self._wait_to_hear()
        else:
            self._be_idle()
        return None

    def _refresh(self) -> None:
        """Look at the counts, where that is due, and give the next tag its turn."""
        now = time.monotonic()
        # No look tells more where each tag is known to have jobs: a delivery says how many are behind it.
        if now >= self._look_at and not all(known.waiting_count for known in self._known.values()):
            # An idle worker is told of what comes. Before the look, so that a reconnect during it is not forgotten.
            self._look_at = math.inf
            settled_count = self._settled_count
            found = self._queue.waiting(list(self._known))
            for tag, waiting in found.items():
                self._known[tag].waiting_count = waiting.count
            with self._changed:
                self._is_held_back = any(waiting.is_held_back for waiting in found.values())
                if self._is_held_back and self._settled_count != settled_count:
                    self._look_at = 0.0
                elif self._is_held_back or not self._is_idle:
                    self._look_at = min(self._look_at, now + _LOOK_SEC)
        if now >= self._ask_at:
            # One at a time, so that hints are not kept waiting.
            self._ask_at = now + min(_ASK_SEC, self._poll_timeout_sec) / len(self._known)
            self._known[next(self._round)].is_due = True

    def _ask(self, tag: str) -> Work | None:
        with self._changed:
            # Taken out and put in: it stands behind the others now, whose turn it is.
            known = self._known[tag] = self._known.pop(tag)
            hint_count = known.hint_count
        delivery = self._queue.pull(tag, wait_sec=_HINTED_JOB_SEC if hint_count else _WAITING_JOB_SEC)
        with self._changed:
            if delivery is None:
                # All that was known has been taken by others; what was heard meanwhile is news.
                known.waiting_count, known.is_due = 0, False
                known.hint_count -= hint_count
                if hint_count:
                    # Or MaxAckPending keeps it back.
                    self._look_at = 0.0
            else:
                known.waiting_count = pending_count(delivery.reply)
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

    def _be_idle(self) -> None:
        with self._changed:
            self._is_idle = True
        self._hints.join()
        # What was published between the last look and the joining gave no hint to this worker.
        self._look_at = 0.0

    def _be_busy(self) -> None:
        with self._changed:
            if not self._is_idle:
                return
            self._is_idle = False
            unused = []
            for tag, known in self._known.items():
                unused += [tag] * known.hint_count
                known.hint_count = 0
            self._look_at = time.monotonic() + _LOOK_SEC
        self._hints.leave(unused)

    def _hear(self, tag: str) -> bool:
        """Take a hint; ``False`` = there is no use for it here."""
        with self._changed:
            if self._is_idle:
                self._known[tag].hint_count += 1
                self._changed.notify_all()
            return self._is_idle

    def _wait_to_hear(self) -> None:
        with self._changed:
            if not self.is_stopping and not any(known.hint_count for known in self._known.values()):
                wait_sec = max(0.0, min(self._look_at, self._ask_at) - time.monotonic())
                if self._wanted is not None:
                    wait_sec = min(wait_sec, self._wanted.patience.remaining_sec)
                self._changed.wait(wait_sec)

    def _look_again(self) -> None:
        """After a reconnect, on the loop thread: hints have been lost."""
        with self._changed:
            self._look_at = 0.0
            self._changed.notify_all()

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
        self._look_at = 0.0
