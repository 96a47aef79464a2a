"""Routes of dead letters: list, read, replay, remove.

Source: issue 4; contract, section 2, "Dead letters".
"""

from __future__ import annotations

from flask import Blueprint

from pyoco_server.errors import CannotRunAgain, DeadLetterNotFound, TooLarge, WorkflowInvalid
from pyoco_server.gateway.admission import caller
from pyoco_server.gateway.context import gateway
from pyoco_server.gateway.description import described
from pyoco_server.gateway.outputs import (
    LetterDocument,
    LetterPage,
    LetterRemoved,
    LettersRemoved,
    LettersReplayed,
    ReplayAccepted,
    ReplayRefused,
)
from pyoco_server.gateway.outputs import Replayed as ReplayedDocument
from pyoco_server.gateway.problems import problem_of
from pyoco_server.gateway.queries import LetterListQuery, LetterRangeQuery
from pyoco_server.operations.dead_letters import Replayed
from pyoco_server.operations.submit import Submitted
from pyoco_server.stores.deadletters import StoredLetter

blueprint = Blueprint("deadletters", __name__)

_ONE = "/dead-letters/<int:seq>"


@blueprint.get("/dead-letters")
@described()
def list_letters(query: LetterListQuery) -> LetterPage:
    """List dead letters, newest first."""
    found, before = gateway().dead_letters.page(caller(), query.wanted, before=query.cursor, limit=query.limit)
    return {"items": [_document(stored) for stored in found], "next_cursor": str(before) if before else None}


@blueprint.get(_ONE)
@described(refuses=(DeadLetterNotFound,))
def get_letter(seq: int) -> LetterDocument:
    """Read a dead letter."""
    return _document(gateway().dead_letters.get(caller(), seq))


@blueprint.delete(_ONE)
@described(refuses=(DeadLetterNotFound,))
def remove_letter(seq: int) -> LetterRemoved:
    """Remove a dead letter."""
    gateway().dead_letters.remove(caller(), seq)
    return {"seq": seq, "deleted": True}


@blueprint.delete("/dead-letters")
@described()
def remove_letters(query: LetterRangeQuery) -> LettersRemoved:
    """Remove all dead letters that match, or as many of them as one request may."""
    count, left = gateway().dead_letters.remove_some(caller(), query.wanted, query.cursor)
    return {"deleted": count, "next_cursor": None if left is None else str(left)}


@blueprint.post(f"{_ONE}/replay")
@described(refuses=(DeadLetterNotFound, CannotRunAgain, WorkflowInvalid, TooLarge))
def replay_letter(seq: int) -> tuple[ReplayAccepted, dict[str, str]]:
    """Submit the run of a dead letter again."""
    submitted = gateway().dead_letters.replay(caller(), seq)
    gateway().model.note_seen(submitted.revision)
    document: ReplayAccepted = {"seq": seq, "run_id": submitted.run_id, "status": "PENDING"}
    return document, {"Idempotent-Replayed": "true"} if submitted.is_repeated else {}


@blueprint.post("/dead-letters/replay")
@described()
def replay_letters(query: LetterRangeQuery) -> LettersReplayed:
    """Submit the runs of all dead letters that match again, or of as many of them as one request may."""
    results, left = gateway().dead_letters.replay_some(caller(), query.wanted, query.cursor)
    submitted = [(item.seq, item.outcome) for item in results if isinstance(item.outcome, Submitted)]
    gateway().model.note_seen(max([outcome.revision for _, outcome in submitted], default=0))
    return {
        "replayed": [_replayed(seq, outcome) for seq, outcome in submitted],
        "refused": [_refused(item) for item in results if not isinstance(item.outcome, Submitted)],
        "next_cursor": None if left is None else str(left),
    }


def _document(stored: StoredLetter) -> LetterDocument:
    return {"seq": stored.seq, **stored.letter.to_document()}


def _replayed(seq: int, submitted: Submitted) -> ReplayedDocument:
    return {"seq": seq, "run_id": submitted.run_id}


def _refused(item: Replayed) -> ReplayRefused:
    assert not isinstance(item.outcome, Submitted)
    return {**problem_of(item.outcome, f"/dead-letters/{item.seq}/replay"), "seq": item.seq}
