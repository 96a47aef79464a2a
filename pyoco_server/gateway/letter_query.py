"""The query of ``/dead-letters``, read strictly.

Source: contract, section 3; issue 4.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from werkzeug.datastructures import MultiDict

from pyoco_server.contract.names import MAX_TAG_CHARS, is_tag
from pyoco_server.errors import Fault, InvalidListQuery
from pyoco_server.gateway.inputs import DEFAULT_LIST_LIMIT, MAX_LIST_LIMIT, at_most, integer
from pyoco_server.operations.dead_letters import LetterFilter, Range
from pyoco_server.stores.deadletters import MAX_LETTER_SEQ

T = TypeVar("T")


@dataclass(frozen=True)
class LetterQuery:
    """The query of ``/dead-letters``.

    :param before: only letters with smaller numbers; of a list.
    :param there: the letters that are left; of an operation on many. ``None`` = all that there are now.
    """

    wanted: LetterFilter
    limit: int = DEFAULT_LIST_LIMIT
    before: int | None = None
    there: Range | None = None


def read_letter_query(query: MultiDict[str, str], *, is_list: bool) -> LetterQuery:
    """Read the query of a list of dead letters, or of an operation on all that match.

    An operation on all letters must say ``all=true``: a parameter that is not known is ignored, so that a filter with a
    slip of the pen would mean all.

    :raises InvalidListQuery: with every value that is out of its range or of the wrong kind.
    """
    faults: list[Fault] = []

    def take(name: str, parse: Callable[[str], T]) -> T | None:
        try:
            return parse(query[name]) if query.get(name) else None
        except ValueError as exc:
            faults.append(Fault(f"query.{name}", str(exc)))
            return None

    wanted = LetterFilter(take("tag", _routing_tag), take("reason", lambda text: at_most(MAX_TAG_CHARS, text)))
    limit = take("limit", lambda text: integer(text, 1, MAX_LIST_LIMIT)) if is_list else None
    numbers = take("cursor", lambda text: _numbers(text, 1 if is_list else 2)) or []
    if not is_list and wanted == LetterFilter() and not faults and query.get("all") != "true":
        faults.append(Fault("query", "give tag or reason, or all=true for every dead letter"))
    if faults:
        raise InvalidListQuery(faults=faults)
    if is_list:
        return LetterQuery(wanted, limit or DEFAULT_LIST_LIMIT, before=numbers[0] if numbers else None)
    return LetterQuery(wanted, there=Range(*numbers) if numbers else None)


def _routing_tag(text: str) -> str:
    if not is_tag(text):
        raise ValueError("must be a routing tag: letters, digits, _ and -")
    return text


def _numbers(cursor: str, count: int) -> list[int]:
    parts = cursor.split("-")
    if len(parts) != count:
        raise ValueError("is not a cursor of this list; take next_cursor of the answer before as it is")
    return [integer(part, 0, MAX_LETTER_SEQ) for part in parts]
