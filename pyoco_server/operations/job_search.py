"""Finding the queued jobs of given runs: the queue has no other order than that in which jobs came.

Source: design, section 4.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from pyoco_server.service import Deadline
from pyoco_server.stores.queue import Queue, QueuedJob

#: How long before its submission a run's job is looked for, from one walk to the next: the clocks of a gateway and of
#: NATS may be apart. The last walk begins at the queue's head.
_MARGINS_SEC = (0.1, 10.0, math.inf)


@dataclass
class _Pass:
    """One walk through the queue.

    :param wanted: runs whose jobs have not been met yet, with when each was submitted.
    :param number: how many walks there were for them before.
    :param seq: where it goes on; 0 = it has not begun.
    """

    wanted: dict[str, float]
    number: int = 0
    seq: int = 0

    @property
    def since(self) -> float:
        """Where it begins, unix seconds; 0 = at the head."""
        return max(0.0, min(self.wanted.values()) - _MARGINS_SEC[self.number])


class JobSearch:
    """Takes the jobs of given runs out of the queue, a slice of time at a time.

    A walk begins where the first of its runs was submitted, so it is short however long the queue is; what it does not
    meet is looked for once more from farther ahead, and then from the queue's head.
    """

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._passes: deque[_Pass] = deque()

    def begin(self, runs: Mapping[str, float]) -> None:
        """Look for the jobs of these runs in the next slices; those that are looked for already are not doubled.

        :param runs: when each was submitted, unix seconds; 0 where that is not known.
        """
        looked_for = {run_id for begun in self._passes for run_id in begun.wanted}
        new = {run_id: since for run_id, since in runs.items() if run_id not in looked_for}
        if new:
            self._passes.append(_Pass(new))

    def go_on(self, slice_sec: float) -> int:
        """Search for so long.

        :return: how many jobs were taken out.
        :raises BusUnavailable: no answer; the next slice goes on where this one ended.
        """
        slice_end = Deadline(slice_sec)
        count = 0
        while self._passes and not slice_end.has_passed:
            current = self._passes[0]
            job = self._next(current)
            if job is not None and job.run_id in current.wanted:
                self._queue.remove(job.seq)
                count += 1
                # A second copy of a job is dropped by the worker that gets it.
                del current.wanted[job.run_id]
            if job is None or not current.wanted:
                self._end(current)
            else:
                current.seq = job.seq + 1
        return count

    def _next(self, current: _Pass) -> QueuedJob | None:
        if current.seq == 0 and current.since > 0:
            return self._queue.first_job_since(current.since)
        return self._queue.next_job(max(1, current.seq))

    def _end(self, ended: _Pass) -> None:
        self._passes.popleft()
        if ended.wanted and ended.since > 0:
            self._passes.append(_Pass(ended.wanted, ended.number + 1))
