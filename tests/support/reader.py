"""Somebody who reads a document and does what it says: block by block, in terminals, with ports of his own."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.support.commands import BIN, Daemon, clean_env
from tests.support.documents import Block
from tests.support.nats import free_port
from tests.support.waiting import PATIENCE_SEC, eventually

#: Lines that may be repeated until they show what is told: workers tell of themselves every few seconds.
_READING = r"(\w+=\$\()?(pyoco-client (workers|list|tasks|dlq list)|curl -s) "
#: Commands that go on until they are told to stop, with what each says when it is up.
_STAYING = {"pyoco-server up": "the gateway serves at", "pyoco-worker": "the worker serves"}


@dataclass(frozen=True)
class Step:
    """Commands, and what they show: the lines in any order, where ``…`` with the blanks beside it is anything."""

    language: str
    commands: str
    shown: str = ""


def steps(blocks: list[Block]) -> list[Step]:
    """Give what is to be done: blocks of commands, each with the block of text below it."""
    found: list[Step] = []
    for block in blocks:
        if block.language == "text":
            found[-1] = Step(found[-1].language, found[-1].commands, block.text)
        else:
            found.append(Step(block.language, block.text))
    return found


class Reader:
    """A reader's home folder, his terminals, and the gateway that he starts.

    :param home: what ``~`` stands for.
    :param clone: the folder in which his first terminal is opened.
    :param start: starts a command that stays, in the folder ``~/site``.
    """

    def __init__(self, home: Path, clone: Path, start: Callable[..., Daemon]) -> None:
        self._home, self._start = home, start
        self._port, self._nats_port = free_port(), free_port()
        #: What is put in for words in capitals, such as the id of a run.
        self.words: dict[str, str] = {}
        #: What the last commands have shown.
        self.shown = ""
        self.url = f"http://127.0.0.1:{self._port}"
        self._staying: dict[str, Daemon] = {}
        self._output = home / "terminal.log"
        with self._output.open("wb") as output:
            self._shell = subprocess.Popen(
                ["bash", "--noprofile", "--norc"],
                cwd=clone,
                env=clean_env(PATH=f"{self._client()}{os.pathsep}{BIN}{os.pathsep}{os.environ['PATH']}"),
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                text=True,
                start_new_session=True,
            )
        self._type("set -o pipefail; trap '__failed=yes' ERR\n")

    def carry_out(self, step: Step) -> None:
        """Do what a block says and look whether it shows what the document shows."""
        commands = self._own(step.commands)
        last = commands.splitlines()[-1]
        if any(last.startswith(words) for words in _STAYING):
            self._stay(last)
            return
        if step.language == "crontab":
            commands = self._as_cron_does(last)
        is_reading = all(re.match(_READING, line) for line in commands.splitlines())
        deadline = time.monotonic() + (PATIENCE_SEC if is_reading else 0)
        trouble = self._trouble(commands, step.shown)
        while trouble and time.monotonic() < deadline:
            trouble = self._trouble(commands, step.shown)
        assert not trouble, trouble

    def press_ctrl_c(self) -> None:
        """Stop what stays, the one that was started last first; each must end well."""
        for command, daemon in reversed(self._staying.items()):
            assert daemon.stop(signal.SIGINT) == 0, f"{command}:\n{daemon.log}"

    def ask(self, command: str) -> str:
        """Type a command of one's own, and give what it shows."""
        return self._type(f"{command}\n")[1].strip()

    def close(self) -> None:
        assert self._shell.stdin is not None
        self._shell.kill()
        self._shell.stdin.close()
        self._shell.wait()

    def _client(self) -> Path:
        """Make a folder with a client whose gateway is at this reader's port unless another is named."""
        folder = self._home / "bin"
        folder.mkdir()
        script = folder / "pyoco-client"
        script.write_text(f'#!/bin/sh\nexec {shlex.quote(str(BIN / "pyoco-client"))} --server {self.url} "$@"\n')
        script.chmod(0o755)
        return folder

    def _own(self, commands: str) -> str:
        """Put in this reader's words, home and ports."""
        for word, value in self.words.items():
            commands = re.sub(rf"\b{word}\b", value, commands)
        own = commands.replace("~/", f"{self._home}/").replace("http://127.0.0.1:8000", self.url)
        return own.replace("nats://127.0.0.1:4222", f"nats://127.0.0.1:{self._nats_port}")

    def _stay(self, command: str) -> None:
        before = self._staying.pop(command, None)
        if before is not None:
            eventually(lambda: before.process.poll() == 0, what=f"the end of {command}", timeout_sec=PATIENCE_SEC)
        words = command.split()
        if words[:2] == ["pyoco-server", "up"]:
            words += ["--port", str(self._port), "--nats-client-port", str(self._nats_port)]
        elif "--nats-url" not in words:
            words += ["--nats-url", f"nats://127.0.0.1:{self._nats_port}"]
        daemon = self._staying[command] = self._start(*words)
        (sign,) = (sign for start, sign in _STAYING.items() if command.startswith(start))
        daemon.wait_for_log(sign, timeout_sec=PATIENCE_SEC)

    def _as_cron_does(self, line: str) -> str:
        """Give a command that does what cron does with a line: nothing may be said, or there would be a mail."""
        command = line.split(maxsplit=5)[5]
        return f'test -z "$(env -i PATH="$PATH" GATEWAY=$GATEWAY sh -c {shlex.quote(command)} 2>&1)"\n'

    def _trouble(self, commands: str, shown: str) -> str:
        """Type commands, and say what is wrong with what they do; nothing if that is what the document shows."""
        is_done, output = self._type(commands)
        self.shown = output
        lines = [] if is_done else ["(a command has failed)"]
        lines += [f"(it does not show: {line})" for line in _missing(shown, output)]
        return "\n".join([commands, output, *lines]) if lines else ""

    def _type(self, commands: str) -> tuple[bool, str]:
        """Type commands into the terminal; gives whether none has failed, and what they have shown."""
        assert self._shell.stdin is not None
        at = self._output.stat().st_size
        self._shell.stdin.write(f"__failed=no\n{commands}echo; echo done: $__failed\n")
        self._shell.stdin.flush()

        def look() -> re.Match[str] | None:
            assert self._shell.poll() is None, self._output.read_text(errors="replace")[-2000:]
            text = self._output.read_bytes()[at:].decode(errors="replace")
            return re.search(r"(.*)\ndone: (yes|no)\n", text, re.DOTALL)

        found = eventually(look, what=f"the end of {commands!r}", timeout_sec=4 * PATIENCE_SEC)
        return found[2] == "no", found[1]


def _missing(shown: str, output: str) -> list[str]:
    """Give the lines that are told and were not shown."""
    lines = [" ".join(line.split()) for line in output.splitlines()]
    told = [" ".join(line.split()) for line in shown.splitlines()]
    return [line for line in told if not any(_pattern(line).fullmatch(found) for found in lines)]


def _pattern(line: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, re.split(" ?… ?", line))))
