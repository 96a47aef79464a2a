"""A process group that is ended with its worker, and nobody else's.

Source: design, section 6.
"""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class ProcessGroup:
    """A runner and what it has started.

    A process group keeps its number for as long as one process is in it. When the last one is reaped, which init does
    where a fork server has died, a stranger may get the number; it belongs to another session then.

    :param number: that of the group, and of the runner, which leads it.
    :param session: the session of the runner, which a leader of a group cannot leave.
    """

    number: int
    session: int

    def signal(self, signum: int) -> None:
        """Send a signal to each process of the group.

        :raises ProcessLookupError: nothing is left of it.
        :raises PermissionError: none of what is left may be signalled.
        """
        try:
            is_ours = os.getsid(self.number) == self.session
        except ProcessLookupError:
            # The runner is gone; what it has started may be there.
            is_ours = True
        if not is_ours:
            raise ProcessLookupError(f"The number {self.number} is somebody else's by now.")
        os.killpg(self.number, signum)
