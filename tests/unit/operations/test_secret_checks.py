"""Secrets are checked once, within bounds, and remembered."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from pyoco_server.contract.keys import ApiKey, KeyRecord
from pyoco_server.errors import TooManyKeyChecks
from pyoco_server.operations.secret_checks import SecretChecks
from pyoco_server.readmodel.keys import KnownKey
from tests.support.waiting import eventually

RIGHT = "right-right-right"
TIMEOUT_SEC = 10


def known(key_id: str, edition: int = 0) -> KnownKey:
    return KnownKey(KeyRecord(key_id, "acme", "none", 1, "", "", created_at=1000.0), edition)


class SlowFits:
    """The slow part, which a test can hold up; counts what it was asked."""

    def __init__(self, *, is_held: bool = False) -> None:
        #: Each check takes one.
        self._permits = threading.Semaphore(0)
        if not is_held:
            self.let_end(10_000)
        self.calls: Counter[str] = Counter()
        self.begun: list[str] = []
        self.at_once: Counter[str] = Counter()
        self.most_at_once = 0

    def let_end(self, count: int) -> None:
        """Let so many checks end, of those that go on and those to come."""
        self._permits.release(count)

    def __call__(self, key: ApiKey, known_key: KnownKey) -> bool:
        self.calls[key.secret] += 1
        self.begun.append(key.secret)
        self.at_once[key.key_id] += 1
        self.most_at_once = max(self.most_at_once, self.at_once[key.key_id])
        assert self._permits.acquire(timeout=TIMEOUT_SEC)
        self.at_once[key.key_id] -= 1
        if key.secret == "broken":
            raise MemoryError
        return key.secret == RIGHT


def test_many_requests_with_one_secret_at_once_are_one_check() -> None:
    fits = SlowFits(is_held=True)
    checks = SecretChecks(fits)
    with ThreadPoolExecutor(40) as threads:
        answers = {
            secret: [threads.submit(checks.is_right, ApiKey("key-one", secret), known("key-one")) for _ in range(20)]
            for secret in (RIGHT, "wrong")
        }
        eventually(lambda: fits.begun, what="a check having begun")
        fits.let_end(10_000)
        assert {answer.result(TIMEOUT_SEC) for answer in answers[RIGHT]} == {True}
        assert {answer.result(TIMEOUT_SEC) for answer in answers["wrong"]} == {False}
    assert fits.calls == {RIGHT: 1, "wrong": 1}
    assert fits.most_at_once == 1


def test_what_was_found_holds_until_the_record_changes() -> None:
    fits = SlowFits()
    checks = SecretChecks(fits)
    for _ in range(3):
        assert checks.is_right(ApiKey("key-one", RIGHT), known("key-one"))
        assert not checks.is_right(ApiKey("key-one", "wrong"), known("key-one"))
    assert fits.calls == {RIGHT: 1, "wrong": 1}
    assert checks.is_right(ApiKey("key-one", RIGHT), known("key-one", edition=1))
    assert fits.calls[RIGHT] == 2


def test_wrong_secrets_are_forgotten_in_the_order_they_came_and_right_ones_never() -> None:
    fits = SlowFits()
    checks = SecretChecks(fits)
    assert checks.is_right(ApiKey("key-one", RIGHT), known("key-one"))
    for number in range(1001):
        assert not checks.is_right(ApiKey("key-one", f"wrong-{number}"), known("key-one"))
    for secret, count in (("wrong-1000", 1), ("wrong-0", 2), (RIGHT, 1)):
        checks.is_right(ApiKey("key-one", secret), known("key-one"))
        assert fits.calls[secret] == count


def test_a_flood_of_wrong_secrets_is_cut_off_and_keeps_neither_known_nor_new_keys_waiting() -> None:
    fits = SlowFits(is_held=True)
    checks = SecretChecks(fits)
    fits.let_end(1)
    assert checks.is_right(ApiKey("key-one", RIGHT), known("key-one"))
    with ThreadPoolExecutor(40) as threads:

        def ask(key_id: str, secret: str) -> Future[bool]:
            return threads.submit(checks.is_right, ApiKey(key_id, secret), known(key_id))

        flood = [ask("key-one", f"wrong-{number}") for number in range(30)]
        refused = eventually(lambda: [answer for answer in flood if answer.done()], what="the flood being cut off")
        assert isinstance(refused[0].exception(), TooManyKeyChecks)
        eventually(lambda: sum(answer.done() for answer in flood) == 30 - 16, what="sixteen waiting")
        assert ask("key-one", RIGHT).result(TIMEOUT_SEC)
        eventually(lambda: len(fits.begun) == 2, what="the first wrong one at work")
        new = ask("key-two", RIGHT)
        # It stands behind what is computed already, not behind the flood; where there are many places it has one.
        eventually(lambda: checks._places.waiting_count == 1 or fits.begun[-1] == RIGHT, what="the new key waiting")
        fits.let_end(1)
        eventually(lambda: len(fits.begun) == 3, what="the next check")
        begun = list(fits.begun)
        fits.let_end(20)
        assert begun[-1] == RIGHT, begun
        assert new.result(TIMEOUT_SEC)
        assert sum(answer.exception(TIMEOUT_SEC) is None for answer in flood) == 16
        assert not ask("key-one", "wrong-again").result(TIMEOUT_SEC)


def test_a_check_that_failed_is_told_and_not_remembered() -> None:
    fits = SlowFits()
    checks = SecretChecks(fits)
    for count in (1, 2):
        with pytest.raises(MemoryError):
            checks.is_right(ApiKey("key-one", "broken"), known("key-one"))
        assert fits.calls["broken"] == count
    assert checks.is_right(ApiKey("key-one", RIGHT), known("key-one"))
