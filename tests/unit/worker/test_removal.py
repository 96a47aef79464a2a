"""Folders that are hard to remove."""

from __future__ import annotations

import subprocess
import sys
import tempfile

#: For root each folder can be written to.
_AS_NOBODY = """
import os, sys
from pyoco_server.worker.removal import remove_tree

if os.geteuid() == 0:
    os.chown(sys.argv[1], 65534, 65534)
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
os.chdir(sys.argv[1])
os.mkdir("other", 0o500)
os.makedirs("folder/inner/last")
os.symlink("../other", "folder/link")
os.chmod("folder/inner", 0o555)
os.chmod("folder", 0o555)
remove_tree("folder/link")
remove_tree("folder")
print(*os.listdir(), oct(os.stat("other").st_mode))
"""


def test_folders_that_may_not_be_written_to_are_removed_but_not_what_links_lead_to() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as place:
        command = [sys.executable, "-c", _AS_NOBODY, place]
        printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=20)
        assert printed.stdout.strip() == "other 0o40500"
