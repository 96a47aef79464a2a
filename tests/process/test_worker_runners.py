"""How a worker follows one runner by the next, and what it clears away after a run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.support.commands import Daemon
from tests.support.fleet import TAG, Fleet, flow, runners_of

#: Kills the first process that imports it, as the kernel does when memory runs out.
_KILLED_ONCE = """\
import os
from pathlib import Path
if not Path("killed").exists():
    Path("killed").touch()
    os.kill(os.getpid(), 9)
def know_nothing(name):
    return {}[name]
"""


def test_successor_boots_before_the_last_run_of_a_runner(fleet: Fleet, start_worker: Callable[..., Daemon]) -> None:
    """Under a backlog of small runs the worker had to wait for it at the end of each runner."""
    worker = start_worker("--tags", TAG, "--max-runs-per-child", "4")

    def execute() -> int:
        pid = fleet.ended(fleet.submit(flow("quick")))["task_records"]["quick"]["output"]
        return int(pid)

    first = [execute(), execute()]
    assert runners_of(worker) == first[:1]
    first.append(execute())
    fleet.wait_until(lambda: len(runners_of(worker)) == 2, "a successor while one run is left")
    (successor,) = set(runners_of(worker)) - set(first)
    first.append(execute())
    assert len(set(first)) == 1
    assert execute() == successor
    assert runners_of(worker) == [successor]


def test_folder_of_a_run_is_removed_after_it_also_when_the_worker_stops(
    fleet: Fleet, start_worker: Callable[..., Daemon]
) -> None:
    worker = start_worker("--tags", TAG)
    folder = Path(fleet.ended(fleet.submit(flow("cwd")))["task_records"]["cwd"]["output"])
    fleet.wait_until(lambda: not folder.exists(), "the end of the folder")
    held = fleet.submit(flow("hold >> cwd"))
    fleet.running(held, "hold")
    worker.process.terminate()
    fleet.touch("go")
    folder = Path(fleet.ended(held)["task_records"]["cwd"]["output"])
    assert worker.process.wait(30) == 0
    assert not folder.exists()


def test_worker_serves_although_its_first_runner_was_killed_while_it_booted(
    fleet: Fleet, start_worker: Callable[..., Daemon]
) -> None:
    (fleet.folder / "resolver.py").write_text(_KILLED_ONCE)
    start_worker("--tags", TAG, "--flow-resolver", "resolver.py:know_nothing")
    assert (fleet.folder / "killed").exists()
    fleet.ended(fleet.submit(flow("quick")))
