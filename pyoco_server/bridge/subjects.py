"""Which subjects a stream holds: the keys of a bucket, the objects of a store.

nats-py would leave a consumer behind for each such question (nats-facts, trap 1).
"""

from __future__ import annotations

from collections.abc import Iterator

from pyoco_server.bridge.client import Bus


def subjects_of(bus: Bus, stream: str, pattern: str) -> Iterator[str]:
    """Ask the server which subjects match; it tells so many at a time.

    :raises ResourceMissing: there is no such stream.
    :raises BusUnavailable: no answer.
    """
    count = 0
    while True:
        answer = bus.api(f"STREAM.INFO.{stream}", {"subjects_filter": pattern, "offset": count})
        page = answer["state"].get("subjects") or {}
        yield from page
        count += len(page)
        if not page or count >= answer.get("total", 0):
            return
