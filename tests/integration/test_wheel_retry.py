"""Attempts to install a wheel: what they refuse, how often they are repeated, their time, and what a stop does."""

from __future__ import annotations

import itertools
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pyoco_server.bridge.client import Bus
from pyoco_server.config import Config
from pyoco_server.stores.wheels import StoredWheel, WheelStore
from pyoco_server.worker.wheelsync import WheelSync
from tests.support.parts import Parts
from tests.support.waiting import eventually
from tests.support.wheels import Registry, file_name, wheel

INTERVAL_SEC = 0.05


def _nothing(*_: Any) -> None:
    return None


class WatchedStore(WheelStore):
    """Notes when a wheel is fetched."""

    def __init__(self, bus: Bus, config: Config) -> None:
        super().__init__(bus, config)
        self.fetched_at: list[float] = []
        self.fetching: Callable[[], None] = _nothing

    def chunks(self, wheel: StoredWheel) -> Iterator[bytes]:
        self.fetched_at.append(time.monotonic())
        self.fetching()
        return super().chunks(wheel)


class Follower:
    """A worker's wheel sync, without the worker."""

    def __init__(self, parts: Parts, folder: Path, **env: str) -> None:
        ours = {"PYOCO_WHEEL_SYNC_ENABLED": "1", "PYOCO_WHEEL_SYNC_INTERVAL_SEC": str(INTERVAL_SEC)}
        config = Config.from_env({**ours, "PYOCO_WHEEL_SYNC_DIR": str(folder), **env})
        self.status: dict[str, Any] = {}
        self.store = WatchedStore(parts.bus, config)
        self.sync = WheelSync(self.store, config, [], report=self._note, changed=_nothing, on_failure=_nothing)

    def _note(self, status: dict[str, Any]) -> None:
        self.status |= status

    def wait_for_fetches(self, count: int) -> list[float]:
        """Ask, as before claims, until so many attempts were made; gives the seconds between them."""

        def look() -> bool:
            self.sync.refresh()
            return len(self.store.fetched_at) >= count

        eventually(look, what=f"{count} attempts")
        return [later - earlier for earlier, later in itertools.pairwise(self.store.fetched_at)]


@pytest.fixture
def follower(parts: Parts, tmp_path: Path) -> Iterator[Follower]:
    yield Follower(parts, tmp_path / "wheels")


def test_each_attempt_waits_longer_than_the_last_until_the_registry_changes(parts: Parts, follower: Follower) -> None:
    registry = Registry(parts.bus)
    registry.put_unchecked(file_name(), b"no wheel")
    gaps = follower.wait_for_fetches(5)
    assert all(gap >= INTERVAL_SEC * 2**number for number, gap in enumerate(gaps)), gaps
    good = registry.upload("good")
    follower.sync.refresh()
    assert follower.status["selected_wheels"] == [good]
    registry.delete(file_name())
    follower.sync.refresh()
    assert follower.status["last_result"] == "ok"


def test_a_wheel_that_takes_too_long_is_given_up_and_leaves_nothing(parts: Parts, tmp_path: Path) -> None:
    follower = Follower(parts, tmp_path / "wheels", PYOCO_WHEEL_INSTALL_TIMEOUT_SEC="0.001")
    Registry(parts.bus).upload()
    follower.sync.refresh()
    assert "demo-1.0-py3-none-any.whl cannot be installed: it took longer than 0.001 s" in follower.status["last_error"]
    assert list((tmp_path / "wheels").iterdir()) == []


def test_a_stop_ends_an_installation_and_leaves_nothing_of_it(parts: Parts, follower: Follower, tmp_path: Path) -> None:
    registry = Registry(parts.bus)
    registry.upload("first")
    follower.sync.refresh()
    registry.upload("second")
    follower.store.fetching = follower.sync.request_stop
    assert [item.name for item in follower.sync.refresh().selected] == [file_name("first")]
    assert follower.status["last_result"] == "ok"
    assert len(list((tmp_path / "wheels").iterdir())) == 1


def test_an_object_without_a_hash_is_a_fault_and_costs_no_wheel_that_is_in_use(
    parts: Parts, follower: Follower
) -> None:
    registry = Registry(parts.bus)
    registry.upload()
    (folder,) = follower.sync.refresh().paths
    registry.put_without_hash(file_name(version="2.0"), wheel(version="2.0"))
    assert follower.sync.refresh().paths == [folder]
    assert (Path(folder) / "demo" / "__init__.py").exists()
    assert (follower.status["last_result"], follower.status["selected_wheels"]) == ("error", [file_name()])
    reason = "demo-2.0-py3-none-any.whl cannot be installed: its description in the registry says no hash"
    assert follower.status["last_error"] == reason


def test_an_unpacked_wheel_whose_manifest_makes_no_sense_is_a_fault_once_and_then_unpacked_anew(
    parts: Parts, tmp_path: Path
) -> None:
    Registry(parts.bus).upload(metadata="Requires-Python: >=3\n")
    (path,) = Follower(parts, tmp_path / "first").sync.refresh().paths
    # A copy is not in use.
    shutil.copytree(tmp_path / "first", tmp_path / "wheels")
    manifest = tmp_path / "wheels" / Path(path).name / ".pyoco-wheel"
    manifest.write_text(manifest.read_text().replace('">=3"', '"some"'))
    later = Follower(parts, tmp_path / "wheels")
    assert later.sync.refresh().selected == ()
    assert "cannot be installed: Invalid specifier" in later.status["last_error"]
    eventually(lambda: later.sync.refresh().paths == [str(manifest.parent)], what="the wheel unpacked anew")


def test_a_wheel_in_use_that_gets_another_name_is_told_by_that_and_judged_by_it(
    parts: Parts, follower: Follower
) -> None:
    registry, renamed = Registry(parts.bus), "demo-1.0-2-py3-none-any.whl"
    registry.upload()
    paths = follower.sync.refresh().paths
    registry.put_unchecked(renamed, wheel())
    registry.delete(file_name())
    # What it holds is no version 2.0.
    registry.put_unchecked(file_name(version="2.0"), wheel())
    assert follower.sync.refresh().paths == paths
    status = follower.status
    assert (status["selected_wheels"], status["removed_wheels"]) == ([renamed], [file_name()])
    assert (status["updated_wheels"], status["installed_wheels"][0]["wheel_name"]) == ([renamed], renamed)
    assert "demo-2.0-py3-none-any.whl cannot be installed: " in status["last_error"]


def test_a_wheel_that_brings_the_file_in_which_the_worker_says_what_it_is_cannot_be_installed(
    parts: Parts, follower: Follower, tmp_path: Path
) -> None:
    Registry(parts.bus).upload(files={".pyoco-wheel": b"{}", "demo.py": b""})
    assert follower.sync.refresh().paths == []
    error = follower.status["last_error"]
    assert error.startswith(f"{file_name()} cannot be installed: ")
    assert ".pyoco-wheel" in error
    assert list((tmp_path / "wheels").iterdir()) == []
