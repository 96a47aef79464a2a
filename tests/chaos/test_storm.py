"""Short storms for CI; the long one is ``make chaos``."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.chaos.storm import weather


@pytest.mark.long
@pytest.mark.parametrize("nodes", [1, 3])
def test_a_storm_loses_nothing_doubles_nothing_and_leaves_nothing_behind(tmp_path: Path, nodes: int) -> None:
    # The seed is printed, so that a storm that has found something can be had again.
    seed = random.SystemRandom().randrange(1_000_000)
    assert weather(tmp_path, seed=seed, duration_sec=40, nodes=nodes) == []
