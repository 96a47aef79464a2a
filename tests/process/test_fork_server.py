"""The process that a worker's runners are forked from: what it makes, and what becomes of it."""

from __future__ import annotations

import contextlib
import os
import queue
import resource
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pyoco_server.config import Config
from pyoco_server.contract.runner_protocol import Begin, Ended
from pyoco_server.service import Deadline
from pyoco_server.worker.child import Child
from pyoco_server.worker.runner_link import ChildDied
from pyoco_server.worker.runners import Runners
from tests.support.crew import Crew
from tests.support.fleet import flow, fork_servers_of, is_alive, kill, runners_of
from tests.support.runners import booted_runner
from tests.support.shop import Shop
from tests.support.waiting import PATIENCE_SEC, eventually

_ADD = 'flow: {graph: add}\ntasks: {add: {callable: "pyoco_server._workflow_test_tasks:add_one"}}\n'


def _parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def _executes(child: Child, folder: Path) -> bool:
    child.send(Begin("r", "main", {}, _ADD, str(folder), 1000, 1000))
    deadline = Deadline(PATIENCE_SEC)
    while not deadline.has_passed:
        for message in child.receive(deadline.remaining_sec):
            if isinstance(message, Ended):
                return message.status == "COMPLETED"
    return False


def test_each_runner_is_a_fork_of_one_process_and_leads_a_group_of_its_own(town_crew: Crew) -> None:
    crew, fleet = town_crew, town_crew.fleet
    worker = crew.hire("w", "--max-runs-per-child", "1")
    (server,) = fork_servers_of(worker)
    run_id = crew.submit_held()
    (runner,) = crew.wait_for_begin()
    assert _parent_of(runner) == server
    assert os.getpgid(runner) == runner
    assert os.getsid(runner) == os.getsid(server) == server
    crew.let_go()
    fleet.ended(run_id)
    assert fleet.ended(crew.submit(flow("quick")))["task_records"]["quick"]["output"] != runner
    assert fork_servers_of(worker) == [server]
    fleet.wait_until(lambda: not Path(f"/proc/{runner}").exists(), "the reaping of a runner that was parted with")


def test_it_ends_with_its_worker(town_crew: Crew) -> None:
    crew, fleet = town_crew, town_crew.fleet
    killed, stopped = crew.hire("killed"), crew.hire("stopped")
    ours = [*fork_servers_of(killed), *fork_servers_of(stopped), *runners_of(killed), *runners_of(stopped)]
    assert len(ours) == 4
    killed.kill()
    assert stopped.stop() == 0
    fleet.wait_until(lambda: not any(is_alive(pid) for pid in ours), "the end of all processes")


def test_runs_of_a_server_that_was_killed_fail_and_the_next_ones_have_another(town_crew: Crew) -> None:
    crew, fleet = town_crew, town_crew.fleet
    worker = crew.hire("w")
    run_id = crew.submit_held()
    crew.wait_for_begin()
    (server,) = fork_servers_of(worker)
    kill(server, signal.SIGKILL)
    assert fleet.ended(run_id, "FAILED")["error"].startswith("worker_process_died: ")
    fleet.ended(crew.submit(flow("quick")))
    # Also where no run was in hand.
    (second,) = fork_servers_of(worker)
    idle = runners_of(worker)
    kill(second, signal.SIGKILL)
    fleet.wait_until(lambda: not any(is_alive(pid) for pid in idle), "the end of its runners")
    assert fleet.ended(crew.submit(flow("quick")))["attempt"] == 1
    assert second not in fork_servers_of(worker)


def test_a_server_without_descriptors_says_so_and_goes_on_when_it_has_some(town_crew: Crew) -> None:
    crew, fleet = town_crew, town_crew.fleet
    worker = crew.hire("w")
    (server,) = fork_servers_of(worker)
    (runner,) = runners_of(worker)
    limits = resource.prlimit(server, resource.RLIMIT_NOFILE)
    resource.prlimit(server, resource.RLIMIT_NOFILE, (5, limits[1]))
    kill(runner, signal.SIGKILL)
    crew.submit(flow("quick"))
    worker.wait_for_log("A runner process cannot be started: .*Too many open files")
    resource.prlimit(server, resource.RLIMIT_NOFILE, limits)
    fleet.wait_until(lambda: runners_of(worker), "another runner")
    assert fork_servers_of(worker) == [server]


def test_other_wheels_have_another_server_and_the_first_one_stays_until_its_runs_have_ended(shop: Shop) -> None:
    crew, fleet = shop.crew, shop.crew.fleet
    worker = shop.hire("w", "--concurrency", "2")
    shop.registry.upload("demo", "1.0")
    assert shop.run() == "1.0"
    held = crew.submit_held()
    (runner,) = crew.wait_for_begin()
    server = _parent_of(runner)
    shop.registry.upload("demo", "2.0")
    assert shop.run() == "2.0"
    assert is_alive(server)
    crew.let_go()
    assert fleet.ended(held)["task_records"]["hold"]["output"] == runner
    assert shop.run() == "2.0"
    gone = Path(f"/proc/{server}")
    fleet.wait_until(lambda: not gone.exists(), "the end of the server with the old wheels")
    assert len(fork_servers_of(worker)) == 1


