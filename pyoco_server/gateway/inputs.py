"""What clients send, read strictly: bodies and queries become checked values or faults with their place.

Source: contract, sections 1 and 3.
"""

from __future__ import annotations

import functools
import json
import math
import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator
from werkzeug.datastructures import MultiDict

from pyoco_server.contract.names import MAX_NAME_CHARS, MAX_TAG_CHARS
from pyoco_server.contract.policy import DEFAULT_RETRY_DELAY_SEC, MAX_ATTEMPTS, MAX_RETRY_DELAY_SEC, RunPolicy
from pyoco_server.contract.wheels import ACTIONS
from pyoco_server.errors import Fault, InvalidInput, InvalidListQuery, InvalidWorkersRequest
from pyoco_server.operations.worker_registry import WorkerQuery
from pyoco_server.readmodel.queries import Cursor, RunQuery
from pyoco_server.setting import parse_boolean
from pyoco_server.states import RunStatus, WorkerState

T = TypeVar("T")

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_IDEMPOTENCY_KEY = re.compile(r"[ -~]{1,255}")

MAX_LIST_LIMIT = 200
MAX_EVENT_LIMIT = 500
MAX_BATCH_RUNS = 1_000
#: The longest that an answer is held back; proxies cut longer ones off.
MAX_WAIT_SEC = 60
#: Deeper JSON is refused: what reads it later, here and in workers, recurses.
MAX_NESTING = 100
DEFAULT_LIST_LIMIT = 50
MAX_WORKERS_LIMIT = 500
_DEFAULT_WORKERS_LIMIT = 100
_DEFAULT_EVENT_LIMIT = 100


def _printable(text: str) -> str:
    if any(unicodedata.category(char) in ("Cc", "Cs") for char in text):
        raise ValueError("it must not hold control characters or halves of surrogate pairs")
    return text


FlowName = Annotated[str, StringConstraints(min_length=1, max_length=MAX_NAME_CHARS), AfterValidator(_printable)]
RoutingTag = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]+\Z", max_length=MAX_TAG_CHARS)]
Label = Annotated[str, StringConstraints(min_length=1, max_length=MAX_TAG_CHARS), AfterValidator(_printable)]


#: Thirty years; 0 = no limit.
TimeLimit = Annotated[float, Field(ge=0, le=1e9)]


class PolicyInput(BaseModel):
    """What every submission may say of how its runs are tried; fields that it does not know are ignored."""

    model_config = ConfigDict(strict=True, extra="ignore", regex_engine="python-re")

    max_attempts: int = Field(default=1, ge=1, le=MAX_ATTEMPTS)
    retry_delay_sec: float = Field(default=DEFAULT_RETRY_DELAY_SEC, ge=0, le=MAX_RETRY_DELAY_SEC, allow_inf_nan=False)
    timeout_sec: TimeLimit | None = None
    resume: bool = True

    @property
    def policy(self) -> RunPolicy:
        return RunPolicy(**self.model_dump(include=set(PolicyInput.model_fields)))


class RunInput(PolicyInput):
    """Body of ``POST /runs``."""

    flow_name: FlowName
    params: dict[str, Any] = Field(default_factory=dict)
    tag: RoutingTag | None = None
    tags: list[Label] | None = None


class HiddenInput(BaseModel):
    """Body of ``PATCH /workers/{worker_id}``; fields that it does not know are ignored."""

    model_config = ConfigDict(strict=True, extra="ignore")

    hidden: bool


class RerunInput(BaseModel):
    """Body of ``POST /runs/{run_id}/rerun``; fields that it does not know are ignored."""

    model_config = ConfigDict(strict=True, extra="ignore")

    begins_at: Literal["all", "failed"] = Field(default="all", alias="from")


class WorkflowInput(PolicyInput):
    """Fields of ``POST /runs/yaml`` beside the file."""

    flow_name: FlowName
    tag: RoutingTag | None = None
    params: dict[str, Any] = Field(default_factory=dict)


class BatchInput(PolicyInput):
    """Body of ``POST /runs/batch``: runs of any flows, or a workflow with many sets of parameters.

    The items of both lists are read one by one, so that a fault in one does not touch the others. A policy here is that
    of the runs of a workflow; runs of other flows have one each.
    """

    runs: list[Any] | None = Field(default=None, max_length=MAX_BATCH_RUNS)
    workflow: str | None = Field(default=None, min_length=1)
    params: list[Any] | None = Field(default=None, max_length=MAX_BATCH_RUNS)
    flow_name: FlowName | None = None
    tag: RoutingTag | None = None
    tags: list[Label] | None = None

    @model_validator(mode="after")
    def _is_one_of_two(self) -> BatchInput:
        if (self.runs is None) == (self.workflow is None):
            raise ValueError("give either 'runs', or 'workflow' with 'flow_name' and 'params'")
        if self.workflow is not None and (self.flow_name is None or self.params is None):
            raise ValueError("'workflow' needs 'flow_name' and 'params', a list with one object for each run")
        return self


