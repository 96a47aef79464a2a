"""How often and how a run is tried, as it is asked for at submission.

Source: contract, section 2 (``retry_at``, ``errors``); design, section 5; issue 4.
"""

from __future__ import annotations

from dataclasses import dataclass

#: A run keeps the errors of all its attempts, so their number is bounded.
MAX_ATTEMPTS = 50
#: Of each earlier error so much is kept.
MAX_EARLIER_ERROR_CHARS = 500
DEFAULT_RETRY_DELAY_SEC = 10.0
MAX_RETRY_DELAY_SEC = 86_400.0
#: Doubling ends here; a longer first delay stays as it is.
_LONGEST_DOUBLED_SEC = 3_600.0


@dataclass(frozen=True)
class RunPolicy:
    """How long an attempt may take, and what happens when one fails.

    :param max_attempts: attempts that may fail before the run does; 1 = the first failure is the end. Attempts that end
        in another way, as when a worker stops or dies, do not count.
    :param retry_delay_sec: from the first failure to the next attempt; doubled with each failure, up to an hour.
    :param timeout_sec: how long an attempt may take; 0 = as long as it likes, ``None`` = the worker's own limit.
    :param resume: whether a later attempt leaves out the tasks that an earlier one has finished.
    """

    max_attempts: int = 1
    retry_delay_sec: float = DEFAULT_RETRY_DELAY_SEC
    timeout_sec: float | None = None
    resume: bool = True


def retry_delay(first_sec: float, failures: int) -> float:
    """Give the seconds between a failure and the next attempt.

    :param failures: how many attempts have failed, this one included.
    """
    longest = max(first_sec, _LONGEST_DOUBLED_SEC)
    return float(min(longest, first_sec * 2 ** (failures - 1)))
