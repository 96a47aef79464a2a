"""``pyoco-client`` as a user types it: flags, output, exit status, against a gateway with a worker."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import HELLO_FLOW, Gateway
from tests.support.commands import Daemon, Daemons, reason, run
from tests.support.nats import NatsServer, free_port
from tests.support.waiting import eventually

RESOLVER = Path(__file__).parents[2] / "examples" / "hello_flow.py"
TABLE_HEAD = ["run_id", "status", "flow_name", "tag", "updated_at"]

Client = Callable[..., "subprocess.CompletedProcess[str]"]


class Town:
    """A gateway and a worker for all tests of this file.

    :param folder: where the commands are started.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._daemons = Daemons(folder)
        self.nats = NatsServer(folder / "nats").start()
        (folder / "flow.yaml").write_text(HELLO_FLOW)
        self.gateway = Gateway(self._daemons.start, self.nats)
        flags = ("--nats-url", self.nats.url, "--tags", "hello", "--flow-resolver", f"{RESOLVER}:resolve_flow")
        self._daemons.start("pyoco-worker", *flags).wait_for_log("the worker serves")

    def close(self) -> None:
        self._daemons.close()
        self.nats.stop()

    def client(self, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
        return run("pyoco-client", "--server", self.gateway.url, *args, cwd=self.folder, **env)

    def submit(self) -> str:
        """Submit the sample; gives the run id."""
        done = self.client("submit-yaml", "--workflow-file", "flow.yaml", "--flow-name", "main", "--tag", "hello")
        assert done.returncode == 0, done.stderr
        return str(json.loads(done.stdout)["run_id"])

    def completed(self) -> str:
        """Submit the sample and wait for its end; gives the run id."""
        run_id = self.submit()
        assert self.client("watch", run_id, "--until-terminal").returncode == 0
        return run_id


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    found = Town(tmp_path_factory.mktemp("town"))
    yield found
    found.close()


def document(done: subprocess.CompletedProcess[str]) -> object:
    """Give the one JSON document that stands on the one line of stdout."""
    assert (done.returncode, done.stderr) == (0, ""), done
    assert done.stdout.count("\n") == 1
    return json.loads(done.stdout)


def refusal(done: subprocess.CompletedProcess[str], status: int = 1) -> str:
    assert (done.returncode, done.stdout) == (status, ""), done
    return reason(done.stderr)


def test_submit_lays_file_json_and_assignments_over_each_other(town: Town) -> None:
    (town.folder / "params.yaml").write_text("x: 1\ny: file\nz: [1, 2]\n")
    flags = (
        "--params-file",
        "params.yaml",
        "--params",
        '{"x": 2, "y": "json"}',
        "--param",
        "x=40",
        "--param",
        "w=text",
    )
    answer = document(town.client("submit", *flags, "--tag", "nobody", "--tags", "a, b"))
    assert isinstance(answer, dict) and answer["status"] == "PENDING"
    run_document = document(town.client("get", answer["run_id"]))
    assert isinstance(run_document, dict)
    assert run_document["params"] == {"x": 40, "y": "json", "z": [1, 2], "w": "text"}
    assert (run_document["flow_name"], run_document["tag"], run_document["tags"]) == ("main", "nobody", ["a", "b"])


def test_a_flow_that_the_worker_knows_by_name_runs_with_its_params(town: Town) -> None:
    answer = document(town.client("submit", "--flow-name", "main", "--param", "x=4", "--tag", "hello"))
    assert isinstance(answer, dict)
    last = town.client("watch", answer["run_id"], "--until-terminal").stdout.splitlines()[-1]
    assert json.loads(last)["data"]["snapshot"]["status"] == "COMPLETED"
    tasks = document(town.client("tasks", answer["run_id"]))
    assert isinstance(tasks, dict) and tasks["task_records"]["to_text"]["output"] == "v=5"


def test_a_workflow_from_stdin_is_taken(town: Town) -> None:
    command = ("pyoco-client", "--server", town.gateway.url, "submit-yaml", "--workflow-file", "-")
    with (town.folder / "flow.yaml").open() as flow:
        done = subprocess.run(
            [*command, "--flow-name", "main", "--tag", "hello"], stdin=flow, capture_output=True, text=True, timeout=30
        )
    assert "run_id" in json.loads(done.stdout)


def test_what_is_allowed_and_probably_not_meant_is_told_with_its_place(town: Town) -> None:
    (town.folder / "odd.yaml").write_text(
        HELLO_FLOW.replace("add_one >> to_text", "add_one >> to_text\n    add_one[3]")
    )
    done = town.client("submit-yaml", "--workflow-file", "odd.yaml", "--flow-name", "main", "--tag", "hello")
    assert done.returncode == 0
    (warning,) = json.loads(done.stdout)["warnings"]
    assert (warning["loc"], warning["line"]) == ("flow.graph", 5)
    assert "warning: odd.yaml: line 5, column 5: flow.graph: " in done.stderr


def test_a_faulty_workflow_is_refused_with_every_fault_and_its_place(town: Town) -> None:
    (town.folder / "bad.yaml").write_text("version: 1\nflow:\n  graph: a >>\ntaskz: {}\n")
    words = refusal(town.client("submit-yaml", "--workflow-file", "bad.yaml", "--flow-name", "main", "--tag", "hello"))
    assert words.startswith("ERR-PYOCO-HTTP HTTP 422 POST /runs/yaml: ")
    assert "taskz" in words and "line 4" in words and "line 3" in words


def test_get_shows_records_only_when_asked(town: Town) -> None:
    run_id = town.completed()
    plain, whole = document(town.client("get", run_id)), document(town.client("get", run_id, "--records"))
    assert isinstance(plain, dict) and isinstance(whole, dict)
    assert "task_records" not in plain
    assert whole["task_records"]["add_one"]["output"] == 2


@pytest.mark.long
def test_lists_filter_page_and_draw_tables(town: Town) -> None:
    run_ids = {town.completed() for _ in range(3)}
    items = document(town.client("list", "--status", "COMPLETED", "--tag", "hello", "--limit", "200"))
    assert isinstance(items, list) and run_ids <= {item["run_id"] for item in items}
    first = document(town.client("list-vnext", "--updated-after", "0", "--status", "COMPLETED", "--limit", "2"))
    assert isinstance(first, dict) and len(first["items"]) == 2
    second = document(town.client("list-vnext", "--status", "COMPLETED", "--cursor", first["next_cursor"]))
    assert isinstance(second, dict)
    assert not {item["run_id"] for item in first["items"]} & {item["run_id"] for item in second["items"]}
    table = town.client("list-vnext", "--output", "table", "--limit", "1", "--updated-after", "0").stdout.splitlines()
    assert table[0].split() == TABLE_HEAD
    assert table[-1].startswith("next_cursor: ")
    assert "(no items)" in town.client("list", "--flow", "nobody-has-it", "--output", "table").stdout


def test_watch_prints_json_lines_or_status_lines(town: Town) -> None:
    run_id = town.completed()
    (line,) = town.client("watch", run_id).stdout.splitlines()
    event = json.loads(line)
    assert (event["event"], event["data"]["snapshot"]["status"]) == ("snapshot", "COMPLETED")
    (line,) = town.client("watch", run_id, "--output", "status").stdout.splitlines()
    assert line.split("\t")[1:] == ["snapshot", "COMPLETED", run_id]
    (line,) = town.client("watch", run_id, "--records").stdout.splitlines()
    assert json.loads(line)["data"]["snapshot"]["task_records"]["to_text"]["output"] == "v=2"


def test_watch_ends_after_its_time_or_its_number_of_events(town: Town) -> None:
    waiting = json.loads(town.client("submit", "--tag", "nobody").stdout)["run_id"]
    done = town.client("watch", waiting, "--timeout-sec", "1", "--output", "status")
    assert (done.returncode, done.stdout.split("\t")[2]) == (0, "PENDING")
    done = town.client("watch", waiting, "--max-events", "1", "--until-terminal", "--output", "status")
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 1)
    assert "has not ended; it is PENDING" in done.stderr


