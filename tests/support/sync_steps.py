"""Syncs of wheels in processes that are killed before a chosen step, and the starts that follow.

A program of its own, ``python -m tests.support.sync_steps NATS_URL FOLDER``: it forks for each of them, which only a
process without threads may do. A step is anything that touches files. For each it prints a line of JSON: the step, what
the killed process left in the folder, and what the next start made of it. ``FOLDER/before`` holds the wheels that lie
there when a sync begins.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pyoco_server.bridge.client import Bus
from pyoco_server.config import Config
from pyoco_server.service import Deadline
from pyoco_server.stores.wheels import WheelStore
from pyoco_server.worker.wheelsync import WheelSync

#: What Python tells its audit hooks before it touches a file.
_FILE_EVENTS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod", "os.scandir", "fcntl.flock"}


def main(nats_url: str, folder: str) -> None:
    before, wheels = Path(folder, "before"), Path(folder, "wheels")
    for number in itertools.count(1):
        shutil.rmtree(wheels, ignore_errors=True)
        shutil.copytree(before, wheels)
        killed = functools.partial(sync, nats_url, wheels, number)
        step = _in_child(killed)
        if "event" not in step:
            break
        left = sorted(path.name for path in wheels.iterdir())
        repaired = _in_child(functools.partial(sync, nats_url, wheels, 0))
        print(json.dumps({**step, "left": left, "repaired": repaired, "files": _files(wheels)}), flush=True)


def _in_child(work: Callable[[Callable[[dict[str, Any]], None]], None]) -> dict[str, Any]:
    """Have work done in a process of its own, and give the last thing that it told."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        work(lambda what: os.write(writer, json.dumps(what).encode() + b"\n"))
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as told:
        lines = told.read().splitlines()
    _, status = os.waitpid(child, 0)
    assert status in (0, signal.SIGKILL), status
    result: dict[str, Any] = json.loads(lines[-1])
    return result


def sync(nats_url: str, wheels: Path, kill_at: int, tell: Callable[[dict[str, Any]], None]) -> None:
    """Do what a worker does at its start, and tell what has come of it.

    :param kill_at: the step before which this process is killed, which is told instead; 0 = it is not.
    """
    config = Config.from_env({"PYOCO_WHEEL_SYNC_ENABLED": "1", "PYOCO_WHEEL_SYNC_DIR": str(wheels)})
    bus = Bus(nats_url, name="sync-steps", budget_sec=15.0, waits_when_down=True)
    bus.connect(10)
    status: list[dict[str, Any]] = []
    store, nothing = WheelStore(bus, config), lambda *_: None
    sync = WheelSync(store, config, ["t"], report=status.append, changed=nothing, on_failure=nothing)
    if kill_at:
        _kill_before(kill_at, tell)
    selected = sync.refresh()
    bus.close(Deadline(5))
    tell({"last_result": status[-1]["last_result"], "selected": [Path(path).name for path in selected.paths]})


def _kill_before(step: int, tell: Callable[[dict[str, Any]], None]) -> None:
    steps = itertools.count(1)
    thread = threading.get_ident()

    def hear(event: str, args: tuple[Any, ...]) -> None:
        if event in _FILE_EVENTS and threading.get_ident() == thread and next(steps) == step:
            tell({"event": event, "args": str(args)})
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hear)


def _files(wheels: Path) -> dict[str, str]:
    """Give the hash of each file."""
    return {
        str(path.relative_to(wheels)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(wheels.rglob("*"))
        if path.is_file()
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
