"""The numbers of docs/concept.md are those of the settings beside them."""

from __future__ import annotations

import re

import pytest

from pyoco_server.config import Config, settings
from tests.support.documents import DOCS, section, table

TEXT = (DOCS / "concept.md").read_text()
LIMITS = table(section(TEXT, "## Limits"), "what")
_UNITS = {"KiB": 1024, "MiB": 1024**2, "days": 86_400}


@pytest.mark.parametrize("row", LIMITS, ids=lambda row: row["setting"])
def test_a_limit_is_the_default_of_its_setting(row: dict[str, str]) -> None:
    names = {record.env: name for name, record in settings().items()}
    found = re.match(r"(\d+)(?: (\w+))?", row["how much"])
    assert found is not None
    told = int(found[1]) * _UNITS.get(found[2] or "", 1)
    for env in re.findall(r"PYOCO_\w+", row["setting"]):
        assert getattr(Config(), names[env]) == told, env


def test_every_setting_that_is_named_is_one() -> None:
    assert set(re.findall(r"PYOCO_[A-Z_]+", TEXT)) <= {record.env for record in settings().values()}
    assert len(LIMITS) >= 8
