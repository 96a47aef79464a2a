"""systemd itself, as the manager of services of one test: in namespaces of its own, on whatever machine.

It is a manager for a user (``--user``), the user being root: it mounts nothing and starts nothing of the machine.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import uuid
from pathlib import Path

from tests.support.commands import BIN, clean_env
from tests.support.tools import need, need_that
from tests.support.waiting import PATIENCE_SEC, eventually

SYSTEMD = "/usr/lib/systemd/systemd"
UNITS = Path(__file__).parents[2] / "deploy" / "systemd"
#: Settings that hide the programs and the folder of a test, or want a user that is not there.
_HIDING = ("User", "PrivateTmp", "ProtectHome", "ProtectSystem", "StateDirectory", "StateDirectoryMode")
#: In a mount namespace of its own: what sd_booted(3) looks for, and what the manager of a machine would have made.
_BEGIN = f"""
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/system /run/systemd/inaccessible/dir "$XDG_RUNTIME_DIR"
cd /run/systemd/inaccessible
touch reg; mkfifo fifo; mknod chr c 0 0; mknod blk b 0 0
# Not as the first process, which would be the manager of a machine.
{SYSTEMD} --user --log-target=null &
wait
"""


class Systemd:
    """A manager that knows the units of deploy/systemd, with this environment's programs.

    :param folder: takes units, environment files, logs, and is the working directory of services.
    :param nats_url: what the environment files name.
    """

    def __init__(self, folder: Path, nats_url: str) -> None:
        self._folder = folder
        self._name = f"pyoco-test-{uuid.uuid4().hex[:8]}"
        self._groups: list[Path] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._env = clean_env(
            XDG_RUNTIME_DIR="/run/user/0",
            SYSTEMD_UNIT_PATH=f"{folder}/units:",
            HOME=str(folder),
            XDG_CONFIG_HOME="/run",
        )
        (folder / "units").mkdir()
        for name in ("gateway", "worker"):
            (folder / f"{name}.env").write_text(f"PYOCO_NATS_URL={nats_url}\n")
            text = (UNITS / f"pyoco-{name}.service").read_text()
            text = re.sub(rf"^({'|'.join(_HIDING)})=.*\n", "", text, flags=re.M)
            for given, here in (
                ("/opt/pyoco/bin", BIN),
                ("/etc/pyoco", folder),
                (f"/var/lib/pyoco-{name}", folder),
            ):
                text = text.replace(given, str(here))
            (folder / "units" / f"pyoco-{name}.service").write_text(text)
            self.set(name, f"StandardOutput=append:{folder}/{name}.log", f"StandardError=append:{folder}/{name}.log")

    def set(self, name: str, *lines: str) -> None:
        """Lay settings over those of a unit, before :meth:`start`."""
        folder = self._folder / "units" / f"pyoco-{name}.service.d"
        folder.mkdir(exist_ok=True)
        (folder / f"{len(list(folder.iterdir()))}.conf").write_text("\n".join(("[Service]", *lines, "")))

    def start(self) -> None:
        """Start it, where this machine allows that."""
        need(SYSTEMD, "systemd")
        root = Path("/sys/fs/cgroup")
        places = [place for place in (root, root / "systemd", root / "unified") if (place / "cgroup.procs").exists()]
        may_write = bool(places) and all(os.access(place, os.W_OK) for place in places)
        need_that(os.geteuid() == 0 and may_write, "this machine lets nobody here make control groups")
        self._groups = [place / self._name for place in places]
        for group in self._groups:
            group.mkdir()
        enter = "".join(f"echo $$ >{group}/cgroup.procs; " for group in self._groups)
        words = ["unshare", "--pid", "--fork", "--mount", "--mount-proc", "--kill-child", "sh", "-c", _BEGIN]
        self._process = subprocess.Popen(["sh", "-c", enter + 'exec "$@"', "sh", *words], env=self._env)
        eventually(lambda: self._has_begun(), what="systemd", timeout_sec=PATIENCE_SEC)

    def _has_begun(self) -> bool:
        assert self._process is not None
        need_that(self._process.poll() is None, "this machine lets nobody here make namespaces")
        return self._pid() is not None and self.ctl("show", "--property=Version", checks=False).returncode == 0

    def _pid(self) -> str | None:
        assert self._process is not None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        return children[0] if children else None

    def ctl(self, *words: str, checks: bool = True) -> subprocess.CompletedProcess[str]:
        """Run systemctl."""
        command = ["nsenter", "--target", str(self._pid()), "--mount", "--pid", "systemctl", "--user", *words]
        return subprocess.run(
            command, env=self._env, capture_output=True, text=True, timeout=PATIENCE_SEC * 2, check=checks
        )

    def property(self, name: str, of: str) -> str:
        """Give what systemd knows of a unit, by the name of the property."""
        return self.ctl("show", f"pyoco-{of}", f"--property={name}", "--value").stdout.strip()

    def log(self, name: str) -> str:
        """Give what a service has printed."""
        path = self._folder / f"{name}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def close(self) -> None:
        """End it with all that it has started."""
        if self._process is not None:
            # It stops its services first, which may take as long as they like.
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(PATIENCE_SEC)
        for group in self._groups:
            eventually(lambda group=group: _is_removed(group), what=f"the end of {group}", timeout_sec=PATIENCE_SEC)


def _is_removed(group: Path) -> bool:
    for folder, _, _ in os.walk(group, topdown=False):
        try:
            os.rmdir(folder)
        except OSError:
            return False
    return True
