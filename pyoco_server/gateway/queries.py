"""The queries and headers that routes read: models of them, whose values come as text.

An empty text filters nothing. What is out of its range or of the wrong kind is refused, never clamped.

Source: contract, section 3.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, TypeVar, get_origin

from pydantic import BeforeValidator, Field, StringConstraints, WithJsonSchema, model_validator
from werkzeug.datastructures import Headers, MultiDict

from pyoco_server.contract.log_entries import LogPlace
from pyoco_server.contract.names import MAX_NAME_CHARS, MAX_TAG_CHARS
from pyoco_server.errors import InvalidListQuery, InvalidWorkersRequest
from pyoco_server.gateway.inputs import Input, read_model
from pyoco_server.gateway.texts import Boolean, Integer, Moment, Number
from pyoco_server.gateway.wording import PRINTABLE_ASCII_PATTERN, TAG_OR_NOTHING_PATTERN
from pyoco_server.operations.dead_letters import LetterFilter, Range, letter_number
from pyoco_server.operations.worker_registry import WorkerQuery
from pyoco_server.readmodel.queries import Cursor, RunQuery
from pyoco_server.states import RunStatus, WorkerState

MAX_LIST_LIMIT = 200
MAX_EVENT_LIMIT = 500
MAX_STATUSES = 100
MAX_WORKERS_LIMIT = 500
#: The longest that an answer is held back; proxies cut longer ones off.
MAX_WAIT_SEC = 60
MAX_LOG_TAIL = 1_000_000
#: More than a run can have: fifty by policy, each delivered twenty times.
MAX_ATTEMPT = 1_000_000
#: The longest watch.
MAX_WATCH_SEC = 600


def _seq_cursor(text: str) -> int | None:
    return letter_number(text) if text else None


def _range_cursor(text: str) -> Range | None:
    return Range.parse(text) if text else None


NameText = Annotated[str, StringConstraints(max_length=MAX_NAME_CHARS)]
TagText = Annotated[str, StringConstraints(max_length=MAX_TAG_CHARS)]
_CURSOR_SCHEMA = WithJsonSchema({"type": "string", "description": "`next_cursor` of the answer before."})


class WithInclude(Input):
    """A query that may ask for the large parts."""

    include: str = Field(default="", description="Words, separated by commas; unknown ones ask for nothing.")
    #: The words that do.
    asking: ClassVar[tuple[str, ...]] = ("records", "full", "all")

    @property
    def wants_all(self) -> bool:
        return any(word.strip().lower() in self.asking for word in self.include.split(","))


class RunListQuery(WithInclude):
    """Query of ``GET /runs``."""

    refusal = InvalidListQuery
    asking = ("full", "all")

    status: list[Annotated[RunStatus, Field(strict=False)]] = Field(default=[], max_length=MAX_STATUSES)
    limit: Annotated[int, Field(ge=1, le=MAX_LIST_LIMIT), Integer] = 50
    flow: NameText = ""
    tag: TagText = ""
    workflow_yaml_sha256: str = ""
    updated_after: Moment | None = Field(default=None, description="Unix seconds, exclusive.")
    created_after: Moment | None = Field(default=None, description="Unix seconds, exclusive.")
    q: NameText = Field(default="", description="The beginning of a run id or a flow name.")
    cursor: Annotated[
        Cursor | None, BeforeValidator(lambda text: Cursor.parse(text) if text else None), _CURSOR_SCHEMA
    ] = None

    @property
    def is_paged(self) -> bool:
        """Whether the answer is an object with a cursor, for which a parameter alone asks, whatever its value."""
        return not self.model_fields_set.isdisjoint(("updated_after", "cursor", "workflow_yaml_sha256"))

    def of(self, tenant_id: str | None) -> RunQuery:
        """Ask for this, of one tenant's runs."""
        return RunQuery(
            tenant_id=tenant_id,
            limit=self.limit,
            statuses=tuple(dict.fromkeys(status.value for status in self.status)),
            flow_name=self.flow or None,
            tag=self.tag or None,
            sha256=self.workflow_yaml_sha256 or None,
            updated_after=self.updated_after,
            created_after=self.created_after,
            prefix=self.q or None,
            cursor=self.cursor,
        )


class RunReadQuery(WithInclude):
    """Query of ``GET /runs/{run_id}``."""

    wait: Annotated[float, Field(ge=0, le=MAX_WAIT_SEC), Number] = Field(
        default=0.0, description="Seconds to wait for the run's end before the answer."
    )


def _event_place(text: str) -> LogPlace | None:
    return LogPlace.parse(text) if text else None


class LogQuery(Input):
    """Query of ``GET /runs/{run_id}/logs``; ``tail`` counts the entries of the task."""

    task: str = ""
    tail: Annotated[int | None, Field(ge=1, le=MAX_LOG_TAIL), Integer] = None
    format: Annotated[Literal["json", "text"] | None, BeforeValidator(lambda text: text or None)] = Field(
        default=None, description="What is answered, whatever `Accept` says."
    )
    follow: Boolean = Field(default=False, description="Go on until the run has ended, or `timeout_sec` is over.")
    timeout_sec: Annotated[int, Field(ge=1, le=MAX_WATCH_SEC), Integer] = 60


