"""What ``pyoco-server`` starts on one machine, in order, and stops in the opposite one: NATS, gateway, worker.

Source: contract, section 5; design, section 9.
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import socket
import sys
from pathlib import Path
from urllib.parse import urlsplit

from pyoco_server.cli.signals import StopSignals
from pyoco_server.config import Config
from pyoco_server.embedded import STORE, EmbeddedNats
from pyoco_server.errors import BusUnavailable, InvalidCommand, SignInRefused
from pyoco_server.gateway.serve import GatewayServer, listen
from pyoco_server.ports import answers, bracketed, is_port_free, nats_url
from pyoco_server.programs import Program
from pyoco_server.service import Deadline
from pyoco_server.sign_in import addresses, public
from pyoco_server.store_folder import StoreLock

logger = logging.getLogger(__name__)

HTTP_PORT = 8000
NATS_PORT = 4222
NATS_HTTP_PORT = 8222
#: Answers that have begun may take so long after a stop.
_GATEWAY_STOP_SEC = 10.0
#: Contract 5; what is started through another command is not waited for any longer.
_BOOTSTRAP_START_SEC = 10.0
#: A worker that is beside the gateway gets this on top of its own time to let runs go on.
_WORKER_STOP_SEC = 10.0


class Stack:
    """NATS, gateway and worker of one command.

    :param args: flags of ``up`` or ``demo``.
    :param is_nats_named: whether somebody said which NATS to use, so that none is started here.
    :param is_demo: whether ports that nobody asked for may be others when they are in use, and a NATS server that
        happens to run on this machine is left alone.
    :param worker_command: arguments of the worker beside the gateway; ``None`` = no worker.
    :param worker_output: file to which the worker's log is added; this process's own stdout when ``None``.
    """

    def __init__(
        self,
        args: argparse.Namespace,
        config: Config,
        signals: StopSignals,
        *,
        is_nats_named: bool,
        is_demo: bool = False,
        worker_command: list[str] | None,
        worker_output: Path | None = None,
    ) -> None:
        self._args = args
        self._config = config
        self._signals = signals
        self._is_nats_named = is_nats_named
        self._is_demo = is_demo
        self._worker_command = worker_command
        self._worker_output = worker_output
        self._nats: EmbeddedNats | None = None
        self._gateway: GatewayServer | None = None
        self._worker: Program | None = None
        self.url = ""

    def start(self) -> None:
        """Start everything; what was started is stopped again when a later part fails, or a signal interrupts.

        :raises InvalidCommand: a port is in use, a command is missing, or NATS does not answer.
        """
        # First of all: a port in use must not leave a NATS server behind.
        listener = listen(self._args.host, self._http_port())
        host, port = listener.getsockname()[:2]
        self.url = f"http://{bracketed({'0.0.0.0': '127.0.0.1', '::': '::1'}.get(host, host))}:{port}"
        try:
            self._start_nats()
            self._start_gateway(listener)
            self._start_worker(port)
        except BaseException:
            self.stop()
            raise
        finally:
            if self._gateway is None:
                listener.close()

    def state(self) -> tuple[bool, str]:
        """Give whether everything serves, and a few words on what it does; not to be asked after a stop."""
        return (False, "starts NATS") if self._gateway is None else self._gateway.state()

    def stuck(self) -> list[str]:
        """Give the names of the threads that do not come round any more."""
        return [] if self._gateway is None else self._gateway.stuck()

    def stop(self) -> None:
        """Stop the worker, then the gateway, then NATS; works at any point of the start."""
        if self._worker is not None:
            self._signals.on_second = self._worker.hurry
            self._worker.stop(Deadline(self._config.drain_sec + _WORKER_STOP_SEC))
        if self._gateway is not None:
            self._gateway.stop(Deadline(_GATEWAY_STOP_SEC))
        if self._nats is not None:
            self._nats.stop()

    def _http_port(self) -> int:
        args = self._args
        if args.port is not None:
            return int(args.port)
        return HTTP_PORT if not self._is_demo or is_port_free(args.host, HTTP_PORT) else 0

    def _start_nats(self) -> None:
        args = self._args
        if args.with_nats_bootstrap:
            self._start_bootstrap()
            return
        if self._is_nats_named:
            return
        url = self._running_nats()
        if url is None:
            port = NATS_PORT if args.nats_client_port is None else args.nats_client_port
            if self._is_demo and args.nats_client_port is None and not is_port_free(args.nats_listen_host, port):
                port = 0
            self._nats = self._make_nats(port, args.nats_http_port)
            self._nats.start()
            url = self._nats.url
        else:
            logger.info("using the NATS server that answers at %s", url)
        self._config = self._config.with_nats_url(url)

    def _running_nats(self) -> str | None:
        """Give the address of a NATS server to use instead of one of our own."""
        args = self._args
        if self._is_demo:
            # One that nobody named may be in production; that of this folder is the one this demo would start.
            return StoreLock(STORE).holder()
        port = NATS_PORT if args.nats_client_port is None else args.nats_client_port
        return nats_url(args.nats_listen_host, port) if port and answers(args.nats_listen_host, port) else None

    def _start_bootstrap(self) -> None:
        """Start NATS by the published command ``nats-bootstrap``."""
        args = self._args
        port = NATS_PORT if args.nats_client_port is None else args.nats_client_port
        url = nats_url(args.nats_listen_host, port)
        if args.nats_url is not None and not _is_same_server(args.nats_url, url):
            raise InvalidCommand(
                f"--nats-url {public(args.nats_url)} contradicts --with-nats-bootstrap, which starts NATS at {url}. "
                "Leave one of them out."
            )
        command = shutil.which("nats-bootstrap")
        if command is None:
            raise InvalidCommand(
                "The command nats-bootstrap is not on PATH. Install the package nats-bootstrap, or leave "
                "--with-nats-bootstrap out: a NATS server is started without it, too."
            )
        self._nats = self._make_nats(
            port,
            NATS_HTTP_PORT if args.nats_http_port is None else args.nats_http_port,
            [str(Path(command).resolve()), "up", "--"],
        )
        self._nats.start()
        self._config = self._config.with_nats_url(self._nats.url)

    def _make_nats(self, port: int, http_port: int | None, bootstrap: list[str] | None = None) -> EmbeddedNats:
        nats = EmbeddedNats(
            self._config,
            host=self._args.nats_listen_host,
            port=port,
            http_port=http_port,
            store=STORE,
            on_exit=self._signals.fail,
        )
        if bootstrap is not None:
            nats.start_through(bootstrap, start_sec=_BOOTSTRAP_START_SEC)
        return nats

    def _start_gateway(self, listener: socket.socket) -> None:
        self._gateway = GatewayServer(self._config, listener, self._signals.service_failed)
        try:
            self._gateway.start()
        except SignInRefused:
            raise
        except BusUnavailable as exc:
            raise InvalidCommand(
                f"{exc} Start NATS there, name another address with --nats-url, or name none to have one started here."
            ) from exc

    def _start_worker(self, gateway_port: int) -> None:
        if self._worker_command is None:
            return
        words = [sys.executable, "-m", "pyoco_server.cli.worker", *self._worker_command]
        if "--worker-id" not in words:
            # The same after a restart, so that what its former life left undone is known as its own.
            words += ["--worker-id", f"{socket.gethostname()}-{gateway_port}"]
        self._worker = Program(
            "worker",
            words,
            on_exit=lambda program: self._signals.fail(f"the worker {program.ending}, time and again"),
            output=self._worker_output,
            # Not as a flag, which everybody on this machine could read: there may be a password in it.
            env={**os.environ, "PYOCO_NATS_URL": self._config.nats_url},
            # After a drain, or a signal to the worker alone.
            may_leave=True,
            is_killed=True,
        )
        self._worker.start()


def _is_same_server(named: str, url: str) -> bool:
    """Say whether addresses that a user gave are all that of our own server."""
    found = [urlsplit(address.url) for address in addresses(named)]
    hosts = [("127.0.0.1" if each.hostname == "localhost" else str(each.hostname), each.port) for each in found]
    return {nats_url(host, port or NATS_PORT) for host, port in hosts} == {url}
