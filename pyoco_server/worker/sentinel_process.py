"""The sentinel's process: when its worker dies, it ends what the worker has left and gives its jobs to others.

The worker tells it on stdin, in JSON arrays of one line each, what it has in hand:

    ["who", <settings>, <worker id>, <instance id>]       first of all
    ["group", <number>, <session>, <whether it is there>] the process group of a runner
    ["lease", <reply subject>, <work subject or null>]    a job in hand; null = not any more
    ["end"]                                               the worker stops in order

The end of stdin without ``end`` means that the worker is dead. Until then nothing but the standard library is loaded.

Source: design, section 6.
"""

from __future__ import annotations

import contextlib
import glob
import json
import signal
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import IO, Any

from pyoco_server.worker.process_group import ProcessGroup

#: How long killed processes may take to be gone before their jobs are handed back all the same.
_GROUPS_SEC = 2.0
#: For how long NATS is tried: by then the queue has given the jobs to others, and their holder counts as gone.
_NATS_SEC = 120.0
_CONNECT_SEC = 5.0
_PAUSE_SEC = 1.0


@dataclass
class InHand:
    """What the worker has in hand.

    :ivar leases: work subject of each job, by where its acknowledgement goes.
    """

    settings: dict[str, Any] = field(default_factory=dict)
    worker_id: str = ""
    instance_id: str = ""
    groups: set[ProcessGroup] = field(default_factory=set)
    leases: dict[str, str] = field(default_factory=dict)
    has_ended: bool = False

    def take(self, line: bytes) -> None:
        """Take note of a line."""
        word, *values = json.loads(line)
        if word == "who":
            self.settings, self.worker_id, self.instance_id = values
        elif word == "group":
            number, session, is_there = values
            (self.groups.add if is_there else self.groups.discard)(ProcessGroup(number, session))
        elif word == "lease":
            reply, subject = values
            self.leases.pop(reply, None)
            if subject is not None:
                self.leases[reply] = subject
        elif word == "end":
            self.has_ended = True


def listen(lines: IO[bytes]) -> InHand:
    """Listen to the worker until its end."""
    in_hand = InHand()
    for line in lines:
        # The last line of a worker that was killed may be half of one.
        with contextlib.suppress(ValueError):
            in_hand.take(line)
    return in_hand


def end_groups(groups: Iterable[ProcessGroup]) -> None:
    """Kill process groups, and wait for a while until nothing of them is left."""
    deadline = time.monotonic() + _GROUPS_SEC
    left = set(groups)
    number = signal.SIGKILL
    while left and time.monotonic() < deadline:
        for group in list(left):
            try:
                group.signal(number)
            except (ProcessLookupError, PermissionError):
                # It is gone, or its number became another's.
                left.discard(group)
        left = {group for group in left if _is_alive(group.number)}
        # There is no event to wait for: these are children of nobody now.
        time.sleep(0.01)


def _is_alive(group: int) -> bool:
    """Say whether something of a process group that is there may still run.

    What has ended is a child of init by now, and one that is slow to take note of it keeps the group in being.
    """
    stats = glob.glob("/proc/[0-9]*/stat")
    return not stats or any(_is_running_in(group, path) for path in stats)


def _is_running_in(group: int, path: str) -> bool:
    """Say whether a process belongs to a group and has not ended.

    :param path: its ``stat`` (proc(5)); the name in it may contain anything.
    """
    try:
        with open(path, "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return False
    state, number, thread_count = fields[0], int(fields[2]), int(fields[17])
    # The first thread of a process may have ended before the others.
    return number == group and (state not in (b"Z", b"X") or thread_count > 1)


def report(in_hand: InHand) -> None:
    """Have NATS know that the worker is lost, and hand its jobs back; give up after a while."""
    from pyoco_server.bridge.client import WORKER_BUDGET_SEC, Bus
    from pyoco_server.config import Config
    from pyoco_server.contract import names
    from pyoco_server.errors import BusError, BusUnavailable
    from pyoco_server.logs import configure_logging
    from pyoco_server.service import Deadline

    config = Config(**in_hand.settings)
    configure_logging("pyoco-server:worker", config, worker_id=in_hand.worker_id)
    deadline = Deadline(_NATS_SEC)
    lost_at = time.time()
    while not deadline.has_passed:
        bus = Bus.of(
            config,
            names.WORKER_ROLE,
            name=f"pyoco-sentinel-{in_hand.worker_id}",
            budget_sec=WORKER_BUDGET_SEC,
            waits_when_down=True,
        )
        try:
            bus.connect(_CONNECT_SEC)
            _report(bus, config, in_hand, lost_at)
            return
        except (BusError, BusUnavailable):
            time.sleep(_PAUSE_SEC)
        finally:
            bus.close(Deadline(2))


def _report(bus: Any, config: Any, in_hand: InHand, lost_at: float) -> None:
    import logging

    from pyoco_server.bridge.messages import Delivery, delivery_counts
    from pyoco_server.errors import BusUnavailable
    from pyoco_server.stores.queue import Queue
    from pyoco_server.stores.workers import WorkerStore

    logger = logging.getLogger(__name__)
    # Before any job is free: who gets it must know that its holder is gone.
    WorkerStore(bus, config).mark_lost(in_hand.worker_id, in_hand.instance_id, lost_at)
    queue = Queue(bus, config)
    count = 0
    for reply, subject in in_hand.leases.items():
        num_delivered, seq, _ = delivery_counts(reply)
        delivery = Delivery(subject, b"", seq, num_delivered, reply)
        if queue.is_last(delivery):
            # A gateway ends its run.
            continue
        try:
            queue.deliveries.nak(delivery)
            count += 1
        except BusUnavailable as exc:
            logger.warning("a job of a lost worker cannot be handed back: %s", exc)
    logger.error(
        "the worker died; its processes were ended, and %d of its %d jobs handed back",
        count,
        len(in_hand.leases),
    )


def main() -> int:
    """Watch over the worker at the other end of stdin."""
    # A service manager or a terminal sends these to all processes of a worker; the worker decides what they mean.
    # SIGABRT is the one of systemd's watchdog: what a worker leaves that has hung is cleared up as well.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGABRT):
        signal.signal(number, signal.SIG_IGN)
    in_hand = listen(sys.stdin.buffer)
    if in_hand.worker_id:
        # Also what a worker that stopped in order could not end in time: its runs begin elsewhere.
        end_groups(in_hand.groups)
        if not in_hand.has_ended:
            report(in_hand)
    return 0


if __name__ == "__main__":
    sys.exit(main())
