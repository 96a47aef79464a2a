"""Dead letters: what could not be done and why; replay or remove those that were ticked, or all that match."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, Response, redirect, request
from markupsafe import Markup
from werkzeug.datastructures import MultiDict
from werkzeug.wrappers import Response as AnyResponse

from pyoco_server.errors import Fault, InvalidInput, PyocoServerError, Unavailable
from pyoco_server.gateway.admission import caller
from pyoco_server.gateway.context import gateway
from pyoco_server.gateway.pages.frame import address, here, page_words, render
from pyoco_server.gateway.pages.i18n import Words
from pyoco_server.gateway.pages.marks import Mark, letter_mark, letter_marks
from pyoco_server.gateway.pages.outcome import outcome_page
from pyoco_server.gateway.pages.picks import list_address, picked
from pyoco_server.gateway.pages.rows import first_line, name_of
from pyoco_server.gateway.queries import LetterListQuery, LetterRangeQuery, read_query
from pyoco_server.operations.dead_letters import Range
from pyoco_server.operations.submit import Submitted
from pyoco_server.stores.deadletters import StoredLetter

blueprint = Blueprint("dead_letters_page", __name__)

_PATH = "/ui/dead-letters"
_PAGE_ROWS = 30
#: What a page shows of what was in the queue; the letter itself has the whole.
_MAX_PAYLOAD_CHARS = 600
_FILTERS = ("reason", "tag")
_SHOWN = (*_FILTERS, "cursor")


@dataclass(frozen=True)
class LetterRow:
    """One letter in the list.

    :param run_id: empty where the job could not be read.
    :param error: its first line, cut.
    :param payload: what was in the queue, where that was no job; cut.
    """

    seq: int
    mark: Mark
    reason: str
    flow_name: str
    run_id: str
    tag: str
    worker_id: str
    at: Any
    error: str
    payload: str


@blueprint.get(_PATH)
def letters() -> Response:
    """Show the letters that match, newest first."""
    query = read_query(LetterListQuery, MultiDict({name: request.args.get(name, "") for name in _SHOWN}))
    found, before = gateway().dead_letters.page(caller(), query.wanted, before=query.cursor, limit=_PAGE_ROWS)
    given = {name: request.args.get(name, "") for name in _FILTERS}
    return render(
        "dead_letters.html",
        refresh_sec=0,
        title=_title(page_words(), given),
        rows=[_row(stored) for stored in found],
        older=here(cursor=str(before)) if before else None,
        newest=here(cursor=None) if request.args.get("cursor") else None,
        given=given,
        is_filtered=any(given.values()),
        reasons=[(reason, mark.word, here(reason=reason, cursor=None)) for reason, mark in letter_marks().items()],
        every_reason=here(reason=None, cursor=None),
        query=request.query_string.decode("ascii", errors="replace"),
        kept_sec=gateway().config.dlq_max_age_sec,
    )


@blueprint.post(_PATH)
def show_again() -> AnyResponse:
    """Do nothing with the ticked letters, which is what a browser asks for by the Enter key."""
    return redirect(list_address(_PATH), 303)


@blueprint.post(f"{_PATH}/replay")
def replay() -> Response:
    """Submit the runs of the ticked letters again, or of all that match, and say what became of each."""
    new: list[Submitted] = []
    refused: list[tuple[str, str]] = []
    rest = None
    if "seq" in request.form:
        for seq in _numbers():
            try:
                new.append(gateway().dead_letters.replay(caller(), seq))
            except Unavailable:
                # Sent again, the form replays none of them twice.
                raise
            except PyocoServerError as exc:
                refused.append((_here_to(seq), exc.detail))
    else:
        query = read_query(LetterRangeQuery, request.form)
        done, rest = gateway().dead_letters.replay_some(caller(), query.wanted, query.cursor)
        for item in done:
            if isinstance(item.outcome, Submitted):
                new.append(item.outcome)
            else:
                refused.append((_here_to(item.seq), item.outcome.detail))
    gateway().model.note_seen(max([submitted.revision for submitted in new], default=0))
    title = page_words()("again.done", count=len(new))
    return outcome_page(
        title, [submitted.run_id for submitted in new], refused, list_address(_PATH), _rest("replay", rest)
    )


@blueprint.post(f"{_PATH}/remove")
def remove() -> AnyResponse:
    """Remove the ticked letters, or all that match; one that is gone already is no fault."""
    if "seq" in request.form:
        for seq in _numbers():
            gateway().dead_letters.discard(caller(), seq)
        return redirect(list_address(_PATH), 303)
    query = read_query(LetterRangeQuery, request.form)
    count, rest = gateway().dead_letters.remove_some(caller(), query.wanted, query.cursor)
    title = page_words()("letters.removed", count=count)
    return outcome_page(title, [], [], list_address(_PATH), _rest("remove", rest))


def _title(text: Words, given: Mapping[str, str]) -> Markup:
    """Say what the list shows: how many letters there are, or by what they are chosen."""
    parts = [text(letter_mark(given["reason"]).word)] if given["reason"] else []
    if given["tag"]:
        parts.append(text("runs.of_tag", tag=given["tag"]))
    if parts:
        return text("letters.title_by", parts=Markup(" · ").join(parts))
    count = gateway().dead_letters.count(caller())
    return text("letters.title") if count is None else text("letters.title_of", count=count)


def _numbers() -> list[int]:
    texts = picked("seq")
    if not all(text.isascii() and text.isdigit() and len(text) < 20 for text in texts):
        raise InvalidInput(faults=[Fault("form.seq", "must be the numbers of letters")])
    return [int(text) for text in texts]


def _here_to(seq: int) -> str:
    """Give the address of the list in which a letter is the first."""
    return address(_PATH, cursor=str(seq + 1))


def _rest(action: str, rest: Range | None) -> dict[str, str] | None:
    """Give the form that goes on with what one request had no time for."""
    if rest is None:
        return None
    sent = {name: request.form.get(name, "") for name in (*_FILTERS, "all", "back")}
    return {"action": f"{_PATH}/{action}", **sent, "cursor": str(rest)}


def _row(stored: StoredLetter) -> LetterRow:
    letter = stored.letter
    return LetterRow(
        seq=stored.seq,
        mark=letter_mark(letter.reason),
        reason=name_of(letter.reason),
        flow_name=name_of(letter.flow_name),
        run_id=name_of(letter.run_id),
        tag=name_of(letter.tag),
        worker_id=name_of(letter.worker_id),
        at=letter.timestamp,
        error=first_line(letter.error),
        payload=letter.payload[:_MAX_PAYLOAD_CHARS] if isinstance(letter.payload, str) else "",
    )
