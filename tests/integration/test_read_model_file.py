"""``PYOCO_READ_MODEL_PATH``: the list of runs in a file, over restarts and damages."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from pyoco_server.bridge.resources import ensure_resources
from pyoco_server.errors import InvalidSetting
from tests.support.gateway import LocalGateway
from tests.support.nats import NatsServer
from tests.support.parts import Parts, stored_run

Serve = Callable[..., LocalGateway]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs.sqlite"


def runs_after_start(serve: Serve, path: Path, **env: str) -> dict[str, str]:
    """Start a gateway on the file, stop it, and give what it listed first: flow names by run id."""
    gateway = serve(PYOCO_READ_MODEL_PATH=str(path), **env)
    try:
        gateway.wait_until_complete()
        return {run["run_id"]: run["flow_name"] for run in gateway.get("/runs?limit=200").json()}
    finally:
        gateway.stop()


def test_a_restart_goes_on_where_the_file_ends(serve: Serve, parts: Parts, path: Path) -> None:
    parts.put_many([stored_run(run_id) for run_id in ("same", "changes", "tombstone", "purged")])
    assert len(runs_after_start(serve, path)) == 4
    # What is read again would lose this mark.
    with sqlite3.connect(path) as file:
        file.execute("update runs set document = json_set(document, '$.flow_name', 'kept')")
    file.close()
    parts.put("changes", stored_run("changes", flow_name="changed"))
    parts.put("new", stored_run("new", flow_name="new"))
    parts.tombstone("tombstone")
    parts.bus.api("STREAM.PURGE.KV_pyoco_runs", {"filter": "$KV.pyoco_runs.purged"})
    assert runs_after_start(serve, path) == {"same": "kept", "changes": "changed", "new": "new"}
    assert runs_after_start(serve, path) == {"same": "kept", "changes": "changed", "new": "new"}


def test_a_bucket_that_was_made_anew_meanwhile_is_read_anew(serve: Serve, parts: Parts, path: Path) -> None:
    parts.put_many([stored_run(run_id) for run_id in ("a", "b")])
    runs_after_start(serve, path)
    parts.bus.api("STREAM.DELETE.KV_pyoco_runs")
    ensure_resources(parts.bus, parts.config)
    parts.put_many([stored_run(run_id, flow_name="new") for run_id in ("b", "c", "d")])
    assert runs_after_start(serve, path) == {"b": "new", "c": "new", "d": "new"}


def test_one_file_serves_one_bucket_after_the_other(serve: Serve, parts: Parts, path: Path) -> None:
    parts.put("a", stored_run("a"))
    assert set(runs_after_start(serve, path)) == {"a"}
    assert runs_after_start(serve, path, PYOCO_RUNS_KV_BUCKET="other_runs") == {}
    assert set(runs_after_start(serve, path)) == {"a"}


def test_another_nats_is_read_anew(serve: Serve, parts: Parts, path: Path, tmp_path: Path) -> None:
    parts.put("a", stored_run("a"))
    runs_after_start(serve, path)
    other = NatsServer(tmp_path / "other").start()
    try:
        assert runs_after_start(serve, path, PYOCO_NATS_URL=other.url) == {}
    finally:
        other.stop()


def overwrite(path: Path) -> None:
    path.write_bytes(b"this is no database" * 1000)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[4096:] = bytes(byte ^ 0xFF for byte in data[4096:])
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [overwrite, cut, flip])
def test_a_damaged_file_is_kept_aside_and_made_anew(
    serve: Serve, parts: Parts, path: Path, damage: Callable[[Path], None]
) -> None:
    parts.put_many([stored_run(f"run-{number}") for number in range(50)])
    assert len(runs_after_start(serve, path)) == 50
    damage(path)
    assert len(runs_after_start(serve, path)) == 50
    assert path.with_name("runs.sqlite.damaged").exists()


def test_a_file_of_another_version_is_made_anew(serve: Serve, parts: Parts, path: Path) -> None:
    parts.put("a", stored_run("a"))
    runs_after_start(serve, path)
    with sqlite3.connect(path) as file:
        file.execute("pragma user_version = 1")
        file.execute("drop table runs")
        file.execute("create table runs (something)")
    file.close()
    assert set(runs_after_start(serve, path)) == {"a"}


def test_another_programs_database_is_refused_and_left_as_it_is(serve: Serve, nats: NatsServer, path: Path) -> None:
    with sqlite3.connect(path) as file:
        file.execute("create table customers (name)")
    file.close()
    before = path.read_bytes()
    with pytest.raises(InvalidSetting, match="PYOCO_READ_MODEL_PATH"):
        serve(PYOCO_READ_MODEL_PATH=str(path))
    assert path.read_bytes() == before


def test_a_file_serves_one_gateway_at_a_time(serve: Serve, nats: NatsServer, path: Path) -> None:
    serve(PYOCO_READ_MODEL_PATH=str(path)).wait_until_complete()
    with pytest.raises(InvalidSetting, match="locked"):
        serve(PYOCO_READ_MODEL_PATH=str(path))


def test_a_folder_that_does_not_exist_is_named(serve: Serve, nats: NatsServer, tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match="nowhere"):
        serve(PYOCO_READ_MODEL_PATH=str(tmp_path / "nowhere" / "runs.sqlite"))
