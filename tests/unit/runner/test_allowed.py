"""``--allow``: a callable is judged by its name before an import, and by where it is defined after it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyoco_server.config import Config
from pyoco_server.errors import FlowNotFound, InvalidSetting, NotAllowed
from pyoco_server.runner.allowed import Allowed
from pyoco_server.runner.flows import resolve_by_name, resolve_workflow
from tests.support import allow_tasks
from tests.support.fleet import flow

OURS = Allowed(["allow_tasks_pkg.*"])
NOWHERE = Allowed()


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Importable: ``allow_tasks_pkg.tasks``, and ``trap``, which leaves a file when it is imported."""
    folder = tmp_path / "allow_tasks_pkg"
    folder.mkdir()
    (folder / "__init__.py").write_text("from .tasks import load\n")
    (folder / "tasks.py").write_text(Path(allow_tasks.__file__).read_text())
    trap = f"open({str(tmp_path / 'sprung')!r}, 'w').close()\n"
    (tmp_path / "trap.py").write_text(f"{trap}def load() -> int:\n    return 1\n")
    (tmp_path / "allow_tasks_pkg_2.py").write_text(f"{trap}def load() -> int:\n    return 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith(("allow_tasks_pkg", "trap"))]:
        del sys.modules[name]


def run(callable_path: str, allowed: Allowed = OURS) -> None:
    resolve_workflow(flow("t", t=callable_path), "main", allowed)


OFFERED = ["load", "cached", "Loader", "Shell", "loader", "bound", "loader.run", "part", "loader.__call__"]


@pytest.mark.parametrize("name", OFFERED)
def test_what_is_defined_in_an_allowed_package_may_be_executed(package: Path, name: str) -> None:
    run(f"allow_tasks_pkg.tasks:{name}")


def test_a_re_export_within_the_package_may_be_executed(package: Path) -> None:
    run("allow_tasks_pkg:load")
    run("allow_tasks_pkg:tasks.load")


WAYS_OUT = [
    "os.system",
    "system",
    "alias",
    "subprocess.run",
    "subprocess.Popen",
    "Shell.communicate",
    "outer_part",
    "session.get",
    "requests.get",
    "numbers.append",
    "functools.partial",
    "os.path.sys.modules.clear",
    "__loader__.load_module",
    "__spec__.loader.exec_module",
    "load.__call__",
    "load.__globals__.clear",
    "Loader.__subclasses__",
    "Loader.__init__",
]


@pytest.mark.parametrize("name", WAYS_OUT)
def test_no_attribute_leads_out_of_an_allowed_package(package: Path, name: str) -> None:
    path = f"allow_tasks_pkg.tasks:{name}"
    run(path, NOWHERE)
    with pytest.raises(NotAllowed, match=r"of task t.*this worker may execute: allow_tasks_pkg\.\*\. .*--allow"):
        run(path)


@pytest.mark.parametrize("path", ["os:system", "trap:load", "allow_tasks_pkg_2:load", "builtins:exec", "allow_tasks:x"])
def test_what_is_not_allowed_is_not_even_imported(package: Path, path: str) -> None:
    with pytest.raises(NotAllowed, match=path):
        run(path)
    assert not (package / "sprung").exists()
    assert not {"trap", "allow_tasks_pkg_2"} & set(sys.modules)


def test_discovery_modules_and_plug_ins_that_are_not_allowed_are_not_imported(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYOCO_DISCOVERY_MODULES", "trap")
    plugin = package / "trapped-1.0.dist-info"
    plugin.mkdir()
    (plugin / "METADATA").write_text("Metadata-Version: 2.1\nName: trapped\nVersion: 1.0\n")
    (plugin / "entry_points.txt").write_text("[pyoco.tasks]\ntrapped = allow_tasks_pkg_2:load\n")
    text = "version: 1\nflow:\n  graph: t\ntasks:\n  t:\n    use: other\n"
    with pytest.raises(FlowNotFound) as caught:
        resolve_workflow(text, "main", OURS)
    assert "trapped (allow_tasks_pkg_2 (a module with tasks): it is not among" in str(caught.value)
    assert "trap (trap (a module with tasks)" in str(caught.value)
    assert not (package / "sprung").exists()
    with pytest.raises(FlowNotFound, match="unknown task 'other'"):
        resolve_workflow(text, "main", NOWHERE)
    assert (package / "sprung").exists()


@pytest.mark.parametrize("hook", ["registry.task(os.system, name='other')", "registry.add(system, name='other')"])
def test_a_plug_in_that_is_allowed_brings_no_tasks_that_are_not(package: Path, hook: str) -> None:
    (package / "allow_tasks_pkg" / "plugin.py").write_text(
        "import os\nfrom os import system\n\n\n"
        f"def register(registry):\n    {hook}\n    registry.task(register, name='fine')\n"
    )
    plugin = package / "good-1.0.dist-info"
    plugin.mkdir()
    (plugin / "METADATA").write_text("Metadata-Version: 2.1\nName: good\nVersion: 1.0\n")
    (plugin / "entry_points.txt").write_text("[pyoco.tasks]\ngood = allow_tasks_pkg.plugin:register\n")
    text = "version: 1\nflow:\n  graph: t\ntasks:\n  t:\n    use: {}\n"
    resolve_workflow(text.format("fine"), "main", OURS)
    with pytest.raises(NotAllowed, match=r"posix:system \(of task t; that is where it is defined\)"):
        resolve_workflow(text.format("other"), "main", OURS)


def test_flows_that_a_resolver_gives_are_judged_like_all_others(package: Path) -> None:
    from pyoco.core.models import Flow, Task

    def resolver(name: str) -> Flow:
        made = Flow(name="main")
        made.add_task(Task(func=getattr(__import__("allow_tasks_pkg.tasks").tasks, name), name="t"))
        return made

    resolve_by_name("load", resolver, OURS)
    with pytest.raises(NotAllowed, match="posix:system"):
        resolve_by_name("system", resolver, OURS)
    resolve_by_name("system", resolver, NOWHERE)


def test_a_pattern_is_a_module_a_package_or_a_callable(package: Path) -> None:
    one = Allowed(["allow_tasks_pkg.tasks:load"])
    run("allow_tasks_pkg.tasks:load", one)
    for refused in ("allow_tasks_pkg.tasks:cached", "allow_tasks_pkg:load"):
        with pytest.raises(NotAllowed):
            run(refused, one)
    with pytest.raises(NotAllowed):
        run("allow_tasks_pkg.tasks:load", Allowed(["allow_tasks_pkg"]))
    run("allow_tasks_pkg.tasks:load", Allowed(["other", "allow_tasks_pkg.tasks"]))


@pytest.mark.parametrize("text", ["*", "mypkg.", "mypkg*", "my-pkg", "mypkg.*:load", "a,,b", "mypkg:*"])
def test_patterns_that_would_mean_something_else_are_refused(text: str) -> None:
    with pytest.raises(InvalidSetting, match="PYOCO_WORKER_ALLOW"):
        Config.from_env({"PYOCO_WORKER_ALLOW": text})
