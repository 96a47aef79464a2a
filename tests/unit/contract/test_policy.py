"""How long a failed run waits for its next attempt."""

from __future__ import annotations

import pytest

from pyoco_server.contract.policy import retry_delay


@pytest.mark.parametrize(
    ("first_sec", "delays"),
    [(10.0, [10, 20, 40, 80]), (0.0, [0, 0]), (1000.0, [1000, 2000, 3600, 3600]), (7200.0, [7200, 7200])],
)
def test_the_delay_doubles_up_to_an_hour_or_the_first_where_that_is_longer(
    first_sec: float, delays: list[float]
) -> None:
    assert [retry_delay(first_sec, failures) for failures in range(1, len(delays) + 1)] == delays


def test_the_delay_is_bounded_after_any_number_of_failures() -> None:
    assert retry_delay(10.0, 50) == 3600
