"""What clients send, read strictly: models of bodies and forms; what they refuse is refused with its place.

Source: contract, sections 1 and 3.
"""

from __future__ import annotations

import codecs
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    StringConstraints,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from pyoco_server.contract.names import MAX_NAME_CHARS, MAX_TAG_CHARS
from pyoco_server.contract.policy import DEFAULT_RETRY_DELAY_SEC, MAX_ATTEMPTS, MAX_RETRY_DELAY_SEC, RunPolicy
from pyoco_server.errors import Fault, InvalidInput, InvalidWorkersRequest
from pyoco_server.gateway.texts import Boolean, Integer, Number
from pyoco_server.gateway.wording import PRINTABLE_PATTERN, TAG_PATTERN, message_of
from pyoco_server.operations.authenticate import Caller
from pyoco_server.operations.submit import RunRequest
from pyoco_server.states import RunStatus, TaskState
from pyoco_server.workflow.flow_yaml import Workflow

MAX_BATCH_RUNS = 1_000
MAX_POLLED_TAGS = 100
#: Tasks of a run that a heartbeat may tell of.
MAX_TASKS = 10_000
#: Faults that are told at once.
MAX_FAULTS = 100
#: Deeper JSON is refused: what reads it later, here and in workers, recurses.
MAX_NESTING = 100

FlowName = Annotated[str, StringConstraints(min_length=1, max_length=MAX_NAME_CHARS, pattern=PRINTABLE_PATTERN)]
RoutingTag = Annotated[str, StringConstraints(max_length=MAX_TAG_CHARS, pattern=TAG_PATTERN)]
Label = Annotated[str, StringConstraints(min_length=1, max_length=MAX_TAG_CHARS, pattern=PRINTABLE_PATTERN)]
#: One wrong label is enough: a fault for each of a million would fill the memory.
Labels = Annotated[list[Label], Field(fail_fast=True)]
Attempts = Annotated[int, Field(ge=1, le=MAX_ATTEMPTS)]
RetryDelay = Annotated[float, Field(ge=0, le=MAX_RETRY_DELAY_SEC)]
#: Thirty years; 0 = no limit.
TimeLimit = Annotated[float, Field(ge=0, le=1e9)]


class Input(BaseModel):
    """What a client sends; what the model does not know is ignored."""

    model_config = ConfigDict(strict=True, extra="ignore")

    #: The error of what the model refuses.
    refusal: ClassVar[type[InvalidInput]] = InvalidInput
    #: Of a body: whether none at all counts as an empty object.
    may_be_missing: ClassVar[bool] = False


class PolicyInput(Input):
    """What every submission may say of how its runs are tried."""

    max_attempts: Attempts = 1
    retry_delay_sec: RetryDelay = DEFAULT_RETRY_DELAY_SEC
    timeout_sec: TimeLimit | None = None
    resume: bool = True

    @property
    def policy(self) -> RunPolicy:
        return RunPolicy(self.max_attempts, self.retry_delay_sec, self.timeout_sec, self.resume)


class RunInput(PolicyInput):
    """Body of ``POST /runs``."""

    flow_name: FlowName
    params: dict[str, Any] = Field(default_factory=dict)
    tag: RoutingTag | None = None
    tags: Labels | None = None

    def request(self, caller: Caller, default_tag: str) -> RunRequest:
        """Give it as the request of who sent it."""
        return RunRequest.of(caller, default_tag, self.flow_name, self.tag, self.tags, self.params, policy=self.policy)


class HiddenInput(Input):
    """Body of ``PATCH /workers/{worker_id}``."""

    refusal = InvalidWorkersRequest

    hidden: bool


class RerunInput(Input):
    """Body of ``POST /runs/{run_id}/rerun``."""

    may_be_missing = True

    begins_at: Literal["all", "failed"] = Field(default="all", alias="from")


class WorkflowInput(PolicyInput):
    """Fields of ``POST /runs/yaml`` beside the file; all but ``params`` come as text."""

    flow_name: FlowName
    tag: RoutingTag | None = None
    params: dict[str, Any] = Field(default_factory=dict)
    max_attempts: Annotated[Attempts, Integer] = 1
    retry_delay_sec: Annotated[RetryDelay, Number] = DEFAULT_RETRY_DELAY_SEC
    timeout_sec: Annotated[TimeLimit, Number] | None = None
    resume: Boolean = True

    def request(self, caller: Caller, default_tag: str, workflow: Workflow) -> RunRequest:
        """Give it as the request of who sent it."""
        return RunRequest.of(caller, default_tag, self.flow_name, self.tag, None, self.params, workflow, self.policy)


@dataclass(frozen=True)
class DescribedAs:
    """Describes a value that is read later, by a model of its own."""

    model: type[BaseModel]

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return handler(self.model.__pydantic_core_schema__)


def _has(**kinds: str) -> dict[str, Any]:
    """Describe an object that has these fields; one of kind ``null`` it may also lack."""
    properties = {name: {"type": kind} for name, kind in kinds.items()}
    return {"required": [name for name, kind in kinds.items() if kind != "null"], "properties": properties}


