"""The worker's side of its sentinel: keeps the process up, and tells it what there is in hand.

Source: design, section 6.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any

from pyoco_server.bridge.messages import Delivery
from pyoco_server.config import Config
from pyoco_server.service import Service
from pyoco_server.worker.process_group import ProcessGroup

logger = logging.getLogger(__name__)

#: Between the end of a sentinel and the start of the next one.
_RESTART_PAUSE_SEC = 0.5


#: Those of this process, for processes that are forked from it.
_sentinels: weakref.WeakSet[Sentinel] = weakref.WeakSet()


class Sentinel(Service):
    """One process beside the worker, in a session of its own; another one follows when it dies.

    While there is none the worker goes on: if it died just then, the end of its leases would have to do.

    :param is_silent: whether it keeps off the stdout and stderr of this process: who reads them waits for their end.
    """

    def __init__(
        self,
        config: Config,
        *,
        worker_id: str,
        instance_id: str,
        is_silent: bool,
        on_failure: Callable[[Service], None],
    ) -> None:
        super().__init__("pyoco-sentinel", on_failure)
        self._who = ["who", vars(config), worker_id, instance_id]
        self._output = subprocess.DEVNULL if is_silent else None
        self._lock = threading.Lock()
        self._groups: set[ProcessGroup] = set()
        self._leases: dict[str, str] = {}
        self._process: subprocess.Popen[bytes] | None = None
        _sentinels.add(self)

    def start(self) -> None:
        """Start the process, before there is anything in hand.

        :raises OSError: it cannot be started.
        """
        self._spawn()
        super().start()

    def watch_group(self, group: ProcessGroup) -> None:
        """Have a process group ended with this worker."""
        with self._lock:
            self._groups.add(group)
            self._tell(["group", group.number, group.session, True])

    def forget_group(self, group: ProcessGroup) -> None:
        """Take note that a process group is gone: its number may become somebody else's."""
        with self._lock:
            self._groups.discard(group)
            self._tell(["group", group.number, group.session, False])

    def watch_lease(self, delivery: Delivery) -> None:
        """Have a job handed back when this worker dies."""
        with self._lock:
            self._leases[delivery.reply] = delivery.subject
            self._tell(["lease", delivery.reply, delivery.subject])

    def forget_lease(self, delivery: Delivery) -> None:
        """Take note that a job is not this worker's any more; works twice."""
        with self._lock:
            if self._leases.pop(delivery.reply, None) is not None:
                self._tell(["lease", delivery.reply, None])

    def wake(self) -> None:
        with self._lock:
            self._tell(["end"])
            if self._process is not None and self._process.stdin is not None:
                self._process.stdin.close()

    def run(self) -> None:
        while True:
            assert self._process is not None
            self._process.wait()
            if self.is_stopping:
                return
            logger.warning("the sentinel ended with status %s; another one follows", self._process.returncode)
            while True:
                if self.pause(_RESTART_PAUSE_SEC):
                    return
                try:
                    self._spawn()
                    logger.info("another sentinel knows what is in hand")
                    break
                except OSError as exc:
                    logger.warning("the sentinel cannot be started: %s", exc)

    def _spawn(self) -> None:
        """Start a process and tell it what there is in hand."""
        with self._lock:
            if self.is_stopping:
                return
            if self._process is not None and self._process.stdin is not None:
                self._process.stdin.close()
            self._process = subprocess.Popen(
                [sys.executable, "-m", "pyoco_server.worker.sentinel_process"],
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=self._output,
                stderr=self._output,
                start_new_session=True,
            )
            assert self._process.stdin is not None
            in_hand: list[list[Any]] = [
                self._who,
                *(["group", group.number, group.session, True] for group in self._groups),
            ]
            in_hand += (["lease", reply, subject] for reply, subject in self._leases.items())
            with contextlib.suppress(BrokenPipeError):
                # The pipe may not hold all of it, so this waits for its reader; what follows never does.
                self._process.stdin.write(b"".join(_line(words) for words in in_hand))
            os.set_blocking(self._process.stdin.fileno(), False)

    def disown(self) -> None:
        """In a forked process, let go of this one, which must hear of the end of the worker and not of that process."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()

    def _tell(self, words: list[Any]) -> None:
        """Send a line; one that is not read makes room for another sentinel."""
        if self._process is None or self._process.stdin is None or self._process.stdin.closed:
            return
        try:
            # Whole or not at all: it is smaller than what a pipe takes in one piece (PIPE_BUF).
            os.write(self._process.stdin.fileno(), _line(words))
        except BlockingIOError:
            self._process.kill()
        except BrokenPipeError:
            # The thread that waits for its end sees to it.
            pass


def _disown_all() -> None:
    for sentinel in list(_sentinels):
        sentinel.disown()


# The worker itself forks nothing, but a program that it is a part of may, and so may a task in that program.
os.register_at_fork(after_in_child=_disown_all)


def _line(words: list[Any]) -> bytes:
    return json.dumps(words).encode() + b"\n"
