"""Code reaches the workers by commands alone, by a user who has no access to their machines."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.conftest import Gateway
from tests.support.commands import BIN, Daemons, clean_env, run
from tests.support.fleet import flow
from tests.support.nats import NatsServer
from tests.support.processes import peak_bytes
from tests.support.waiting import eventually
from tests.support.wheels import PLUGIN, file_name, wheel, write_wheel

WHICH = flow("which", which="demo:which")
#: The same task by the name that the plug-in gives it, in both forms that a file can have for that.
BY_NAME = {
    "use": "version: 1\nflow: {graph: ask}\ntasks: {ask: {use: which_plugin}}\n",
    "graph": "version: 1\nflow: {graph: which_plugin}\ntasks: {}\n",
}
PLUGINS = PLUGIN.format(package="demo")


class Works:
    """A gateway and a worker with wheel sync, and a user elsewhere."""

    def __init__(self, folder: Path) -> None:
        #: Where the user works.
        self.desk = folder / "desk"
        self.desk.mkdir()
        self._daemons = Daemons(folder)
        self.nats = NatsServer(folder / "nats").start()
        self.gateway = Gateway(self._daemons.start, self.nats)
        flags = ("--nats-url", self.nats.url, "--worker-id", "w1", "--wheel-sync")
        self._daemons.start("pyoco-worker", *flags).wait_for_log("the worker serves")

    def close(self) -> None:
        self._daemons.close()
        self.nats.stop()

    def client(self, *args: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        done = run("pyoco-client", "--server", self.gateway.url, *args, cwd=self.desk)
        assert done.returncode == status, done.stderr
        return done

    def answer(self, *args: str) -> Any:
        return json.loads(self.client(*args).stdout)

    def upload(self, *flags: str, package: str = "demo", version: str = "1.0", **options: object) -> Any:
        options.setdefault("entry_points", PLUGIN.format(package=package))
        path = write_wheel(self.desk, package, version, **options)
        return self.answer("wheel-upload", "--wheel-file", path.name, *flags)

    def run(self, workflow: str = WHICH) -> Any:
        """Run a flow and give the run as it has ended."""
        (self.desk / "flow.yaml").write_text(workflow)
        flags = ("--workflow-file", "flow.yaml", "--flow-name", "main", "--tag", "default")
        run_id = self.answer("submit-yaml", *flags)["run_id"]
        self.client("watch", run_id, "--until-terminal", "--timeout-sec", "60")
        return self.answer("get", run_id, "--records")


@pytest.fixture(scope="module")
def works(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Works]:
    found = Works(tmp_path_factory.mktemp("works"))
    yield found
    found.close()


@pytest.fixture(autouse=True)
def empty(works: Works) -> Iterator[None]:
    """Leave the registry empty for the next test."""
    yield
    for entry in works.answer("wheels"):
        works.client("wheel-delete", "--name", entry["name"])


@pytest.mark.long
def test_a_user_uploads_runs_and_deletes_versions_and_each_run_sees_exactly_the_code_it_should(works: Works) -> None:
    assert "No module named 'demo'" in works.run()["error"]
    hashes = {}
    for version in ("1.0", "2.0"):
        hashes[version] = works.upload(version=version)["sha256_hex"]
        run = works.run()
        assert run["task_records"]["which"]["output"] == version
        assert run["wheels"] == [{"name": "demo", "version": version, "sha256": hashes[version]}]
    works.client("wheel-delete", "--name", file_name("demo", "2.0"))
    assert works.run()["task_records"]["which"]["output"] == "1.0"
    works.client("wheel-delete", "--name", file_name("demo", "1.0"))
    gone = works.run()
    assert gone["status"] == "FAILED"
    assert "No module named 'demo'" in gone["error"]
    assert gone["wheels"] == []
    events = [(event["action"], event["wheel_name"]) for event in works.answer("wheel-history", "--limit", "4")]
    names = [file_name("demo", version) for version in ("1.0", "2.0", "2.0", "1.0")]
    assert events == list(zip(("delete", "delete", "upload", "upload"), names, strict=True))


@pytest.mark.long
@pytest.mark.parametrize("form", BY_NAME)
def test_a_plugin_that_only_a_wheel_brings_is_found_by_its_name(works: Works, form: str) -> None:
    task = {"use": "ask", "graph": "which_plugin"}[form]
    # The gateway has no such plug-in, nor has anybody yet: that is for the worker to judge.
    assert "flow_not_found" in works.run(BY_NAME[form])["error"]
    for version in ("1.0", "2.0"):
        works.upload(version=version)
        assert works.run(BY_NAME[form])["task_records"][task]["output"] == version
    works.client("wheel-delete", "--name", file_name("demo", "2.0"))
    assert works.run(BY_NAME[form])["task_records"][task]["output"] == "1.0"
    works.client("wheel-delete", "--name", file_name("demo", "1.0"))
    assert "flow_not_found" in works.run(BY_NAME[form])["error"]


@pytest.mark.long
@pytest.mark.parametrize("form", BY_NAME)
def test_a_plugin_that_cannot_be_loaded_is_named_in_the_error_of_the_run(works: Works, form: str) -> None:
    works.upload(files={"demo/__init__.py": b"import surely_not_there"})
    error = works.run(BY_NAME[form])["error"]
    assert error.startswith("flow_not_found: ") and "which_plugin" in error
    assert "demo (No module named 'surely_not_there')" in error


def test_the_list_of_workers_shows_what_is_installed_there(works: Works) -> None:
    works.upload(package="shown")

    def line() -> list[str]:
        return works.client("workers", "--output", "plugins").stdout.splitlines()[-1].split()

    works.run()
    eventually(lambda: line()[3:] == ["shown", "1.0", file_name("shown")], what="the wheel in the list of workers")


def test_an_upload_carries_its_tags_and_the_history_narrows(works: Works) -> None:
    entry = works.upload("--tags", "gpu, cpu,", "--no-replace", package="tagged")
    assert entry["tags"] == ["gpu", "cpu"]
    assert works.answer("wheels") == [entry]
    (event,) = works.answer("wheel-history", "--wheel-name", file_name("tagged"), "--action", "upload")
    assert (event["replace"], event["tags"]) == (False, ["gpu", "cpu"])


def refusal(works: Works, *args: str) -> str:
    done = works.client(*args, status=1)
    assert done.stdout == ""
    return done.stderr


@pytest.mark.parametrize(
    ("options", "reason", "flag"),
    [
        ({"entry_points": None}, "no entry points", "--allow-no-entry-points"),
        ({"description": "short"}, "no usage text", "--allow-missing-usage-doc"),
    ],
)
def test_preflight_names_what_is_missing_and_the_flag_that_does_without(
    works: Works, options: dict[str, Any], reason: str, flag: str
) -> None:
    options = {"entry_points": PLUGINS, **options}
    path = str(write_wheel(works.desk, **options))
    told = refusal(works, "wheel-upload", "--wheel-file", path)
    assert told.startswith("ERR-PYOCO-0018")
    assert "preflight" in told and reason in told and flag in told
    assert works.answer("wheels") == []
    done = works.client("wheel-upload", "--wheel-file", path, "--preflight", "warn")
    assert reason in done.stderr
    works.client("wheel-delete", "--name", file_name())
    assert works.client("wheel-upload", "--wheel-file", path, flag).stderr == ""


def test_a_documentation_link_is_a_usage_text(works: Works) -> None:
    works.upload(description="", metadata="Project-URL: Documentation, https://example.org\n")


def test_a_broken_wheel_is_refused_here_and_without_preflight_by_the_gateway(works: Works) -> None:
    path = works.desk / file_name()
    path.write_bytes(wheel(replaced={"demo/__init__.py": b"evil"}, entry_points=PLUGINS))
    assert "not what RECORD says" in refusal(works, "wheel-upload", "--wheel-file", path.name)
    told = refusal(works, "wheel-upload", "--wheel-file", path.name, "--preflight", "off")
    assert told.startswith("ERR-PYOCO-HTTP")
    assert "HTTP 422 POST /wheels" in told and "not what RECORD says" in told


def test_what_cannot_be_done_is_said(works: Works) -> None:
    assert "No such file" in refusal(works, "wheel-upload", "--wheel-file", "missing-1.0-py3-none-any.whl")
    assert "HTTP 404 DELETE" in refusal(works, "wheel-delete", "--name", file_name("missing"))
    works.upload()
    write_wheel(works.desk, entry_points=PLUGINS)
    assert "HTTP 409 POST /wheels" in refusal(works, "wheel-upload", "--wheel-file", file_name())
    assert "HTTP 422" in refusal(works, "wheel-history", "--limit", "0")


@pytest.mark.long
def test_large_wheels_of_four_clients_are_never_as_a_whole_in_the_memory_of_the_gateway(works: Works) -> None:
    size = 25_000_000
    works.upload(package="first")
    before = peak_bytes(works.gateway.daemon.process.pid)
    paths = [
        write_wheel(works.desk, package, files={f"{package}/data": os.urandom(size)}, entry_points=PLUGINS)
        for package in ("large_a", "large_b", "large_c", "large_d")
    ]

    def send(path: Path) -> None:
        works.client("wheel-upload", "--wheel-file", str(path))

    def fetch(path: Path) -> bytes:
        return hashlib.sha256(requests.get(f"{works.gateway.url}/wheels/{path.name}", timeout=60).content).digest()

    with ThreadPoolExecutor(len(paths)) as pool:
        list(pool.map(send, paths))
        fetched = list(pool.map(fetch, paths))
    assert fetched == [hashlib.sha256(path.read_bytes()).digest() for path in paths]
    assert peak_bytes(works.gateway.daemon.process.pid) - before < len(paths) * size / 2


@pytest.mark.long
def test_a_terminal_shows_how_far_an_upload_has_come(works: Works) -> None:
    path = write_wheel(works.desk, files={"demo/data": os.urandom(3_000_000)}, entry_points=PLUGINS)
    ours, theirs = pty.openpty()
    command = [str(BIN / "pyoco-client"), "--server", works.gateway.url, "wheel-upload", "--wheel-file", str(path)]
    process = subprocess.Popen(
        command, cwd=works.desk, env=clean_env(TERM="xterm"), stdout=subprocess.PIPE, stderr=theirs
    )
    os.close(theirs)
    shown = b""
    try:
        while piece := os.read(ours, 65536):
            shown += piece
    except OSError:
        # The other side was closed.
        pass
    os.close(ours)
    stdout, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert json.loads(stdout)["name"] == path.name
    assert b"/3.0 MB" in shown
