"""What ``docs/commands.md`` says that a command prints is what it prints: "It prints {run_id, status}"."""

from __future__ import annotations

import json
import re
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import HELLO_FLOW
from tests.support.command_reference import commands
from tests.support.commands import run
from tests.support.gateway import LocalGateway
from tests.support.office import Office
from tests.support.parts import Parts, stored_run
from tests.support.wheels import write_wheel

#: Of each command that says so, the names in the first braces of its first paragraph.
PROMISED = {
    command.words: found[1].split(", ")
    for whole in commands()
    for command in whole.everything
    if command.notes and (found := re.match(r"It prints (?:an array of )?\{([a-z_, ]+)\}", command.notes[0]))
}


@dataclass
class Stage:
    """A gateway with a run that has ended, a worker, a wheel and dead letters."""

    gateway: LocalGateway
    parts: Parts
    folder: Path

    def first(self, prog: str, *words: str) -> dict[str, Any]:
        """Give the first document that a command prints, or the first of an array."""
        where = self.gateway.url if prog == "pyoco-client" else self.gateway.config.nats_url
        flag = "--server" if prog == "pyoco-client" else "--nats-url"
        done = run(prog, flag, where, *words, cwd=self.folder)
        assert done.returncode == 0, done.stderr
        document = json.loads(done.stdout.splitlines()[0])
        found: dict[str, Any] = document[0] if isinstance(document, list) else document
        return found

    def arguments(self, words: str) -> list[str]:
        """Give what a command needs, and see to it that it is there."""
        match words.removeprefix("pyoco-client ").removeprefix("pyoco-server-admin "):
            case "submit-yaml":
                (self.folder / "flow.yaml").write_text(HELLO_FLOW)
                return ["--workflow-file", "flow.yaml", "--flow-name", "main", "--tag", "t"]
            case "tasks" | "watch" | "rerun":
                run_id = str(uuid.uuid4())
                self.parts.put(run_id, stored_run(run_id, status="COMPLETED"))
                return [run_id]
            case "worker-drain":
                record = {"worker_id": "w1", "instance_id": "i", "state": "IDLE", "hidden": False, "tags": ["t"]}
                self.parts.put("w1", {**record, "last_seen_at": 9_999_999_999.0}, bucket="pyoco_workers")
                return ["--worker-id", "w1"]
            case "wheel-delete":
                path = write_wheel(self.folder)
                self.first("pyoco-client", "wheel-upload", "--wheel-file", str(path), "--preflight", "warn")
                return ["--name", path.name]
            case "dlq replay" | "dlq purge":
                return [str(Office(self.gateway, self.parts).fail())]
            case "api-key create":
                return ["--tenant", "acme"]
            case "api-key list" | "api-key revoke" as command:
                key_id = self.first("pyoco-server-admin", "api-key", "create", "--tenant", "acme")["key_id"]
                return [] if command == "api-key list" else [f"--key-id={key_id}"]
        return []


@pytest.fixture(scope="module")
def stage(shared: LocalGateway, shared_parts: Parts, tmp_path_factory: pytest.TempPathFactory) -> Stage:
    return Stage(shared, shared_parts, tmp_path_factory.mktemp("stage"))


@pytest.mark.parametrize("words", PROMISED)
def test_a_command_prints_what_its_help_promises(stage: Stage, words: str) -> None:
    printed = stage.first(*words.split(), *stage.arguments(words))
    assert list(printed)[: len(PROMISED[words])] == PROMISED[words]


def test_most_commands_promise_something() -> None:
    assert len(PROMISED) >= 14
