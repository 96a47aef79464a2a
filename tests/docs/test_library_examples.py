"""The programs in ``docs/library_api.md`` do what stands below them, and mypy finds nothing in them."""

from __future__ import annotations

import inspect
import os
import re
import signal
import subprocess
import sys
import venv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import pyoco_server
from pyoco_server import PyocoHttpClient
from pyoco_server.stores.artifacts import ArtifactStore
from tests.support.artifacts import put
from tests.support.commands import Daemons, clean_env, is_ready
from tests.support.documents import code_blocks
from tests.support.library_reference import DOCUMENT, MARK
from tests.support.nats import NatsServer, free_port
from tests.support.parts import Parts
from tests.support.reader import steps
from tests.support.waiting import PATIENCE_SEC, eventually
from tests.support.wheels import write_wheel

STEPS = steps(code_blocks(DOCUMENT.read_text().partition(MARK)[0]))
TASKS, *PROGRAMS = [step.commands for step in STEPS if step.language == "python"]
#: Programs that end by themselves, with what they print.
ENDING = [(step.commands, step.shown) for step in STEPS if step.language == "python" and step.shown]
#: pyoco has no types, so strict mypy refuses every program that decorates a task.
TYPED = [body for body in PROGRAMS if "from pyoco import" not in body]


class Stage:
    """What the documents take for granted: a NATS, a gateway and a worker with ``tasks.py`` at hand."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.nats = NatsServer(folder / "nats").start()
        self._daemons = Daemons(folder, PYOCO_NATS_URL=self.nats.url)
        self.start = self._daemons.start
        (folder / "tasks.py").write_text(TASKS)
        write_wheel(folder / "dist", "my_tasks", "1.2")
        gateway = self.start("pyoco-server", "up", "--with-worker", "--port", "0", "--nats-url", self.nats.url)
        self.url = gateway.wait_for_log(r"serves at (http://[\d.:]+)")[1]

    def put_in(self, text: str) -> str:
        """Put the addresses of this stage into a program."""
        return text.replace("http://127.0.0.1:8000", self.url).replace("nats://127.0.0.1:4222", self.nats.url)

    def close(self) -> None:
        self._daemons.close()
        self.nats.stop()


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("stage")
    (folder / "dist").mkdir()
    found = Stage(folder)
    yield found
    found.close()


@pytest.mark.parametrize("number", range(len(ENDING)))
def test_an_example_prints_what_stands_below_it(stage: Stage, number: int) -> None:
    body, printed = ENDING[number]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", stage.put_in(body)],
        cwd=stage.folder,
        env=clean_env(PYOCO_NATS_URL=stage.nats.url),
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE_SEC,
    )
    assert (done.stdout, done.stderr, done.returncode) == (printed, "", 0)


@pytest.mark.parametrize("how", ["signal", "drain"])
def test_the_program_that_serves_executes_runs_until_it_is_told_to_stop(stage: Stage, how: str) -> None:
    (body,) = [program for program in PROGRAMS if "while not stop.is_set()" in program]
    tag = f"greeter-{how}"
    (stage.folder / "greeter.py").write_text(body.replace("connect(", f'connect(tags=["{tag}"], worker_id="{tag}", '))
    program = stage.start(sys.executable, "greeter.py")
    with PyocoHttpClient(stage.url) as client:
        run_id = client.submit_run("greet", {"name": "Anna"}, tag=tag)["run_id"]
        assert client.get_run(run_id, wait_sec=PATIENCE_SEC)["status"] == "COMPLETED"
        assert client.get_tasks(run_id)["task_records"]["greet"]["output"] == "Hello, Anna!"
        if how == "signal":
            program.process.send_signal(signal.SIGTERM)
        else:
            client.drain_worker(tag)
    assert program.process.wait(PATIENCE_SEC) == 0
    assert '"service": "greeter"' in program.log


def test_the_application_is_served_as_it_is_written_there(stage: Stage) -> None:
    (command,) = [step.commands.strip() for step in STEPS if step.language == "sh"]
    port = free_port()
    stage.start("/bin/sh", "-c", f"exec env {command.replace('8000', str(port))}")
    eventually(lambda: is_ready(f"http://127.0.0.1:{port}"), what="the gateway", timeout_sec=PATIENCE_SEC)


def test_mypy_accepts_the_programs_as_a_user_runs_it_and_finds_slips_of_the_pen(tmp_path: Path) -> None:
    """In an environment that has the package as it is installed: mypy believes its types because of ``py.typed``."""
    venv.create(tmp_path / "env", with_pip=False, symlinks=True)
    (packages,) = (tmp_path / "env").glob("lib/python*/site-packages")
    (packages / "pyoco_server").symlink_to(Path(pyoco_server.__file__).parent)
    for number, body in enumerate(TYPED):
        (tmp_path / f"program_{number}.py").write_text(body)
    (tmp_path / "slips.py").write_text(
        "from typing import Any\n"
        "from pyoco_server import NatsBackendConfig, PyocoHttpClient, PyocoNatsClient\n"
        "from pyoco_server import PyocoNatsWorker, ensure_resources\n"
        "config = NatsBackendConfig(nats_url='nats://127.0.0.1:4222', drain_sec=5)\n"
        "made: list[str] = ensure_resources(config)\n"
        "run_id: str = PyocoNatsClient.connect(config).submit_run('main', {'x': 1}, tag='lab')\n"
        "done: str | None = PyocoNatsWorker.connect(config=config, flow_resolver='flows:resolve').run_once(1)\n"
        "PyocoNatsWorker.connect(resolver='flows:resolve')\n"
        "client = PyocoHttpClient('http://127.0.0.1:8000')\n"
        "run: dict[str, Any] = client.submit_run('main', timeout_sec=60)\n"
        "client.submit_run('main', timout_sec=60)\n"
        "client.submit_run('main', max_attempts='3')\n"
        "number: int = client.get_metrics()\n"
        "client.no_such_call()\n"
    )
    python = str(tmp_path / "env" / "bin" / "python")
    files = [f"program_{number}.py" for number in range(len(TYPED))] + ["slips.py"]
    # Of its own: mypy is a tool of this environment, and knows nothing of this package from here.
    command = [sys.executable, "-P", "-m", "mypy", "--strict", "--python-executable", python, *files]
    if sys.version_info < (3, 11):
        command.remove("-P")
    done = subprocess.run(command, cwd=tmp_path, env=_plain_env(), capture_output=True, text=True, timeout=300)
    found = re.findall(r"^(\w+)\.py:(\d+): error: .*\[([a-z-]+)\]$", done.stdout, re.MULTILINE)
    slips = {8: "call-arg", 11: "call-arg", 12: "arg-type", 13: "assignment", 14: "attr-defined"}
    assert found == [("slips", str(line), code) for line, code in slips.items()], done.stdout + done.stderr
    assert len(TYPED) >= 3 and f"Found 5 errors in 1 file (checked {len(files)} source files)" in done.stdout


def _plain_env() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("MYPY", "PYTHON"))}


#: Each call that gives fields, made on what the examples have left.
CALLS: dict[str, Callable[[PyocoHttpClient, str], Any]] = {
    "submit_run": lambda client, run_id: client.submit_run("nobody", tag="nobody"),
    "submit_run_yaml": lambda client, run_id: client.submit_run_yaml(FLOW, flow_name="sweep", tag="default"),
    "get_run": lambda client, run_id: client.get_run(run_id),
    "get_run_with_records": lambda client, run_id: client.get_run_with_records(run_id)["task_records"]["half"],
    "get_tasks": lambda client, run_id: client.get_tasks(run_id),
    "list_runs": lambda client, run_id: client.list_runs(),
    "list_runs_vnext": lambda client, run_id: client.list_runs_vnext(),
    "get_artifacts": lambda client, run_id: client.get_artifacts(run_id),
    "rerun": lambda client, run_id: client.rerun(run_id),
    "get_workers": lambda client, run_id: client.get_workers(),
    "patch_worker_hidden": lambda client, run_id: client.patch_worker_hidden(
        client.get_workers()[0]["worker_id"], hidden=False
    ),
    "list_wheels": lambda client, run_id: client.list_wheels(),
    "list_wheel_history": lambda client, run_id: client.list_wheel_history(),
    "list_dead_letters": lambda client, run_id: client.list_dead_letters(),
    "get_dead_letter": lambda client, run_id: client.get_dead_letter(_letter(client)),
    "replay_dead_letter": lambda client, run_id: client.replay_dead_letter(_letter(client)),
    "delete_dead_letter": lambda client, run_id: client.delete_dead_letter(_letter(client)),
    "delete_wheel": lambda client, run_id: client.delete_wheel(client.list_wheels()[0]["name"]),
}
FLOW = 'version: 1\ntasks:\n  half: {callable: "tasks:half"}\nflow:\n  graph: half\n'


def _letter(client: PyocoHttpClient) -> int:
    """Give the number of a letter; it is written after the end of its run."""
    found = eventually(lambda: client.list_dead_letters(limit=1)["items"], what="a dead letter")
    return int(found[0]["seq"])


def test_the_fields_that_are_told_of_each_answer_are_there(stage: Stage) -> None:
    with PyocoHttpClient(stage.url) as client:
        for path in (stage.folder / "dist").glob("*.whl"):
            client.upload_wheel(filename=path.name, data=path.read_bytes())
        results = client.submit_batch_yaml(FLOW, [{"x": 2}, {"x": "a"}, {"x": "b"}], flow_name="shapes")
        ended = [client.get_run(result["run_id"], wait_sec=PATIENCE_SEC) for result in results]
        assert [run["status"] for run in ended] == ["COMPLETED", "FAILED", "FAILED"]
        with Parts(stage.nats.url) as parts:
            put(ArtifactStore(parts.bus), ended[0]["run_id"], "saved.txt", b"x")
        for name, call in CALLS.items():
            told = re.search(r":return:.*?\{(.*?)\}", inspect.getdoc(getattr(PyocoHttpClient, name)) or "", re.DOTALL)
            assert told is not None, name
            fields = set(re.findall(r"\w+(?=[,}:]|$)", told[1])) - {"true"}
            answers = call(client, ended[0]["run_id"])
            answers = answers if isinstance(answers, list) else [answers]
            assert answers and fields, name
            for answer in answers:
                assert fields <= answer.keys(), (name, fields - answer.keys())
