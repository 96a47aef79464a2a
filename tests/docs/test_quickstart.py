"""docs/quickstart.md, carried out from its first command to its last; only ports and ids are put in."""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.support.commands import Daemon, clean_env
from tests.support.documents import DOCS, blocks
from tests.support.nats import free_port
from tests.support.waiting import PATIENCE_SEC

TEXT = (DOCS / "quickstart.md").read_text()
#: A block of commands, with what stands below it as printed.
_STEP = re.compile(r"^```sh\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", re.MULTILINE | re.DOTALL)
_RUN_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Reader:
    """Somebody who does what the document says, in a folder."""

    def __init__(self, folder: Path, address: str) -> None:
        self._folder, self._address = folder, address
        self._run_id = ""

    def carry_out(self, commands: str) -> str:
        """Carry out a block of commands, and give all that they print; only what says so fails."""
        printed = ""
        for line in commands.splitlines():
            line = line.replace("RUN_ID", self._run_id)
            line = re.sub(r"^pyoco-client ", f"pyoco-client --server {self._address} ", line)
            done = subprocess.run(
                line,
                shell=True,
                cwd=self._folder,
                env=clean_env(),
                capture_output=True,
                text=True,
                timeout=2 * PATIENCE_SEC,
            )
            assert (done.returncode == 0) is ("ERR-PYOCO" not in done.stderr), (line, done.stderr)
            printed += done.stdout + done.stderr
        ids = _RUN_ID.findall(printed)
        self._run_id = ids[0] if ids else self._run_id
        return printed


def is_shown(line: str, printed: str) -> bool:
    """Say whether a line of the document was printed, where each … stands for anything."""
    return re.search(".*".join(map(re.escape, re.split(r"\s*…\s*", line))), printed) is not None


def test_the_quickstart_holds_from_its_first_command_to_its_last(tmp_path: Path, start: Callable[..., Daemon]) -> None:
    (install, _), (path, _), (up, _), *steps = _STEP.findall(TEXT)
    assert "pip install ." in install and path.startswith("export PATH=")
    (tmp_path / "tasks.py").write_text(blocks(TEXT, "python")[0])
    (tmp_path / "flow.yaml").write_text(blocks(TEXT, "yaml")[0])
    system = start(*up.split(), "--port", "0", "--nats-client-port", str(free_port()))
    address = system.wait_for_log(r"serves at (http://[\d.:]+)", timeout_sec=PATIENCE_SEC)[1]
    reader = Reader(tmp_path, address)
    for commands, told in steps:
        printed = reader.carry_out(commands)
        for line in told.splitlines():
            assert is_shown(line, printed), (commands, line, printed)
    assert len(steps) == 9
    assert system.stop(signal.SIGINT) in (0, 130)
