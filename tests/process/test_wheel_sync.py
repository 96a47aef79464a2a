"""Workers import what the registry has: at once, nothing else, and whatever goes wrong."""

from __future__ import annotations

import functools
import json
import os
import re
import sysconfig
from pathlib import Path

import pytest
import yaml

from tests.support.commands import Daemon
from tests.support.fleet import flow, runners_of
from tests.support.hostile_wheels import HOSTILE
from tests.support.shop import WHICH, Shop
from tests.support.waiting import eventually
from tests.support.wheels import PLUGIN, file_name, wheel

#: Of each kind that would do harm on the machine of a worker.
UNSOUND = ["no archive", "path that leads out", "absolute path", "symlink", "two names for one file"]
UNSOUND += [
    "file that is a folder",
    "bomb",
    "shared bytes",
    "tampered file",
    "unlisted file",
    "weak hash",
    "other name",
]


def test_each_run_imports_what_the_registry_has_when_it_is_submitted(shop: Shop) -> None:
    worker = shop.hire()
    assert "flow_not_found" in shop.run(status="FAILED")
    first = shop.registry.upload("demo", "1.0")
    assert shop.run() == "1.0"
    shop.registry.upload("demo", "1.1")
    assert shop.run() == "1.1"
    shop.registry.delete(first)
    assert shop.run() == "1.1"
    shop.registry.delete(file_name("demo", "1.1"))
    assert "No module named 'demo'" in shop.run(status="FAILED")
    shop.registry.upload("demo", "0.5")
    assert shop.run() == "0.5"
    assert worker.process.poll() is None


def test_a_runner_does_not_look_whether_files_of_its_wheels_were_changed(shop: Shop) -> None:
    worker = shop.hire()
    shop.registry.upload("demo", "1.0")
    assert shop.run() == "1.0"
    runners = runners_of(worker)
    (module,) = shop.folder().glob("*/demo/__init__.py")
    os.utime(module, (1, 1))
    assert shop.run() == "1.0"
    assert runners_of(worker) == runners


def test_a_run_says_which_wheels_it_ran(shop: Shop) -> None:
    shop.hire()
    shop.registry.upload("demo", "2.0")
    (info,) = shop.registry.listing().objects
    run = shop.crew.fleet.ended(shop.crew.submit(WHICH))
    assert run["wheels"] == [{"name": "demo", "version": "2.0", "sha256": info.sha256_hex}]


def test_a_worker_without_wheel_sync_imports_nothing_of_the_registry_and_says_so(shop: Shop) -> None:
    shop.registry.upload()
    worker = shop.crew.hire("plain")
    run = shop.crew.fleet.ended(shop.crew.submit(WHICH), "FAILED")
    assert "wheels" not in run
    assert shop.sync_of(worker)["last_result"] == "disabled"


def test_no_pip_is_needed_and_the_environment_of_the_worker_stays_as_it_is(shop: Shop) -> None:
    trap = shop.crew.fleet.folder / f"trap-{shop.crew.tag}"
    trap.mkdir()
    (trap / "pip.py").write_text("raise SystemExit('pip was used')\n")
    packages = Path(sysconfig.get_path("purelib"))
    installed = sorted(packages.iterdir())
    shop.hire(PYTHONPATH=str(trap))
    shop.registry.upload()
    assert shop.run() == "1.0"
    assert sorted(packages.iterdir()) == installed


def test_a_run_that_has_begun_keeps_its_code_while_the_next_slot_runs_the_new(shop: Shop) -> None:
    late = b"""\
from sample_tasks import hold

def which(name):
    hold(name)
    import demo.late
    return demo.late.X
"""

    def upload(version: str) -> None:
        files = {"demo/__init__.py": late, "demo/late.py": f"X = {version!r}\n".encode()}
        shop.registry.upload("demo", version, files=files)

    shop.hire("w", "--concurrency", "2")
    upload("1.0")
    params = {"name": shop.crew.tag}
    first = shop.crew.submit(WHICH, params=params)
    shop.crew.wait_for_begin(1)
    upload("2.0")
    shop.registry.delete(file_name("demo", "1.0"))
    second = shop.crew.submit(WHICH, params=params)
    shop.crew.wait_for_begin(2)
    shop.crew.let_go()
    outputs = [shop.crew.fleet.ended(run)["task_records"]["which"]["output"] for run in (first, second)]
    assert outputs == ["1.0", "2.0"]


