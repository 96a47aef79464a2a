"""``api-key create --expires``: what people write, and the moment it means."""

from __future__ import annotations

import pytest

from pyoco_server.cli.expiry import read_expiry

#: 2026-01-01T00:00:00Z
NOW = 1_767_225_600.0


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("1h", NOW + 3600),
        ("30d", NOW + 30 * 86_400),
        ("2w", NOW + 14 * 86_400),
        ("2026-01-02", NOW + 86_400),
        ("2026-01-01T01:30", NOW + 5400),
        ("2026-01-01T01:30:05Z", NOW + 5405),
        ("2026-01-02T00:00:00+09:00", NOW + 15 * 3600),
        ("1767225601", NOW + 1),
        ("1767225600.25", NOW + 0.25),
    ],
)
def test_a_moment_in_the_future_is_read(text: str, at: float) -> None:
    assert read_expiry(text, NOW) == at


@pytest.mark.parametrize(
    "text", ["0d", "2026-01-01", "2025-12-31T23:59:59Z", "1767225600", "0", "2026-01-01T00:00+09:00"]
)
def test_a_moment_that_is_over_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not in the future"):
        read_expiry(text, NOW)


@pytest.mark.parametrize("text", ["999999999w", "999999999999"])
def test_a_moment_that_no_calendar_reaches_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="9999"):
        read_expiry(text, NOW)


@pytest.mark.parametrize(
    "text",
    """
    -1d 30D 1.5d 1m 3y tomorrow 2026-02-30 2026-13-01 2027-W01-1 1e10 inf nan 2027-01-31T25:00
    9999-12-31T23:59:59-23:59:59 \uff12d 2027-01-31T12:00z
    """.split(),
)
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no time"):
        read_expiry(text, NOW)


@pytest.mark.parametrize("text", ["", "30 d", "2027-01-31 12:00", "30d\n"])
def test_blanks_are_no_part_of_a_moment(text: str) -> None:
    with pytest.raises(ValueError, match="is no time"):
        read_expiry(text, NOW)
