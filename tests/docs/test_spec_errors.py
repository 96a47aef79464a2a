"""``docs/spec.md`` names every error id with its statuses, and no other."""

from __future__ import annotations

import re
from pathlib import Path

from pyoco_server import errors
from pyoco_server.logs import LogId
from tests.support.documents import DOCS, section, table, words

SPEC = (DOCS / "spec.md").read_text()
PACKAGE = Path(errors.__file__).parent
#: Errors that end a command, or stand in a log, and are no answer of a gateway.
_OF_COMMANDS = ("ERR-PYOCO-0018", "ERR-PYOCO-HTTP", "ERR-PYOCO-CANCEL", "ERR-PYOCO-RUN")
_OF_WORKERS = (errors.InvalidJob, errors.FlowNotFound, errors.NotAllowed, errors.WheelSyncFailed)


def tree(kind: type[errors.PyocoServerError] = errors.PyocoServerError) -> list[type[errors.PyocoServerError]]:
    return [kind, *(found for child in kind.__subclasses__() for found in tree(child))]


def known() -> dict[str, set[str]]:
    """Give the ids of the code, each with the statuses that it is answered with."""
    found = {value: {"log"} for name, value in vars(LogId).items() if name.isupper()}
    for kind in tree():
        if kind.err_id is not None:
            status = "command" if kind.err_id in _OF_COMMANDS else "log" if kind in _OF_WORKERS else kind.http_status
            found.setdefault(kind.err_id, set()).add(str(status))
    return found


def documented() -> dict[str, set[str]]:
    rows = table(section(SPEC, "## Error ids"), "id")
    return {row["id"]: set(words(row["status"].replace(",", " "))) for row in rows}


def test_ids_and_their_statuses_are_those_of_the_code() -> None:
    told = documented()
    # The contract has it, and of commands it says ERR-PYOCO-HTTP.
    assert told.pop("ERR-PYOCO-0001") == set()
    assert told == known()


def test_no_id_stands_in_the_code_beside_the_two_lists() -> None:
    lists = (PACKAGE / "errors.py", PACKAGE / "logs.py")
    for module in PACKAGE.rglob("*.py"):
        if module not in lists:
            assert not re.findall(r"ERR-PYOCO-\w+", module.read_text()), module


def test_what_a_route_refuses_has_the_status_of_its_id() -> None:
    told = documented()
    pairs = re.findall(r"(\d{3})\s+`(ERR-PYOCO-\w+)`", section(SPEC, "## HTTP"))
    assert pairs
    assert [(status, err_id) for status, err_id in pairs if status not in told[err_id]] == []


def test_every_id_that_a_gateway_answers_stands_with_a_route_or_in_what_holds_for_all() -> None:
    text = section(SPEC, "## HTTP") + (DOCS / "auth.md").read_text()
    answered = {err_id for err_id, statuses in known().items() if statuses.isdisjoint({"log", "command"})}
    assert {err_id for err_id in answered if err_id not in text} == set()
