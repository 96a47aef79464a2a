"""What the rehearsals of docs/operations.md share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.rehearsal import Rehearsal


@pytest.fixture
def rehearsal(tmp_path: Path) -> Iterator[Rehearsal]:
    """Three machines with nothing on them, somebody who reads the document, and a load."""
    found = Rehearsal(tmp_path)
    yield found
    found.close()
