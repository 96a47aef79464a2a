"""Times and durations as a person reads them, in the page's language; the exact time is one hover away."""

from __future__ import annotations

import math
from datetime import datetime, timezone
from typing import Any

from markupsafe import Markup

from pyoco_server.contract.moments import is_moment
from pyoco_server.gateway.pages.i18n import Words

_MIN, _HOUR, _DAY = 60, 3_600, 86_400


def duration(words: Words, sec: float) -> Markup:
    """Say how long something takes, with two units at most."""
    if sec < 0.0995:
        return words("time.ms", n=max(0, round(sec * 1000)))
    if sec < 9.95:
        return words("time.sec", n=f"{sec:.1f}")
    whole = round(sec)
    if whole < _MIN:
        return words("time.sec", n=whole)
    if whole < _HOUR:
        return _two(words, "time.min", whole // _MIN, "time.sec", whole % _MIN)
    if whole < _DAY:
        return _two(words, "time.hour", whole // _HOUR, "time.min", whole % _HOUR // _MIN)
    return _two(words, "time.day", whole // _DAY, "time.hour", whole % _DAY // _HOUR)


def span(words: Words, sec: float) -> Markup:
    """Say how long ago something was, with one unit; what another program calls a time may be without end."""
    if not math.isfinite(sec):
        return words("time.unknown")
    if sec < _MIN:
        return words("time.sec", n=max(0, int(sec)))
    if sec < _HOUR:
        return words("time.min", n=int(sec // _MIN))
    if sec < 2 * _DAY:
        return words("time.hour", n=int(sec // _HOUR))
    return words("time.day", n=int(sec // _DAY))


def ago(words: Words, moment: Any, now: float) -> Markup:
    """Give a ``<time>`` that says how long ago a moment was."""
    if not is_moment(moment):
        return words("time.unknown")
    return _time(moment, words("time.ago", span=span(words, now - moment)))


def clock(words: Words, moment: Any) -> Markup:
    """Give a ``<time>`` with the time of day."""
    if not is_moment(moment):
        return words("time.unknown")
    return _time(moment, datetime.fromtimestamp(moment, timezone.utc).strftime("%H:%M:%S UTC"))


def _two(words: Words, key: str, n: int, rest_key: str, rest: int) -> Markup:
    first = words(key, n=n)
    return words("time.two", first=first, second=words(rest_key, n=rest)) if rest else first


def _time(moment: float, text: str) -> Markup:
    at = datetime.fromtimestamp(moment, timezone.utc)
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        at.strftime("%Y-%m-%dT%H:%M:%SZ"), at.strftime("%Y-%m-%d %H:%M:%S UTC"), text
    )
