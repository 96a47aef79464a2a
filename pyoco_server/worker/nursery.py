"""The thread that starts runner processes, and the ones that wait for a slot.

It is one long-lived thread because the kernel ends a runner with the thread that made it (PR_SET_PDEATHSIG).
"""

from __future__ import annotations

import queue
from collections.abc import Callable

from pyoco_server.service import Deadline, Service
from pyoco_server.worker.child import Child, ChildBootFailed
from pyoco_server.worker.sentinel import Sentinel
from pyoco_server.worker.wheelsync import WheelSync


class Nursery(Service):
    """Starts runners on order, so that a successor is warm when it is needed."""

    def __init__(
        self,
        resolver: str | None,
        memory_bytes: int,
        wheels: WheelSync,
        sentinel: Sentinel,
        on_failure: Callable[[Service], None],
    ) -> None:
        super().__init__("pyoco-nursery", on_failure)
        self._resolver = resolver
        self._memory_bytes = memory_bytes
        self._wheels = wheels
        self._sentinel = sentinel
        self._orders: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._children: queue.SimpleQueue[Child | OSError | None] = queue.SimpleQueue()

    def order(self) -> None:
        """Have a runner started, to be fetched by :meth:`take` later."""
        self._orders.put(True)

    def take(self) -> Child | None:
        """Give a runner that was ordered before; ``None`` when the worker stops. It may still be booting.

        :raises ChildBootFailed: it could not be started; order another one later.
        """
        child = self._children.get()
        if child is None:
            # For the next slot that waits.
            self._children.put(None)
        if isinstance(child, OSError):
            raise ChildBootFailed(f"A runner process cannot be started: {child}.") from child
        return child

    def wake(self) -> None:
        self._orders.put(False)

    def run(self) -> None:
        while self._orders.get():
            try:
                child = Child(self._resolver, self._memory_bytes, self._wheels.refresh(), self._sentinel.forget_group)
                self._sentinel.watch_group(child.pid)
                self._children.put(child)
            except OSError as exc:
                # Out of processes or descriptors: that passes, and the end of this thread would end every runner.
                self._children.put(exc)
        self._children.put(None)

    def stop(self, deadline: Deadline) -> bool:
        """End the runners that nobody has taken, then the thread."""
        stopped = super().stop(deadline)
        while not self._children.empty():
            child = self._children.get()
            if isinstance(child, Child):
                child.kill()
        return stopped
