"""Routes of dead letters: list, read, replay, remove.

Source: issue 4; contract, section 2, "Dead letters".
"""

from __future__ import annotations

from typing import Any

from flask import Blueprint, request

from pyoco_server.gateway.admission import caller
from pyoco_server.gateway.context import gateway
from pyoco_server.gateway.letter_query import LetterQuery, read_letter_query
from pyoco_server.gateway.problems import problem_of
from pyoco_server.operations.dead_letters import Range, Replayed
from pyoco_server.operations.submit import Submitted
from pyoco_server.states import RunStatus
from pyoco_server.stores.deadletters import StoredLetter

blueprint = Blueprint("deadletters", __name__)

_ONE = "/dead-letters/<int:seq>"


@blueprint.get("/dead-letters")
def list_letters() -> dict[str, Any]:
    """List dead letters, newest first."""
    query = read_letter_query(request.args, is_list=True)
    found, before = gateway().dead_letters.page(caller(), query.wanted, before=query.before, limit=query.limit)
    return {"items": [_document(stored) for stored in found], "next_cursor": before and str(before)}


@blueprint.get(_ONE)
def get_letter(seq: int) -> dict[str, Any]:
    """Read one."""
    return _document(gateway().dead_letters.get(caller(), seq))


@blueprint.delete(_ONE)
def remove_letter(seq: int) -> dict[str, Any]:
    """Remove one."""
    gateway().dead_letters.remove(caller(), seq)
    return {"seq": seq, "deleted": True}


@blueprint.delete("/dead-letters")
def remove_letters() -> dict[str, Any]:
    """Remove all that match, or as many of them as one request may."""
    query = read_letter_query(request.args, is_list=False)
    count, left = gateway().dead_letters.remove_some(caller(), query.wanted, _there(query))
    return {"deleted": count, "next_cursor": _cursor(left)}


@blueprint.post(f"{_ONE}/replay")
def replay_letter(seq: int) -> Any:
    """Submit the run of one again."""
    submitted = gateway().dead_letters.replay(caller(), seq)
    gateway().model.note_written(submitted.revision)
    document = {**_replayed(seq, submitted), "status": RunStatus.PENDING.value}
    return (document, {"Idempotent-Replayed": "true"}) if submitted.is_repeated else document


@blueprint.post("/dead-letters/replay")
def replay_letters() -> dict[str, Any]:
    """Submit the runs of all that match again, or of as many of them as one request may."""
    query = read_letter_query(request.args, is_list=False)
    results, left = gateway().dead_letters.replay_some(caller(), query.wanted, _there(query))
    submitted = [(item.seq, item.outcome) for item in results if isinstance(item.outcome, Submitted)]
    gateway().model.note_written(max([outcome.revision for _, outcome in submitted], default=0))
    return {
        "replayed": [_replayed(seq, outcome) for seq, outcome in submitted],
        "refused": [_refused(item) for item in results if not isinstance(item.outcome, Submitted)],
        "next_cursor": _cursor(left),
    }


def _there(query: LetterQuery) -> Range:
    return query.there or gateway().dead_letters.all_letters()


def _cursor(left: Range | None) -> str | None:
    return None if left is None else f"{left.first}-{left.last}"


def _document(stored: StoredLetter) -> dict[str, Any]:
    return {"seq": stored.seq, **stored.letter.to_document()}


def _replayed(seq: int, submitted: Submitted) -> dict[str, Any]:
    return {"seq": seq, "run_id": submitted.run_id}


def _refused(item: Replayed) -> dict[str, Any]:
    assert not isinstance(item.outcome, Submitted)
    return {"seq": item.seq, **problem_of(item.outcome, f"/dead-letters/{item.seq}/replay")}
