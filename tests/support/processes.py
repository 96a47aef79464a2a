"""The processes that a command leaves behind, told apart from all others by a mark in their environment."""

from __future__ import annotations

import contextlib
import os
import signal
import uuid
from dataclasses import dataclass
from pathlib import Path

from tests.support.waiting import eventually

MARK = "PYOCO_TEST_FAMILY"


def status_of(pid: int, name: str) -> int:
    """Give a number that the kernel keeps of a process: ``Threads``, for one."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(f"{name}:")).split()[1])


def memory_bytes(pid: int) -> int:
    """Give how much memory a process has."""
    return status_of(pid, "VmRSS") * 1024


def peak_bytes(pid: int) -> int:
    """Give the most memory that a process has had."""
    return status_of(pid, "VmHWM") * 1024


def busy_sec(pid: int) -> float:
    """Give for how many seconds a process has kept a processor busy, for itself and in the kernel."""
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(after_name[11]) + int(after_name[12])) / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Member:
    """One process of a family."""

    pid: int
    command: str


class Family:
    """All processes that were started with this mark, however they were started.

    :param mark: one of its own, or that of a variable which tells families apart.
    """

    def __init__(self, mark: str | None = None, variable: str = MARK) -> None:
        self.mark = mark or uuid.uuid4().hex
        self._variable = variable

    def members(self, word: str = "") -> list[Member]:
        """Give the living ones whose command line has the word in it, oldest first."""
        found = []
        wanted = f"{self._variable}={self.mark}".encode()
        for folder in Path("/proc").iterdir():
            # It may end while it is looked at; one that has ended and is not reaped has no environment any more.
            with contextlib.suppress(OSError):
                if folder.name.isdigit() and wanted in (folder / "environ").read_bytes().split(b"\0"):
                    command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    if word in command:
                        found.append(Member(int(folder.name), command.strip()))
        return sorted(found, key=lambda member: member.pid)

    def nats_server(self) -> int:
        """Wait for the one nats-server, and give its process id."""
        return eventually(lambda: self.members("nats-server.conf"), what="a nats-server")[-1].pid

    def signal(self, word: str, number: int) -> None:
        for member in self.members(word):
            with contextlib.suppress(ProcessLookupError):
                os.kill(member.pid, number)

    def wait_until_gone(self, *, timeout_sec: float = 20.0) -> None:
        eventually(lambda: not self.members(), what="the end of " + str(self.members()), timeout_sec=timeout_sec)

    def end(self) -> None:
        """Leave nothing behind, whatever the test has found."""
        self.signal("", signal.SIGKILL)
