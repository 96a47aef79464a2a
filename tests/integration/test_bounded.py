"""Everything that the system keeps in NATS has a limit."""

from __future__ import annotations

import re
from pathlib import Path

import pyoco_server
from tests.integration.conftest import Guarded
from tests.support.documents import DOCS, section, table

#: Settings by which the server itself removes the oldest, or takes no more.
LIMITS = ("max_age", "max_bytes", "max_msgs")


def test_every_stream_and_bucket_is_limited_or_told_of_why_it_needs_no_limit(guarded: Guarded) -> None:
    """A gateway that asks for keys makes all that there is: see the next test."""
    guarded.known_key("acme")
    names = set(guarded.parts.bus.api("STREAM.NAMES")["streams"])
    settings = {name: guarded.parts.info(name)["config"] for name in names}
    unlimited = {name for name in names if all(settings[name].get(limit, 0) <= 0 for limit in LIMITS)}
    told = {row["stream"] for row in table(section((DOCS / "design.md").read_text(), "## Retention"), "stream")}
    assert unlimited == told
    # What is told of the runs needs this, and what is told of the queue is the nature of it.
    assert settings["KV_pyoco_runs"]["allow_msg_ttl"] is True
    assert settings["PYOCO_WORK"]["retention"] == "workqueue"


def test_streams_are_made_in_one_place() -> None:
    package = Path(pyoco_server.__file__).parent
    # This one only says who may ask for what.
    paths = set(package.rglob("*.py")) - {package / "operations" / "permissions.py"}
    makers = {path.name: re.findall(r"STREAM\.(CREATE|RESTORE)", path.read_text()) for path in paths}
    assert {name: found for name, found in makers.items() if "CREATE" in found}.keys() == {"resources.py"}
    # What is restored has the limits that it had.
    assert [name for name, found in makers.items() if "RESTORE" in found] == ["snapshots.py"]


def test_a_bucket_is_made_beside_those_of_every_gateway_for_keys_alone() -> None:
    package = Path(pyoco_server.__file__).parent
    calls = [call for path in package.rglob("*.py") for call in re.findall(r" ensure_bucket\((.*)\)", path.read_text())]
    assert [call for call in calls if "bucket: str" not in call] == ["bus, config, config.auth_kv_bucket"]