def test_the_number_of_a_runner_whose_server_is_killed_while_it_forks_is_not_signalled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is free by then, and may be a stranger's."""
    gone: list[int] = []
    signalled: list[int] = []
    pidfd_open, kill_process = os.pidfd_open, os.kill

    def open_too_late(pid: int) -> int:
        if pid != os.getpid() and not gone:
            kill_process(_parent_of(pid), signal.SIGKILL)
            eventually(lambda: not is_alive(pid), what="the end of the runner", timeout_sec=PATIENCE_SEC)
            gone.append(pid)
            raise ProcessLookupError
        return pidfd_open(pid)

    monkeypatch.setattr(os, "pidfd_open", open_too_late)
    monkeypatch.setattr(os, "kill", lambda pid, number: signalled.append(pid))
    with contextlib.closing(Runners(None, Config.from_env({}))) as runners:
        with pytest.raises(ProcessLookupError):
            runners.start()
        assert gone[0] not in signalled
        child = runners.start()
        child.wait_ready(Deadline(PATIENCE_SEC))
        child.kill()


def test_what_keeps_it_from_booting_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pyoco.py").write_text("raise RuntimeError('a broken installation')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with contextlib.closing(Runners(None, Config.from_env({}))) as runners:
        with pytest.raises(ChildDied, match=r"(?s)ended with exit status 1\..*RuntimeError: a broken installation"):
            runners.start()
        (tmp_path / "pyoco.py").unlink()
        child = runners.start()
        child.wait_ready(Deadline(PATIENCE_SEC))
        child.kill()


def test_a_runner_has_nothing_of_its_server_open(tmp_path: Path) -> None:
    with booted_runner() as child:
        folder = Path(f"/proc/{child.pid}/fd")
        kinds = {fd.name: os.readlink(fd).partition(":")[0] for fd in folder.iterdir()}
        assert "socket" not in kinds.values(), kinds
        assert _executes(child, tmp_path)


def test_where_the_end_of_a_fork_cannot_be_seen_each_runner_boots_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "pidfd_open")
    with booted_runner() as child:
        assert _parent_of(child.pid) == os.getpid()
        assert child.group.session == os.getsid(child.pid)
        assert _executes(child, tmp_path)
        os.kill(child.pid, signal.SIGSEGV)
        eventually(lambda: "was killed by SIGSEGV" in str(child.receive(1)), what="its end")


@pytest.fixture
def loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Has each interpreter that is started execute a text before all else."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    yield (tmp_path / "sitecustomize.py").write_text


@pytest.mark.parametrize("is_daemon", [True, False])
def test_a_process_with_a_second_thread_is_not_forked(
    tmp_path: Path, loaded: Callable[[str], None], caplog: pytest.LogCaptureFixture, is_daemon: bool
) -> None:
    loaded(f"import threading, time\nthreading.Thread(target=time.sleep, args=(600,), daemon={is_daemon}).start()\n")
    with booted_runner() as child:
        assert _parent_of(child.pid) == os.getpid()
        assert _executes(child, tmp_path)
    assert "starts threads, or /proc does not tell. So each runner boots by itself" in caplog.text


def test_what_it_prints_while_it_boots_is_told_however_much_it_is(
    tmp_path: Path, loaded: Callable[[str], None], caplog: pytest.LogCaptureFixture
) -> None:
    loaded("print('x' * 1_000_000, flush=True)\nprint('the last line', flush=True)\n")
    caplog.set_level("INFO")
    with booted_runner() as child:
        assert _parent_of(child.pid) != os.getpid()
    assert "the last line" in caplog.messages


def test_who_waits_while_it_boots_need_not_wait_when_no_runner_is_wanted_any_more(
    tmp_path: Path, loaded: Callable[[str], None]
) -> None:
    loaded(f"import pathlib, time\npathlib.Path({str(tmp_path / 'boots')!r}).touch()\ntime.sleep(600)\n")
    runners = Runners(None, Config.from_env({}))
    refused = queue.SimpleQueue[str]()

    def start() -> None:
        try:
            runners.start()
        except ChildDied as exc:
            refused.put(str(exc))

    waiting = threading.Thread(target=start, daemon=True)
    waiting.start()
    eventually((tmp_path / "boots").exists, what="a process that boots")
    closing = threading.Thread(target=runners.close, daemon=True)
    closing.start()
    for thread in (waiting, closing):
        # An answer may take twice as long.
        thread.join(30)
        assert not thread.is_alive()
    assert "was killed by SIGKILL" in refused.get_nowait()
    with pytest.raises(ChildDied, match="stops"):
        runners.start()


def test_the_end_of_a_runner_is_that_of_no_other_though_the_program_ignores_the_ends_of_its_children(
    tmp_path: Path,
) -> None:
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        with contextlib.closing(Runners(None, Config.from_env({}))) as runners:
            first, second = runners.start(), runners.start()
            for child in (first, second):
                child.wait_ready(Deadline(PATIENCE_SEC))
            first.kill()
            assert _executes(second, tmp_path)
            second.kill()
    finally:
        signal.signal(signal.SIGCHLD, before)
