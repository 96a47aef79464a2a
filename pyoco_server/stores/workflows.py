"""The bucket of flow.yaml texts, each kept once under its sha256.

With the text kept, a snapshot is enough to make its job again. Source: design, section 4.
"""

from __future__ import annotations

import threading
from collections import OrderedDict

from pyoco_server.bridge.client import Bus
from pyoco_server.bridge.messages import Write
from pyoco_server.contract import names
from pyoco_server.errors import KeyMissing, RevisionConflict

#: Hashes that are known to be stored; one costs about 150 bytes.
_KNOWN_LIMIT = 10_000


class WorkflowStore:
    """Keeps workflow texts; a text that this process has stored or seen costs nothing the second time."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._lock = threading.Lock()
        self._known: OrderedDict[str, None] = OrderedDict()

    def keep(self, sha256: str, text: str) -> None:
        """Store the text unless it is stored already.

        :raises BusUnavailable: not confirmed; safe to repeat.
        """
        with self._lock:
            if sha256 in self._known:
                self._known.move_to_end(sha256)
                return
        subject = names.key_subject(names.WORKFLOWS_BUCKET, sha256)
        try:
            self._bus.write(Write(subject, text.encode(), expected_revision=0))
        except RevisionConflict:
            # The key is the text's hash: whoever was first stored the same text.
            pass
        with self._lock:
            self._known[sha256] = None
            if len(self._known) > _KNOWN_LIMIT:
                self._known.popitem(last=False)

    def forget_all(self) -> None:
        """Take no text for stored any more, as when the bucket had to be created again."""
        with self._lock:
            self._known.clear()

    def get(self, sha256: str) -> str | None:
        """Read a text; ``None`` when it is not kept (any more)."""
        stream = names.bucket_stream(names.WORKFLOWS_BUCKET)
        try:
            return self._bus.last(stream, names.key_subject(names.WORKFLOWS_BUCKET, sha256)).payload.decode()
        except KeyMissing:
            return None
