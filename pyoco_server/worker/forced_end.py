"""When the processes of a run are ended by force: its cancel was ignored, or its time is up.

Nobody can stop a thread from outside, so the runner's whole process group ends: first by SIGTERM, which lets the
programs that tasks have started clean up (the runner itself does not heed it), then by SIGKILL.

Source: design, section 6.
"""

from __future__ import annotations

from enum import Enum

from pyoco_server.service import Deadline
from pyoco_server.worker.runner_link import RunnerLink

#: Between the word that no task is to begin any more and SIGTERM, which lets the present ones end.
_TERM_DELAY_SEC = 0.3
#: Between SIGTERM and SIGKILL.
_KILL_DELAY_SEC = 2.0


class Cause(Enum):
    """Why the processes of a run are ended."""

    CANCEL = "cancel"
    TIMEOUT = "timeout"


class ForcedEnd:
    """Watches the time of one run, and ends its processes when that is over.

    :param grace_sec: how long a run may go on after it was told to stop.
    :param time_limit_sec: how long it may take from now on; 0 = as long as it likes.
    """

    def __init__(self, child: RunnerLink, *, grace_sec: float, time_limit_sec: float) -> None:
        self._child = child
        self._grace_sec = grace_sec
        self._limit = Deadline(time_limit_sec) if time_limit_sec else None
        self._grace: Deadline | None = None
        self._term: Deadline | None = None
        self._kill: Deadline | None = None
        #: Set when the time is up.
        self.cause: Cause | None = None

    def cancel_sent(self) -> None:
        """Note that the run was told to stop."""
        self._grace = Deadline(self._grace_sec)

    def begin(self) -> bool:
        """Say whether the time is up since this moment; the caller then tells the runner to begin no other task."""
        if self.cause is not None:
            return False
        if self._grace is not None and self._grace.has_passed:
            self.cause = Cause.CANCEL
        elif self._limit is not None and self._limit.has_passed:
            self.cause = Cause.TIMEOUT
        else:
            return False
        self._term = Deadline(_TERM_DELAY_SEC)
        return True

    def complete(self) -> bool:
        """Send SIGTERM when its time has come, and SIGKILL when that was not enough; say whether all are gone by it."""
        if self._term is not None and self._term.has_passed:
            self._term = None
            self._kill = Deadline(_KILL_DELAY_SEC)
            self._child.terminate()
        if self._kill is None or not self._kill.has_passed:
            return False
        self._child.kill()
        return True