def test_a_plugin_of_a_wheel_is_found_by_use(shop: Shop) -> None:
    shop.hire()
    shop.registry.upload("demo", "1.0", entry_points=PLUGIN.format(package="demo"))
    workflow = yaml.safe_dump({"version": 1, "flow": {"graph": "ask"}, "tasks": {"ask": {"use": "which_plugin"}}})
    assert shop.run(workflow, "ask") == "1.0"


RESOLVER = b"""\
from pyoco.core.models import Flow, Task

def resolve(name):
    flow = Flow(name=name)
    flow.add_task(Task(func=lambda: "resolved", name="only"))
    return flow
"""


def test_a_resolver_may_stand_in_a_wheel_and_a_broken_one_costs_no_run_once_it_is_mended(shop: Shop) -> None:
    shop.registry.upload("demo", "1.0", files={"demo/__init__.py": RESOLVER})
    worker = shop.hire("w", "--flow-resolver", "demo:resolve", PYOCO_WHEEL_SYNC_INTERVAL_SEC="0.1")
    assert shop.run(None, "only") == "resolved"
    shop.registry.upload("demo", "2.0", files={"demo/__init__.py": b"raise RuntimeError('broken')"})
    worker.wait_for_log("a runner cannot boot")
    mended = shop.registry.upload("demo", "3.0", files={"demo/__init__.py": RESOLVER})
    shop.wait_for_sync(worker, last_result="ok", selected_wheels=[mended])
    assert shop.run(None, "only") == "resolved"
    consumer = shop.crew.fleet.bus.api(f"CONSUMER.INFO.PYOCO_WORK.pyoco_workers_{shop.crew.tag}")
    assert consumer["delivered"]["consumer_seq"] == 2


def test_only_wheels_of_the_workers_tags_and_the_newest_that_fit_are_installed(shop: Shop) -> None:
    tag = shop.crew.tag
    shop.registry.upload("mine", tags=["other", tag])
    shop.registry.upload("theirs", tags=["other"])
    shop.registry.upload("demo", "1.0")
    shop.registry.upload("demo", "1.1")
    shop.registry.upload("demo", "2.0", metadata="Requires-Python: <3\n")
    shop.registry.put_unchecked("demo-3.0-cp27-cp27m-win32.whl", wheel("demo", "3.0"))
    shop.registry.upload("needy", metadata="Requires-Dist: surely-not-there>=1\nRequires-Dist: demo>=1\n")
    worker = shop.hire()
    status = shop.wait_for_sync(worker, last_result="ok")
    names = [file_name("demo", "1.1"), file_name("mine"), file_name("needy")]
    assert status["selected_wheels"] == status["updated_wheels"] == names
    assert (status["enabled"], status["selected_count"], status["updated_count"]) == (True, 3, 3)
    assert [item["wheel_name"] for item in status["installed_wheels"]] == names
    assert {item["package_version"] for item in status["installed_wheels"]} == {"1.0", "1.1"}
    skipped = {item["wheel_name"]: item["reason"] for item in status["skipped_incompatible"]}
    assert status["skipped_incompatible_count"] == len(skipped) == 2
    assert "cp27-cp27m-win32" in skipped["demo-3.0-cp27-cp27m-win32.whl"]
    assert "needs Python <3" in skipped[file_name("demo", "2.0")]
    assert status["missing_requirements"] == [{"wheel_name": file_name("needy"), "requirement": "surely-not-there>=1"}]
    assert status["last_attempt_at"] <= status["last_success_at"]
    assert status["last_synced_at"] and status["last_error"] is None


