"""When an API key expires, as people write it."""

from __future__ import annotations

import math
import re
from datetime import datetime, timezone

from pyoco_server.contract.moments import LAST_MOMENT

_HOUR_SEC = 3600
_UNITS_SEC = {"h": _HOUR_SEC, "d": 24 * _HOUR_SEC, "w": 7 * 24 * _HOUR_SEC}
_SPAN = re.compile(r"([0-9]{1,9})([hdw])")
_UNIX_SECONDS = re.compile(r"[0-9]{1,15}(\.[0-9]{1,9})?")
#: The form alone; datetime judges the numbers. Newer Pythons would read further forms than older ones.
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}(:[0-9]{2})?(Z|[+-][0-9]{2}:[0-9]{2})?)?")


def read_expiry(text: str, now: float) -> float:
    """Read a moment in the future: a span such as ``30d``, an ISO date or time, or unix seconds.

    :param now: unix seconds, from which a span counts.
    :return: unix seconds.
    :raises ValueError: a sentence that says what is wrong.
    """
    at = _moment(text, now)
    if math.isnan(at):
        raise ValueError(f"{text!r} is no time: write 12h, 30d, 8w, 2030-01-31, 2030-01-31T12:00:00Z or unix seconds")
    if at <= now:
        raise ValueError(f"{text!r} is not in the future, so nobody could ever use the key")
    if at > LAST_MOMENT:
        raise ValueError(f"{text!r} is later than the year 9999; leave --expires out for a key that never expires")
    return at


def _moment(text: str, now: float) -> float:
    """Give unix seconds, NaN for what is no moment."""
    span = _SPAN.fullmatch(text)
    if span is not None:
        return now + int(span[1]) * _UNITS_SEC[span[2]]
    if _UNIX_SECONDS.fullmatch(text):
        return float(text)
    if not _DATE.fullmatch(text):
        return math.nan
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
        return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()
    except (ValueError, OverflowError):
        return math.nan
