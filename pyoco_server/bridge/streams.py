"""What is asked of a stream itself: which subjects it holds, to remove a message, and to be set up anew."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pyoco_server.bridge.client import Bus
from pyoco_server.bridge.translate import SEQUENCE_NOT_FOUND, STREAM_END
from pyoco_server.errors import BusError, KeyMissing


def subjects_of(bus: Bus, stream: str, pattern: str) -> Iterator[str]:
    """Ask the server which subjects match, the keys of a bucket for instance; it tells so many at a time.

    nats-py would leave a consumer behind for each such question (nats-facts, trap 1).

    :raises ResourceMissing: there is no such stream.
    :raises BusUnavailable: no answer.
    """
    return (subject for subject, _ in counted_subjects(bus, stream, pattern))


def counted_subjects(
    bus: Bus, stream: str, pattern: str, *, budget_sec: float | None = None
) -> Iterator[tuple[str, int]]:
    """Ask the server which subjects match, and how many messages each of them has; see :func:`subjects_of`.

    :param budget_sec: seconds for retries; the connection's own when ``None``.
    """
    count = 0
    while True:
        answer = bus.api(f"STREAM.INFO.{stream}", {"subjects_filter": pattern, "offset": count}, budget_sec=budget_sec)
        page = answer["state"].get("subjects") or {}
        yield from page.items()
        count += len(page)
        if not page or count >= answer.get("total", 0):
            return


def remove_message(bus: Bus, stream: str, seq: int) -> None:
    """Remove a message; one that is gone already is no error.

    :raises BusError: the stream's settings do not allow it.
    :raises BusUnavailable: no answer; safe to repeat.
    """
    try:
        bus.api(f"STREAM.MSG.DELETE.{stream}", {"seq": seq, "no_erase": True})
    except BusError as exc:
        if exc.err_code == SEQUENCE_NOT_FOUND:
            return
        # The second number is also that of a stream which denies all deletion.
        if exc.err_code != STREAM_END or _is_there(bus, stream, seq):
            raise


def change_stream(bus: Bus, stream: str, changes: Mapping[str, Any]) -> None:
    """Lay some settings over those of a stream, and leave all others as they are, also those that we do not know.

    :param changes: settings in the server's words and units.
    :raises BusError: the server refuses them.
    :raises BusUnavailable: no answer; safe to repeat.
    """
    settings = bus.api(f"STREAM.INFO.{stream}")["config"]
    bus.api(f"STREAM.UPDATE.{stream}", {**settings, **changes})


def change_consumer(bus: Bus, stream: str, consumer: str, changes: Mapping[str, Any]) -> None:
    """Lay some settings over those of a consumer; see :func:`change_stream`."""
    settings = bus.api(f"CONSUMER.INFO.{stream}.{consumer}")["config"]
    # With the subject in the address, as a server may allow its creation by that.
    endpoint = f"CONSUMER.CREATE.{stream}.{consumer}.{settings['filter_subject']}"
    bus.api(endpoint, {"stream_name": stream, "config": {**settings, **changes}, "action": "update"})


def remove_unused_consumer(bus: Bus, stream: str, consumer: str) -> None:
    """Remove a consumer, unless it has something to hand out or somebody asks it."""
    info = bus.api(f"CONSUMER.INFO.{stream}.{consumer}")
    if not (info["num_pending"] or info["num_ack_pending"] or info.get("num_waiting")):
        bus.api(f"CONSUMER.DELETE.{stream}.{consumer}")


def _is_there(bus: Bus, stream: str, seq: int) -> bool:
    try:
        return bus.following(stream, ">", seq).seq == seq
    except KeyMissing:
        return False