@pytest.mark.long
def test_for_a_wheel_that_cannot_be_installed_the_version_before_it_is_taken_and_the_rest_goes_on(shop: Shop) -> None:
    worker = shop.hire(PYOCO_WHEEL_SYNC_INTERVAL_SEC="0.5")
    shop.registry.upload("demo", "1.0")
    assert shop.run() == "1.0"
    shop.registry.put_unchecked(file_name("demo", "2.0"), wheel(version="2.0", replaced={"demo/__init__.py": b"evil"}))
    shop.registry.put_unchecked("notes.txt", b"hello")
    shop.registry.upload("other", "1.0")
    assert shop.run() == "1.0"
    status = shop.wait_for_sync(worker, last_result="error")
    assert "demo-2.0-py3-none-any.whl cannot be installed" in status["last_error"]
    assert "'notes.txt' in the registry is not a wheel" in status["last_error"]
    assert status["selected_wheels"] == [file_name(), file_name("other")]
    # A worker that comes later does as the others do.
    worker.stop()
    worker = shop.hire(PYOCO_WHEEL_SYNC_INTERVAL_SEC="0.5")
    assert shop.run() == "1.0"
    shop.registry.delete(file_name("demo", "2.0"))
    shop.registry.delete("notes.txt")
    shop.registry.upload("demo", "3.0")
    assert shop.run() == "3.0"
    assert shop.wait_for_sync(worker, last_result="ok")["last_error"] is None


@pytest.mark.long
def test_a_hostile_wheel_that_no_gateway_has_checked_is_refused_with_what_is_wrong(shop: Shop) -> None:
    worker = shop.hire(PYOCO_WHEEL_SYNC_INTERVAL_SEC="0.1")
    shop.registry.upload("good")
    for kind in UNSOUND:
        data, reason = HOSTILE[kind]
        shop.registry.put_unchecked(file_name(), data)
        pattern = re.compile(f"cannot be installed.*({reason})")
        eventually(lambda look=pattern: look.search(shop.sync_of(worker).get("last_error") or ""), what=kind)
        assert shop.sync_of(worker)["selected_wheels"] == [file_name("good")]
        shop.registry.delete(file_name())
    assert len(list(shop.folder().iterdir())) == 1
    assert shop.run(flow("which", which="good:which")) == "1.0"


def test_requirements_that_make_no_sense_are_told_as_missing_and_the_worker_goes_on(shop: Shop) -> None:
    odd = ['x; os_name ~= "posix"', f"x; {'(' * 3000}os_name == 'a'{')' * 3000}", f"y{os.urandom(600_000).hex()}"]
    worker = shop.hire()
    shop.registry.upload(metadata="".join(f"Requires-Dist: {text}\n" for text in odd))
    assert shop.run() == "1.0"
    missing = shop.wait_for_sync(worker, last_result="ok", selected_count=1)["missing_requirements"]
    assert [item["requirement"][:20] for item in missing] == [text[:20] for text in odd]


def test_a_failed_wheel_is_tried_again_by_itself(shop: Shop) -> None:
    blocked = shop.folder()
    blocked.write_text("in the way")
    worker = shop.hire(PYOCO_WHEEL_SYNC_INTERVAL_SEC="0.3")
    shop.registry.upload()
    shop.wait_for_sync(worker, last_result="error")
    blocked.unlink()
    shop.wait_for_sync(worker, last_result="ok", selected_wheels=[file_name()])
    assert shop.run() == "1.0"


def test_removed_wheels_are_gone_from_the_disk_and_the_worker_keeps_nothing_else(shop: Shop) -> None:
    worker = shop.hire(PYOCO_WHEEL_SYNC_INTERVAL_SEC="0.3")
    shop.registry.upload("demo", "1.0")
    assert shop.run(flow("where", where="demo:where"), "where").startswith(str(shop.folder()))
    shop.registry.upload("demo", "2.0")
    assert shop.run() == "2.0"
    shop.registry.delete(file_name("demo", "1.0"))
    shop.registry.delete(file_name("demo", "2.0"))
    status = shop.wait_for_sync(worker, last_result="ok", selected_wheels=[])
    assert status["removed_wheels"] == [file_name("demo", "2.0")]
    assert "No module named 'demo'" in shop.run(status="FAILED")
    shop.registry.upload("other", "1.0")
    shop.wait_for_sync(worker, selected_wheels=[file_name("other")])
    assert len(list(shop.folder().iterdir())) == 1


