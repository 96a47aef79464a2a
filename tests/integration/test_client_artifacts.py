"""``pyoco-client artifacts`` and the client's calls, as far as a gateway has to do with them."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

import pytest

from pyoco_server.client.http import PyocoHttpClient
from pyoco_server.errors import GatewayRefused, InvalidInput
from pyoco_server.stores.artifacts import ArtifactStore
from tests.support.artifacts import put
from tests.support.commands import reason, run
from tests.support.gateway import LocalGateway
from tests.support.parts import Parts

LARGE = os.urandom(400_000)


@pytest.fixture
def run_id(shared: LocalGateway, shared_parts: Parts) -> str:
    """A run with files of two attempts."""
    found = shared.submit()
    store = ArtifactStore(shared_parts.bus)
    put(store, found, "a/large.bin", LARGE, attempt=1, task="t")
    put(store, found, "日本 #?.txt", b"first", attempt=1)
    put(store, found, "日本 #?.txt", b"second", attempt=2)
    return found


def command(shared: LocalGateway, folder: Path, *words: str) -> Any:
    done = run("pyoco-client", "--server", shared.url, "artifacts", *words, cwd=folder)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_command_lists_every_attempt(shared: LocalGateway, run_id: str, tmp_path: Path) -> None:
    listed = command(shared, tmp_path, run_id)
    assert [(entry["name"], entry["attempt"]) for entry in listed] == [
        ("日本 #?.txt", 2),
        ("a/large.bin", 1),
        ("日本 #?.txt", 1),
    ]
    assert [entry["attempt"] for entry in command(shared, tmp_path, run_id, "--attempt", "2")] == [2]
    assert list(tmp_path.iterdir()) == []


def test_the_command_downloads_the_newest_of_each(shared: LocalGateway, run_id: str, tmp_path: Path) -> None:
    written = command(shared, tmp_path, run_id, "--download", "results")
    assert [entry["path"] for entry in written] == ["results/a/large.bin", "results/日本 #?.txt"]
    assert (tmp_path / "results/a/large.bin").read_bytes() == LARGE
    assert (tmp_path / "results/日本 #?.txt").read_bytes() == b"second"
    # What is there already is right, and stays.
    assert command(shared, tmp_path, run_id, "--download", "results") == written
    command(shared, tmp_path, run_id, "--download", "first", "--attempt", "1")
    assert (tmp_path / "first/日本 #?.txt").read_bytes() == b"first"


def test_a_file_that_is_in_the_way_ends_the_command_before_it_writes(
    shared: LocalGateway, run_id: str, tmp_path: Path
) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "results/日本 #?.txt").write_bytes(b"mine")
    done = run("pyoco-client", "--server", shared.url, "artifacts", run_id, "--download", "results", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert "another file is there already" in reason(done.stderr)
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["日本 #?.txt"]


def test_a_run_that_does_not_exist_is_said_to_be_so(shared: LocalGateway, tmp_path: Path) -> None:
    done = run("pyoco-client", "--server", shared.url, "artifacts", "no-run", "--download", "x", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "") and "HTTP 404" in done.stderr
    assert not (tmp_path / "x").exists()


def test_a_program_downloads_a_file(shared: LocalGateway, run_id: str) -> None:
    with PyocoHttpClient(shared.url) as client:
        entry = client.get_artifacts(run_id)[1]
        file = io.BytesIO()
        assert client.download_artifact(run_id, entry["name"], file) == entry["sha256"]
        assert file.getvalue() == LARGE
        first = io.BytesIO()
        client.download_artifact(run_id, "日本 #?.txt", first, attempt=1)
        assert first.getvalue() == b"first"
        with pytest.raises(GatewayRefused) as refused:
            client.download_artifact(run_id, "missing", io.BytesIO())
        assert refused.value.status == 404
        for name in ("../x", "", "a//b", "./x"):
            with pytest.raises(InvalidInput):
                client.download_artifact(run_id, name, io.BytesIO())
