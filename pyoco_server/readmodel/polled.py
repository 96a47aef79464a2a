"""What the read model knows of runs for workers that ask over HTTP.

Source: contract, section 3, "pyoco's own client and worker".
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from pyoco_server.contract.leases import PollLease
from pyoco_server.readmodel.model import ReadModel


class PolledRuns:
    """Says where there may be something to hand out, and what has been handed out."""

    def __init__(self, model: ReadModel) -> None:
        self._model = model

    @property
    def is_complete(self) -> bool:
        """Whether all of them are known; see :attr:`ReadModel.is_complete`."""
        return self._model.is_complete

    def tags_with_free_runs(self, tenant_id: str | None, tags: Sequence[str]) -> list[str]:
        """Give those of these tags under which a run may wait for such a worker, or may have lost its own.

        :param tenant_id: whose runs count; ``None`` = all there are.
        :raises ReadModelLoading: see :meth:`ReadModel.require_complete`.
        """
        self._model.catch_up()
        statement = (
            "select 1 from runs indexed by runs_to_hand_out"
            " where tenant = ? and tag = ? and free_at is not null and free_at < ? limit 1"
        )
        # By this machine's clock: whether the worker of a run is gone its claim decides, by the server's.
        tenant, now = tenant_id or "", time.time()
        with self._model.complete() as database:
            return [tag for tag in tags if database.execute(statement, (tenant, tag, now)).fetchone()]

    def leases(self) -> dict[str, PollLease]:
        """Give the leases of the runs that such workers hold, by run id."""
        statement = (
            "select run_id, coalesce(lease_until, 0), lease_reply, timeout_at from runs indexed by runs_leased"
            " where lease_reply is not null"
        )
        with self._model.complete() as database:
            rows = database.execute(statement).fetchall()
        return {run_id: PollLease(*lease) for run_id, *lease in rows}
