"""Two gateways, three workers and NATS, each process of which may be ended at any time and comes back."""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.commands import Daemon, is_ready
from tests.support.nats import free_port
from tests.support.nats_cluster import NatsCluster, NatsNode
from tests.support.processes import MARK, Family, status_of
from tests.support.waiting import eventually

TAGS = ("a", "b", "c")
GATEWAYS, WORKERS = 2, 3
#: What a gateway or a worker says when it has started.
_SERVES = re.compile(r"the (gateway|worker) serves")
#: What a gateway says last that has found no NATS at its start.
_GAVE_UP = "Start NATS there"
#: Leases and signs of life as short as they may be, so that many ends come to pass in a short time.
SETTINGS = {
    "PYOCO_CONSUMER_ACK_WAIT_SEC": "4",
    "PYOCO_ACK_PROGRESS_INTERVAL_SEC": "1",
    "PYOCO_WORKER_DISCONNECT_TIMEOUT_SEC": "4",
    "PYOCO_RUN_HEARTBEAT_INTERVAL_SEC": "0.5",
    "PYOCO_WORKER_HEARTBEAT_INTERVAL_SEC": "1",
    "PYOCO_CANCEL_GRACE_PERIOD_SEC": "1",
    "PYOCO_DRAIN_SEC": "2",
    "PYOCO_CONSUMER_MAX_DELIVER": "50",
}
#: Tasks note that they begin before they do anything else, in one write.
TASKS = """\
import os, time
from pathlib import Path

LEDGER = Path(__file__).with_name("ledger")

def note(name, task):
    line = f"{name} {task} {time.time():.6f} {os.getpid()}\\n".encode()
    ledger = os.open(LEDGER, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(ledger, line)
    os.close(ledger)

def first(name, pause):
    note(name, "first")
    time.sleep(pause)
    return name

def left(name, pause):
    note(name, "left")
    time.sleep(pause / 2)
    return "l"

def right(name, pause):
    note(name, "right")
    time.sleep(pause)
    return "r"

def last(name, fails):
    note(name, "last")
    if fails:
        raise ValueError("as it was asked to")
    return name
"""


@dataclass(frozen=True)
class Hit:
    """Something was ended or suspended.

    :param at: unix seconds, before it was done; ``back_at`` is when it went on, at the latest.
    """

    at: float
    what: str
    back_at: float


@dataclass
class _Part:
    """A process that is up, or is to come back.

    :param node: of NATS, where it is one.
    :param back_at: when, by the monotonic clock; ``None`` while it is up.
    """

    name: str
    come_back: Callable[[], None]
    end: Callable[[int], None]
    node: NatsNode | None = None
    back_at: float | None = None


