"""What a server says when it lets nobody in: what is final, and what the next attempt may have behind it."""

from __future__ import annotations

import pytest

from pyoco_server.bridge.refusals import refusal


@pytest.mark.parametrize(
    "said",
    [
        "'Authorization Violation'",
        "authorization violation",
        "'User Authentication Expired'",
        "'User Authentication Revoked'",
        "'Account Authentication Expired'",
    ],
)
def test_who_is_not_let_in_is_told_what_to_set(said: str) -> None:
    assert "PYOCO_NATS_PASSWORD" in str(refusal(Exception(f"nats: {said}")))


@pytest.mark.parametrize(
    "said", ["'Authentication Timeout'", "authentication timeout", "'Secure Connection - TLS Required'"]
)
def test_who_was_too_slow_or_met_something_else_may_try_again(said: str) -> None:
    """A worker on a machine that had no time for it ended with the advice to set a password."""
    assert refusal(Exception(f"nats: {said}")) is None
