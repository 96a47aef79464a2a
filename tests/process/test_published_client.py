"""The published ``pyoco-client`` and ``PyocoHttpClient`` 0.5.1 tell the same of our gateway as of their own.

Both gateways serve one NATS, so the answers must agree in all that 0.5.1 answers; ours may tell more. Wheels have tests
of their own.
"""

from __future__ import annotations

import contextlib
import json
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import requests

from tests.support.commands import Daemon, run
from tests.support.fleet import flow
from tests.support.mixed import OURS, TAG, THEIRS, MixedFleet, sample
from tests.support.peer import Peer
from tests.support.waiting import eventually

pytestmark = pytest.mark.long

#: Calls each method that reads, for the runs that are named; prints the answers as one object.
LIBRARY = """
import json, sys
from pyoco_server import PyocoHttpClient
client, found = PyocoHttpClient(sys.argv[1]), {}
for run_id in sys.argv[2:]:
    found[run_id] = [
        client.get_run(run_id),
        client.get_run_with_records(run_id),
        client.get_tasks(run_id),
        client.cancel_run(run_id),
        next(iter(client.watch_run(run_id, include_records=True)))["data"]["snapshot"],
    ]
found["workers"] = client.get_workers(scope="active", include_hidden=True)
found["hidden"] = client.patch_worker_hidden("ours", hidden=True)["hidden"]
found["shown"] = client.patch_worker_hidden("ours", hidden=False)["worker_id"]
found["metrics"] = "pyoco_runs_total" in client.get_metrics()
client.close()
print(json.dumps(found))
"""
#: Told by the clock at the moment of the answer, or written anew by a living worker.
MOVING = {"ts", "updated_at", "last_seen_at", "last_heartbeat_at", "heartbeat_at", "worker_heartbeat_at"}


@dataclass
class Town:
    """Both gateways, and runs that have ended, each in its way.

    :param urls: whose gateway -> its address.
    :param runs: how it ended, and by whose worker -> run id.
    """

    mixed: MixedFleet
    urls: dict[str, str]
    runs: dict[str, str]

    def client(self, whose: str, *arguments: str) -> tuple[int, str, str]:
        """Run the published command against a gateway; gives exit status, stdout and stderr.

        Their own gateway answers lists and metrics with 503 now and then, although nothing is wrong.
        """

        def ask() -> tuple[int, str, str] | None:
            done = self.mixed.peer.run(
                "pyoco-client", "--server", self.urls[whose], *arguments, folder=self.mixed.folder
            )
            assert whose == THEIRS or "HTTP 503" not in done.stderr, done.stderr
            return None if "HTTP 503" in done.stderr else (done.returncode, done.stdout, done.stderr)

        found = eventually(ask, what=f"an answer to {arguments}")
        assert found is not None
        return found


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory, peer: Peer) -> Iterator[Town]:
    mixed = MixedFleet(tmp_path_factory.mktemp("town"), peer)
    try:
        yield _settle(mixed)
    finally:
        mixed.close()


def _settle(mixed: MixedFleet) -> Town:
    (mixed.folder / "flow.yaml").write_text(sample(1))
    urls = {whose: mixed.gateway(whose) for whose in (THEIRS, OURS)}
    runs: dict[str, str] = {}
    for whose in (THEIRS, OURS):
        worker = mixed.worker(whose)
        runs[f"completed, {whose}"] = mixed.submit(urls[whose], workflow=sample(1))
        runs[f"failed, {whose}"] = mixed.submit(urls[whose], workflow=flow("fail"))
        for run_id in list(runs.values())[-2:]:
            mixed.ended(run_id)
        if whose == THEIRS:
            _stop_in_order(mixed, worker)
    cancelled = mixed.submit(urls[OURS], workflow=flow("until_cancelled"))
    mixed.running(cancelled)
    mixed.cancel(urls[OURS], cancelled)
    mixed.ended(cancelled)
    for url in urls.values():
        # What a worker does is told with its runs, and it writes that after their end.
        eventually(lambda url=url: _run(url, cancelled).get("worker_state") == "IDLE", what=f"an idle worker at {url}")
    return Town(mixed, urls, {**runs, "cancelled": cancelled})


