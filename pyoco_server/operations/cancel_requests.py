"""Cancel requests that must not get lost beside workers of 0.5.1.

Such a worker reads a run, and writes it a moment later as it knows it, whatever was stored meanwhile: it may write
RUNNING over CANCELLING, or over the CANCELLED of a run that nobody had begun. The gateway that took the request marks
the run again then.
"""

from __future__ import annotations

import json
import logging
import time
from dataclasses import dataclass, replace

from pyoco_server.contract.runs import Snapshot
from pyoco_server.errors import RunNotFound, SnapshotTooLarge
from pyoco_server.logs import RateLimit
from pyoco_server.readmodel.model import ReadModel
from pyoco_server.states import RunStatus
from pyoco_server.stores.runs import RunStore

logger = logging.getLogger(__name__)

#: How long a request is kept in mind when its run is over: within this such a worker has begun a job or is done.
_LATE_WRITE_SEC = 10.0


@dataclass(frozen=True)
class _Request:
    """A request as it was first stored.

    :param at: unix seconds.
    :param by: ``api_key:<key_id>``; ``None`` without auth.
    """

    at: float
    by: str | None


class CancelRequests:
    """The requests that this gateway has taken, for as long as their runs go on."""

    def __init__(self, runs: RunStore, model: ReadModel) -> None:
        self._runs = runs
        self._model = model
        self._requests: dict[str, _Request] = {}
        self._log_limit = RateLimit()

    def note(self, marked: Snapshot) -> None:
        """Keep the request with which a run was just marked in mind."""
        at = marked.cancel_requested_at
        assert at is not None, "a marked run says when the request came"
        self._requests[marked.run_id] = _Request(at, marked.cancel_requested_by)

    def repeat(self) -> None:
        """Mark the runs again whose mark is gone.

        :raises BusUnavailable: no answer; the next call goes on.
        """
        for run_id, request in list(self._requests.items()):
            known = self._model.run(run_id)
            if known is None or known.text is None or known.status.is_terminal:
                if time.time() - request.at > _LATE_WRITE_SEC:
                    del self._requests[run_id]
            elif json.loads(known.text).get("cancel_requested_at") is None:
                self._mark(run_id, request)

    def _mark(self, run_id: str, request: _Request) -> None:
        def intent(snapshot: Snapshot) -> Snapshot | None:
            if snapshot.status.is_terminal or snapshot.status is RunStatus.CANCELLING:
                return None
            marked = snapshot.cancelling(requested_by=request.by, now=time.time())
            return replace(marked, cancel_requested_at=request.at)

        try:
            self._runs.change(self._runs.get(run_id), intent)
        except RunNotFound:
            return
        except SnapshotTooLarge as exc:
            # This run's trouble alone: such a worker's write may be larger than what its operator allows.
            if self._log_limit.allows("too large"):
                logger.warning("a run cannot be marked again for its cancel: %s", exc, extra={"run_id": run_id})