@pytest.mark.long
def test_an_idle_worker_lets_go_of_what_was_removed_with_all_its_slots(shop: Shop) -> None:
    worker = shop.hire("w", "--concurrency", "3", PYOCO_WHEEL_SYNC_INTERVAL_SEC="0.2")
    shop.registry.upload("demo", "1.0")
    assert [shop.run() for _ in range(3)] == ["1.0"] * 3
    shop.registry.upload("demo", "2.0")
    shop.wait_for_sync(worker, last_result="ok", selected_wheels=[file_name("demo", "2.0")])
    eventually(lambda: len(list(shop.folder().iterdir())) == 1, what="the old version leaving the disk")
    shop.registry.delete(file_name("demo", "1.0"))
    shop.registry.delete(file_name("demo", "2.0"))
    eventually(lambda: not list(shop.folder().iterdir()), what="the last version leaving the disk")
    assert "No module named 'demo'" in shop.run(status="FAILED")


@pytest.mark.long
def test_two_workers_that_share_a_folder_do_not_disturb_each_other_with_all_their_slots(shop: Shop) -> None:
    tags = [shop.crew.tag, f"{shop.crew.tag}-b"]
    flags = ("--wheel-sync-dir", str(shop.folder("shared")), "--concurrency", "3", "--tags")
    workers = [shop.hire(tag, *flags, tag, PYOCO_WHEEL_SYNC_INTERVAL_SEC="0.1") for tag in tags]
    for number in range(5):
        version = f"1.{number}"
        for tag in tags:
            shop.registry.upload(f"only_{tag}".replace("-", "_"), version, tags=[tag])
        shop.registry.upload("demo", version)
        runs = [shop.crew.submit(WHICH, tag=tag) for tag in tags for _ in range(3)]
        ended = [shop.crew.fleet.ended(run) for run in runs]
        assert [run["task_records"]["which"]["output"] for run in ended] == [version] * 6
    for worker in workers:
        shop.wait_for_sync(worker, last_result="ok", selected_count=2)
    eventually(lambda: len(list(shop.folder("shared").iterdir())) == 3, what="the older versions leaving the disk")
    shop.registry.clear()
    for worker in workers:
        shop.wait_for_sync(worker, last_result="ok", selected_count=0)


@pytest.mark.long
def test_a_worker_killed_in_the_midst_of_a_sync_leaves_what_the_next_start_repairs(shop: Shop) -> None:
    files = {f"demo/data{number}": bytes([number % 256]) * 3000 for number in range(400)}
    for number in range(4):
        version = f"1.{number}"
        files["demo/__init__.py"] = f"def which():\n    return {version!r}\n".encode()
        shop.registry.upload("demo", version, files=files)
        worker = shop.crew.begin("w", "--wheel-sync", "--wheel-sync-dir", str(shop.folder()))
        # From before the first folder is there to after the last.
        shop.crew.fleet.wait_until(functools.partial(syncing, shop, worker, number), f"step {number} of the sync")
        worker.kill()
    shop.hire()
    assert shop.run() == "1.3"
    (left,) = shop.folder().iterdir()
    assert len(json.loads((left / ".pyoco-wheel").read_text())["sizes"]) == 404


def syncing(shop: Shop, worker: Daemon, step: int) -> bool:
    """Say whether the worker has come so far: a folder is begun, grows, and has its name."""
    if "wheels: installed" in worker.log:
        return True
    folders = list(shop.folder().glob(".new-*")) if shop.folder().exists() else []
    return any(sum(len(names) for _, _, names in os.walk(folder)) >= step * 100 for folder in folders)


def test_a_folder_that_lost_files_is_made_anew(shop: Shop) -> None:
    shop.registry.upload()
    worker = shop.hire()
    assert shop.run() == "1.0"
    worker.stop()
    (folder,) = shop.folder().iterdir()
    (folder / "demo" / "__init__.py").write_bytes(b"")
    shop.hire()
    assert shop.run() == "1.0"
