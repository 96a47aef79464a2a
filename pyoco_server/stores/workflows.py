"""The bucket of flow.yaml texts, each kept once under its sha256.

With the text kept, a snapshot is enough to make its job again. Source: design, section 4.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict

from pyoco_server.bridge.client import Bus
from pyoco_server.bridge.messages import Write
from pyoco_server.contract import names
from pyoco_server.errors import KeyMissing, RevisionConflict

#: Hashes that are known to be stored; one costs about 150 bytes.
_KNOWN_LIMIT = 10_000
#: For so long nobody looks whether it is still there: a full bucket drops its oldest texts, whoever uses them.
_KNOWN_SEC = 60.0


class WorkflowStore:
    """Keeps workflow texts; a text that this process has stored or seen a moment ago costs nothing.

    What is known is forgotten with the connection: the server may come back with an empty store, and another gateway
    make the bucket again.

    :param known_sec: for how long a text is taken for stored.
    """

    def __init__(self, bus: Bus, *, known_sec: float = _KNOWN_SEC) -> None:
        self._bus = bus
        self._known_sec = known_sec
        self._lock = threading.Lock()
        #: Until when each hash is known, by the monotonic clock.
        self._known: OrderedDict[str, float] = OrderedDict()
        bus.on_disconnect(self._forget_all)

    def keep(self, sha256: str, text: str) -> None:
        """Store the text unless it is stored already.

        :raises BusUnavailable: not confirmed; safe to repeat.
        """
        if self.is_kept(sha256):
            return
        subject = names.key_subject(names.WORKFLOWS_BUCKET, sha256)
        try:
            self._bus.write(Write(subject, text.encode(), expected_revision=0))
        except RevisionConflict:
            # The key is the text's hash: whoever was first stored the same text.
            pass
        with self._lock:
            self._known[sha256] = time.monotonic() + self._known_sec
            self._known.move_to_end(sha256)
            if len(self._known) > _KNOWN_LIMIT:
                self._known.popitem(last=False)

    def is_kept(self, sha256: str) -> bool:
        """Say whether a text is known to be stored."""
        with self._lock:
            return time.monotonic() < self._known.get(sha256, 0.0)

    def _forget_all(self) -> None:
        with self._lock:
            self._known.clear()

    def get(self, sha256: str) -> str | None:
        """Read a text; ``None`` when it is not kept (any more)."""
        stream = names.bucket_stream(names.WORKFLOWS_BUCKET)
        try:
            return self._bus.last(stream, names.key_subject(names.WORKFLOWS_BUCKET, sha256)).payload.decode()
        except KeyMissing:
            return None
