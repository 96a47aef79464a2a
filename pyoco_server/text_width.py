"""How much room a text takes, in places of one Latin letter each: wide characters take two, marks above others none."""

from __future__ import annotations

import unicodedata


def width(text: str) -> int:
    """Give the places that a text takes in a terminal, and nearly so on a page."""
    return sum(map(_places, text))


def beginning(text: str, places: int) -> str:
    """Give as much of a text from its beginning as fits."""
    taken = 0
    for index, char in enumerate(text):
        taken += _places(char)
        if taken > places:
            return text[:index]
    return text


def shortened(text: str, places: int) -> str:
    """Cut a text so that it takes at most ``places``, with an ellipsis where something is missing."""
    return text if width(text) <= places else f"{beginning(text, places - 1)}…"


def shortened_in_middle(text: str, places: int) -> str:
    """The same, with beginning and end kept: names of one family often differ in their last letters."""
    if width(text) <= places:
        return text
    end = beginning(text[::-1], (places - 1) // 2)[::-1]
    return f"{beginning(text, places - 1 - width(end))}…{end}"


def _places(char: str) -> int:
    # Not by its combining class, which the vowels above a Thai letter have not.
    if unicodedata.category(char) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1
