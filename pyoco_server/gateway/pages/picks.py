"""What was ticked in a list, and the way back to the list as it was."""

from __future__ import annotations

from urllib.parse import parse_qs

from flask import request

from pyoco_server.errors import Fault, InvalidInput
from pyoco_server.gateway.pages.frame import address

#: Rows of one form; more than a list shows.
_MAX_PICKS = 200


def picked(field: str) -> list[str]:
    """Give the values of the boxes that were ticked.

    :raises InvalidInput: none was, or more than a list has.
    """
    values = request.form.getlist(field)
    if not 1 <= len(values) <= _MAX_PICKS:
        raise InvalidInput(faults=[Fault(f"form.{field}", f"tick between 1 and {_MAX_PICKS}")])
    return values


def list_address(path: str) -> str:
    """Give the address of the list from which the form was sent, with its filter."""
    return address(path, **parse_qs(request.form.get("back", "")))
