"""Folders that cannot be locked."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from pyoco_server.worker.folder_lock import ALONE, locked

#: Uses up the descriptors of the process once the folder is made that is to be locked.
_WITHOUT_DESCRIPTORS = """
import os, resource, sys, tempfile
from pathlib import Path
from pyoco_server.worker.scratch import Scratch
from pyoco_server.worker.wheel_folder import WheelFolder

def use_up(event, args):
    if event == "tempfile.mkdtemp":
        free = os.dup(0)
        os.close(free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free, free))

place = tempfile.tempdir = sys.argv[1]
sys.addaudithook(use_up)
try:
    {work}
except OSError as exc:
    print(exc.errno)
"""


def printed_by(script: str, place: str) -> str:
    command = [sys.executable, "-c", script, place]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=20).stdout.strip()


@pytest.mark.parametrize("work", ["Scratch()", 'WheelFolder(Path(place)).add("ab" * 32, None)'])
def test_without_descriptors_no_folder_is_made_and_that_is_said(tmp_path: Path, work: str) -> None:
    # It was taken for a folder that somebody else has locked, and the next one was made, for ever.
    assert printed_by(_WITHOUT_DESCRIPTORS.format(work=work), str(tmp_path)) == str(errno.EMFILE)
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_folder_or_not_there_cannot_be_locked(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path)
    assert [locked(tmp_path / name, ALONE) for name in ("file", "link", "gone")] == [None] * 3