@dataclass
class Site:
    """The parts, which are started by :meth:`open`, and what was done to them.

    :param chance: decides what is hit, and when.
    :param nodes: of NATS; in a cluster one is hit only while all the others are whole.
    :param settings: of gateways and workers, by their variables.
    :param concurrency: slots of each worker.
    """

    folder: Path
    chance: random.Random
    nodes: int = 1
    settings: dict[str, str] = field(default_factory=lambda: dict(SETTINGS))
    concurrency: int = 2
    hits: list[Hit] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.family = Family()
        self.nats = NatsCluster(self.folder / "nats", self.nodes)
        self._ports = [free_port() for _ in range(GATEWAYS)]
        self.urls = [f"http://127.0.0.1:{port}" for port in self._ports]
        self._daemons: dict[str, Daemon] = {}
        self._parts: list[_Part] = []

    def open(self) -> None:
        """Start all parts and wait until the gateways are ready; :meth:`close` is due even when this fails."""
        (self.folder / "chaos_tasks.py").write_text(TASKS)
        self.nats.start()
        self._parts += [_Part(node.name, node.come_back, node.stop, node) for node in self.nats.nodes]
        for number, port in enumerate(self._ports):
            command = ("pyoco-server", "up", "--port", str(port), "--nats-url", self.nats.url)
            self._parts.append(self._part(f"gateway-{number}", *command))
        for number in range(WORKERS):
            served = ",".join(tag for place, tag in enumerate(TAGS) if place != number)
            command = ("pyoco-worker", "--nats-url", self.nats.url, "--worker-id", f"w{number}", "--tags", served)
            self._parts.append(self._part(f"worker-{number}", *command, "--concurrency", str(self.concurrency)))
        for url in self.urls:
            eventually(lambda url=url: is_ready(url), what=f"the gateway at {url}", timeout_sec=60)

    def torment(self, duration_sec: float) -> None:
        """Hit the parts at random; what was ended comes back after a while, whatever else is down by then."""
        end = time.monotonic() + duration_sec
        while time.monotonic() < end:
            time.sleep(self.chance.uniform(0.1, 1.2))
            self._bring_back(time.monotonic())
            self._look_after_gateways()
            self._hit()
        self._bring_back(float("inf"))
        self.nats.wait_until_whole()
        self._look_after_gateways()

    def restart(self, name: str) -> None:
        """Have a part stop as an operator does, start it again and wait until it serves."""
        part = next(part for part in self._parts if part.name == name)
        at = time.time()
        part.end(signal.SIGTERM)
        daemon = self._daemons.get(name)
        assert daemon is None or daemon.process.returncode == 0, daemon.log[-2_000:]
        said_count = 0 if daemon is None else len(_SERVES.findall(daemon.log))
        part.come_back()
        if daemon is not None:
            # Its next life writes on in the same log.
            eventually(lambda: len(_SERVES.findall(daemon.log)) > said_count, what=f"{name} serving", timeout_sec=60)
        self.hits.append(Hit(at, name, time.time()))

    def close(self) -> list[str]:
        """Have everything stop as an operator does; give what did not, which is ended by force."""
        for daemon in reversed(self._daemons.values()):
            daemon.process.send_signal(signal.SIGTERM)
        left = []
        for name, daemon in self._daemons.items():
            with contextlib.suppress(Exception):
                if daemon.process.wait(40) == 0 or _was_still_starting(daemon):
                    continue
            left.append(f"{name} ended with {daemon.process.poll()}")
        self.nats.stop()
        with contextlib.suppress(AssertionError):
            self.family.wait_until_gone(timeout_sec=30)
        left += [str(member) for member in self.family.members()]
        self.family.end()
        return left

    def _hit(self) -> None:
        # Two nodes of a cluster at once are all of it: without a majority it does nothing.
        may_hit_nats = self.nats.is_whole()
        up = [part for part in self._parts if part.back_at is None and (part.node is None or may_hit_nats)]
        part = self.chance.choice(up) if up else None
        if part is None:
            return
        kind = self.chance.random()
        if part.name.startswith("worker") and kind < 0.4:
            self._kill_runner()
            return
        at, what = time.time(), part.name
        if part.node is not None and kind < 0.3:
            what, down_sec = f"{part.name} suspended", self.chance.choice((0.2, 3.0, 12.0))
            part.node.send(signal.SIGSTOP)
        else:
            down_sec = self.chance.choice((0.0, 0.5, 3.0))
            part.end(self.chance.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGTERM)))
        part.back_at = time.monotonic() + down_sec
        self.hits.append(Hit(at, what, time.time() + down_sec))

    def _kill_runner(self) -> None:
        """Kill a runner, or what all runners of a worker are forked from."""
        pids = [member.pid for member in self.family.members("pyoco_server.runner")]
        if pids:
            at, pid = time.time(), self.chance.choice(pids)
            with contextlib.suppress(OSError):
                what = "runner" if status_of(pid, "PPid") in pids else "fork server"
                os.kill(pid, signal.SIGKILL)
                self.hits.append(Hit(at, f"{what} {pid}", at))

    def _bring_back(self, until: float) -> None:
        for part in self._parts:
            if part.back_at is not None and part.back_at <= until:
                part.come_back()
                part.back_at = None

    def _look_after_gateways(self) -> None:
        """Start gateways again that began while NATS was away and have said so, as a service manager does."""
        for part in self._parts:
            daemon = self._daemons.get(part.name)
            if (
                daemon is not None
                and part.back_at is None
                and daemon.process.poll() == 1
                and _GAVE_UP in daemon.log[-600:]
            ):
                part.come_back()

    def _part(self, name: str, *command: str) -> _Part:
        def start() -> None:
            env = {**self.settings, MARK: self.family.mark}
            log = self.folder / f"{name}.log"
            self._daemons[name] = Daemon(*command, cwd=self.folder, log=log, **env)

        def end(number: int) -> None:
            # A stop waits for runs, and for an absent NATS.
            self._daemons[name].stop(number, timeout_sec=60)

        start()
        return _Part(name, start, end)


@contextlib.contextmanager
def opened(site: Site) -> Iterator[Site]:
    """Have a site for a test, and check that all of it stops as it should."""
    try:
        site.open()
        yield site
    finally:
        left = site.close()
    assert left == []


def _was_still_starting(daemon: Daemon) -> bool:
    """Say whether it was ended by a signal before it had loaded what would have heard of it, or written a line."""
    return daemon.process.returncode == -signal.SIGTERM and f'"process": {daemon.process.pid},' not in daemon.log
