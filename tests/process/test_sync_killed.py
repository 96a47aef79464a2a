"""A worker that is killed between any two steps of a sync leaves what its next start repairs."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.nats import NatsServer
from tests.support.parts import Parts
from tests.support.sync_steps import sync
from tests.support.wheels import Registry, file_name, wheel

#: In two folders, so that each can be missing.
FILES = {"demo/__init__.py": b"VERSION = 2\n", "demo/deep/data": b"data"}


def whole(files: dict[str, str]) -> dict[str, str]:
    """Leave out the manifests, which say when a wheel was installed."""
    return {path: digest for path, digest in files.items() if not path.endswith(".pyoco-wheel")}


@pytest.fixture
def steps(nats: NatsServer, tmp_path: Path) -> list[dict[str, Any]]:
    """Kill a sync before each of its steps: one wheel is replaced and one is removed."""
    with Parts(nats.url) as parts:
        registry = Registry(parts.bus)
        registry.upload("demo")
        registry.upload("gone")
        sync(nats.url, tmp_path / "before", 0, lambda what: None)
        registry.delete(file_name("gone"))
        registry.upload("demo", "2.0", files=FILES)
    command = [sys.executable, "-m", "tests.support.sync_steps", nats.url, str(tmp_path)]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.long
def test_the_next_start_repairs_whatever_step_of_a_sync_was_the_last(steps: list[dict[str, Any]]) -> None:
    sha256 = hashlib.sha256(wheel("demo", "2.0", FILES)).hexdigest()
    for step in steps:
        assert step["repaired"] == {"last_result": "ok", "selected": [sha256]}, step
        assert {path.partition("/")[0] for path in step["files"]} == {sha256}, step
        assert whole(step["files"]) == whole(steps[-1]["files"]), step
    assert steps[-1]["files"][f"{sha256}/demo/deep/data"] == hashlib.sha256(FILES["demo/deep/data"]).hexdigest()
    # It was killed everywhere: with half a wheel that is new, and with half a wheel that goes.
    assert {step["event"] for step in steps} >= {"open", "os.mkdir", "os.chmod", "os.rename", "os.remove", "os.rmdir"}
    left = {name[:5] for step in steps for name in step["left"]}
    assert {".new-", ".old-", sha256[:5]} <= left
