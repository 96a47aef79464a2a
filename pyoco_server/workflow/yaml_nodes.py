"""Compose hostile YAML into a small node tree that knows where everything stands.

PyYAML's own composer recurses in C and expands nothing, so a deep or self-referring file can end the
process or the memory. This one reads the event stream instead, keeps its own stack, and counts depth and
the nodes an alias stands for as they come. Nothing here calls a constructor that makes Python objects.

Source: contract, section 4; YAML 1.1 as ``yaml.safe_load`` reads it, which is what pyoco does.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import Any

import yaml
from yaml.constructor import SafeConstructor

from pyoco_server.errors import Fault, WorkflowInvalid

#: Levels of nesting. Far above any real file, far below what json or deepcopy can recurse through.
MAX_DEPTH = 100
#: Nodes after every alias has been expanded: what json.dumps of the values would have to write.
MAX_NODES = 100_000
#: Characters of a number: the digits of the largest double, above which other JSON readers give up.
MAX_NUMBER_CHARS = 308

_TAG = "tag:yaml.org,2002:"
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_SCALARS = SafeConstructor()
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
#: The line breaks that YAML 1.1 counts, so that our lines and the parser's marks agree.
LINE_BREAK = re.compile("\r\n|[\r\n\x85\u2028\u2029]")
_WHAT_TO_WRITE = {
    "timestamp": "a date is not a JSON value: quote it to make it text",
    "binary": "binary is not a JSON value: write it as quoted base64 text",
    "set": "a set is not a JSON value: write a list",
    "omap": "an ordered map is not a JSON value: write a mapping or a list",
    "pairs": "pairs are not a JSON value: write a list of lists",
    "value": "a bare = means something else in YAML: quote it",
}


@dataclass
class Node:
    """One value of the file.

    :param kind: ``scalar``, ``list`` or ``mapping``.
    :param tag: the resolved tag without the ``tag:yaml.org,2002:`` prefix where it has that.
    :param style: of a scalar, the character it began with (``|`` ``>`` ``"`` ``'``), else empty.
    :param line: from 1, as is ``column``; ``end_line`` and ``end_column`` are just past the value.
    :param size: nodes in this subtree with aliases expanded.
    :param height: levels below and including this one.
    """

    kind: str
    tag: str
    line: int
    column: int
    text: str = ""
    style: str = ""
    end_line: int = 0
    end_column: int = 0
    items: list[Node] = field(default_factory=list)
    pairs: list[tuple[Node, Node]] = field(default_factory=list)
    pending_key: Node | None = None
    complete: bool = False
    size: int = 1
    height: int = 1

    def fault(self, loc: str, msg: str) -> Fault:
        return Fault(loc, msg, self.line, self.column)

    def is_null(self) -> bool:
        return self.kind == "scalar" and self.tag == "null"

    def is_text(self) -> bool:
        return self.kind == "scalar" and self.tag == "str"


def compose(text: str) -> Node | None:
    """Read one document.

    :return: its root, or ``None`` where the text holds nothing but comments.
    :raises WorkflowInvalid: not YAML, more than one document, too deep, too many nodes, a recursive or
        unknown alias, a character that YAML does not allow; with one fault that names the place.
    """
    refused = _UNPRINTABLE.search(text)
    if refused:
        before = LINE_BREAK.split(text[: refused.start()])
        msg = f"the character U+{ord(refused.group()):04X} is not allowed in YAML: remove it or write an escape"
        raise WorkflowInvalid(faults=[Fault("", msg, len(before), len(before[-1]) + 1)])
    loader = _LOADER(text)
    try:
        return _Composer(loader).run()
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        said = ", ".join(part for part in (exc.context, exc.problem) if part)
        place = _within(text, mark.line + 1, mark.column + 1) if mark else (1, 1)
        # libyaml does not name the character, and nobody sees a tab.
        if LINE_BREAK.split(text)[place[0] - 1].startswith("\t", place[1] - 1):
            said = "a tab stands where only spaces may: indent with spaces"
        raise WorkflowInvalid(faults=[Fault("", f"this is not YAML: {said}", *place)]) from exc
    except (yaml.YAMLError, UnicodeError, ValueError, OverflowError) as exc:
        # ValueError: PyYAML passes on what int() and chr() say about %YAML and \U escapes.
        said = " ".join(str(exc).split())
        raise WorkflowInvalid(faults=[Fault("", f"this is not YAML: {said}", 1, 1)]) from exc
    finally:
        loader.dispose()


def _within(text: str, line: int, column: int) -> tuple[int, int]:
    """Bring a place at the end of the file, which libyaml puts on a line of its own, back into it."""
    lines = LINE_BREAK.split(text)
    return (line, column) if line <= len(lines) else (len(lines), len(lines[-1]) + 1)


class _Composer:
    """The stack machine behind :func:`compose`."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader
        self._anchors: dict[str, Node] = {}
        self._stack: list[Node] = []
        self._root: Node | None = None

    def run(self) -> Node | None:
        documents = 0
        while True:
            event = self._loader.get_event()
            if isinstance(event, yaml.StreamEndEvent):
                return self._root
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    self._refuse(event, "there is more than one document: keep one and remove the --- between")
            elif isinstance(event, yaml.NodeEvent):
                self._take(event)
            elif isinstance(event, (yaml.SequenceEndEvent, yaml.MappingEndEvent)):
                self._close()

    def _take(self, event: Any) -> None:
        if isinstance(event, yaml.AliasEvent):
            target = self._anchors.get(str(event.anchor))
            if target is None:
                self._refuse(event, f"the alias *{event.anchor} has no anchor &{event.anchor} before it")
            elif not target.complete:
                self._refuse(event, f"the alias *{event.anchor} stands inside its own anchor: write the value out")
            else:
                self._attach(target, event)
            return
        node = self._node(event)
        if event.anchor is not None:
            if event.anchor in self._anchors:
                self._refuse(event, f"the anchor &{event.anchor} is defined twice: give each its own name")
            self._anchors[event.anchor] = node
        if node.kind == "scalar":
            node.complete = True
            self._attach(node, event)
            return
        self._stack.append(node)
        if len(self._stack) > MAX_DEPTH:
            self._refuse(event, f"the file nests deeper than {MAX_DEPTH} levels: flatten it")

    def _node(self, event: Any) -> Node:
        start, end = event.start_mark, event.end_mark
        place = (start.line + 1, start.column + 1)
        if isinstance(event, yaml.ScalarEvent):
            tag = event.tag
            if tag is None or tag == "!":
                tag = self._loader.resolve(yaml.ScalarNode, event.value, event.implicit)
            node = Node("scalar", _short(tag), *place, text=event.value, style=event.style or "")
            node.end_line, node.end_column = end.line + 1, end.column + 1
            return node
        kind, implied = ("list", "seq") if isinstance(event, yaml.SequenceStartEvent) else ("mapping", "map")
        return Node(kind, implied if event.tag in (None, "!") else _short(event.tag), *place)

    def _attach(self, node: Node, event: Any) -> None:
        if not self._stack:
            self._root = node
            return
        parent = self._stack[-1]
        parent.size += node.size
        parent.height = max(parent.height, node.height + 1)
        if parent.size > MAX_NODES:
            self._refuse(event, f"the file holds more than {MAX_NODES} values once its aliases are expanded")
        if len(self._stack) + node.height > MAX_DEPTH:
            self._refuse(event, f"the file nests deeper than {MAX_DEPTH} levels: flatten it")
        if parent.kind == "list":
            parent.items.append(node)
        elif parent.pending_key is None:
            parent.pending_key = node
        else:
            parent.pairs.append((parent.pending_key, node))
            parent.pending_key = None

    def _close(self) -> None:
        node = self._stack.pop()
        node.complete = True
        self._attach(node, _Marked(node))

    def _refuse(self, event: Any, msg: str) -> None:
        mark = event.start_mark
        raise WorkflowInvalid(faults=[Fault("", msg, mark.line + 1, mark.column + 1)])


class _Marked:
    """A node in the shape of an event: whatever is refused on its account is refused at its start."""

    def __init__(self, node: Node) -> None:
        self.start_mark = self
        self.line, self.column = node.line - 1, node.column - 1


def _short(tag: str) -> str:
    return tag[len(_TAG) :] if tag.startswith(_TAG) else tag


class Reader:
    """Turn nodes into JSON values and keep every fault met on the way.

    An alias's value is made once and shared, so whoever hands values out copies them first.
    """

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self._values: dict[int, Any] = {}
        self._entries: dict[int, dict[str, tuple[Node, Node]]] = {}

    def fault(self, node: Node, loc: str, msg: str) -> None:
        self.faults.append(node.fault(loc, msg))

    def value(self, node: Node, loc: str) -> Any:
        """Give the JSON value of ``node``; what JSON cannot carry becomes a fault and ``None``."""
        if id(node) not in self._values:
            self._values[id(node)] = self._make(node, loc)
        return self._values[id(node)]

    def entries(self, node: Node, loc: str) -> dict[str, tuple[Node, Node]]:
        """Give the keys of a mapping with the nodes of key and value, merge keys (``<<``) applied."""
        known = self._entries.get(id(node))
        if known is None:
            known = self._entries[id(node)] = self._merge(node, loc)
        return known

    def _make(self, node: Node, loc: str) -> Any:
        if node.kind == "mapping" and node.tag == "map":
            entries = self.entries(node, loc)
            return {key: self.value(value, f"{loc}.{key}") for key, (_, value) in entries.items()}
        if node.kind == "list" and node.tag == "seq":
            return [self.value(item, f"{loc}[{index}]") for index, item in enumerate(node.items)]
        if node.kind == "scalar" and node.tag in ("str", "int", "float", "bool", "null"):
            return self._scalar(node, loc)
        if node.tag == "merge":
            self.fault(node, loc, "<< merges mappings and is no value: quote it to make it text")
        else:
            advice = _WHAT_TO_WRITE.get(node.tag)
            self.fault(node, loc, advice or f"the tag {node.tag!r} is not allowed: write plain YAML without it")
        return None

    def _scalar(self, node: Node, loc: str) -> Any:
        if node.tag == "str":
            if any("\ud800" <= char <= "\udfff" for char in node.text):
                self.fault(node, loc, "half a surrogate pair is no character: write the whole character")
            return node.text
        if node.tag == "null":
            return None
        if len(node.text) > MAX_NUMBER_CHARS:
            self.fault(node, loc, f"a number of more than {MAX_NUMBER_CHARS} characters does not travel: quote it")
            return None
        stand_in = yaml.ScalarNode(_TAG + node.tag, node.text)
        try:
            value = getattr(_SCALARS, f"construct_yaml_{node.tag}")(stand_in)
        except (ValueError, KeyError, OverflowError, IndexError):
            self.fault(node, loc, f"{node.text!r} does not read as {node.tag}: mend it, or quote it to make it text")
            return None
        if isinstance(value, float) and not math.isfinite(value):
            self.fault(node, loc, "JSON has no NaN and no infinity: write null, or quote it to make it text")
            return None
        return value

    def _merge(self, node: Node, loc: str) -> dict[str, tuple[Node, Node]]:
        merged: dict[str, tuple[Node, Node]] = {}
        own: dict[str, tuple[Node, Node]] = {}
        for key, value in node.pairs:
            if key.kind == "scalar" and key.tag == "merge":
                merged = {**merged, **self._merged_in(value, loc)}
            elif not key.is_text():
                shown = repr(key.text) if key.kind == "scalar" else f"a {key.kind}"
                self.fault(key, loc, f"a key must be text and {shown} is {_named(key)}: quote it")
            elif key.text in own:
                first = own[key.text][0].line
                self.fault(
                    key,
                    f"{loc}.{key.text}".lstrip("."),
                    f"the key {key.text!r} stands on line {first} already",
                )
            else:
                self._scalar(key, loc)
                own[key.text] = (key, value)
        return {**merged, **own}

    def _merged_in(self, value: Node, loc: str) -> dict[str, tuple[Node, Node]]:
        sources = value.items if value.kind == "list" else [value]
        found: dict[str, tuple[Node, Node]] = {}
        for source in reversed(sources):  # the first of a list wins, so it is laid on top
            if source.kind != "mapping":
                self.fault(source, loc, "<< takes a mapping or a list of mappings")
                continue
            found.update(self.entries(source, loc))
        return found


def _named(node: Node) -> str:
    return {"int": "a number", "float": "a number", "bool": "true or false", "timestamp": "a date"}.get(
        node.tag, node.tag
    )
