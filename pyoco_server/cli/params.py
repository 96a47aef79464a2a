"""The parameters of a run as a command line gives them.

Source: contract, section 5 (``submit``).
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

_KINDS = {list: "a list", str: "a text", type(None): "nothing"}


def read_text(flag: str, name: str, fail: Callable[[str], NoReturn]) -> str:
    """Read a file, or stdin for ``-``, as UTF-8 and with its line ends as they are."""
    try:
        content = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
        return content.decode()
    except UnicodeDecodeError as exc:
        fail(f"{flag} {name} is not UTF-8 text: {exc.reason} at byte {exc.start}")
    except (OSError, ValueError) as exc:
        # ValueError: a name with a null character.
        fail(f"{flag} {name} cannot be read: {getattr(exc, 'strerror', None) or exc}")


def gather(
    file: str | None, text: str | None, assignments: Sequence[str], fail: Callable[[str], NoReturn]
) -> dict[str, Any]:
    """Put the parameters of a run together; later wins: file, JSON, assignments.

    :param file: ``--params-file``, JSON or YAML.
    :param text: ``--params``, JSON.
    :param assignments: each ``--param``; the value is JSON where it parses, else text.
    :param fail: called with what is wrong, flag first; must raise.
    """
    params: dict[str, Any] = {}
    if file is not None:
        params.update(_from_file(file, fail))
    if text is not None:
        try:
            given = parse_json(text)
        except ValueError as exc:
            fail(f"--params is not JSON: {exc}")
        params.update(as_mapping("--params", given, fail))
    for assignment in assignments:
        key, separator, value = assignment.partition("=")
        if not separator or not key.strip():
            fail(f"--param {assignment!r} is not KEY=VALUE")
        try:
            params[key.strip()] = parse_json(value)
        except ValueError:
            params[key.strip()] = value
    return params


def _from_file(name: str, fail: Callable[[str], NoReturn]) -> dict[str, Any]:
    text = read_text("--params-file", name, fail)
    try:
        content = parse_json(text)
    except ValueError:
        content = parse_yaml(f"--params-file {name}", text, fail)
    return as_mapping(f"--params-file {name}", content, fail)


def parse_yaml(what: str, text: str, fail: Callable[[str], NoReturn]) -> Any:
    """Read YAML that is to be sent as JSON.

    :param what: names the text in messages.
    """
    import yaml

    try:
        content = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as exc:
        fail(f"{what} is neither JSON nor YAML: {' '.join(str(exc).split())}")
    try:
        # YAML knows dates, sets and infinities, which cannot be sent.
        json.dumps(content, allow_nan=False)
    except (TypeError, ValueError) as exc:
        fail(f"{what} has a value that JSON cannot carry: {exc}; put it in quotes")
    return content


def as_mapping(what: str, value: object, fail: Callable[[str], NoReturn]) -> dict[str, Any]:
    """Check that a value is an object of names and values."""
    if not isinstance(value, dict):
        fail(f"{what} must be an object of names and values, not {_KINDS.get(type(value), 'a scalar')}")
    for key in value:
        if not isinstance(key, str):
            fail(f"{what} has a name that is not text: {key!r}; put it in quotes")
    return value


def parse_json(text: str) -> Any:
    """Read JSON strictly.

    :raises ValueError: also for what Python reads and no gateway could be sent: NaN, Infinity, numbers that
        overflow to it, and what is nested too deeply.
    """

    def refuse(word: str) -> NoReturn:
        raise ValueError(f"{word} is not a number of JSON")

    def finite(digits: str) -> float:
        number = float(digits)
        return number if math.isfinite(number) else refuse(digits)

    try:
        return json.loads(text, parse_constant=refuse, parse_float=finite)
    except RecursionError:
        raise ValueError("nested too deeply") from None