ModelT = TypeVar("ModelT", bound=BaseModel)


def read_model(kind: type[ModelT], values: Any, where: str) -> ModelT:
    """Check values against a model.

    :param where: what the values are: ``body`` or ``form``.
    :raises InvalidInput: with the place of every fault.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as exc:
        faults = [
            Fault(".".join([where, *(str(part) for part in error["loc"])]), error["msg"])
            for error in exc.errors(include_url=False, include_context=False, include_input=False)
        ]
        raise InvalidInput(faults=faults) from None


def json_or_text(text: str) -> Any:
    """Read a value out of a form or query: JSON where it is some, for the model to judge, else text."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def read_json_object(payload: bytes, where: str) -> dict[str, Any]:
    """Read a JSON object; NaN, Infinity and numbers beyond a float are not JSON.

    :raises InvalidInput: anything else.
    """
    too_deep = InvalidInput(faults=[Fault(where, f"is nested more than {MAX_NESTING} levels deep")])
    try:
        # Left to itself, json would also take UTF-16 and halves of surrogate pairs.
        text = payload.decode("utf-8-sig")
        value = json.loads(text, parse_constant=_refuse_number, parse_float=_finite)
    except RecursionError:
        raise too_deep from None
    except json.JSONDecodeError as exc:
        raise InvalidInput(faults=[Fault(where, f"is not JSON: {exc.msg}", exc.lineno, exc.colno)]) from None
    except UnicodeDecodeError as exc:
        raise InvalidInput(
            faults=[Fault(where, f"is not UTF-8: byte {exc.start} is {exc.object[exc.start]:#04x}")]
        ) from None
    except ValueError as exc:
        raise InvalidInput(faults=[Fault(where, f"is not JSON: {exc}")]) from None
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


def read_run_query(query: MultiDict[str, str], tenant_id: str | None) -> RunQuery:
    """Read the query of ``GET /runs``; parameters that it does not know are ignored.

    :param tenant_id: of the caller.
    :raises InvalidListQuery: with every value that is out of its range or of the wrong kind.
    """
    faults: list[Fault] = []
    take = functools.partial(_take, query, faults)
    statuses = []
    for text in query.getlist("status"):
        try:
            statuses.append(RunStatus(text).value)
        except ValueError:
            faults.append(Fault("query.status", f"must be one of {', '.join(RunStatus)}"))
    read = RunQuery(
        tenant_id=tenant_id,
        limit=take("limit", lambda text: integer(text, 1, MAX_LIST_LIMIT), DEFAULT_LIST_LIMIT),
        statuses=tuple(dict.fromkeys(statuses)),
        flow_name=take("flow", lambda text: at_most(MAX_NAME_CHARS, text), None) or None,
        tag=take("tag", lambda text: at_most(MAX_TAG_CHARS, text), None) or None,
        sha256=query.get("workflow_yaml_sha256") or None,
        updated_after=take("updated_after", _moment, None),
        created_after=take("created_after", _moment, None),
        prefix=take("q", lambda text: at_most(MAX_NAME_CHARS, text), None) or None,
        cursor=take("cursor", Cursor.parse, None) if query.get("cursor") else None,
    )
    if faults:
        raise InvalidListQuery(faults=faults)
    return read


def read_watch_query(query: MultiDict[str, str], last_event_id: str | None) -> tuple[float | None, int, int]:
    """Read ``since``, ``timeout_sec`` and ``Last-Event-ID`` of a watch.

    :return: moment or ``None``, seconds, revision (0 = none).
    :raises InvalidInput: out of range or of the wrong kind.
    """
    faults: list[Fault] = []
    since, timeout_sec, revision = None, 60, 0
    for name, text in (("since", query.get("since")), ("timeout_sec", query.get("timeout_sec"))):
        if text is None:
            continue
        try:
            if name == "since":
                since = _moment(text)
            else:
                timeout_sec = integer(text, 1, 600)
        except ValueError as exc:
            faults.append(Fault(f"query.{name}", str(exc)))
    if last_event_id:
        try:
            revision = integer(last_event_id, 0, 2**63)
        except ValueError as exc:
            faults.append(Fault("header.Last-Event-ID", str(exc)))
    if faults:
        raise InvalidInput(faults=faults)
    return since, timeout_sec, revision


def read_wait(query: MultiDict[str, str]) -> float:
    """Read ``wait`` of ``GET /runs/{run_id}``, seconds; 0 where it is not given.

    :raises InvalidInput: out of range or of the wrong kind.
    """
    faults: list[Fault] = []
    wait_sec: float = _take(query, faults, "wait", _wait, 0.0)
    if faults:
        raise InvalidInput(faults=faults)
    return wait_sec