class BatchInput(PolicyInput):
    """Body of ``POST /runs/batch``: runs of any flows, or a workflow with many sets of parameters.

    The items of both lists are read one by one, so that a fault in one does not touch the others. A policy here is that
    of the runs of a workflow; runs of other flows have one each.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [
                _has(runs="array", workflow="null"),
                _has(runs="null", workflow="string", flow_name="string", params="array"),
            ]
        }
    )

    runs: list[Annotated[Any, DescribedAs(RunInput)]] | None = Field(default=None, max_length=MAX_BATCH_RUNS)
    workflow: str | None = Field(default=None, min_length=1)
    params: list[Annotated[Any, WithJsonSchema({"type": "object"})]] | None = Field(
        default=None, max_length=MAX_BATCH_RUNS
    )
    flow_name: FlowName | None = None
    tag: RoutingTag | None = None
    tags: Labels | None = None

    @model_validator(mode="after")
    def _is_one_of_two(self) -> BatchInput:
        if (self.runs is None) == (self.workflow is None):
            raise ValueError("give either 'runs', or 'workflow' with 'flow_name' and 'params'")
        if self.workflow is not None and (self.flow_name is None or self.params is None):
            raise ValueError("'workflow' needs 'flow_name' and 'params', a list with one object for each run")
        return self


class PollInput(Input):
    """Body of ``POST /workers/poll``; ``tags`` are routing tags."""

    worker_id: FlowName
    tags: list[RoutingTag] | None = Field(default=None, max_length=MAX_POLLED_TAGS)


class LogEntry(BaseModel):
    """Something that a task printed; fields beyond these are kept, too."""

    model_config = ConfigDict(strict=True, extra="allow")

    seq: int
    task: Annotated[str, StringConstraints(max_length=MAX_NAME_CHARS)] | None = None
    stream: Annotated[str, StringConstraints(max_length=MAX_NAME_CHARS)] | None = None
    text: str
    timestamp: float | None = None


def _not_too_many(value: Any) -> Any:
    # Pydantic itself looks at the number after it has found the faults of all.
    if isinstance(value, dict) and len(value) > MAX_TASKS:
        raise ValueError(f"must have at most {MAX_TASKS} names")
    return value


_TaskNames = BeforeValidator(_not_too_many)


class HeartbeatInput(Input):
    """Body of ``POST /runs/{run_id}/heartbeat``."""

    task_states: Annotated[
        dict[str, Annotated[TaskState, Field(strict=False)]], Field(max_length=MAX_TASKS), _TaskNames
    ]
    run_status: Annotated[RunStatus, Field(strict=False)]
    task_records: Annotated[dict[str, dict[str, Any]], Field(max_length=MAX_TASKS), _TaskNames] | None = None
    logs: Annotated[list[LogEntry], Field(fail_fast=True)] | None = None


ModelT = TypeVar("ModelT", bound=Input)


def read_model(kind: type[ModelT], values: Any, where: str) -> ModelT:
    """Check values against a model.

    :param where: what the values are: ``body``, ``form``, ``query`` or ``header``.
    :raises InvalidInput: with the place of every fault; the model says which kind of it.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as exc:
        faults = [
            # A parameter that is repeated has the same name each time.
            Fault(_place(where, error["loc"][:1] if where == "query" else error["loc"]), message_of(error))
            for error in exc.errors(include_url=False, include_input=False)[:MAX_FAULTS]
        ]
        if exc.error_count() > MAX_FAULTS:
            faults.append(Fault(where, f"there are {exc.error_count() - MAX_FAULTS} more faults: mend these first"))
        raise kind.refusal(faults=faults) from None


def _place(where: str, parts: Sequence[int | str]) -> str:
    # A name that a client made up is not sent back to it whatever its length.
    return ".".join([where, *(str(part)[:MAX_NAME_CHARS] for part in parts)])


def read_json_object(payload: bytes, where: str) -> dict[str, Any]:
    """Read a JSON object; NaN, Infinity and numbers beyond a float are not JSON.

    :raises InvalidInput: anything else.
    """
    too_deep = InvalidInput(faults=[Fault(where, f"is nested more than {MAX_NESTING} levels deep")])
    try:
        # Left to itself, json would also take UTF-16 and halves of surrogate pairs.
        text = payload.removeprefix(codecs.BOM_UTF8).decode()
        value = _DECODER.decode(text)
    except _NumberRefused as exc:
        raise InvalidInput(faults=[Fault(where, str(exc))]) from None
    except RecursionError:
        raise too_deep from None
    except json.JSONDecodeError as exc:
        raise InvalidInput(faults=[Fault(where, f"is not JSON: {exc.msg}", exc.lineno, exc.colno)]) from None
    except UnicodeDecodeError as exc:
        raise InvalidInput(
            faults=[Fault(where, f"is not UTF-8: byte {exc.start} is {exc.object[exc.start]:#04x}")]
        ) from None
    except ValueError:
        # Python's own limit, which is against numbers that take long to read.
        most = sys.get_int_max_str_digits()
        raise InvalidInput(faults=[Fault(where, f"holds a whole number of more than {most} digits")]) from None
    if not isinstance(value, dict):
        raise InvalidInput(faults=[Fault(where, "must be a JSON object")])
    if text.count("{") + text.count("[") > MAX_NESTING and _nesting(value) > MAX_NESTING:
        raise too_deep
    return value


def _nesting(value: Any) -> int:
    """Count the levels of a JSON value, without recursion."""
    level, inner = 0, [value]
    while inner:
        level += 1
        containers = (item for item in inner if isinstance(item, (dict, list)))
        inner = [child for item in containers for child in (item.values() if isinstance(item, dict) else item)]
    return level


class _NumberRefused(ValueError):
    """A number is not of JSON, or beyond what it carries between programs."""


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise _NumberRefused(f"holds the number {text[:40]}, which is too large")
    return value


def _refuse_number(word: str) -> float:
    raise _NumberRefused(f"is not JSON: {word} is no number of JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse_number, parse_float=_finite)
