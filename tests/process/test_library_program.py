"""Programs with a worker in them that end in ways which a library cannot know of beforehand."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from tests.process.conftest import Town
from tests.support.commands import clean_env
from tests.support.crew import Crew
from tests.support.fleet import Fleet, is_alive
from tests.support.processes import MARK
from tests.support.waiting import PATIENCE_SEC

#: Longer than what is waited for takes on a machine that does much else.

#: What all programs have in common: flow ``held`` says when it begins and waits until the test lets it go.
HEAD = """
import os, signal, sys, time
from pathlib import Path
from pyoco import Flow, task
from pyoco_server import PyocoNatsWorker, configure_logging

tag = sys.argv[1]

@task
def hold():
    print("printed by a task", flush=True)
    Path(f"{tag}.begun").write_text(str(os.getpid()))
    while not Path(tag).exists():
        time.sleep(0.02)

def resolve(name):
    return {"held": lambda: Flow(name="held") >> hold}[name]()

def connect():
    return PyocoNatsWorker.connect(flow_resolver=resolve, worker_id="program-" + tag, tags=[tag])
"""

Start = Callable[[str], "subprocess.Popen[str]"]


@pytest.fixture
def start(town: Town, town_crew: Crew) -> Iterator[Start]:
    """Starts programs on the town's NATS, whose stdout and stderr are pipes."""
    started: list[subprocess.Popen[str]] = []

    def start_one(body: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", HEAD + body, town_crew.tag],
            cwd=town.fleet.folder,
            env=clean_env(**{"PYOCO_NATS_URL": town.nats.url, MARK: town_crew.family.mark}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start_one
    # All of them first: whoever holds a pipe is waited for.
    town_crew.family.end()
    for process in started:
        process.communicate()


def submit(crew: Crew) -> str:
    return crew.submit(flow_name="held")


def wait_for_loss(fleet: Fleet, crew: Crew) -> None:
    """Wait until the sentinel has reported the program as lost."""
    fleet.wait_until(lambda: fleet.worker(f"program-{crew.tag}").get("lost_at"), "lost_at", PATIENCE_SEC)


def test_a_run_of_a_program_that_is_killed_is_handed_back_at_once_although_a_fork_of_it_lives(
    town_crew: Crew, start: Start
) -> None:
    crew, fleet = town_crew, town_crew.fleet
    program = start("""
worker = connect()
fork = os.fork()
if not fork:
    time.sleep(600)
Path(f"{tag}.fork").write_text(str(fork))
worker.run_once(timeout=60)
""")
    run_id = submit(crew)
    fleet.wait_for_file(f"{crew.tag}.begun")
    fork = int(fleet.wait_for_file(f"{crew.tag}.fork"))
    program.send_signal(signal.SIGKILL)
    wait_for_loss(fleet, crew)
    assert is_alive(fork)
    assert fleet.run(run_id)["status"] == "RUNNING"
    crew.let_go()
    other = start("""
with connect() as worker:
    print(worker.run_once(timeout=60))
""")
    assert run_id in other.communicate(timeout=PATIENCE_SEC)[0]
    assert fleet.run(run_id)["attempt"] == 2


def test_a_program_that_ends_without_a_close_ends_well_and_says_nothing(town_crew: Crew, start: Start) -> None:
    crew, fleet = town_crew, town_crew.fleet
    program = start("""
worker = connect()
worker.run_once(timeout=0.1)
""")
    assert program.communicate(timeout=PATIENCE_SEC) == ("", "")
    assert program.returncode == 0
    wait_for_loss(fleet, crew)


def test_who_reads_a_program_sees_its_end_when_it_is_killed_although_its_sentinel_goes_on(
    town: Town, town_crew: Crew, start: Start
) -> None:
    program = start("""
worker = connect()
Path(f"{tag}.connected").write_text("yes")
worker.run_once(timeout=60)
""")
    town.fleet.wait_for_file(f"{town_crew.tag}.connected")
    with town.nats.frozen():
        program.send_signal(signal.SIGKILL)
        # The sentinel tries for two minutes to report to a NATS that does not answer.
        program.communicate(timeout=PATIENCE_SEC)
        assert town_crew.family.members("sentinel_process")


def test_an_interrupt_reaches_the_program_and_its_run_goes_on_to_its_end(town_crew: Crew, start: Start) -> None:
    crew, fleet = town_crew, town_crew.fleet
    program = start("""
try:
    with connect() as worker:
        try:
            worker.run_once(timeout=60)
        except KeyboardInterrupt:
            Path(f"{tag}.interrupted").write_text("yes")
            raise
except KeyboardInterrupt:
    print("interrupted")
""")
    run_id = submit(crew)
    fleet.wait_for_file(f"{crew.tag}.begun")
    program.send_signal(signal.SIGINT)
    fleet.wait_for_file(f"{crew.tag}.interrupted")
    crew.let_go()
    assert program.communicate(timeout=PATIENCE_SEC) == ("printed by a task\ninterrupted\n", "")
    assert (fleet.run(run_id)["status"], fleet.run(run_id)["attempt"]) == ("COMPLETED", 1)
    assert fleet.worker(f"program-{crew.tag}")["state"] == "STOPPED_GRACEFUL"
    crew.family.wait_until_gone(timeout_sec=PATIENCE_SEC)


def test_signal_handlers_are_the_program_s_own_and_a_loop_of_runs_can_be_ended_by_them(
    town_crew: Crew, start: Start
) -> None:
    crew, fleet = town_crew, town_crew.fleet
    program = start("""
import threading
stop = threading.Event()
signal.signal(signal.SIGTERM, lambda number, frame: stop.set())
with connect() as worker:
    while not stop.is_set():
        worker.run_once(timeout=0.2)
print("stopped")
""")
    crew.let_go()
    fleet.ended(submit(crew), timeout_sec=PATIENCE_SEC)
    program.send_signal(signal.SIGTERM)
    assert program.communicate(timeout=PATIENCE_SEC) == ("printed by a task\nstopped\n", "")
    assert program.returncode == 0


def test_log_lines_come_when_they_are_asked_for(town_crew: Crew, start: Start) -> None:
    program = start("""
configure_logging(service="my-program")
with connect() as worker:
    worker.run_once(timeout=0)
""")
    printed, told = program.communicate(timeout=PATIENCE_SEC)
    lines = [json.loads(line) for line in printed.splitlines()]
    assert told == "" and {line["service"] for line in lines} == {"my-program"}
    assert f"the worker serves {town_crew.tag}" in [line["message"] for line in lines]
