"""``systemctl`` on a machine of :mod:`tests.support.machines`: it starts and stops what the units say.

Who looks after a unit is a process of :mod:`tests.support.unit`; what it tells lies in the machine's ``run/``.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.support.unit import note_state
from tests.support.waiting import eventually

#: So long a unit may take to start or to stop; longer than any unit allows itself.
_TURN_SEC = 150.0


def start(root: Path, unit: str) -> None:
    if not (root / "etc/systemd/system" / f"{unit}.service").exists():
        sys.exit(f"Unit {unit}.service could not be found.")
    if state(root, unit) in ("active", "activating"):
        return
    note_state(root, unit, "activating")
    subprocess.Popen(
        [sys.executable, "-m", "tests.support.unit", unit],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=(root / "var/log/journal" / unit).open("ab"),
        start_new_session=True,
    )
    eventually(lambda: state(root, unit) != "activating", what=f"the start of {unit}", timeout_sec=_TURN_SEC)
    if state(root, unit) != "active":
        sys.exit(f"Job for {unit}.service failed. See journalctl -u {unit}.")


def stop(root: Path, unit: str) -> None:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        os.kill(int((root / "run" / f"{unit}.pid").read_text()), signal.SIGTERM)
        eventually(
            lambda: state(root, unit) not in ("active", "activating"), what=f"the end of {unit}", timeout_sec=_TURN_SEC
        )


def state(root: Path, unit: str) -> str:
    with contextlib.suppress(FileNotFoundError):
        return (root / "run" / unit).read_text()
    return "inactive"


def main(words: list[str]) -> int:
    root = Path(os.environ["ROOT"])
    verb, *units = [word.removesuffix(".service") for word in words if not word.startswith("--")]
    if verb == "daemon-reload":
        return 0
    if verb == "is-active":
        print(*[state(root, unit) for unit in units], sep="\n")
        return 0 if all(state(root, unit) == "active" for unit in units) else 3
    for unit in units:
        if verb in ("stop", "restart") or (verb == "disable" and "--now" in words):
            stop(root, unit)
        if verb in ("start", "restart") or (verb == "enable" and "--now" in words):
            start(root, unit)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
