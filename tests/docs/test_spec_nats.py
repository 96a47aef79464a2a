"""``docs/spec.md`` tells of every stream, bucket and consumer as a NATS server has it once they are made."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from pyoco_server.bridge.messages import TTL_HEADER
from pyoco_server.bridge.resources import ensure_bucket
from pyoco_server.contract import names
from pyoco_server.contract.jobs import Job
from pyoco_server.contract.told_snapshots import REVISION_HEADER, SNAPSHOT_HEADER
from pyoco_server.contract.wheels import Actor, Source, WheelEvent, wheel_headers
from tests.support.documents import DOCS, section, tables, words
from tests.support.nats import NatsServer
from tests.support.parts import Parts

SPEC = (DOCS / "spec.md").read_text()
NATS = section(SPEC, "## NATS")
STREAMS, KINDS, CONSUMERS, MESSAGES = tables(NATS)
#: What a server adds, and what differs with its version.
_NOT_COMPARED = ("name", "metadata", "num_replicas")
_NANOSECONDS = 1_000_000_000


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parts]:
    """A server with all that gateways, workers and the makers of keys make, and a stream that nobody configured."""
    server = NatsServer(tmp_path_factory.mktemp("spec") / "nats").start()
    with Parts(server.url) as parts:
        ensure_bucket(parts.bus, parts.config, parts.config.auth_kv_bucket)
        parts.queue.ensure("gpu")
        parts.bus.api("STREAM.CREATE.BARE", {"name": "BARE", "subjects": ["bare"]})
        yield parts
    server.stop()


def documented(cell: str, **put_in: str) -> dict[str, Any]:
    """Read settings as the document writes them: ``max_age=60s`` is in nanoseconds for the server."""
    found: dict[str, Any] = {}
    for word in words(cell):
        name, _, text = word.partition("=")
        for part, value in put_in.items():
            text = text.replace(f"<{part}>", value)
        if not text:
            found[name] = True
        elif match := re.fullmatch(r"(\d+)(s?)", text):
            found[name] = int(match[1]) * (_NANOSECONDS if match[2] else 1)
        else:
            found[name] = text.split(",") if name == "subjects" else text
    return found


def test_streams_are_those_that_are_made(made: Parts) -> None:
    there = set(made.bus.api("STREAM.NAMES")["streams"]) - {"BARE"}
    assert {row["stream"] for row in STREAMS} == there


@pytest.mark.parametrize("row", STREAMS, ids=lambda row: row["stream"])
def test_what_a_stream_has_beyond_the_servers_defaults_is_documented(made: Parts, row: dict[str, str]) -> None:
    (kind,) = (kind for kind in KINDS if kind["kind"] == row["kind"])
    bucket = row["stream"].partition("_")[2]
    assert row["stream"] == (kind["name"].replace("<bucket>", bucket) or row["stream"])
    told = {**documented(kind["settings"], bucket=bucket), **documented(row["settings"])}
    bare, real = made.info("BARE")["config"], made.info(row["stream"])["config"]
    changed = {name: value for name, value in real.items() if name not in _NOT_COMPARED and bare[name] != value}
    assert changed == {name: value for name, value in told.items() if bare[name] != value}
    assert (real["storage"], real["num_replicas"]) == ("file", 1)


def test_consumers_are_as_documented(made: Parts) -> None:
    (row,) = CONSUMERS
    durable = row["consumer"].replace("<tag>", "gpu")
    real = made.bus.api(f"CONSUMER.INFO.PYOCO_WORK.{durable}")["config"]
    assert documented(row["settings"], tag="gpu").items() <= real.items()
    assert (real["durable_name"], real["ack_policy"]) == (durable, "explicit")


def test_subjects_and_headers_are_those_of_the_code() -> None:
    told = "".join(row["message"] for row in MESSAGES)
    subject = names.work_subject("pyoco.work", "<tag>")
    assert f"subject `{names.hint_subject(subject)}`" in told
    assert f"queue group `{names.IDLE_GROUP}`" in told
    assert f"`{TTL_HEADER}`" in told
    assert f"`{SNAPSHOT_HEADER}` and `{REVISION_HEADER}`" in told
    assert "`Nats-Msg-Id`" in told
    (jobs, letters, *_) = MESSAGES
    assert f"`{names.job_id('<run_id>', 0)}`" in jobs["meaning"]
    assert names.job_id("<run_id>", 1) == "<run_id>.2"
    assert "`failed.<run_id>`" in letters["meaning"]


def test_keys_and_objects_are_named_as_documented() -> None:
    holds = {row["stream"]: row["holds"] for row in STREAMS}
    event = WheelEvent(1.0, "upload", "w.whl", [], 1, "00", True, Actor(), Source())
    assert re.fullmatch(r"\d{13}_[0-9a-f]+", event.key) and "13 digits" in holds["KV_pyoco_wheel_history"]
    text = section(SPEC, "### Wheels")
    assert all(f"`{name}`" in text for name in wheel_headers("00", ["t"]))


def test_messages_are_published_under_the_documented_ids(made: Parts) -> None:
    made.queue.publish(Job("r1", "f", "gpu"))
    (stored,) = made.jobs()
    assert (stored.subject, stored.headers["Nats-Msg-Id"]) == ("pyoco.work.gpu", "r1")
