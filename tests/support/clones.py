"""Fresh clones of this project."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

CLONE = Path(__file__).resolve().parents[2]


def copy_clone(folder: Path) -> Path:
    """Copy what is under version control, as it is in the working tree, and give the folder."""
    files = subprocess.run(["git", "ls-files", "-z"], cwd=CLONE, capture_output=True, text=True, check=True).stdout
    for name in files.split("\0"):
        if name and (CLONE / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(CLONE / name, folder / name)
    return folder
