"""A client that does not give up: it submits a run until a gateway accepts it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import requests

#: Seconds, longer than any restart, election or stall that tests bring about.
_PATIENCE_SEC = 120.0
_PAUSE_SEC = 0.2


def submit_until_accepted(
    session: requests.Session, gateways: Iterator[str], key: str, note: Callable[[str], None], **request: Any
) -> str:
    """Submit a run by its flow.yaml, and give its id.

    :param gateways: their addresses; each attempt takes the next.
    :param key: with one key it is one run, however often an answer does not arrive.
    :param note: told why it is submitted once more: a status, or the name of an error.
    :param request: what requests is given.
    :raises AssertionError: it was refused, or not accepted in two minutes.
    """
    deadline = time.monotonic() + _PATIENCE_SEC
    while time.monotonic() < deadline:
        url = f"{next(gateways)}/runs/yaml"
        try:
            answer = session.post(url, headers={"Idempotency-Key": key}, timeout=15, **request)
            if answer.status_code == 200:
                return str(answer.json()["run_id"])
            # Nothing else tells a client that it may try again.
            may_try_again = answer.status_code == 503 and "Retry-After" in answer.headers
            assert may_try_again, f"{answer.status_code}: {answer.text}"
            note(str(answer.status_code))
        except requests.RequestException as exc:
            note(type(exc).__name__)
        time.sleep(_PAUSE_SEC)
    raise AssertionError("no gateway accepted it in two minutes")
