"""Values that come as text, in queries, headers and forms: each kind is read in one way, and never clamped.

Source: contract, section 3.
"""

from __future__ import annotations

import math
import re
from typing import Annotated

from pydantic import BeforeValidator

from pyoco_server.setting import parse_boolean

_INTEGER = re.compile(r"-?[0-9]{1,19}")
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def _integer(text: str) -> int:
    # int() also takes blanks, underscores and digits of other scripts.
    if _INTEGER.fullmatch(text) is None:
        raise ValueError("must be a whole number, such as 50")
    return int(text)


def _number(text: str) -> float:
    # float() also takes blanks, underscores, words and digits of other scripts.
    if _NUMBER.fullmatch(text) is None:
        raise ValueError("must be a number, such as 2.5")
    return float(text)


def _moment(text: str) -> float:
    # "1e999" is infinity for float().
    if _NUMBER.fullmatch(text) is None or math.isinf(float(text)):
        raise ValueError("must be a time in unix seconds, such as 1767225600.5")
    return float(text)


def _boolean(text: str) -> bool:
    try:
        return parse_boolean(text)
    except ValueError:
        raise ValueError("must be true or false") from None


#: For a model's field of numbers.
Integer = BeforeValidator(_integer)
Number = BeforeValidator(_number)
#: Unix seconds.
Moment = Annotated[float, BeforeValidator(_moment)]
Boolean = Annotated[bool, BeforeValidator(_boolean)]
