"""What routes answer: types of JSON objects, for the routes and for the OpenAPI document.

What is answered as it is stored is described by the dataclass that it is stored from.

Source: contract, section 3.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_type_hints

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema
from typing_extensions import NotRequired, TypedDict

from pyoco_server.contract.deadletters import DeadLetter
from pyoco_server.contract.projections import SUMMARY_FIELDS
from pyoco_server.contract.runs import OMITTED, Snapshot
from pyoco_server.contract.wheels import WheelEvent
from pyoco_server.contract.workers import WorkerRecord
from pyoco_server.errors import Fault
from pyoco_server.states import RunStatus


@dataclass(frozen=True)
class DocumentOf:
    """Describes the JSON object that a dataclass is stored as.

    :param name: of the schema.
    :param only: its fields, where they are not all that the dataclass has.
    :param may_lack: fields that are not always there.
    :param is_loose: whether each field may be null, because other programs have not written it.
    :param more: a typed dictionary with the fields that are answered beside it.
    """

    name: str
    kind: type
    only: Collection[str] = ()
    may_lack: Collection[str] = ()
    is_loose: bool = False
    more: Any = None

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        hints = get_type_hints(self.kind, include_extras=True)
        fields: dict[str, Any] = {
            name: hint for name, hint in hints.items() if name != "extra" and (not self.only or name in self.only)
        }
        if self.is_loose:
            fields = {name: hint | None for name, hint in fields.items()}
        for name in self.may_lack:
            fields[name] = NotRequired[fields[name]]
        if self.more is not None:
            further = get_type_hints(self.more, include_extras=True)
            is_sure = self.more.__required_keys__
            fields.update({name: hint if name in is_sure else NotRequired[hint] for name, hint in further.items()})
        # A call by another name: checkers of types take one by this name for a definition.
        make: Any = TypedDict
        made = make(self.name, fields)
        made.__doc__ = (self.kind.__doc__ or "").partition("\n")[0]
        return handler.generate_schema(made)


FaultDocument = Annotated[dict[str, Any], DocumentOf("Fault", Fault, may_lack=("line", "column"))]
RunDocument = Annotated[dict[str, Any], DocumentOf("Run", Snapshot, may_lack=("task_records", *OMITTED))]
RunSummary = Annotated[dict[str, Any], DocumentOf("RunSummary", Snapshot, only=SUMMARY_FIELDS, is_loose=True)]
EventDocument = Annotated[dict[str, Any], DocumentOf("WheelEvent", WheelEvent)]


class Problem(TypedDict):
    """An error (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    err_id: NotRequired[str]
    errors: NotRequired[list[FaultDocument]]
    run_id: NotRequired[str]


class Health(TypedDict):
    """The process serves."""

    status: Literal["ok"]


class NatsState(TypedDict):
    """The connection to NATS."""

    connected: bool
    last_error: str | None


class ReadModelState(TypedDict):
    """Whether lists are complete."""

    complete: bool


class Readiness(TypedDict):
    """Whether the gateway can work."""

    status: Literal["ready", "not ready"]
    nats: NatsState
    read_model: ReadModelState


class Accepted(TypedDict):
    """A run that was accepted; ``warnings`` are of its workflow."""

    run_id: str
    status: Literal["PENDING"]
    warnings: NotRequired[list[FaultDocument]]


class BatchResult(TypedDict):
    """What became of each run of a batch, in its order."""

    runs: list[Accepted | Problem]


class RunPage(TypedDict):
    """A page of a list of runs."""

    items: list[RunSummary] | list[RunDocument]
    next_cursor: str | None


class HandedOut(TypedDict):
    """A run that now belongs to the worker that asked, or none."""

    run_id: str | None
    flow_name: str | None
    params: dict[str, Any] | None


class Heard(TypedDict):
    """Whether the worker is to stop."""

    cancel_requested: bool


class RunOutput(TypedDict):
    """What a run has printed, each entry as it was sent; ``is_cut`` where more was asked for, all of it older."""

    run_status: RunStatus
    logs: list[dict[str, Any]]
    is_cut: bool


class WatchEvent(TypedDict):
    """One event of a watch; ``id`` is the revision of its snapshot, for ``Last-Event-ID``, and ``data`` is JSON."""

    event: Literal["snapshot", "heartbeat"]
    id: NotRequired[str]
    data: str


class LogEvent(TypedDict):
    """One event of a log that is followed; ``id`` names the place of its entry, for ``Last-Event-ID``."""

    event: Literal["log", "end"]
    id: NotRequired[str]
    data: str


class _Worker(TypedDict, total=False):
    worker_alive: bool
    worker_state: str
    worker_heartbeat_at: float
    worker_hidden: bool
    worker_tags: list[str]


RunAndWorker = Annotated[
    dict[str, Any], DocumentOf("RunAndWorker", Snapshot, may_lack=("task_records", *OMITTED), more=_Worker)
]


class _SignsOfLife(TypedDict):
    last_heartbeat_at: float
    heartbeat_at: float


WorkerDocument = Annotated[dict[str, Any], DocumentOf("Worker", WorkerRecord, more=_SignsOfLife)]


class WorkerVisibility(TypedDict):
    """What a worker's record says now."""

    worker_id: str
    hidden: bool
    updated_at: float


class WorkerDrained(TypedDict):
    """When somebody asked the worker to drain, first."""

    worker_id: str
    drain_requested_at: float


class Deleted(TypedDict):
    """A wheel that is no more."""

    name: str
    deleted: Literal[True]


class _Numbered(TypedDict):
    seq: int


LetterDocument = Annotated[
    dict[str, Any],
    DocumentOf("DeadLetter", DeadLetter, may_lack=("subject", "num_delivered", "payload"), more=_Numbered),
]


class LetterPage(TypedDict):
    """A page of dead letters."""

    items: list[LetterDocument]
    next_cursor: str | None


class LetterRemoved(TypedDict):
    """A dead letter that is no more."""

    seq: int
    deleted: Literal[True]


class LettersRemoved(TypedDict):
    """How many dead letters were removed, and what is left to do."""

    deleted: int
    next_cursor: str | None


class Replayed(TypedDict):
    """The run that a dead letter has become."""

    seq: int
    run_id: str


class ReplayAccepted(Replayed):
    """The run that a dead letter has become, accepted."""

    status: Literal["PENDING"]


class ReplayRefused(Problem):
    """Why a dead letter could not be replayed."""

    seq: int


class LettersReplayed(TypedDict):
    """What became of many dead letters, and what is left to do."""

    replayed: list[Replayed]
    refused: list[ReplayRefused]
    next_cursor: str | None
