"""Who serves which tag, and what needs somebody: pure views of the read model's reports.

Source: design, section 11.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from pyoco_server.contract.workers import WHEELS_SHOWN, WorkerRecord, effective_state
from pyoco_server.readmodel.reports import WaitingTag
from pyoco_server.states import WorkerState

#: A run is overdue when it takes longer than so many times its usual duration.
OVERDUE_FACTOR = 2.0


@dataclass(frozen=True)
class WorkerView:
    """A worker with the state that a reader derives; what another program stored is looked at before it is used."""

    record: WorkerRecord
    state: WorkerState

    @property
    def is_alive(self) -> bool:
        return self.state in (WorkerState.RUNNING, WorkerState.IDLE)

    @property
    def is_draining(self) -> bool:
        return self.is_alive and self.record.drain_requested_at is not None

    @property
    def can_drain(self) -> bool:
        """Whether it can be asked to drain; 0.5.1 cannot."""
        return self.is_alive and not self.is_draining and bool(self.record.instance_id)

    @property
    def tags(self) -> list[str]:
        return _texts(self.record.tags)

    @property
    def run_ids(self) -> list[str]:
        """The runs that it holds; 0.5.1 knows one at a time."""
        return _texts(self.record.current_run_ids) or _texts([self.record.current_run_id])

    @property
    def syncs_wheels(self) -> bool:
        return self.wheel_sync.get("enabled") is True

    @cached_property
    def wheel_names(self) -> set[str]:
        """The wheels that it has installed, as far as its record shows them."""
        return self._names("installed_wheels")

    @cached_property
    def skipped_names(self) -> set[str]:
        """The wheels that its interpreter cannot use, as far as its record shows them."""
        return self._names("skipped_incompatible")

    @property
    def lists_all_wheels(self) -> bool:
        """Whether its record shows all that it has and skips: a wheel that it does not name is not there."""
        return all(len(self.wheel_entries(key)) < WHEELS_SHOWN for key in ("installed_wheels", "skipped_incompatible"))

    @property
    def wheel_sync_error(self) -> str | None:
        """Why its last try to sync wheels has failed; ``None`` where it has not."""
        return str(self.wheel_sync.get("last_error") or "") if self.wheel_sync.get("last_result") == "error" else None

    @property
    def slot_count(self) -> int:
        own = self.record.concurrency if isinstance(self.record.concurrency, int) else 1
        return max(own, len(self.run_ids)) if self.is_alive else 0

    @property
    def busy_count(self) -> int:
        return len(self.run_ids) if self.is_alive else 0

    @property
    def wheel_sync(self) -> dict[str, Any]:
        """What its record tells of its wheels."""
        return self.record.wheel_sync if isinstance(self.record.wheel_sync, dict) else {}

    def wheel_entries(self, key: str) -> list[dict[str, Any]]:
        """Give what one of the lists of :attr:`wheel_sync` holds."""
        entries = self.wheel_sync.get(key)
        return [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []

    def _names(self, key: str) -> set[str]:
        return {str(entry.get("wheel_name")) for entry in self.wheel_entries(key)}


@dataclass(frozen=True)
class TagView:
    """One routing tag: what waits under it and who serves it.

    :param retry_count: those of the waiting runs that have failed and wait until they are tried again.
    :param oldest_at: when the oldest of the others was submitted; ``None`` when none waits for a worker.
    :param workers: those that live.
    :param is_polled: whether workers serve it that ask over HTTP, and are not in the registry.
    """

    tag: str
    waiting_count: int
    retry_count: int
    oldest_at: float | None
    workers: list[WorkerView] = field(default_factory=list)
    is_polled: bool = False

    @property
    def ready_count(self) -> int:
        """How many runs wait for nothing but a worker."""
        return self.waiting_count - self.retry_count

    @property
    def is_stuck(self) -> bool:
        """Whether runs wait for a worker and nobody will take them."""
        return self.ready_count > 0 and not self.workers and not self.is_polled

    @property
    def slot_count(self) -> int:
        return sum(worker.slot_count for worker in self.workers)

    @property
    def busy_count(self) -> int:
        return sum(worker.busy_count for worker in self.workers)


def _texts(values: Any) -> list[str]:
    return [value for value in values if isinstance(value, str) and value] if isinstance(values, list) else []


def worker_views(records: Iterable[WorkerRecord], *, now: float, timeout_sec: float) -> list[WorkerView]:
    """Give the workers, those in trouble first, then those at work, then by id."""
    views = [
        WorkerView(record, effective_state(record.state, record.last_seen_at, now, timeout_sec)) for record in records
    ]
    order = [WorkerState.DISCONNECTED, WorkerState.RUNNING, WorkerState.IDLE, WorkerState.STOPPED_GRACEFUL]
    return sorted(views, key=lambda view: (order.index(view.state), view.record.worker_id))


def tag_views(
    waiting: Sequence[WaitingTag], workers: Sequence[WorkerView], polled_tags: Collection[str]
) -> list[TagView]:
    """Give the tags with waiting runs or live workers: those that nobody serves first, then by the longest wait.

    :param polled_tags: those that workers serve which are not in the registry.
    """
    serving: dict[str, list[WorkerView]] = {}
    for worker in workers:
        if worker.is_alive:
            for tag in worker.tags:
                serving.setdefault(tag, []).append(worker)
    views = [
        TagView(
            tag.tag,
            tag.run_count,
            tag.retry_count,
            tag.oldest_at,
            serving.get(tag.tag, []),
            is_polled=tag.tag in polled_tags,
        )
        for tag in waiting
    ]
    idle = sorted(serving.keys() - {tag.tag for tag in waiting})
    views += [TagView(tag, 0, 0, None, serving[tag]) for tag in idle]
    return sorted(views, key=lambda view: not view.is_stuck)


def lost_workers(workers: Iterable[WorkerView]) -> list[WorkerView]:
    """Give the workers that ended without a word and that nobody has hidden yet."""
    return [worker for worker in workers if worker.state is WorkerState.DISCONNECTED and not worker.record.hidden]


def out_of_sync(workers: Iterable[WorkerView]) -> list[WorkerView]:
    """Give the live workers that do not get the wheels that are meant for them."""
    return [worker for worker in workers if worker.is_alive and worker.wheel_sync_error is not None]


def is_overdue(took_sec: float | None, usual_sec: float | None) -> bool:
    """Say whether a run that goes on takes far longer than usual; nothing is, where that is no time at all."""
    if took_sec is None or not usual_sec:
        return False
    return took_sec > OVERDUE_FACTOR * usual_sec


def overdue_first(runs: Sequence[Any], usual: Mapping[str, float]) -> list[Any]:
    """Sort runs that go on: overdue ones first, worst first; then those that were submitted first.

    :param runs: each with ``flow_name`` and ``took_sec``.
    :param usual: seconds by flow.
    """

    def excess(run: Any) -> float:
        usual_sec = usual.get(run.flow_name, 0.0)
        if not is_overdue(run.took_sec, usual_sec):
            return 0.0
        took_sec: float = run.took_sec
        return took_sec / usual_sec

    return sorted(runs, key=excess, reverse=True)
