"""What a slot needs of a runner, wherever that one executes: in a process of its own, or in this one.

Source: design, section 6.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from pyoco_server.contract.runner_protocol import Message
from pyoco_server.errors import PyocoServerError
from pyoco_server.service import Deadline
from pyoco_server.worker.printed import Printed
from pyoco_server.worker.wheel_set import WheelSet


class ChildBootFailed(PyocoServerError):
    """The runner process cannot boot."""


class ChildDied(ChildBootFailed):
    """The runner process has ended while it booted, and has not said why."""


@dataclass(frozen=True)
class Died:
    """The runner has ended by itself, or is of no use any more.

    :param how: a clause that says how: "was killed by SIGSEGV".
    """

    how: str


class RunnerLink(Protocol):
    """The worker's end of the line to a runner.

    :ivar wheels: what it can import beside the worker's own environment.
    :ivar runs_done: how many runs it was given.
    """

    wheels: WheelSet
    runs_done: int

    @property
    def is_outdated(self) -> bool:
        """Say whether a file of code was changed after the runner had imported it."""

    def wait_ready(self, deadline: Deadline, must_leave: Callable[[], bool] = lambda: False) -> None:
        """Wait until the runner has booted; what it printed meanwhile is left for :meth:`receive`. Works twice.

        :param must_leave: says whether nobody needs the runner any more.
        :raises ChildDied: it ended and did not say why.
        :raises ChildBootFailed: it said why it cannot, or did not boot in time.
        """

    def send(self, message: Message) -> None:
        """Give the runner a message, without waiting for it to read."""

    def receive(self, timeout_sec: float) -> Sequence[Message | Printed | Died]:
        """Wait for messages and printed text; an empty sequence when nothing came in time.

        Whatever was printed before a message stands before it. ``Died`` is the last message there ever is, and stands
        at the end of whatever is received after it. Of a runner that was killed only what it had printed is given.
        """

    def wake(self) -> None:
        """Have a waiting :meth:`receive` return, or the next one; on any thread, also when the runner has ended."""

    def leave(self) -> None:
        """End a runner that has no run: politely, then by force."""

    def terminate(self) -> None:
        """Ask all that the run has started to end."""

    def kill(self) -> None:
        """End the runner at once; works twice."""
