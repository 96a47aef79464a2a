"""Our ``pyoco-client`` prints what the published 0.5.1 prints, byte for byte, and ends with the same status."""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from pyoco_server.states import RunStatus
from tests.conftest import HELLO_FLOW
from tests.support.commands import run
from tests.support.gateway import LocalGateway
from tests.support.parts import Parts, stored_run
from tests.support.peer import Peer
from tests.support.waiting import eventually

pytestmark = pytest.mark.long

RUN = "00000000-0000-4000-8000-000000000001"
#: Far from "now", so that who is alive does not change during a test.
_LATER = 9_999_999_999.0


@dataclass
class Both:
    """The two commands, before one gateway."""

    gateway: LocalGateway
    peer: Peer
    folder: Path

    def compare(self, *words: str) -> tuple[int, str]:
        """Check that both do the same; gives exit status and stdout."""
        flags = ("--server", self.gateway.url, *words)
        theirs = self.peer.run("pyoco-client", *flags, folder=self.folder)
        ours = run("pyoco-client", *flags, cwd=self.folder)
        # Times of the answer differ, and the other command pads the last column of a table.
        told = [re.sub(r'^\d+\.\d+\t|("ts": )\d+\.\d+| +$', r"\1", each.stdout, flags=re.M) for each in (ours, theirs)]
        assert (ours.returncode, told[0]) == (theirs.returncode, told[1]), (ours.stderr, theirs.stderr)
        return ours.returncode, ours.stdout


@pytest.fixture(scope="module")
def both(shared: LocalGateway, shared_parts: Parts, peer: Peer, tmp_path_factory: pytest.TempPathFactory) -> Both:
    now = time.time()
    for number, status in enumerate(RunStatus, start=1):
        run_id = f"{RUN[:-1]}{number}"
        record = {"state": "SUCCEEDED", "started_at": 1.0, "ended_at": 2.0, "output": {"text": "é\u3042"}}
        shared_parts.put(
            run_id,
            stored_run(
                run_id,
                status=status.value,
                flow_name="a flow",
                updated_at=now + number,
                tasks={"add_one": "SUCCEEDED"},
                task_records={"add_one": record},
            ),
        )
    for name, wheels in {"w1": [], "w2": ["a", "b"], "w3": ["a", "b", "c", "d", "e"]}.items():
        wheel_sync = {"installed_wheels": [_wheel(wheel) for wheel in wheels]}
        record = {"worker_id": name, "instance_id": name, "state": "IDLE", "hidden": False, "tags": ["x", "y"]}
        seen = {"last_seen_at": _LATER, "last_heartbeat_at": _LATER, "heartbeat_at": _LATER, "updated_at": _LATER}
        shared_parts.put(name, {**record, **seen, "wheel_sync": wheel_sync}, bucket="pyoco_workers")
    eventually(
        lambda: len(shared.get("/runs").json()) == len(RunStatus) and len(shared.get("/workers").json()) == 3,
        what="what was stored being listed",
    )
    return Both(shared, peer, tmp_path_factory.mktemp("both"))


def _wheel(name: str) -> dict[str, str]:
    wheel_name = f"{name}-1-py3-none-any.whl"
    return {"wheel_name": wheel_name, "package_name": name, "package_version": "" if name == "b" else "1"}


@pytest.mark.parametrize(
    "command",
    [
        f"get {RUN}",
        f"get {RUN} --records",
        f"tasks {RUN}",
        "list",
        "list --full --limit 2",
        "list --output table",
        "list --flow nobody --output table",
        "list-vnext --updated-after 1 --limit 2",
        "list-vnext --updated-after 1 --limit 2 --output table",
        "list-vnext --updated-after 9999999999",
        "workers",
        "workers --output table",
        "workers --output plugins",
        "workers --state DISCONNECTED --output plugins",
        f"watch {RUN[:-1]}4 --until-terminal",
        f"watch {RUN[:-1]}5 --records --output status",
        f"watch {RUN} --max-events 1 --output status",
        f"cancel --run-id {RUN[:-1]}4",
        f"cancel --run-id {RUN[:-1]}6 --wait",
        "wheels",
        "wheel-history --limit 5 --action delete",
    ],
)
def test_what_is_asked_for_is_printed_as_by_the_published_command(both: Both, command: str) -> None:
    status, printed = both.compare(*command.split())
    assert status == 0 and printed


@pytest.mark.parametrize(
    "command",
    [
        "get nosuch",
        "tasks nosuch",
        "cancel --run-id nosuch",
        "list --limit 0",
        "list --output plugins",
        "submit --params [",
        "submit-yaml --workflow-file nosuch --flow-name main --tag t",
        "wheel-upload --wheel-file nosuch.whl",
        "wheel-delete --name nosuch.whl",
        "watch",
        "fly",
    ],
)
def test_what_cannot_be_done_ends_with_the_status_of_the_published_command(both: Both, command: str) -> None:
    assert both.compare(*command.split()) == (1, "")


@pytest.mark.parametrize(
    "words",
    [
        ["submit"],
        ["submit", "--param", "a=1", "--param", "b=true", "--param", "c=1.5", "--param", "d=", "--param", "e=null"],
        [
            "submit",
            "--param",
            "f=[1, 2]",
            "--param",
            "g=a text",
            "--param",
            "h=01",
            "--param",
            "i=1e3",
            "--param",
            "j=k=l",
        ],
        ["submit", "--params", '{"a": 1, "b": 1}', "--params-file", "params.yaml", "--param", "b=2"],
        ["submit", "--params-file", "params.json", "--flow-name", "other", "--tag", "t", "--tags", "a, b,,a"],
        ["submit", "--tags", ""],
        ["submit-yaml", "--workflow-file", "flow.yaml", "--flow-name", "main", "--tag", "t"],
    ],
    ids=lambda words: " ".join(words),
)
def test_what_is_submitted_is_the_run_that_the_published_command_submits(both: Both, words: list[str]) -> None:
    (both.folder / "flow.yaml").write_text(HELLO_FLOW)
    (both.folder / "params.json").write_text('{"a": {"b": [1, null, "\u3042"]}, "x": 1e3}')
    (both.folder / "params.yaml").write_text("a: 5\nb: [1, yes, ~, 1.5]\nc: {d: text}\n")
    stored = []
    for start in (run, both.peer.run):
        folder = {"cwd" if start is run else "folder": both.folder}
        done = start("pyoco-client", "--server", both.gateway.url, *words, **folder)
        assert (done.returncode, json.loads(done.stdout)["status"]) == (0, "PENDING"), done.stderr
        document = both.gateway.get(f"/runs/{json.loads(done.stdout)['run_id']}").json()
        stored.append({name: document[name] for name in ("flow_name", "params", "tag", "tags", "workflow_yaml_sha256")})
    assert stored[0] == stored[1]