def _stop_in_order(mixed: MixedFleet, worker: Daemon) -> None:
    """Stop the worker of 0.5.1 so that it is active no more: a killed one would leave the two lists at different times.

    Now and then it hangs on its way out; then another one of its name takes that way.
    """
    for _ in range(5):
        with contextlib.suppress(subprocess.TimeoutExpired):
            worker.stop(signal.SIGINT, timeout_sec=10)
        if mixed.record("pyoco_workers", THEIRS)["state"] == "STOPPED_GRACEFUL":
            break
        worker.kill()
        killed_at = time.time()
        worker = mixed.worker(THEIRS)
        eventually(lambda at=killed_at: mixed.record("pyoco_workers", THEIRS)["last_seen_at"] > at, what="another one")
    assert mixed.record("pyoco_workers", THEIRS)["state"] == "STOPPED_GRACEFUL"


def _run(url: str, run_id: str) -> dict[str, Any]:
    found: dict[str, Any] = requests.get(f"{url}/runs/{run_id}", timeout=10).json()
    return found


def assert_tells_all(ours: Any, theirs: Any, where: str = "answer", moving: frozenset[str] = frozenset()) -> None:
    """Check that one answer has all that the other has, with the same values; it may have more fields."""
    if isinstance(theirs, dict):
        assert isinstance(ours, dict) and not theirs.keys() - ours.keys(), (where, theirs.keys(), ours)
        for name, value in theirs.items():
            if name not in moving:
                assert_tells_all(ours[name], value, f"{where}.{name}", moving)
    elif isinstance(theirs, list):
        assert len(ours) == len(theirs), (where, ours, theirs)
        for number, pair in enumerate(zip(ours, theirs, strict=True)):
            assert_tells_all(*pair, f"{where}[{number}]", moving)
    else:
        assert ours == theirs, where


@pytest.mark.parametrize(
    "command",
    [
        "get RUN",
        "get RUN --records",
        "tasks RUN",
        "watch RUN --until-terminal",
        "watch RUN --records --max-events 1 --output json",
        "list",
        "list --status COMPLETED --flow main --tag hello --limit 1",
        "list --full",
        "list-vnext --updated-after 1",
        "list-vnext --full --workflow-yaml-sha256 SHA",
        "workers --scope active --state IDLE",
    ],
)
def test_json_that_the_published_client_prints_tells_all_that_its_own_gateway_tells(town: Town, command: str) -> None:
    run_id = town.runs[f"completed, {OURS}"]
    sha256 = str(town.mixed.run(run_id)["workflow_yaml_sha256"])
    arguments = command.replace("RUN", run_id).replace("SHA", sha256).split()
    answers = {}
    for whose in (OURS, THEIRS):
        status, printed, told = town.client(whose, *arguments)
        assert (status, told, printed.count("\n")) == (0, "", 1)
        answers[whose] = json.loads(printed)
    moving = frozenset(MOVING) if command.startswith("workers") else frozenset({"ts", "worker_heartbeat_at"})
    assert answers[THEIRS]
    assert_tells_all(answers[OURS], answers[THEIRS], moving=moving)


@pytest.mark.parametrize(
    "command",
    [
        "list --output table",
        "list --status CANCELLED --output table",
        "list-vnext --output table --updated-after 1",
        "workers --output table",
        "workers --output plugins",
    ],
)
def test_tables_that_the_published_client_prints_are_the_same(town: Town, command: str) -> None:
    ours, theirs = (town.client(whose, *command.split()) for whose in (OURS, THEIRS))
    assert ours == theirs
    assert len(ours[1].splitlines()) > 1


def test_the_published_client_watches_submits_cancels_and_pages_as_with_its_own_gateway(town: Town) -> None:
    for whose in (OURS, THEIRS):
        status, printed, _ = town.client(whose, *"submit --flow-name main --param x=4 --tag hello --tags a,b".split())
        assert (status, json.loads(printed)["status"]) == (0, "PENDING")
        run_id = json.loads(printed)["run_id"]
        status, printed, _ = town.client(whose, "watch", run_id, "--until-terminal", "--output", "status")
        last = printed.splitlines()[-1]
        assert status == 0 and re.fullmatch(rf"\d+\.\d+\tsnapshot\tCOMPLETED\t{run_id}", last), printed
        stored = town.mixed.run(run_id)
        assert (stored["params"], stored["tags"]) == ({"x": 4}, ["a", "b"])
        submit = f"submit-yaml --workflow-file flow.yaml --flow-name main --tag {TAG}"
        run_id = json.loads(town.client(whose, *submit.split())[1])["run_id"]
        town.mixed.assert_completed([(run_id, "v=2")])
        status, printed, _ = town.client(whose, "cancel", "--run-id", run_id, "--wait", "--timeout-sec", "5")
        assert (status, json.loads(printed)["status"]) == (0, "COMPLETED")
        nobody = json.loads(town.client(whose, "submit", "--tag", "nobody")[1])["run_id"]
        status, printed, _ = town.client(whose, "cancel", "--run-id", nobody)
        assert (status, json.loads(printed)["status"]) == (0, "CANCELLING")
        town.mixed.ended(nobody, timeout_sec=5)
        first = json.loads(town.client(whose, "list-vnext", "--limit", "2", "--updated-after", "1")[1])
        again = ("list-vnext", "--limit", "2", "--updated-after", "1", "--cursor", first["next_cursor"])
        second = json.loads(town.client(whose, *again)[1])
        assert len({item["run_id"] for item in (*first["items"], *second["items"])}) == 4