def read_worker_query(query: MultiDict[str, str]) -> WorkerQuery:
    """Read the query of ``GET /workers``; parameters that it does not know are ignored.

    :raises InvalidWorkersRequest: with every value that is out of its range or of the wrong kind.
    """
    faults: list[Fault] = []
    take = functools.partial(_take, query, faults)
    read = WorkerQuery(
        is_active_only=take("scope", lambda text: _word(text.lower(), ("active", "all")), "active") == "active",
        # As in 0.5.1: in any case, and an empty state is none.
        state=take("state", lambda text: _word(text.upper(), ("", *WorkerState)) or None, None),
        include_hidden=take("include_hidden", _boolean, False),
        limit=take("limit", lambda text: integer(text, 1, MAX_WORKERS_LIMIT), _DEFAULT_WORKERS_LIMIT),
    )
    if faults:
        raise InvalidWorkersRequest(faults=faults)
    return read


def read_idempotency_key(key: str | None) -> str | None:
    """Check the header ``Idempotency-Key``; ``None`` when it was not sent.

    :raises InvalidInput: it is no key.
    """
    if key is not None and not _IDEMPOTENCY_KEY.fullmatch(key):
        message = "must be 1 to 255 printable ASCII characters, such as nightly-2026-01-31"
        raise InvalidInput(faults=[Fault("header.Idempotency-Key", message)])
    return key


def read_event_query(query: MultiDict[str, str]) -> tuple[int, str | None, str | None]:
    """Read the query of ``GET /wheels/history``.

    :return: limit, wheel name and action; ``None`` where the events are not narrowed by it.
    :raises InvalidListQuery: out of range or of the wrong kind.
    """
    faults: list[Fault] = []
    limit, action = _DEFAULT_EVENT_LIMIT, query.get("action") or None
    try:
        limit = integer(query.get("limit", str(limit)), 1, MAX_EVENT_LIMIT)
    except ValueError as exc:
        faults.append(Fault("query.limit", str(exc)))
    if action is not None and action not in ACTIONS:
        faults.append(Fault("query.action", f"must be one of {', '.join(ACTIONS)}"))
    if faults:
        raise InvalidListQuery(faults=faults)
    return limit, query.get("wheel_name") or None, action


def wants_records(query: MultiDict[str, str], words: Sequence[str] = ("records", "full", "all")) -> bool:
    """Say whether ``include`` asks for the large parts; a word that is not known asks for nothing."""
    return any(word.strip().lower() in words for word in query.get("include", "").split(","))


def _take(query: MultiDict[str, str], faults: list[Fault], name: str, parse: Callable[[str], Any], default: Any) -> Any:
    """Read one value of a query, ``default`` where it is missing; what is wrong with it is added to ``faults``."""
    text = query.get(name)
    if text is None:
        return default
    try:
        return parse(text)
    except InvalidListQuery as exc:
        faults.extend(exc.faults)
    except ValueError as exc:
        faults.append(Fault(f"query.{name}", str(exc)))
    return default


def _word(text: str, words: Sequence[str]) -> str:
    if text not in words:
        raise ValueError(f"must be one of {', '.join(filter(None, words))}")
    return text


def _boolean(text: str) -> bool:
    try:
        return parse_boolean(text)
    except ValueError:
        raise ValueError("must be true or false") from None


def integer(text: str, low: int, high: int) -> int:
    """Read a whole number.

    :raises ValueError: it is none, or out of its range.
    """
    # int() also takes blanks, underscores and digits of other scripts.
    if not (text.isascii() and text.removeprefix("-").isdigit() and len(text) < 20 and low <= int(text) <= high):
        raise ValueError(f"must be a whole number from {low} to {high}")
    return int(text)


def at_most(max_chars: int, text: str) -> str:
    """Check the length of a text.

    :raises ValueError: it is too long.
    """
    if len(text) > max_chars:
        raise ValueError(f"must have at most {max_chars} characters")
    return text


def _wait(text: str) -> float:
    if _NUMBER.fullmatch(text) is None or not 0 <= float(text) <= MAX_WAIT_SEC:
        raise ValueError(f"must be seconds from 0 to {MAX_WAIT_SEC}, such as 30")
    return float(text)


def _moment(text: str) -> float:
    # float() also takes blanks, underscores, words and digits of other scripts.
    value = float(text) if _NUMBER.fullmatch(text) else math.nan
    if not math.isfinite(value):
        raise ValueError("must be a time in unix seconds, such as 1767225600.5")
    return value


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text[:40]} is too large for JSON's floats")
    return value


def _refuse_number(word: str) -> float:
    raise ValueError(f"{word} is not a JSON number")
