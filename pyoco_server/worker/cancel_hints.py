"""Word of a cancel request for one run, heard as soon as the run has gone on for a moment.

Most runs end in milliseconds and nobody cancels them: a subscription for each of them would cost a tenth of what they
cost.

Source: design, "Cancelling".
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable

from pyoco_server.contract.runs import Snapshot
from pyoco_server.states import RunStatus
from pyoco_server.stores.runs import RunHints


class CancelHints:
    """Hears of writes to a run, from :meth:`listen` on to :meth:`close`.

    :param wake: called, on the bridge's thread, when :attr:`is_heard` becomes true; must not block.
    """

    def __init__(self, hints: RunHints, run_id: str, wake: Callable[[], None]) -> None:
        self._hints = hints
        self._run_id = run_id
        self._wake = wake
        self._listening = contextlib.ExitStack()
        self._heard = threading.Event()
        self._is_listening = False
        #: Whether a request makes no difference any more: it has been passed on, or the run has ended.
        self.is_over = False

    @property
    def is_to_listen(self) -> bool:
        """Whether nobody listens yet, and somebody should soon."""
        return not self._is_listening and not self.is_over

    @property
    def is_heard(self) -> bool:
        """Whether a cancel request may have been stored that the slot has not seen."""
        return self._heard.is_set()

    def listen(self) -> None:
        """Hear of requests from now on; those that came before, the next write of the run meets. Works twice."""
        if self.is_to_listen:
            self._is_listening = True
            self._listening.enter_context(self._hints.listen(self._run_id, self._hear))

    def clear(self) -> None:
        """Note that the run is written now: this tells what was stored."""
        self._heard.clear()

    def close(self) -> None:
        """Hear of nothing any more; works twice."""
        self.is_over = True
        self._listening.close()

    def _hear(self, written: bytes) -> None:
        """Take the hint that somebody writes this run; empty when the connection was lost and such hints with it.

        Whether it was stored, the next write tells, which is then made at once.
        """
        if not self.is_over and (not written or _is_cancel_request(written)):
            self._heard.set()
            self._wake()


def _is_cancel_request(written: bytes) -> bool:
    # Nearly all that is heard are this worker's own writes, which need not be decoded.
    if RunStatus.CANCELLING.value.encode() not in written:
        return False
    try:
        return Snapshot.from_bytes(written).status is RunStatus.CANCELLING
    except ValueError:
        return False