def test_a_run_that_does_not_exist_is_exit_1_with_the_answer(town: Town) -> None:
    for command in ("get", "tasks", "watch"):
        words = refusal(town.client(command, "nope"))
        assert words.startswith("ERR-PYOCO-HTTP HTTP 404 GET /runs/nope"), words


def test_bad_queries_and_no_gateway_are_exit_1_in_a_sentence(town: Town) -> None:
    assert "HTTP 422 GET /runs: " in refusal(town.client("list", "--limit", "201"))
    assert "HTTP 422 GET /runs: " in refusal(town.client("list", "--status", "DONE"))
    port = free_port()
    words = refusal(run("pyoco-client", "--server", f"http://127.0.0.1:{port}", "list", cwd=town.folder))
    assert words.startswith("ERR-PYOCO-HTTP ") and f"http://127.0.0.1:{port}" in words


@pytest.mark.long
def test_a_watch_until_the_end_goes_on_over_a_restart_of_the_gateway(town: Town) -> None:
    (town.folder / "slow_tasks.py").write_text(
        "import time\nfrom pathlib import Path\n\n"
        "def hold():\n    deadline = time.monotonic() + 30\n"
        f"    while not Path({str(town.folder / 'go')!r}).exists() and time.monotonic() < deadline:\n"
        "        time.sleep(0.02)\n    return 'held'\n"
    )
    (town.folder / "slow.yaml").write_text(
        "version: 1\nflow: {graph: hold}\ntasks: {hold: {callable: 'slow_tasks:hold'}}\n"
    )
    answer = town.client("submit-yaml", "--workflow-file", "slow.yaml", "--flow-name", "main", "--tag", "hello")
    run_id = json.loads(answer.stdout)["run_id"]
    log = town.folder / "watch.log"
    command = ("pyoco-client", "--server", town.gateway.url, "watch", run_id, "--until-terminal", "--output", "status")
    watch = Daemon(*command, cwd=town.folder, log=log)
    eventually(lambda: "RUNNING" in watch.log, what="the first event")
    assert town.gateway.daemon.stop() == 0
    town.gateway.restart()
    (town.folder / "go").touch()
    assert watch.process.wait(30) == 0
    assert watch.log.splitlines()[-1].split("\t")[2] == "COMPLETED"


@pytest.mark.parametrize(
    "command",
    [("submit",), ("submit-yaml", "--workflow-file", "flow.yaml", "--flow-name", "main")],
    ids=["submit", "submit-yaml"],
)
def test_a_submission_that_is_repeated_with_its_key_prints_the_first_run(town: Town, command: tuple[str, ...]) -> None:
    same = (*command, "--tag", "hello", "--idempotency-key", f"nightly {command[0]}")
    first, second = (document(town.client(*same, "--param", "x=1")) for _ in range(2))
    assert first == second
    other = town.client(*same, "--param", "x=2")
    assert other.returncode == 1 and "stands for another request" in other.stderr, other


def test_a_key_does_not_go_with_many_runs(town: Town) -> None:
    flags = ("--workflow-file", "flow.yaml", "--flow-name", "main", "--tag", "hello", "--each")
    done = town.client("submit-yaml", *flags, "--params-file", "flow.yaml", "--idempotency-key", "k")
    assert done.returncode == 1 and "--idempotency-key" in done.stderr, done
