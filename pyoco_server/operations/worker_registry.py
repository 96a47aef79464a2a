"""The registry of workers: what a list shows of it, and when a record is dropped.

Source: contract, section 2, "Worker record", and section 3, row ``GET /workers``.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pyoco_server.contract.projections import worker_entry
from pyoco_server.contract.workers import WorkerRecord
from pyoco_server.readmodel.model import ReadModel
from pyoco_server.stores.workers import WorkerStore

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class WorkerQuery:
    """Which workers a list shows.

    :param is_active_only: only those that live.
    :param state: as a reader derives it; ``None`` = any.
    """

    is_active_only: bool = True
    state: str | None = None
    include_hidden: bool = False
    limit: int = 100


def select_workers(
    records: Iterable[WorkerRecord], query: WorkerQuery, *, now: float, timeout_sec: float
) -> list[dict[str, Any]]:
    """Give the entries of the workers that a query asks for, in the order of ``records``.

    :param timeout_sec: silence after which a worker counts as gone.
    """
    found = []
    for record in records:
        if record.hidden and not query.include_hidden:
            continue
        if query.is_active_only and not record.is_live(now, timeout_sec):
            continue
        entry = worker_entry(record, now=now, timeout_sec=timeout_sec)
        if query.state in (None, entry["state"]):
            found.append(entry)
    return found[: query.limit]


class WorkerRetirement:
    """Drops the records of workers that are long gone.

    :param retention_sec: how long such a record is kept after the worker was seen last.
    """

    def __init__(
        self, workers: WorkerStore, model: ReadModel, *, retention_sec: float, disconnect_timeout_sec: float
    ) -> None:
        self._workers = workers
        self._model = model
        self._retention_sec = retention_sec
        self._disconnect_timeout_sec = disconnect_timeout_sec

    def remove_old(self, now: float) -> int:
        """Remove the records that are older than the retention; one of a worker that lives stays whatever it says.

        :return: how many were removed.
        :raises Unavailable: no answer; the next call goes on.
        """
        unseen_since = now - self._retention_sec
        count = 0
        for record in self._model.workers():
            is_live = record.is_live(now, self._disconnect_timeout_sec)
            if is_live or record.last_seen_at >= unseen_since:
                continue
            if self._workers.remove(record.worker_id, unseen_since=unseen_since):
                count += 1
                self._model.forget_worker(record.worker_id)
                logger.info("dropped the record of a worker that is long gone", extra={"worker_id": record.worker_id})
        return count
