"""Open streams without a thread for each: one thread looks after all of them and sends what they have to say.

With a thread for each, hundreds are woken by one change of a run that many watch, and spend fifty times the processor
time of the sending on who of them may go on (bench/README.md).
"""

from __future__ import annotations

import contextlib
import logging
import math
import queue
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from waitress.channel import ClientDisconnected

from pyoco_server.readmodel.model import ReadModel
from pyoco_server.service import Service

if TYPE_CHECKING:
    from pyoco_server.gateway.answer_tasks import AnswerTask

logger = logging.getLogger(__name__)

#: In the environment of a request: takes a :class:`Stream` that goes on when the answer's first piece is sent. Other
#: WSGI servers have no such thing, and iterate the answer to its end.
HAND_OVER = "pyoco_server.hand_over"
#: When a client that has not taken the last piece yet is looked at again.
_BEHIND_SEC = 0.1
#: How long it waits at most before it comes round again.
_TURN_SEC = 5.0
#: How long one turn may take before the thread counts as stuck: it looks into the read model, as the followers do.
_PATIENCE_SEC = 30.0


class Stream(Protocol):
    """What is sent piece by piece, as changes of a run come and as time passes."""

    run_id: str

    @property
    def is_over(self) -> bool:
        """Whether nothing more is to be sent."""

    @property
    def due_at(self) -> float:
        """When :meth:`look` has to be called without a change, ``time.monotonic()``."""

    @property
    def asks_nats(self) -> bool:
        """Whether :meth:`look` would ask NATS now, and may wait for it."""

    def look(self) -> str | None:
        """Give what is to be sent now."""

    def close(self) -> None:
        """Give back what the stream holds; called once."""


class _Open:
    """A stream that has been handed over, with the answer that it is."""

    def __init__(self, streams: Streams, stream: Stream, answer: AnswerTask) -> None:
        self.stream = stream
        self.answer = answer
        #: Whether it waits to be attended to.
        self.is_noted = False
        #: Whether a thread for requests is at it.
        self.is_busy = False
        #: Whether nothing more can be sent.
        self.is_cut = False
        self.is_closed = False
        self.not_before = 0.0
        self._streams = streams

    @property
    def is_over(self) -> bool:
        return self.is_cut or self.stream.is_over

    @property
    def due_at(self) -> float:
        return max(self.stream.due_at, self.not_before)

    def notify(self) -> None:
        if not self.is_noted:
            self.is_noted = True
            self._streams.note(self)

    def service(self) -> None:
        """Go on, on a thread for requests."""
        self.go_on()
        self.is_busy = False
        self.notify()

    def cancel(self) -> None:
        """The server has stopped before it came to that."""

    def go_on(self) -> None:
        """Send what is to be sent now."""
        if self.answer.channel.is_behind:
            # More would have to wait; when the client has taken this, it is told the newest state alone.
            self.not_before = time.monotonic() + _BEHIND_SEC
            return
        try:
            piece = self.stream.look()
            if piece is not None:
                self.answer.send(piece.encode())
        except ClientDisconnected:
            self.is_cut = True
        except Exception:
            logger.exception("the stream of run %s is cut off", self.stream.run_id)
            self.is_cut = True


class Streams(Service):
    """Attends to the streams of one HTTP server."""

    patience_sec = _PATIENCE_SEC

    def __init__(self, model: ReadModel, on_failure: Callable[[Service], None]) -> None:
        super().__init__("pyoco-streams", on_failure)
        self._model = model
        self._noted: queue.SimpleQueue[_Open | None] = queue.SimpleQueue()
        #: Of the service's own thread.
        self._open: set[_Open] = set()

    def add(self, stream: Stream, answer: AnswerTask) -> None:
        """Send what else the stream has to say; its first piece has gone out."""
        opened = _Open(self, stream, answer)
        self._model.add_watch(stream.run_id, opened)
        # Also for what has changed since the first piece was made.
        opened.notify()

    def note(self, opened: _Open) -> None:
        """Have a stream attended to soon; from any thread, does not block."""
        self._noted.put(opened)

    def wake(self) -> None:
        self._noted.put(None)

    def run(self) -> None:
        due_at = 0.0
        while not self.is_stopping:
            self.beat()
            with contextlib.suppress(queue.Empty):
                opened = self._noted.get(timeout=min(_TURN_SEC, max(0.0, due_at - time.monotonic())))
                if opened is not None and not opened.is_closed:
                    self._open.add(opened)
                    self._attend(opened)
                    due_at = min(due_at, opened.due_at)
            now = time.monotonic()
            if now >= due_at:
                for opened in [each for each in self._open if each.due_at <= now]:
                    self._attend(opened)
                due_at = min((each.due_at for each in self._open if not each.is_busy), default=math.inf)

    def _attend(self, opened: _Open) -> None:
        # What changes from here on notes it again: also the end of what it is busy with.
        opened.is_noted = False
        if opened.is_busy:
            return
        if opened.is_over:
            self._close(opened)
        elif opened.stream.asks_nats:
            opened.is_busy = True
            opened.answer.channel.server.give_to_thread(opened)
        else:
            opened.go_on()
            if opened.is_over:
                # Its turn to be closed comes when all others that have news have been told.
                opened.notify()

    def _close(self, opened: _Open) -> None:
        opened.is_closed = True
        self._open.discard(opened)
        self._model.remove_watch(opened.stream.run_id, opened)
        opened.stream.close()
        opened.answer.end()
