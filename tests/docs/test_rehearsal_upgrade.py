"""docs/operations.md is carried out: three machines are upgraded one by one under load, and no run is lost."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from tests.support.rehearsal import Rehearsal

pytestmark = pytest.mark.long

NEW = "99.1"


def test_everything_is_upgraded_and_no_run_is_lost(rehearsal: Rehearsal) -> None:
    rehearsal.install()
    rehearsal.load.begin()
    rehearsal.load.wait_for_more()
    # What `git pull` would bring.
    for file in ("pyproject.toml", "pyoco_server/__init__.py"):
        path = rehearsal.clone / file
        path.write_text(re.sub(r'(?m)^(version|__version__) = ".*"', rf'\1 = "{NEW}"', path.read_text()))
    rehearsal.play("## Upgrade", VERSION=NEW)
    rehearsal.load.wait_for_more()
    rehearsal.load.end()
    rehearsal.wait_until_ready()
    runs = rehearsal.load.check()
    # Neither the stop of a worker nor that of NATS had a run begin again.
    assert Counter(run["attempt"] for run in runs.values()) == {1: len(runs)}
    status = rehearsal["n1"].run("pyoco-nats status")
    assert status.count(f"  {NEW}  ") == 3
    for machine in rehearsal.machines:
        assert machine.run("pyoco-worker --version").split()[-1] == NEW
