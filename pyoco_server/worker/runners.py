"""Where the runners of a worker come from.

Source: design, section 6.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable

from pyoco_server.config import Config
from pyoco_server.worker import fork_server
from pyoco_server.worker.child import Child
from pyoco_server.worker.fork_server import ForkingUnsafe, ForkServer
from pyoco_server.worker.process_group import ProcessGroup
from pyoco_server.worker.runner_link import ChildDied
from pyoco_server.worker.runner_process import spawn
from pyoco_server.worker.wheel_set import NO_WHEELS, WheelSet

logger = logging.getLogger(__name__)


class Runners:
    """Starts runners: forks them, or where that cannot be has each boot by itself.

    A wheel may bring another version of what each runner imports, so every set of wheels has a server of its own.

    :param config: what runners may use, and what of their log is printed.
    """

    def __init__(self, resolver: str | None, config: Config) -> None:
        flags = [f"--log-level={config.task_log_level}"]
        if resolver is not None:
            flags.append(f"--flow-resolver={resolver}")
        if config.run_memory_bytes:
            flags.append(f"--memory-bytes={config.run_memory_bytes}")
        self._flags = flags + [f"--allow={pattern}" for pattern in config.allowed_patterns]
        self._wheels = NO_WHEELS
        self._server: ForkServer | None = None
        #: Whether runners with these wheels can be forked.
        self._can_fork = fork_server.is_supported()
        self._is_closed = False

    def prepare(self) -> None:
        """Begin with what the first runner without wheels is forked from; :meth:`start` waits for it.

        :raises OSError: there are no processes or descriptors left.
        """
        if self._can_fork:
            self._server = ForkServer(self._flags)

    def start(
        self, wheels: WheelSet = NO_WHEELS, group_ended: Callable[[ProcessGroup], None] = lambda group: None
    ) -> Child:
        """Start a runner; the calling thread must live as long as all of them shall (PR_SET_PDEATHSIG).

        :param wheels: what it can import beside the worker's own environment.
        :param group_ended: called with its process group when that has been killed.
        :raises OSError: there are no processes or descriptors left; nothing of it stays behind.
        :raises ChildDied: the process that it was to be forked from cannot boot, or none is wanted any more.
        """
        if self._wheels.key != wheels.key:
            self._let_go()
            self._can_fork = fork_server.is_supported()
        self._wheels = wheels
        flags = [*self._flags, *(f"--path={path}" for path in wheels.paths)]
        while self._can_fork:
            if self._is_closed:
                raise ChildDied("The worker stops.")
            is_new = self._server is None
            server = self._server = self._server or ForkServer(flags)
            if self._is_closed:
                server.retire()
            try:
                return Child(server.start_runner, wheels, group_ended)
            except ForkingUnsafe as exc:
                self._can_fork = False
                logger.warning("%s So each runner boots by itself, which takes longer.", exc)
            except ChildDied as exc:
                self._server = None
                if is_new or self._is_closed:
                    raise
                logger.warning("%s Another one follows.", exc)
        return Child(functools.partial(spawn, flags), wheels, group_ended)

    def close(self) -> None:
        """Start no more runners; those that there are go on. On any thread; works twice."""
        self._is_closed = True
        self._let_go()

    def _let_go(self) -> None:
        server, self._server, self._wheels = self._server, None, NO_WHEELS
        if server is not None:
            server.retire()
