"""Following a stream: an ephemeral pull consumer that cannot overrun its reader and notices when it is cut off.

Source: design, section 3; ADR-15 (JetStream pull consumers), ADR-37 (idle heartbeats).
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import socket
from collections.abc import Mapping
from typing import Any

import nats.aio.msg

from pyoco_server.bridge.client import Bus
from pyoco_server.bridge.messages import TTL_HEADER, Change, delivery_counts, pending_count, stored_at
from pyoco_server.contract import names
from pyoco_server.errors import BusUnavailable, PyocoServerError

#: Messages asked for at a time; a reader that is slow is never sent more. Of the largest snapshots (256 KiB) these are
#: 50 MB, and nats-server ends a connection for which it keeps 64.
_BATCH = 200
_HEARTBEAT_SEC = 1.0
#: Two heartbeats missed: consumer, server or connection are gone.
_SILENCE_SEC = 2.5
_EXPIRES_SEC = 30.0
#: The server removes the consumer when its reader has been away for so long.
_INACTIVE_SEC = 10.0


class Feed:
    """The changes of a stream, in order, from a sequence on or from the latest of each subject.

    One thread reads it. A feed that raised is used up: make another, from the last sequence that was applied.

    :param after_seq: the last sequence that the reader has applied; 0 = give the latest message of each subject.
    """

    def __init__(self, bus: Bus, stream: str, subject: str, after_seq: int) -> None:
        self._bus = bus
        self._stream = stream
        self._subject = subject
        self._after_seq = after_seq
        #: Messages; ``None`` wakes the reader, a text says why nothing more will come.
        self._arrived: queue.SimpleQueue[nats.aio.msg.Msg | str | None] = queue.SimpleQueue()
        self._subscription: Any = None
        self._inbox = ""
        self._consumer = ""
        self._open_count = 0
        self._next_in_consumer = 1
        #: Whether everything that was in the stream when the feed was opened has been given.
        self.is_caught_up = False
        #: Whether it has been cut, also while there is more to be given.
        self.is_cut = False

    def open(self) -> None:
        """Create the consumer.

        :raises ResourceMissing: there is no such stream.
        :raises BusUnavailable: no answer.
        """
        config: dict[str, Any] = {
            "ack_policy": "none",
            "mem_storage": True,
            "num_replicas": 1,
            "inactive_threshold": int(_INACTIVE_SEC * 1e9),
            "replay_policy": "instant",
            "filter_subject": self._subject,
            # So that others see who reads.
            "description": f"{names.GATEWAY} {socket.gethostname()}:{os.getpid()}",
        }
        if self._after_seq:
            config.update(deliver_policy="by_start_sequence", opt_start_seq=self._after_seq + 1)
        else:
            config.update(deliver_policy="last_per_subject")
        body = {"stream_name": self._stream, "config": config}
        created = self._bus.api(f"CONSUMER.CREATE.{self._stream}", body)
        self._consumer = created["name"]
        self.is_caught_up = int(created["num_pending"]) == 0
        self._bus.call(self._subscribe(), timeout_sec=5)

    def changes(self, limit: int) -> list[Change]:
        """Wait for changes; an empty list says that the stream is alive and silent, or that :meth:`wake` was called.

        :param limit: how many to return at most.
        :raises BusUnavailable: a gap, silence, or a lost connection; the feed is used up.
        """
        if self._open_count <= 0:
            self._ask()
        found: list[Change] = []
        try:
            message = self._arrived.get(timeout=_SILENCE_SEC)
        except queue.Empty:
            raise BusUnavailable(f"The stream {self._stream} has gone silent.") from None
        self._take(message, found)
        while len(found) < limit and self._open_count > 0:
            try:
                message = self._arrived.get_nowait()
            except queue.Empty:
                break
            self._take(message, found)
        return found

    def wake(self) -> None:
        """Make a waiting :meth:`changes` return."""
        self._arrived.put(None)

    def cut(self, reason: str) -> None:
        """Make :meth:`changes` raise: what is on its way cannot be relied on, as after a lost connection."""
        self.is_cut = True
        self._arrived.put(reason)

    def close(self) -> None:
        """Stop listening and remove the consumer; where that fails, the server removes it by itself soon."""
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            self._bus.call(subscription.unsubscribe(), timeout_sec=5)
        if self._consumer and self._bus.is_connected:
            with contextlib.suppress(PyocoServerError):
                self._bus.api(f"CONSUMER.DELETE.{self._stream}.{self._consumer}", budget_sec=0)

    async def _subscribe(self) -> None:
        self._inbox = self._bus.new_inbox()
        self._subscription = await self._bus.subscribe(self._inbox, self._arrive)

    def _arrive(self, message: nats.aio.msg.Msg) -> None:
        self._arrived.put(message)

    def _ask(self) -> None:
        body = {"batch": _BATCH, "expires": int(_EXPIRES_SEC * 1e9), "idle_heartbeat": int(_HEARTBEAT_SEC * 1e9)}
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{self._consumer}"
        self._bus.call(self._bus.publish(subject, json.dumps(body).encode(), reply=self._inbox), timeout_sec=5)
        self._open_count = _BATCH

    def _take(self, message: nats.aio.msg.Msg | str | None, found: list[Change]) -> None:
        if message is None:
            return
        if isinstance(message, str):
            raise BusUnavailable(f"The feed of {self._stream} was cut: {message}.")
        headers = message.headers or {}
        status = headers.get("Status")
        if status is not None:
            self._take_status(status, headers)
            return
        _, seq, in_consumer = delivery_counts(message.reply)
        if in_consumer != self._next_in_consumer:
            raise BusUnavailable(f"The feed of {self._stream} has a gap at sequence {seq}.")
        self._next_in_consumer += 1
        self._open_count -= 1
        self.is_caught_up = self.is_caught_up or pending_count(message.reply) == 0
        is_removal = headers.get("KV-Operation") in ("DEL", "PURGE") or "Nats-Marker-Reason" in headers
        moment, expires = stored_at(message.reply), TTL_HEADER in headers
        found.append(Change(message.subject, message.data, seq, is_removal, moment, expires))

    def _take_status(self, status: str, headers: Mapping[str, str]) -> None:
        if status == "100":
            if int(headers.get("Nats-Last-Consumer", 0)) >= self._next_in_consumer:
                raise BusUnavailable(f"The feed of {self._stream} has lost the last messages.")
            if not self.is_caught_up:
                # The messages that were still to come may have been purged, or have expired.
                info = self._bus.api(f"CONSUMER.INFO.{self._stream}.{self._consumer}")
                self.is_caught_up = int(info["num_pending"]) == 0
        elif status in ("404", "408"):
            self._open_count = 0
        else:
            raise BusUnavailable(f"NATS ended the feed of {self._stream} with status {status}.")
