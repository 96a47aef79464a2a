"""docs/architecture.md knows every stream and bucket, and the times in it are those of the settings."""

from __future__ import annotations

import re

import pytest

from pyoco_server.config import Config, settings
from tests.support.documents import DOCS, section, table, tables

TEXT = (DOCS / "architecture.md").read_text()
KEPT = table(section(TEXT, "## What is kept where"), "stream")
#: Cells that give a time and the setting that it is of.
TIMED = re.findall(r"(\d+ s|an hour)(?: later)? \(`(PYOCO_\w+)`\)", TEXT)
_SECONDS = {"an hour": 3600}


def test_every_stream_is_told_with_what_its_loss_costs() -> None:
    streams = tables(section((DOCS / "spec.md").read_text(), "## NATS"))[0]
    assert sorted(row["stream"] for row in KEPT) == sorted(row["stream"] for row in streams)
    assert all(row["holds"] and row["if it is lost"] for row in KEPT)


@pytest.mark.parametrize(("told", "env"), TIMED)
def test_a_time_is_the_default_of_its_setting(told: str, env: str) -> None:
    names = {record.env: name for name, record in settings().items()}
    assert getattr(Config(), names[env]) == (_SECONDS.get(told) or int(told.removesuffix(" s")))


def test_every_setting_that_is_named_is_one() -> None:
    assert set(re.findall(r"PYOCO_[A-Z_]+_SEC|PYOCO_[A-Z]+_(?:URL|PATH)", TEXT)) <= {
        record.env for record in settings().values()
    }
    assert len(TIMED) >= 3
