"""Characters that no page may hold: stored texts, as coloured tracebacks, are full of them."""

from __future__ import annotations

import re

#: All but what may stand. The two of each higher plane pass: to name them makes the search ten times as slow.
_UNFIT = re.compile("[^\t\n\f\r\x20-\x7e\xa0-\ud7ff\ue000-\ufdcf\ufdf0-\ufffd\U00010000-\U0010ffff]")
#: U+2400 is the picture of the first control character, U+2421 that of DEL.
_PICTURES, _DELETE, _OTHER = 0x2400, "\u2421", "\ufffd"


def plain(html: str) -> str:
    """Put a character that can be seen in place of each that HTML forbids.

    Source: HTML, "Preprocessing the input stream" (control-character-in-input-stream and its like).
    """
    return _UNFIT.sub(_stand_in, html)


def _stand_in(found: re.Match[str]) -> str:
    number = ord(found[0])
    if number < 0x20:
        return chr(_PICTURES + number)
    return _DELETE if number == 0x7F else _OTHER
