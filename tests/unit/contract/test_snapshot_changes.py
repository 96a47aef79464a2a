"""A snapshot changes by being made anew."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields

import pytest

from pyoco_server.contract.jobs import Job
from pyoco_server.contract.runs import Snapshot

PENDING = Snapshot.pending(Job("r", "f", "t"), origin="o", tasks=["a"], now=1.0)


def test_change_leaves_the_former_snapshot_and_all_other_fields_as_they_were() -> None:
    before = {item.name: getattr(PENDING, item.name) for item in fields(Snapshot)}
    due = PENDING.due(5.0)
    changed = {item.name for item in fields(Snapshot) if getattr(due, item.name) != before[item.name]}
    assert changed == {"heartbeat_at", "updated_at"}
    assert {item.name: getattr(PENDING, item.name) for item in fields(Snapshot)} == before
    assert due == PENDING.due(5.0) != PENDING


def test_changed_snapshot_is_as_frozen_as_any() -> None:
    due, name = PENDING.due(5.0), "worker_id"
    with pytest.raises(FrozenInstanceError):
        setattr(due, name, "w")


def test_field_that_a_snapshot_does_not_have_cannot_be_changed() -> None:
    with pytest.raises(AssertionError):
        PENDING._changed(worker="w")
