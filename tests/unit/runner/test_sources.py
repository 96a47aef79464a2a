"""What a runner tells of the files of code that it has imported."""

from __future__ import annotations

import importlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pyoco_server.runner.sources import Sources

_HOUR_NS = 3_600 * 10**9


@pytest.fixture
def module(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Makes a module and imports it, as a task does; gives its file."""
    before = set(sys.modules)

    def make(name: str, *, folder: str = "", changed_at_ns: int) -> Path:
        path = tmp_path / folder / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
        os.utime(path, ns=(changed_at_ns, changed_at_ns))
        sys.path.insert(0, str(path.parent))
        importlib.invalidate_caches()
        try:
            importlib.import_module(name)
        finally:
            del sys.path[0]
        return path

    yield make
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_a_file_is_told_once_with_the_time_of_its_last_change(module: Callable[..., Path]) -> None:
    sources = Sources()
    an_hour_ago = time.time_ns() - _HOUR_NS
    path = module("told_once", changed_at_ns=an_hour_ago)
    assert sources.imported() == {str(path): an_hour_ago}
    assert sources.imported() == {}


def test_of_a_file_that_was_changed_while_it_was_imported_nobody_knows_the_time(module: Callable[..., Path]) -> None:
    """Else what was imported before the change would be taken for what is there after it."""
    sources = Sources()
    sources.run_begins()
    path = module("changed_meanwhile", changed_at_ns=time.time_ns())
    assert sources.imported() == {str(path): 0}


def test_a_file_of_a_clock_that_is_ahead_is_told_as_any(module: Callable[..., Path]) -> None:
    """Else a folder on such a machine would have every run executed by a new process."""
    sources = Sources()
    ahead = time.time_ns() + _HOUR_NS
    path = module("ahead", changed_at_ns=ahead)
    assert sources.imported() == {str(path): ahead}


def test_files_of_folders_that_never_change_are_left_out(module: Callable[..., Path], tmp_path: Path) -> None:
    sources = Sources([str(tmp_path / "wheel")])
    module("of_a_wheel", folder="wheel/inside", changed_at_ns=1)
    beside = module("beside_a_wheel", folder="wheels", changed_at_ns=1)
    assert sources.imported() == {str(beside): 1}


def test_installed_packages_and_what_is_no_module_are_left_out(module: Callable[..., Path]) -> None:
    sources = Sources()
    module("installed_one", folder="site-packages", changed_at_ns=1)
    # As Python writes it for a module that is not to be imported.
    sys.modules.update({"nothing_at_all": None})
    assert sources.imported() == {}
