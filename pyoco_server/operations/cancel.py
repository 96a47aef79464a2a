"""Cancelling a run: the request is marked at once; who ends the run depends on who holds it.

The holder of a run hears of the mark and ends the run itself. A run that nobody has begun, or whose holder is gone, is
ended by whoever comes first: a worker that is given its job, or any gateway (:meth:`Cancellation.complete`). Both write
by compare-and-set, and a claim never turns CANCELLING into RUNNING, so such a run is not executed.

Source: contract, section 3, row ``/cancel``; design, section 5.
"""

from __future__ import annotations

import logging
import time
from dataclasses import replace

from pyoco_server.contract.runs import Snapshot
from pyoco_server.errors import RevisionConflict, SnapshotTooLarge
from pyoco_server.logs import RateLimit
from pyoco_server.operations.cancel_requests import CancelRequests
from pyoco_server.operations.holder import Holders
from pyoco_server.operations.job_search import JobSearch
from pyoco_server.readmodel.model import ReadModel
from pyoco_server.states import RunStatus
from pyoco_server.stores.runs import RunStore, StoredRun

logger = logging.getLogger(__name__)

#: How long a turn looks for jobs before the runs are ended whether or not they were found: all of this, and what a
#: gateway waits between its turns, must fit into a second.
_SEARCH_SLICE_SEC = 0.2
#: How often the holders of cancelled runs are looked at.
_HOLDER_LOOK_SEC = 2.0


class Cancellation:
    """Marks runs, and ends the marked ones that nobody holds."""

    def __init__(self, runs: RunStore, holders: Holders, model: ReadModel, search: JobSearch) -> None:
        self._runs = runs
        self._holders = holders
        self._model = model
        self._search = search
        self._requests = CancelRequests(runs, model)
        self._look_at_holders_at = 0.0
        #: The revisions that are too large to be ended, by run: the job of each is looked for once.
        self._too_large: dict[str, int] = {}
        self._log_limit = RateLimit()

    def request(self, stored: StoredRun, *, requested_by: str | None, now: float) -> StoredRun:
        """Mark a run as CANCELLING; the first request's time and author stay.

        :param stored: the run as the request found it.
        :param requested_by: ``api_key:<key_id>``; ``None`` without auth.
        :return: the run as marked, also when it has been ended as CANCELLED since it was found; as it is when it was
            terminal, or has ended in another way meanwhile.
        :raises RunNotFound: it has been removed.
        :raises BusUnavailable: not confirmed; safe to repeat.
        """

        def intent(snapshot: Snapshot) -> Snapshot | None:
            if snapshot.status.is_terminal or snapshot.status is RunStatus.CANCELLING:
                return None
            return snapshot.cancelling(requested_by=requested_by, now=now)

        if intent(stored.snapshot) is None:
            return stored
        marked = self._runs.change(stored, intent)
        if marked is not None:
            self._requests.note(marked.snapshot)
            logger.info("a cancel was requested", extra={"run_id": stored.snapshot.run_id})
            return marked
        # Somebody else marked it first.
        current = self._runs.get(stored.snapshot.run_id)
        if current.snapshot.status is RunStatus.CANCELLED:
            return replace(current, snapshot=current.snapshot.as_marked())
        return current

    def complete(self) -> int:
        """End the marked runs that nobody holds, and take their jobs out of the queue; to be called several times a
        second.

        The jobs are looked for first: a worker of 0.5.1 might begin one whatever its snapshot says.

        :return: how many were ended.
        :raises BusUnavailable: no answer; the next call goes on.
        """
        self._requests.repeat()
        unheld = self._unheld()
        stuck = [stored for stored in unheld if self._too_large.get(stored.snapshot.run_id) == stored.revision]
        self._too_large = {stored.snapshot.run_id: stored.revision for stored in stuck}
        new = [stored for stored in unheld if stored.snapshot.run_id not in self._too_large]
        # A clock may be wrong by more years than a date has; NATS is asked for none that is to come.
        now = time.time()
        self._search.begin({stored.snapshot.run_id: min(now, stored.snapshot.submitted_at or 0.0) for stored in new})
        self._search.go_on(_SEARCH_SLICE_SEC)
        return sum([self._end(stored) for stored in unheld])

    def _unheld(self) -> list[StoredRun]:
        looks_at_holders = time.monotonic() >= self._look_at_holders_at
        if looks_at_holders:
            self._look_at_holders_at = time.monotonic() + _HOLDER_LOOK_SEC
        marked = [run_id for run_id, has_begun in self._model.cancelling_runs() if looks_at_holders or not has_begun]
        return [
            stored
            for stored in self._runs.get_all(marked)
            if stored.snapshot.status is RunStatus.CANCELLING and self._holders.is_gone(stored)
        ]

    def _end(self, stored: StoredRun) -> bool:
        ended = stored.snapshot.ended(RunStatus.CANCELLED, error=None, now=time.time())
        try:
            # Without a TTL: an expired key can come back in an older state after a crash of the server.
            self._runs.update_to_end(ended, stored.revision)
        except RevisionConflict:
            # It was ended meanwhile, or its holder lives after all: the next turn sees which.
            return False
        except SnapshotTooLarge as exc:
            # Its operator has lowered the cap below what is never left out. The others must not wait for it.
            self._too_large[ended.run_id] = stored.revision
            if self._log_limit.allows("too large"):
                logger.error("a cancelled run cannot be ended: %s", exc, extra={"run_id": ended.run_id})
            return False
        logger.info("ended a cancelled run that nobody held", extra={"run_id": ended.run_id})
        return True
