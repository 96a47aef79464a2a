"""An application whose answers are held back, so that requests are under way for as long as a test likes."""

from __future__ import annotations

import threading
from collections.abc import Callable

from tests.support.waiting import PATIENCE_SEC


class HeldAnswers:
    """Answers 200 to whatever has been asked, once :meth:`release` has been called."""

    def __init__(self) -> None:
        self._begun, self._end = threading.Semaphore(0), threading.Event()

    def __call__(self, environ: object, start_response: Callable[..., object]) -> list[bytes]:
        self._begun.release()
        self._end.wait()
        start_response("200 OK", [("Content-Length", "0")])
        return []

    def wait(self, count: int = 1) -> None:
        """Wait until so many more requests are under way, each on a thread of its own."""
        for number in range(count):
            assert self._begun.acquire(timeout=PATIENCE_SEC), f"{number} of {count} requests have begun"

    def release(self) -> None:
        """Give all answers, and those to come."""
        self._end.set()