class LogHeaders(Input):
    """Headers of ``GET /runs/{run_id}/logs``; the event that the client of a stream has seen last."""

    last_event_id: Annotated[
        LogPlace | None,
        Field(alias="Last-Event-ID"),
        BeforeValidator(_event_place),
        WithJsonSchema({"type": "string", "description": "`id` of the last event that was seen."}),
    ] = None


class ArtifactQuery(Input):
    """Query of ``GET /runs/{run_id}/artifacts/{name}``; without ``attempt`` the newest that has the file."""

    attempt: Annotated[int | None, Field(ge=1, le=MAX_ATTEMPT), Integer] = None


class WatchQuery(WithInclude):
    """Query of ``GET /runs/{run_id}/watch``."""

    since: Moment | None = Field(default=None, description="Unix seconds; only a state that is not older is sent.")
    timeout_sec: Annotated[int, Field(ge=1, le=MAX_WATCH_SEC), Integer] = 60


class WatchHeaders(Input):
    """Headers of ``GET /runs/{run_id}/watch``; the revision that the client has seen, 0 = none."""

    last_event_id: Annotated[
        int, Field(ge=0, alias="Last-Event-ID"), Integer, BeforeValidator(lambda text: text or "0")
    ] = 0


class SubmitHeaders(Input):
    """Headers of what submits a run; a repeated request of the same key is answered as the first was."""

    idempotency_key: Annotated[
        str | None,
        Field(alias="Idempotency-Key", min_length=1, max_length=255, pattern=PRINTABLE_ASCII_PATTERN),
    ] = None


class WorkerListQuery(Input):
    """Query of ``GET /workers``; as in 0.5.1 words may be in any case, and an empty state is none."""

    refusal = InvalidWorkersRequest

    scope: Annotated[Literal["active", "all"], BeforeValidator(str.lower)] = "active"
    state: Annotated[
        Annotated[WorkerState, Field(strict=False)] | None, BeforeValidator(lambda text: text.upper() or None)
    ] = None
    include_hidden: Boolean = False
    limit: Annotated[int, Field(ge=1, le=MAX_WORKERS_LIMIT), Integer] = 100

    def of_all(self) -> WorkerQuery:
        """Ask the registry for this."""
        state = self.state and self.state.value
        return WorkerQuery(self.scope == "active", state, self.include_hidden, self.limit)


class WheelEventQuery(Input):
    """Query of ``GET /wheels/history``."""

    refusal = InvalidListQuery

    limit: Annotated[int, Field(ge=1, le=MAX_EVENT_LIMIT), Integer] = 100
    wheel_name: str = ""
    action: Annotated[Literal["upload", "delete"] | None, BeforeValidator(lambda text: text or None)] = None


class UploadFields(Input):
    """Fields of ``POST /wheels`` beside the file; ``tags`` are separated by commas."""

    replace: Boolean = True
    tags: str = ""


class LetterQuery(Input):
    """What all queries of ``/dead-letters`` have in common."""

    refusal = InvalidListQuery

    tag: Annotated[str, StringConstraints(pattern=TAG_OR_NOTHING_PATTERN)] = ""
    reason: TagText = ""

    @property
    def wanted(self) -> LetterFilter:
        return LetterFilter(self.tag or None, self.reason or None)


class LetterListQuery(LetterQuery):
    """Query of ``GET /dead-letters``."""

    limit: Annotated[int, Field(ge=1, le=MAX_LIST_LIMIT), Integer] = 50
    #: Only letters with smaller numbers.
    cursor: Annotated[int | None, BeforeValidator(_seq_cursor), _CURSOR_SCHEMA] = None


class LetterRangeQuery(LetterQuery):
    """Query of an operation on all dead letters that match.

    One on all letters must say ``all=true``: a parameter that is not known is ignored, so that a filter with a slip of
    the pen would mean all.
    """

    all: str = Field(default="", description="`true` for every dead letter, where neither tag nor reason is given.")
    #: The letters that are left; ``None`` = all that there are now.
    cursor: Annotated[Range | None, BeforeValidator(_range_cursor), _CURSOR_SCHEMA] = None

    @model_validator(mode="after")
    def _says_what_is_meant(self) -> LetterRangeQuery:
        if self.wanted == LetterFilter() and self.all != "true":
            raise ValueError("give tag or reason, or all=true for every dead letter")
        return self


QueryT = TypeVar("QueryT", bound=Input)


def read_query(kind: type[QueryT], given: MultiDict[str, str]) -> QueryT:
    """Read a query; parameters that the model does not know are ignored.

    :raises InvalidInput: of the kind that the model says, with every value that it refuses.
    """
    values: dict[str, Any] = {}
    for name, field in kind.model_fields.items():
        if texts := given.getlist(name):
            values[name] = texts if get_origin(field.annotation) is list else texts[0]
    return read_model(kind, values, "query")


def read_headers(kind: type[QueryT], given: Headers) -> QueryT:
    """Read the headers that the model knows.

    :raises InvalidInput: of the kind that the model says, with every value that it refuses.
    """
    names = [str(field.alias) for field in kind.model_fields.values()]
    return read_model(kind, {name: given[name] for name in names if name in given}, "header")
