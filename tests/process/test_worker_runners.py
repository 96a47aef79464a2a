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
#: Notes each process that imports it.
_NOTED = """\
import os
with open("boots", "a") as file:
    file.write(f"{os.getpid()}\\n")
def know_nothing(name):
    return {}[name]
"""


def test_successor_boots_before_the_last_run_of_a_runner(fleet: Fleet, start_worker: Callable[..., Daemon]) -> None:
    """Under a backlog of small runs the worker had to wait for it at the end of each runner."""
    worker = start_worker("--tags", TAG, "--max-runs-per-child", "4")

    def execute() -> int:
        pid = fleet.ended(fleet.submit(flow("quick")))["task_records"]["quick"]["output"]
        return int(pid)

    first = [execute()]
    assert runners_of(worker) == first
    first.append(execute())
    fleet.wait_until(lambda: len(runners_of(worker)) == 2, "a successor while half of the runs are left")
    (successor,) = set(runners_of(worker)) - set(first)
    first += [execute(), execute()]
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


_RESOLVER = """\
from pyoco.core.models import Flow
from pyoco.dsl.syntax import task
with open("imports", "a") as imports:
    imports.write("1")
@task
def answer():
    return "{answer}"
def resolve(name):
    flow = Flow(name=name)
    flow >> answer
    return flow
"""


def test_a_run_after_an_edit_executes_the_edited_code_and_others_keep_their_runner(
    fleet: Fleet, start_worker: Callable[..., Daemon]
) -> None:
    """A runner that had imported a module went on with the code of before for up to a hundred runs."""
    worker = start_worker("--tags", TAG)
    code = fleet.folder / "edited.py"
    (fleet.folder / "helper.py").write_text("WORD = 'old'\n")
    code.write_text("import helper\ndef word():\n    return helper.WORD\n")

    def word() -> str:
        run = fleet.ended(fleet.submit(flow("word", word="edited:word")))
        return str(run["task_records"]["word"]["output"])

    assert word() == "old"
    runners = runners_of(worker)
    assert word() == "old"
    assert runners_of(worker) == runners
    # Of another length: Python itself takes a file for unchanged that has its old size and second.
    (fleet.folder / "helper.py").write_text("WORD = 'edited'\n")
    assert word() == "edited"
    assert runners_of(worker) != runners
    code.write_text("def word():\n    return 'without a helper'\n")
    assert word() == "without a helper"


def test_an_edited_resolver_is_imported_anew_though_no_run_was_executed(
    fleet: Fleet, start_worker: Callable[..., Daemon]
) -> None:
    resolver = fleet.folder / "resolver.py"
    resolver.write_text(_RESOLVER.format(answer="old"))
    start_worker("--tags", TAG, "--flow-resolver", "resolver.py:resolve")
    imports = fleet.folder / "imports"
    fleet.wait_until(lambda: imports.exists() and imports.read_text() == "1", "the import of the resolver")
    resolver.write_text(_RESOLVER.format(answer="edited"))
    run = fleet.ended(fleet.submit())
    assert run["task_records"]["answer"]["output"] == "edited"


def test_first_run_is_executed_by_the_runner_that_was_booted_as_a_proof(
    fleet: Fleet, start_worker: Callable[..., Daemon]
) -> None:
    (fleet.folder / "resolver.py").write_text(_NOTED)
    worker = start_worker("--tags", TAG, "--flow-resolver", "resolver.py:know_nothing")
    executed_by = fleet.ended(fleet.submit(flow("quick")))["task_records"]["quick"]["output"]
    assert (fleet.folder / "boots").read_text() == f"{executed_by}\n"
    assert runners_of(worker) == [executed_by]
