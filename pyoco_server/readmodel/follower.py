"""The thread that keeps one bucket's table in step with its stream.

Source: design, section 3.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Protocol

from pyoco_server.bridge.client import Bus
from pyoco_server.bridge.feed import Feed
from pyoco_server.bridge.messages import Change
from pyoco_server.bridge.streams import subjects_of
from pyoco_server.errors import BusError, BusUnavailable, PyocoServerError
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
#: Keys of a list that are taken over in one piece.
_LISTED_TOGETHER = 10_000
#: Keys that are asked about together, and rows that are dropped in one transaction.
_ASKED_TOGETHER = 100


class Table(Protocol):
    """What a follower keeps in step."""

    def position(self) -> tuple[str, int]:
        """Give the stream's creation time and the last sequence that was applied; empty and 0 at first."""

    def restart(self, created: str) -> None:
        """Forget everything: the stream is another one than before."""

    def apply(self, changes: Sequence[Change]) -> None:
        """Take changes over, all or none."""

    def settle(self) -> Iterator[None]:
        """Make up for what was put off until everything was there, piece by piece."""

    def set_complete(self, is_complete: bool) -> None:
        """Say whether everything that was there at the last look has been applied."""

    def subjects(self) -> set[str]:
        """Give the subjects of all rows."""

    def forget(self, subjects: Collection[str]) -> None:
        """Drop the rows of subjects, all or none."""


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
        #: Held while it is said that the table is complete, or that a feed is cut.
        self._saying = threading.Lock()
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
        with self._saying:
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
        upkeep = self._upkeep(feed, is_resumed=applied > 0)
        while not self.is_stopping:
            self.beat()
            if feed.is_caught_up and next(upkeep):
                # Only what has come by now is taken before the next piece.
                feed.wake()
            changes = feed.changes(_BATCH)
            if changes:
                self._table.apply(changes)
                if self._rest is not None and feed.is_caught_up and len(changes) < _BATCH:
                    self._rest()

    def _upkeep(self, feed: Feed, *, is_resumed: bool) -> Iterator[bool]:
        """Do what the table needs beside the changes, for ever and piece by piece, so that changes wait for one alone.

        Each step says whether there is another piece to be done now.
        """
        # What has just been read is what there is. Otherwise it is looked up before the list counts as complete: what
        # vanished while nobody followed must not be shown.
        if is_resumed:
            yield from self._reconcile()
        for _ in self._table.settle():
            yield True
        with self._saying:
            self._table.set_complete(not feed.is_cut)
        while True:
            next_reconcile = time.monotonic() + _RECONCILE_SEC
            while time.monotonic() < next_reconcile:
                yield False
            yield from self._reconcile()

    def _reconcile(self) -> Iterator[bool]:
        """Drop rows whose keys are gone without a message: expired, purged, or removed while nobody followed.

        The list of subjects comes in pages and may change between them, so it only says which rows to ask about.
        """
        present: set[str] = set()
        for subject in subjects_of(self._bus, self._stream, self._subject):
            present.add(subject)
            if len(present) % _LISTED_TOGETHER == 0:
                yield True
        doubtful = sorted(self._table.subjects() - present)
        for start in range(0, len(doubtful), _ASKED_TOGETHER):
            asked = doubtful[start : start + _ASKED_TOGETHER]
            found = self._bus.last_of_each(self._stream, asked)
            gone = [subject for subject, stored in zip(asked, found, strict=True) if stored is None]
            if gone:
                self._table.forget(gone)
            yield True

    def _close(self) -> None:
        self._table.set_complete(False)
        feed, self._feed = self._feed, None
        if feed is not None:
            with contextlib.suppress(PyocoServerError):
                feed.close()
