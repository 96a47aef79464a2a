"""A list that is at hand as a whole, a piece to a page; the address says where the piece begins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from flask import request

from pyoco_server.errors import Fault, InvalidListQuery
from pyoco_server.gateway.pages.frame import here

_MAX_DIGITS = 9

_Row = TypeVar("_Row")


@dataclass(frozen=True)
class Piece(Generic[_Row]):
    """Some rows of a list.

    :param first: the number of the first of them; 1 is the first of the list.
    :param count: rows of the list.
    :param before: address of the piece before; ``None`` where this is the first. So is ``after``.
    """

    rows: list[_Row]
    first: int
    count: int
    before: str | None
    after: str | None

    @property
    def last(self) -> int:
        return self.first + len(self.rows) - 1


def piece(rows: Sequence[_Row], size: int) -> Piece[_Row]:
    """Give the piece that the address asks for; the last one where the list has become shorter than that.

    :raises InvalidListQuery: what is asked for is no number.
    """
    text = request.args.get("skip") or "0"
    if not (text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS):
        raise InvalidListQuery(faults=[Fault("query.skip", "must be a number of rows")])
    begin = min(int(text), max(0, (len(rows) - 1) // size * size))
    return Piece(
        rows=list(rows[begin : begin + size]),
        first=begin + 1,
        count=len(rows),
        before=here(skip=str(begin - size) if begin > size else None) if begin else None,
        after=here(skip=str(begin + size)) if begin + size < len(rows) else None,
    )
