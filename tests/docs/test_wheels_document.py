"""What docs/wheels.md shows is carried out as it stands there: a package is built, uploaded, run, replaced, deleted."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Gateway
from tests.support.commands import Daemon, clean_env
from tests.support.documents import DOCS, blocks
from tests.support.nats import NatsServer
from tests.support.tools import need

TEXT = (DOCS / "wheels.md").read_text()


def block(language: str) -> str:
    """Give the code block of a language that stands there once."""
    (found,) = blocks(TEXT, language)
    return found


class Reader:
    """The folder of a user who reads the document."""

    def __init__(self, folder: Path, address: str) -> None:
        self._folder, self._address = folder, address
        self._lines = [line for text in blocks(TEXT, "sh") for line in text.splitlines()]
        package = folder / "src" / "weather_tasks"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text(block("python"))
        for name, language in (("pyproject.toml", "toml"), ("README.md", "text"), ("flow.yaml", "yaml")):
            (folder / name).write_text(block(language))

    def carry_out(self, start: str, version: str = "1.0") -> str:
        """Carry out the line that starts so, and give what it prints; version and address are put in."""
        (line,) = [line for line in self._lines if line.startswith(start)]
        line = line.replace("-1.0-", f"-{version}-").replace("http://127.0.0.1:8000", self._address)
        return self._shell(re.sub(r"^pyoco-client ", f"pyoco-client --server {self._address} ", line))

    def _shell(self, line: str) -> str:
        options: dict[str, Any] = {"cwd": self._folder, "env": clean_env(), "text": True, "timeout": 100}
        done = subprocess.run(line, shell=True, capture_output=True, check=False, **options)
        assert done.returncode == 0, (line, done.stderr)
        return str(done.stdout)

    def answer(self, start: str, version: str = "1.0") -> Any:
        return json.loads(self.carry_out(start, version))

    def run(self) -> tuple[str, list[dict[str, str]]]:
        """Run the flow; gives what it said, and from which wheels."""
        run_id = self.answer("pyoco-client submit-yaml")["run_id"]
        run = json.loads(self._shell(f"pyoco-client --server {self._address} get {run_id} --records"))
        return run["task_records"]["say"]["output"], run["wheels"]

    def change(self, path: str, old: str, new: str) -> None:
        file = self._folder / path
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))


@pytest.fixture
def reader(tmp_path: Path, nats: NatsServer, gateway: Gateway, start: Callable[..., Daemon]) -> Reader:
    (line,) = [line for line in TEXT.splitlines() if line.startswith("pyoco-worker")]
    worker = start(*line.replace("nats://n1:4222", nats.url).split())
    worker.wait_for_log("the worker serves")
    (tmp_path / "desk").mkdir()
    return Reader(tmp_path / "desk", gateway.url)


@pytest.mark.long
def test_the_package_of_the_document_is_built_run_replaced_and_deleted(reader: Reader) -> None:
    reader.carry_out("uv build")
    entry = reader.answer("pyoco-client wheel-upload")
    assert reader.run() == (
        "21 degrees in Kyoto",
        [{"name": "weather-tasks", "version": "1.0", "sha256": entry["sha256_hex"]}],
    )
    reader.change("src/weather_tasks/__init__.py", " degrees in ", " °C in ")
    reader.change("pyproject.toml", 'version = "1.0"', 'version = "1.1"')
    reader.carry_out("uv build")
    entry = reader.answer("pyoco-client wheel-upload", "1.1")
    assert reader.run() == (
        "21 °C in Kyoto",
        [{"name": "weather-tasks", "version": "1.1", "sha256": entry["sha256_hex"]}],
    )
    assert len(reader.answer("pyoco-client wheels")) == 2
    assert "weather-tasks" in reader.carry_out("pyoco-client workers --output plugins")
    reader.answer("pyoco-client wheel-delete", "1.1")
    assert reader.run()[0] == "21 degrees in Kyoto"
    actions = [event["action"] for event in reader.answer("pyoco-client wheel-history")]
    assert actions == ["delete", "upload", "upload"]


def test_curl_does_the_same(reader: Reader) -> None:
    need("curl", "curl")
    reader.carry_out("uv build")
    assert reader.answer("curl -F")["tags"] == ["default"]
    reader.carry_out("curl -O")
    assert reader.answer("curl -X DELETE")["deleted"] is True
    assert len(reader.answer("curl http://127.0.0.1:8000/wheels/history")) == 2