@pytest.mark.parametrize("command", ["get nosuch", "tasks nosuch", "cancel --run-id nosuch", "list --limit 0"])
def test_the_published_client_tells_refusals_as_with_its_own_gateway(town: Town, command: str) -> None:
    ours, theirs = (town.client(whose, *command.split()) for whose in (OURS, THEIRS))
    # What follows the status is our problem document, and the other's own.
    reasons = [re.sub(r"(- reason: HTTP \d+ \w+ \S+:) .*", r"\1", answer[2]) for answer in (ours, theirs)]
    assert (ours[:2], reasons[0]) == (theirs[:2], reasons[1])
    assert ours[0] == 1 and "ERR-PYOCO-HTTP" in ours[2]


def test_metrics_have_the_published_names_and_kinds(town: Town) -> None:
    ours, theirs = (town.client(whose, "metrics")[1].splitlines() for whose in (OURS, THEIRS))
    assert {line for line in theirs if line.startswith("# TYPE")} <= set(ours)
    values = [dict(line.rsplit(" ", 1) for line in text if not line.startswith("#")) for text in (ours, theirs)]
    # The number of living workers depends on the moment: the other gateway counts records that are not yet removed.
    for series in values[1].keys() - {"pyoco_workers_alive_total"}:
        assert float(values[0][series]) == float(values[1][series]), series


def test_every_reading_method_of_the_published_library_is_answered_as_by_its_own_gateway(town: Town) -> None:
    answers = {}
    for whose in (OURS, THEIRS):

        def ask(whose: str = whose) -> str:
            done = town.mixed.peer.run(
                "python", "-c", LIBRARY, town.urls[whose], *town.runs.values(), folder=town.mixed.folder
            )
            assert done.returncode == 0 or (whose == THEIRS and "503" in done.stderr), done.stderr
            return done.stdout

        answers[whose] = json.loads(eventually(ask, what="the answers"))
    for name, run_id in town.runs.items():
        # The living worker of a run moves on.
        assert_tells_all(answers[OURS][run_id], answers[THEIRS][run_id], name, frozenset({"worker_heartbeat_at"}))
    rest = {key: [found[key] for found in answers.values()] for key in ("hidden", "shown", "metrics")}
    assert rest == {"hidden": [True, True], "shown": [OURS, OURS], "metrics": [True, True]}
    assert_tells_all(answers[OURS]["workers"], answers[THEIRS]["workers"], "workers", frozenset(MOVING))


def test_our_client_reads_from_the_published_gateway_what_it_reads_from_ours(town: Town) -> None:
    run_id = town.runs[f"completed, {OURS}"]
    for command in (
        "get RUN --records",
        "tasks RUN",
        "watch RUN --until-terminal",
        "list --full",
        "list --output table",
    ):
        printed = {}
        for whose in (OURS, THEIRS):

            def ask(whose: str = whose, command: str = command) -> str:
                arguments = command.replace("RUN", run_id).split()
                done = run("pyoco-client", "--server", town.urls[whose], *arguments, cwd=town.mixed.folder)
                assert done.returncode == 0 or (whose == THEIRS and "503" in done.stderr), done.stderr
                return done.stdout

            printed[whose] = eventually(ask, what="the answer")
        if "table" in command:
            assert printed[OURS] == printed[THEIRS]
        else:
            ours, theirs = (json.loads(printed[whose]) for whose in (OURS, THEIRS))
            assert_tells_all(ours, theirs, command, frozenset({"ts", "worker_heartbeat_at"}))
