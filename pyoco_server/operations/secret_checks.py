"""Which secrets fit which records: computed once, within bounds, and remembered.

PBKDF2 costs a tenth of a second of a processor, on purpose. So a key that was found right is remembered until its
record changes, and nobody can make a gateway compute for more than a part of its processors.

Source: design, section 8.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future

from pyoco_server.contract.keys import ApiKey
from pyoco_server.errors import TooManyKeyChecks
from pyoco_server.readmodel.keys import KnownKey

#: Secrets of one key that may wait for their turn, and of all keys: each holds a thread that could answer others.
_MAX_WAITING_OF_KEY = 16
_MAX_WAITING = 24
#: How many wrong secrets are remembered; the oldest goes first.
_MAX_REFUSED = 1000
#: Half of the processors are left for keys that are known already.
_CHECKS_AT_ONCE = max(1, (os.cpu_count() or 2) // 2)

Fits = Callable[[ApiKey, KnownKey], bool]


class _Turn:
    """The secrets of one key, which are checked one after the other, so that no key keeps another one waiting."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.count = 0


class _Places:
    """A bound on how many work at once; who has waited longest is next.

    With a ``Semaphore`` the next secret of a key that floods the gateway is often faster than a key that waits.
    """

    def __init__(self, count: int) -> None:
        self._lock = threading.Lock()
        self._free_count = count
        self._waiting: deque[threading.Lock] = deque()

    def __enter__(self) -> None:
        with self._lock:
            if self._free_count:
                self._free_count -= 1
                return
            mine = threading.Lock()
            mine.acquire()
            self._waiting.append(mine)
        mine.acquire()

    def __exit__(self, *exc: object) -> None:
        with self._lock:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._free_count += 1

    @property
    def waiting_count(self) -> int:
        """How many wait for a place."""
        return len(self._waiting)


class SecretChecks:
    """Answers whether a secret fits a record; for many threads.

    Several requests with the same secret at once are one check. What is remembered is a hash under a key of this
    process, which is nowhere else: its memory holds no secret for longer than a request takes.

    :param fits: makes the check itself, which is slow.
    """

    def __init__(self, fits: Fits) -> None:
        self._fits = fits
        self._process_key = secrets.token_bytes(32)
        self._lock = threading.Lock()
        self._places = _Places(_CHECKS_AT_ONCE)
        self._running: dict[bytes, Future[bool]] = {}
        self._turns: dict[str, _Turn] = {}
        #: One secret a record can be right, so this grows with the records alone.
        self._verified: set[bytes] = set()
        #: Kept apart, so that wrong secrets, however many, make no right one forgotten; in the order they came.
        self._refused: dict[bytes, None] = {}

    def is_right(self, key: ApiKey, known: KnownKey) -> bool:
        """Say whether the key's secret is the one of the record.

        :raises TooManyKeyChecks: it is not known, and too many others are being checked.
        """
        mark = self._mark(key, known)
        if mark in self._verified:
            return True
        with self._lock:
            if mark in self._verified or mark in self._refused:
                return mark in self._verified
            check = self._running.get(mark)
            if check is None:
                turn = self._join(key.key_id)
                mine = self._running[mark] = Future()
        if check is not None:
            return check.result()
        return self._check(mark, mine, turn, key, known)

    def is_known(self, key: ApiKey, known: KnownKey) -> bool:
        """Say whether the key's secret has been found to be the one of the record."""
        return self._mark(key, known) in self._verified

    def _mark(self, key: ApiKey, known: KnownKey) -> bytes:
        text = f"{known.edition} {key.key_id} {key.secret}"
        return hashlib.blake2b(text.encode(), key=self._process_key, digest_size=32).digest()

    def _join(self, key_id: str) -> _Turn:
        turn = self._turns.get(key_id) or _Turn()
        if turn.count >= _MAX_WAITING_OF_KEY or len(self._running) >= _MAX_WAITING:
            raise TooManyKeyChecks
        turn.count += 1
        self._turns[key_id] = turn
        return turn

    def _check(self, mark: bytes, check: Future[bool], turn: _Turn, key: ApiKey, known: KnownKey) -> bool:
        """Make a check, and tell those who wait for it; also when it failed."""
        try:
            with turn.lock, self._places:
                is_right = self._fits(key, known)
            check.set_result(is_right)
        except BaseException as exc:
            check.set_exception(exc)
            raise
        finally:
            with self._lock:
                del self._running[mark]
                turn.count -= 1
                if not turn.count:
                    del self._turns[key.key_id]
                if check.exception() is None:
                    self._remember(mark, check.result())
        return is_right

    def _remember(self, mark: bytes, is_right: bool) -> None:
        if is_right:
            self._verified.add(mark)
            return
        if len(self._refused) >= _MAX_REFUSED:
            del self._refused[next(iter(self._refused))]
        self._refused[mark] = None
