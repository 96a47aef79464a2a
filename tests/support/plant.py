"""A whole installation for the tests of one file: NATS, a gateway, a worker, and the client as library and command."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from pyoco_server.client.http import PyocoHttpClient
from tests.support.commands import Daemon, Daemons, run
from tests.support.fleet import QUICK, TAG, Fleet
from tests.support.nats import NatsServer
from tests.support.nats_cluster import NatsCluster

#: Resolves every name to a flow whose last task may fail, of the tasks in ``sample_tasks.py``.
_RESOLVERS = """\
import sample_tasks
from pyoco.core.models import Flow, Task
def resolve(name):
    flow = Flow(name)
    first = Task(sample_tasks.one, "one")
    last = Task(sample_tasks.fail_until, "fail_until", dependencies={first})
    flow.add_task(first)
    flow.add_task(last)
    return flow
"""


class Plant:
    """NATS and a gateway; workers are started by :meth:`hire`.

    :param nats: runs already, and ends with the rest; a single server when ``None``.
    """

    def __init__(self, folder: Path, nats: NatsServer | NatsCluster | None = None) -> None:
        self.folder = folder
        self._daemons = Daemons(folder)
        self.start = self._daemons.start
        self.nats = nats or NatsServer(folder / "nats").start()
        self.fleet = Fleet(self.nats.url, folder)
        self.gateway, self.url = self.open_gateway()
        self.client = PyocoHttpClient(self.url)

    def open_gateway(self) -> tuple[Daemon, str]:
        """Start a gateway; gives it with its address."""
        daemon = self.start("pyoco-server", "up", "--port", "0", "--nats-url", self.nats.url)
        return daemon, daemon.wait_for_log(r"serves at (http://[\d.:]+)")[1]

    def hire(self, *flags: str, **env: str) -> Daemon:
        """Start a worker for the tag of the tests and wait until it serves."""
        flags = ("--nats-url", self.nats.url, "--tags", TAG, *flags)
        worker = self.start("pyoco-worker", *flags, **{**QUICK, **env})
        worker.wait_for_log("the worker serves")
        return worker

    def hire_for_names(self) -> Daemon:
        """Start a worker that also serves runs by flow name: ``one >> fail_until``, whatever the name."""
        (self.folder / "resolvers.py").write_text(_RESOLVERS)
        return self.hire("--flow-resolver", "resolvers.py:resolve")

    def submit(self, workflow: str, **options: Any) -> str:
        """Submit a flow.yaml through the gateway; gives the run id."""
        return str(self.client.submit_run_yaml(workflow, **{"flow_name": "main", "tag": TAG, **options})["run_id"])

    def begun(self, name: str, task: str) -> int:
        """Count how often a task of the run with this ``name`` in its parameters was begun."""
        path = self.folder / f"{name}.{task}.begun"
        return len(path.read_text().split()) if path.exists() else 0

    def command(self, *args: str) -> subprocess.CompletedProcess[str]:
        """Run ``pyoco-client``."""
        return run("pyoco-client", "--server", self.url, *args, cwd=self.folder)

    def close(self) -> None:
        self.client.close()
        self._daemons.close()
        self.fleet.close()
        self.nats.stop()
