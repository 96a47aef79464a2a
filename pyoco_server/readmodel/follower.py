"""The thread that keeps one bucket's table in step with its stream.

Source: design, section 3.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from pyoco_server.bridge.client import Bus
from pyoco_server.bridge.feed import Feed
from pyoco_server.bridge.messages import Change
from pyoco_server.bridge.streams import subjects_of
from pyoco_server.errors import BusError, BusUnavailable, KeyMissing, PyocoServerError
from pyoco_server.logs import RateLimit
from pyoco_server.service import Service

logger = logging.getLogger(__name__)

#: Changes applied in one transaction: readers wait for no longer than it takes.
_BATCH = 500
_RETRY_SEC = 0.3
#: How long one step may take before the thread counts as stuck: a request to NATS that is not answered, at most.
_PATIENCE_SEC = 30.0
#: How often keys are looked for that vanished without a message, as by expiry.
_RECONCILE_SEC = 240.0


class Table(Protocol):
    """What a follower keeps in step."""

    def position(self) -> tuple[str, int]:
        """Give the stream's creation time and the last sequence that was applied; empty and 0 at first."""

    def restart(self, created: str) -> None:
        """Forget everything: the stream is another one than before."""

    def apply(self, changes: Sequence[Change]) -> None:
        """Take changes over, all or none."""

    def set_complete(self, is_complete: bool) -> None:
        """Say whether everything that was there at the last look has been applied."""

    def subjects(self) -> set[str]:
        """Give the subjects of all rows."""

    def forget(self, subject: str) -> None:
        """Drop the row of a subject."""


class Follower(Service):
    """Follows one stream for ever; it resumes where it was after every trouble.

    :param rest: called when everything that had come is applied, to let more of it gather.
    """

    patience_sec = _PATIENCE_SEC

    def __init__(
        self,
        bus: Bus,
        stream: str,
        subject: str,
        table: Table,
        on_failure: Callable[[Service], None] | None = None,
        rest: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(f"pyoco-follow-{stream}", on_failure)
        self._bus = bus
        self._stream = stream
        self._subject = subject
        self._table = table
        self._rest = rest
        self._feed: Feed | None = None
        self._log_limit = RateLimit()
        bus.on_disconnect(self._cut)

    def run(self) -> None:
        while not self.is_stopping:
            self.beat()
            try:
                self._follow()
            except (BusError, BusUnavailable) as exc:
                if not self.is_stopping and self._log_limit.allows("follow"):
                    logger.warning("%s is not followed at the moment: %s", self._stream, exc)
            finally:
                self._close()
            self.pause(_RETRY_SEC)

    def wake(self) -> None:
        feed = self._feed
        if feed is not None:
            feed.wake()

    def _cut(self) -> None:
        """End the feed at once when the connection is lost, so that nobody reads an old list after its return."""
        self._table.set_complete(False)
        feed = self._feed
        if feed is not None:
            feed.cut("the connection to NATS was lost")

    def _follow(self) -> None:
        info = self._bus.api(f"STREAM.INFO.{self._stream}")
        created, applied = self._table.position()
        if info["created"] != created or info["state"]["last_seq"] < applied:
            self._table.restart(info["created"])
            applied = 0
        self._feed = feed = Feed(self._bus, self._stream, self._subject, applied)
        feed.open()
        next_reconcile = 0.0
        while not self.is_stopping:
            self.beat()
            if feed.is_caught_up:
                if time.monotonic() >= next_reconcile:
                    # Before the list counts as complete: what vanished while nobody followed must not be shown.
                    self._reconcile()
                    next_reconcile = time.monotonic() + _RECONCILE_SEC
                self._table.set_complete(True)
            changes = feed.changes(_BATCH)
            if changes:
                self._table.apply(changes)
                if self._rest is not None and feed.is_caught_up and len(changes) < _BATCH:
                    self._rest()

    def _reconcile(self) -> None:
        """Drop rows whose keys are gone without a message: expired, purged, or removed while nobody followed.

        The list of subjects comes in pages and may change between them, so it only says which rows to ask about.
        """
        present: set[str] = set()
        for subject in subjects_of(self._bus, self._stream, self._subject):
            self.beat()
            if self.is_stopping:
                return
            present.add(subject)
        for subject in self._table.subjects() - present:
            self.beat()
            if self.is_stopping:
                return
            try:
                self._bus.last(self._stream, subject)
            except KeyMissing:
                self._table.forget(subject)

    def _close(self) -> None:
        self._table.set_complete(False)
        feed, self._feed = self._feed, None
        if feed is not None:
            with contextlib.suppress(PyocoServerError):
                feed.close()
