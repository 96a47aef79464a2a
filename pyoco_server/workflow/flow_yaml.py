"""Read and check a ``flow.yaml``: every fault at once, each with its line and column.

What is refused here is wrong whatever a worker knows. A task that the graph names and the file does not
define is left to the worker. The text is parsed once: the result carries its checked graph, and a small
cache keyed by the text's hash lets a gateway take the same file again for the price of the hash.

Source: contract, sections 3 (``POST /runs/yaml``) and 4; pyoco 0.8.0 ``schemas/config.py``.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from pyoco_server.errors import Fault, WorkflowInvalid, WorkflowTooLarge
from pyoco_server.workflow.flow_checks import FlowChecks, TaskSpec
from pyoco_server.workflow.graph import Graph
from pyoco_server.workflow.yaml_nodes import compose

__all__ = ["TaskSpec", "Workflow", "known_workflow", "parse_workflow"]

#: Parsed files kept; a gateway sees the same few files again and again.
CACHE_COUNT = 256
#: Faults reported at once; a file with more of them is no flow.yaml with mistakes.
MAX_FAULTS = 100
#: Bytes of text kept at most. A parsed file takes some ten times its text.
CACHE_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True)
class Workflow:
    """A flow.yaml that passed every check. Shared through the cache: treat all of it as immutable.

    :param text: the file as it came, a byte order mark included, so that its UTF-8 bytes hash to ``sha256``.
    :param graph: the text of ``flow.graph``; ``checked_graph`` is its reading.
    :param defaults: ``flow.defaults``; take a copy through :meth:`params_over_defaults`.
    """

    text: str
    sha256: str
    size_bytes: int
    graph: str
    defaults: dict[str, Any]
    tasks: dict[str, TaskSpec]
    pipes: dict[str, str]
    expose_env: list[str]
    version: int
    checked_graph: Graph = field(repr=False, compare=False)
    #: What is allowed and probably not meant, with its place in the file.
    warnings: tuple[Fault, ...] = field(default=(), compare=False)

    def params_over_defaults(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Give the params of a run: a copy of the defaults with ``params`` laid over them, key by key."""
        return {**deepcopy(self.defaults), **params}


class _Cache:
    """The workflows parsed last, bounded by count and by bytes of text."""

    def __init__(self, max_count: int, max_bytes: int) -> None:
        self._max_count, self._max_bytes = max_count, max_bytes
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, Workflow] = OrderedDict()
        self._bytes = 0

    def get(self, sha256: str) -> Workflow | None:
        with self._lock:
            workflow = self._kept.get(sha256)
            if workflow is not None:
                self._kept.move_to_end(sha256)
            return workflow

    def put(self, workflow: Workflow) -> None:
        with self._lock:
            if workflow.sha256 in self._kept:
                return
            self._kept[workflow.sha256] = workflow
            self._bytes += workflow.size_bytes
            while len(self._kept) > self._max_count or self._bytes > self._max_bytes:
                _, dropped = self._kept.popitem(last=False)
                self._bytes -= dropped.size_bytes


_CACHE = _Cache(CACHE_COUNT, CACHE_BYTES)


def parse_workflow(text: str | bytes, *, max_bytes: int | None = None) -> Workflow:
    """Parse and check a flow.yaml.

    :param max_bytes: the largest text accepted, in UTF-8 bytes; ``None`` sets no bound.
    :return: the workflow, possibly the very object that an earlier call with the same text got.
    :raises WorkflowTooLarge: the text is larger than ``max_bytes``.
    :raises WorkflowInvalid: with every fault found, in the order of the file.
    """
    if max_bytes is not None and len(text) > max_bytes:
        raise _too_large(len(text), max_bytes)
    data, decoded = _both_forms(text)
    if max_bytes is not None and len(data) > max_bytes:
        raise _too_large(len(data), max_bytes)
    sha256 = hashlib.sha256(data).hexdigest()
    known = _CACHE.get(sha256)
    if known is None:
        known = _check(decoded, sha256, len(data))
        _CACHE.put(known)
    return known


def known_workflow(data: bytes) -> Workflow | None:
    """Give a flow.yaml that was parsed before and is still remembered, at once; ``None`` says no more than this."""
    return _CACHE.get(hashlib.sha256(data).hexdigest())


def _too_large(size: int, max_bytes: int) -> WorkflowTooLarge:
    return WorkflowTooLarge(
        f"The workflow file has {size} bytes or more and this gateway accepts {max_bytes}: shorten it, or "
        "raise PYOCO_WORKFLOW_YAML_MAX_BYTES."
    )


def _both_forms(text: str | bytes) -> tuple[bytes, str]:
    try:
        if isinstance(text, str):
            return text.encode("utf-8"), text
        return text, text.decode("utf-8")
    except UnicodeEncodeError as exc:
        line = exc.object.count("\n", 0, exc.start) + 1
        column = exc.start - exc.object.rfind("\n", 0, exc.start)
        msg = "half a surrogate pair is no character: write the whole character"
        raise WorkflowInvalid(faults=[Fault("", msg, line, column)]) from exc
    except UnicodeDecodeError as exc:
        before = exc.object[: exc.start].decode("utf-8")
        column = len(before) - before.rfind("\n")
        msg = f"the byte 0x{exc.object[exc.start]:02x} is not UTF-8: save the file as UTF-8"
        raise WorkflowInvalid(faults=[Fault("", msg, before.count("\n") + 1, column)]) from exc


def _check(text: str, sha256: str, size_bytes: int) -> Workflow:
    body = text.removeprefix("\ufeff")
    checks = FlowChecks(body)
    checks.run(compose(body))
    if checks.faults or checks.checked_graph is None:
        raise WorkflowInvalid(faults=_in_order(checks.faults))
    return Workflow(
        text=text,
        sha256=sha256,
        size_bytes=size_bytes,
        graph=checks.graph,
        defaults=checks.defaults,
        tasks=checks.tasks,
        pipes=checks.pipes,
        expose_env=checks.expose_env,
        version=checks.version,
        checked_graph=checks.checked_graph,
        warnings=tuple(checks.warnings),
    )


def _in_order(faults: list[Fault]) -> list[Fault]:
    """Sort by place, and cut what would make a hostile file's answer larger than the file."""
    ordered = sorted(faults, key=lambda fault: (fault.line or 0, fault.column or 0))
    if len(ordered) <= MAX_FAULTS:
        return ordered
    rest = len(ordered) - MAX_FAULTS
    return [*ordered[:MAX_FAULTS], Fault("", f"there are {rest} more faults: mend these first", ordered[-1].line, 1)]
