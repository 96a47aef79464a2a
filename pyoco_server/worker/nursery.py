"""The thread that starts runner processes, and the ones that wait for a slot.

It is one long-lived thread because the kernel ends what runners are forked from with the thread that made it, and
them with it (PR_SET_PDEATHSIG).
"""

from __future__ import annotations

import queue
from collections.abc import Callable

from pyoco_server.service import Deadline, Service
from pyoco_server.worker.runner_link import ChildBootFailed, RunnerLink


class Nursery(Service):
    """Starts runners on order, so that a successor is warm when it is needed.

    :param start_runner: starts one; raises ``OSError`` or ``ChildBootFailed`` where that is not possible now.
    """

    def __init__(self, start_runner: Callable[[], RunnerLink], on_failure: Callable[[Service], None]) -> None:
        super().__init__("pyoco-nursery", on_failure)
        self._start_runner = start_runner
        self._orders: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._children: queue.SimpleQueue[RunnerLink | OSError | ChildBootFailed | None] = queue.SimpleQueue()

    def order(self) -> None:
        """Have a runner started, to be fetched by :meth:`take` later."""
        self._orders.put(True)

    def take(self) -> RunnerLink | None:
        """Give a runner that was ordered before; ``None`` when the worker stops. It may still be booting.

        :raises ChildBootFailed: it could not be started; order another one later.
        """
        child = self._children.get()
        if child is None:
            # For the next slot that waits.
            self._children.put(None)
        if isinstance(child, ChildBootFailed):
            raise child
        if isinstance(child, OSError):
            raise ChildBootFailed(f"A runner process cannot be started: {child}.") from child
        return child

    def wake(self) -> None:
        self._orders.put(False)

    def run(self) -> None:
        while self._orders.get():
            try:
                self._children.put(self._start_runner())
            except (OSError, ChildBootFailed) as exc:
                # Out of processes or descriptors, or nothing can boot: that may pass, and the end of this thread would
                # end every runner.
                self._children.put(exc)
        self._children.put(None)

    def stop(self, deadline: Deadline) -> bool:
        """End the runners that nobody has taken, then the thread."""
        stopped = super().stop(deadline)
        while not self._children.empty():
            child = self._children.get()
            if child is not None and not isinstance(child, (OSError, ChildBootFailed)):
                child.kill()
        return stopped
