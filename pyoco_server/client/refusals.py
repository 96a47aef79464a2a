"""Why a request did not succeed: what a gateway answered, or what stood in the way of asking it.

Source: contract, section 3 (errors); RFC 9457.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import requests
from requests.exceptions import RequestException
from urllib3.exceptions import NewConnectionError

from pyoco_server.errors import GatewayRefused

#: How much of an answer that is not JSON is shown in an error.
_EXCERPT_CHARACTERS = 200


def refusal(answer: requests.Response, method: str, path: str) -> GatewayRefused:
    """Read an error of either gateway: a problem document, or 0.5.1's ``{"detail": …}``."""
    if answer.is_redirect:
        moved = f"the gateway has moved to {answer.headers['location']}; use that address"
        return GatewayRefused(answer.status_code, method, path, moved)
    try:
        problem = json.loads(answer.content)
    except (ValueError, RequestException):
        problem = None
    if not isinstance(problem, dict):
        text = " ".join(answer.text.split())[:_EXCERPT_CHARACTERS]
        return GatewayRefused(answer.status_code, method, path, text or answer.reason or "no reason given")
    return GatewayRefused(answer.status_code, method, path, _detail(problem), problem)


def _detail(problem: dict[str, Any]) -> str:
    detail = problem.get("detail") or problem.get("title") or "no reason given"
    faults = detail if isinstance(detail, list) else problem.get("errors")
    sentence = "" if isinstance(detail, list) else str(detail)
    for fault in faults if isinstance(faults, list) else []:
        message = _fault_text(fault)
        # Our gateways join the faults in the detail where they have nothing else to say.
        if not isinstance(fault, dict) or str(fault.get("msg")) not in sentence:
            sentence = f"{sentence}; {message}" if sentence else message
    return sentence


def _fault_text(fault: Any) -> str:
    if not isinstance(fault, dict):
        return str(fault)
    loc = fault.get("loc")
    where = ".".join(map(str, loc)) if isinstance(loc, list) else str(loc or "")
    if fault.get("line") is not None:
        where = f"line {fault['line']}, column {fault.get('column') or 1}" + (f", {where}" if where else "")
    return f"{where}: {fault.get('msg')}" if where else str(fault.get("msg"))


def _chain(exc: BaseException) -> Iterator[BaseException]:
    """Give an error and its causes, from the outside in; urllib3 keeps some in ``reason`` and ``args``."""
    pending, seen = [exc], set[int]()
    while pending:
        current = pending.pop(0)
        if id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        nearby = (*current.args, getattr(current, "reason", None), current.__cause__, current.__context__)
        pending += [item for item in nearby if isinstance(item, BaseException)]


def reason(exc: BaseException) -> str:
    """Give the operating system's words for why a connection failed, without urllib3's wrapping."""
    for item in _chain(exc):
        if isinstance(item, OSError) and isinstance(item.strerror, str):
            return item.strerror
    return str(list(_chain(exc))[-1]) or type(exc).__name__


def was_refused(exc: BaseException) -> bool:
    """Say whether no connection was made at all, so that the gateway cannot have seen the request."""
    return any(isinstance(item, NewConnectionError) for item in _chain(exc))
