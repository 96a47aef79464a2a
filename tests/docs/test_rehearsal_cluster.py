"""docs/operations.md is carried out: three machines are installed, one is lost, all are lost and restored."""

from __future__ import annotations

import pytest

from tests.support.rehearsal import Rehearsal

pytestmark = pytest.mark.long

SECTIONS = ("## Install", "## See that all is well")


def test_three_machines_lose_one_and_then_everything(rehearsal: Rehearsal) -> None:
    rehearsal.install()
    seen = rehearsal.play("## See that all is well")[0]
    assert "nothing is wrong\n" in seen and "cluster team, 3 servers" in seen
    rehearsal.load.begin()
    rehearsal.load.wait_for_more()
    rehearsal.load.end()
    rehearsal.load.check()
