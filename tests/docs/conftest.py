"""What the rehearsals of docs/operations.md share."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.rehearsal import Rehearsal
from tests.support.tools import need, need_that


@pytest.fixture
def rehearsal(tmp_path: Path) -> Iterator[Rehearsal]:
    """Three machines with nothing on them, somebody who reads the document, and a load."""
    need_that(sys.platform == "linux", "elsewhere the loopback has one address, and machines need one each")
    need("curl", "curl")
    found = Rehearsal(tmp_path)
    yield found
    found.close()
