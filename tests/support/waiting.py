"""Waiting for something to become true, with a deadline: tests never sleep for luck."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
#: Seconds, longer than any run of the tests has to wait on a machine that does much else.
PATIENCE_SEC = 60.0


def eventually(look: Callable[[], T], *, what: str, timeout_sec: float = 20.0) -> T:
    """Look again and again until the result is true, and give it.

    :param what: what is waited for, for the message when it does not come.
    """
    deadline = time.monotonic() + timeout_sec
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() >= deadline:
            raise AssertionError(f"{what} did not come true within {timeout_sec:g} s; last seen: {found!r}")
        time.sleep(0.02)
