"""The folders of runs, whatever tasks and cleaners do to them."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyoco_server.worker.scratch import Scratch


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the folders of workers lie."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield tmp_path
    # Nor could pytest remove what is left of a tree that is too deep.
    subprocess.run(["rm", "-rf", tmp_path], check=True)


@pytest.fixture
def scratch(place: Path) -> Iterator[Scratch]:
    found = Scratch()
    yield found
    found.remove()


def make_deep(folder: str | Path) -> None:
    """Make more levels than Python's functions may call one another."""
    subprocess.run(["mkdir", "-p", os.path.join(folder, *"d" * 1500)], check=True)


def test_a_run_may_leave_a_tree_of_any_depth(place: Path, scratch: Scratch) -> None:
    folder = scratch.new_folder()
    make_deep(folder)
    scratch.remove_folder(folder)
    assert not os.path.exists(folder)
    make_deep(scratch.new_folder())
    scratch.remove()
    assert list(place.iterdir()) == []


def test_a_killed_worker_may_leave_a_tree_of_any_depth(place: Path) -> None:
    make_deep(place / "pyoco-worker-dead")
    Scratch().remove()
    assert list(place.iterdir()) == []


@pytest.mark.parametrize("is_made_anew", [False, True])
def test_after_a_cleaner_the_next_folder_is_safe_from_other_workers(scratch: Scratch, is_made_anew: bool) -> None:
    folder = scratch.new_folder()
    shutil.rmtree(os.path.dirname(folder))
    if is_made_anew:
        # A runner keeps results of a task.
        os.makedirs(folder)
    folder = scratch.new_folder()
    Scratch().remove()
    assert os.path.isdir(folder)
