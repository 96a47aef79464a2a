"""The checks of a flow.yaml, section by section, over the node tree.

Source: contract, section 4; pyoco 0.8.0 ``schemas/config.py``, and ``core/context.py`` for references.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pyoco_server.errors import Fault
from pyoco_server.workflow.graph import Graph, parse_graph_text
from pyoco_server.workflow.graph_faults import GraphFault, PlacedFault
from pyoco_server.workflow.text_place import TextPlace, place_of_value
from pyoco_server.workflow.yaml_nodes import LINE_BREAK, Node, Reader

#: The one version of the file there is. pyoco and 0.5.1 read the key and ignore it.
VERSION = 1

_TOP_KEYS = ("version", "flow", "tasks", "runtime", "pipes")
_NOT_SUPPORTED = {
    "flows": "a file holds one flow: write flow: with graph: under it",
    "discovery": "what is discovered is the worker's matter: set PYOCO_DISCOVERY_MODULES there, "
    "or define the tasks with callable or use",
}
_NODE_REFERENCE = re.compile(r"\$node\.[^.]+\.output(\.[^.]+)*", re.DOTALL)
_PARAM_OR_ENV = re.compile(r"\$(ctx\.params|env)\..+", re.DOTALL)


@dataclass(frozen=True)
class TaskSpec:
    """One entry of ``tasks``: where its function comes from (one of the two, or neither), and its wiring.

    :param inputs: argument name to JSON value or reference (``$node... $ctx.params... $env...``).
    :param outputs: context paths that also get the result.
    """

    callable: str | None = None
    use: str | None = None
    inputs: dict[str, Any] = field(default_factory=dict)
    outputs: list[str] = field(default_factory=list)


class FlowChecks:
    """Checks one file; afterwards ``faults`` is empty and the other attributes hold its content."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._reader = Reader()
        self.faults: list[Fault] = self._reader.faults
        self.warnings: list[Fault] = []
        self.graph = ""
        self.checked_graph: Graph | None = None
        self.defaults: dict[str, Any] = {}
        self.tasks: dict[str, TaskSpec] = {}
        self.pipes: dict[str, str] = {}
        self.expose_env: list[str] = []
        self.version = VERSION
        self._places: dict[str | None, TextPlace] = {}
        self._graph_is_known = False

    def run(self, root: Node | None) -> None:
        if root is None or root.is_null():
            self.faults.append(Fault("", "the file is empty: write flow: with graph: under it", 1, 1))
            return
        if root.kind != "mapping" or root.tag != "map":
            self._fault(root, "", f"the file must be a mapping with {', '.join(_TOP_KEYS)}, not a {root.kind}")
            return
        sections = {}
        for key, (key_node, value) in self._reader.entries(root, "").items():
            if key in _TOP_KEYS:
                sections[key] = value
            else:
                self._fault(key_node, key, _NOT_SUPPORTED.get(key) or _unknown(key, _TOP_KEYS))
        self._check_version(sections.get("version"))
        self._check_pipes(sections.get("pipes"))
        self._check_tasks(sections.get("tasks"))
        self._check_runtime(sections.get("runtime"))
        if "flow" in sections:
            self._check_flow(sections["flow"])
        else:
            self._fault(root, "flow", "flow is missing: write flow: with graph: under it")
        if self._graph_is_known:
            self._check_graph()

    def _fault(self, node: Node, loc: str, msg: str) -> None:
        self._reader.fault(node, loc, msg)

    def _section(self, node: Node | None, loc: str, keys: tuple[str, ...] = ()) -> Iterator[tuple[str, Node, Node]]:
        """Give key, key node and value node of a mapping, of the known ``keys`` where there are some.

        A section left empty (``tasks:``) counts as none, as pyoco and 0.5.1 take it.
        """
        if node is None or node.is_null():
            return
        if node.kind != "mapping" or node.tag != "map":
            self._fault(node, loc, f"{loc} must be a mapping of names to values, not a {_kind(node)}")
            return
        for key, (key_node, value) in self._reader.entries(node, loc).items():
            if keys and key not in keys:
                self._fault(key_node, f"{loc}.{key}", _unknown(key, keys))
            else:
                yield key, key_node, value

    def _texts(self, node: Node, loc: str) -> list[str]:
        if node.is_null():
            return []
        if node.kind != "list" or node.tag != "seq":
            self._fault(node, loc, f"{loc} must be a list of texts, not a {_kind(node)}")
            return []
        return [self._text_of(item, f"{loc}[{index}]") or "" for index, item in enumerate(node.items)]

    def _text_of(self, node: Node, loc: str) -> str | None:
        if not node.is_text():
            self._fault(node, loc, f"this must be text and is a {_kind(node)}: quote it")
            return None
        value = self._reader.value(node, loc)
        if not value.strip():
            self._fault(node, loc, "this is empty: write a value, or leave the key out")
            return None
        return str(value)

    def _check_version(self, node: Node | None) -> None:
        if node is None:
            return
        value = self._reader.value(node, "version")
        # Text and 1.0 too, since files with them run on 0.5.1, which never looks; true equals 1 and is not.
        if isinstance(value, bool) or value not in (VERSION, str(VERSION)):
            self._fault(node, "version", f"the version of this file format is {VERSION}: write version: {VERSION}")

    def _check_pipes(self, node: Node | None) -> None:
        for name, _, value in self._section(node, "pipes"):
            text = self._text_of(value, f"pipes.{name}")
            if text is not None:
                self.pipes[name] = text
                self._places[name] = self._place(value)

    def _check_tasks(self, node: Node | None) -> None:
        for name, key_node, value in self._section(node, "tasks"):
            loc = f"tasks.{name}"
            if not name.strip() or not name.isprintable():
                self._fault(key_node, loc, "a task needs a name of printable characters")
            elif value.is_null():
                self._fault(value, loc, f"{loc} is empty: write callable or use under it, or {{}}")
            else:
                self.tasks[name] = self._task(value, loc)

    def _task(self, node: Node, loc: str) -> TaskSpec:
        given: dict[str, Any] = {}
        for key, key_node, value in self._section(node, loc, ("callable", "use", "inputs", "outputs")):
            place = f"{loc}.{key}"
            if key == "inputs":
                given[key] = self._inputs(value, place)
            elif key == "outputs":
                given[key] = self._texts(value, place)
            elif not value.is_null():
                given[key] = self._text_of(value, place)
                if key == "callable" and given[key] is not None and not _names_a_callable(given[key]):
                    msg = f"{given[key]!r} does not name a function: write package.module:function"
                    self._fault(value, place, msg)
                if given.get("callable") and given.get("use"):
                    self._fault(key_node, loc, "a task has callable or use, not both: remove one")
        return TaskSpec(**given)

    def _inputs(self, node: Node, loc: str) -> dict[str, Any]:
        inputs = {}
        for name, _, value in self._section(node, loc):
            place = f"{loc}.{name}"
            inputs[name] = self._reader.value(value, place)
            if isinstance(inputs[name], str) and inputs[name].startswith("$") and not _is_reference(inputs[name]):
                msg = f"{inputs[name]!r} refers to nothing: write $node.<node>.output[.<field>], "
                self._fault(value, place, msg + "$ctx.params.<key> or $env.<key>")
        return inputs

    def _check_runtime(self, node: Node | None) -> None:
        for _, _, value in self._section(node, "runtime", ("expose_env",)):
            self.expose_env = self._texts(value, "runtime.expose_env")

    def _check_flow(self, node: Node) -> None:
        graph = None
        for key, _, value in self._section(node, "flow", ("graph", "defaults")):
            if key == "graph":
                graph = value
            elif value.kind == "mapping" or value.is_null():
                self.defaults = self._reader.value(value, "flow.defaults") or {}
            else:
                self._fault(value, "flow.defaults", f"flow.defaults must be a mapping, not a {_kind(value)}")
        if graph is None:
            if node.is_null() or node.kind == "mapping":
                self._fault(node, "flow.graph", "flow.graph is missing: write graph: with the tasks, such as a >> b")
            return
        text = self._text_of(graph, "flow.graph")
        if text is not None:
            self.graph, self._graph_is_known = text, True
            self._places[None] = self._place(graph)

    def _place(self, node: Node) -> TextPlace:
        return place_of_value(node, LINE_BREAK.split(self._text))

    def _check_graph(self) -> None:
        graph, faults = parse_graph_text(self.graph, self.pipes, self.tasks)
        self.faults.extend(self._in_file(placed) for placed in faults)
        if graph is not None:
            self.warnings = [self._in_file(PlacedFault(warning)) for warning in graph.warnings]
            self.checked_graph = graph

    def _in_file(self, placed: PlacedFault) -> Fault:
        """Move a fault from the graph's text to the file, or say its place in words."""
        fault: GraphFault = placed.fault
        loc = "flow.graph" if placed.pipe is None else f"pipes.{placed.pipe}"
        line, column, exact = self._places[placed.pipe].locate(fault.line, fault.column)
        where = "" if exact else f" (line {fault.line}, column {fault.column} of the text)"
        return Fault(loc, fault.msg + where, line, column)


def _unknown(key: str, keys: tuple[str, ...]) -> str:
    return f"the key {key!r} is not known here: use {', '.join(keys)}"


def _kind(node: Node) -> str:
    words = {"int": "number", "float": "number", "bool": "truth value", "null": "null", "str": "text"}
    return node.kind if node.kind != "scalar" else words.get(node.tag, node.tag)


def _names_a_callable(value: str) -> bool:
    module, colon, attribute = value.partition(":")
    return bool(colon) and all(part.isidentifier() for part in (*module.split("."), *attribute.split(".")))


def _is_reference(value: str) -> bool:
    return bool(_NODE_REFERENCE.fullmatch(value) or _PARAM_OR_ENV.fullmatch(value))
