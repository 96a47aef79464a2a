"""The text of the older operator form: parsed to a syntax tree and held against a whitelist.

Nothing textual is ever executed: Python's parser only reads, and every node it gives must be one that the
form has. What the form means is told in :mod:`pyoco_server.workflow.operator_graph`.

Source: contract, section 4.
"""

from __future__ import annotations

import ast
import re
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pyoco_server.workflow.graph_faults import GraphFault
from pyoco_server.workflow.operator_words import check_words

#: Levels of the syntax tree, which the evaluator recurses through; a chain of >> counts as one level.
MAX_DEPTH = 100

_NAMES_TAKEN = ("flow", "switch")
_FITTING: tuple[type[ast.AST], ...] = (
    *(ast.Module, ast.Expr, ast.Assign, ast.Name, ast.Load, ast.Store, ast.BinOp, ast.RShift, ast.BitAnd),
    *(ast.BitOr, ast.Mod, ast.List, ast.Tuple, ast.Subscript, ast.Constant, ast.UnaryOp, ast.USub, ast.Call),
    *(ast.keyword, ast.Pass),
)
SPELLED = {ast.RShift: ">>", ast.BitAnd: "&", ast.BitOr: "|", ast.Mod: "%"}
_SUSPECT = re.compile(r"\\|\d[A-Za-z]")
_SILENCE = threading.Lock()


@dataclass(frozen=True)
class OperatorProgram:
    """A checked text: its statements, and the task names in the order of their first use."""

    statements: tuple[ast.stmt, ...]
    lines: tuple[str, ...]
    names: tuple[str, ...]
    #: Where each name stands first: line and column from 1.
    places: Mapping[str, tuple[int, int]]


@contextmanager
def silenced(text: str) -> Iterator[None]:
    """Keep what Python's parser warns about ``text`` (an unknown escape, ``1or``) from the process.

    The filters belong to the process, so they are touched only where the text can warn at all.
    """
    if not _SUSPECT.search(text):
        yield
        return
    with _SILENCE, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def parse_operators(text: str) -> tuple[OperatorProgram | None, list[GraphFault], bool]:
    """Parse and check ``text``.

    :return: the program or ``None``, what is wrong, and whether the text is Python at all.
    """
    refused = check_words(text)
    if refused:
        return None, [refused], False
    try:
        with silenced(text):
            tree = ast.parse(text)
    except SyntaxError as exc:
        place_said = (max(exc.lineno or 1, 1), max(exc.offset or 1, 1))
        return None, [GraphFault(*place_said, f"the graph does not parse: {exc.msg}")], False
    except (ValueError, RecursionError, MemoryError) as exc:
        # MemoryError is how Python's parser reports a text that nests too deep; nothing was exhausted.
        return None, [GraphFault(1, 1, f"the graph does not parse: {exc or 'it nests too deep'}")], False
    faults = _Whitelist(text).check(tree)
    if not tree.body:
        faults = [GraphFault(1, 1, "the graph is empty: name at least one task")]
    return (None if faults else _program(tree, text)), faults, True


def _program(tree: ast.Module, text: str) -> OperatorProgram:
    lines = tuple(python_lines(text))
    assigned: set[str] = set()
    places: dict[str, tuple[int, int]] = {}
    for statement in tree.body:
        loads = [node for node in ast.walk(statement) if isinstance(node, ast.Name)]
        for node in sorted(loads, key=lambda name: (name.lineno, name.col_offset)):
            if isinstance(node.ctx, ast.Load) and node.id not in assigned and node.id not in _NAMES_TAKEN:
                places.setdefault(node.id, place(node, lines))
        assigned.update(node.id for node in loads if isinstance(node.ctx, ast.Store))
    return OperatorProgram(tuple(tree.body), lines, tuple(places), places)


def python_lines(text: str) -> list[str]:
    return re.split("\r\n|\r|\n", text)


def place(node: Any, lines: Sequence[str]) -> tuple[int, int]:
    """Give line and column from 1; Python counts columns in UTF-8 bytes."""
    row = lines[node.lineno - 1] if node.lineno <= len(lines) else ""
    return node.lineno, len(row.encode()[: node.col_offset].decode(errors="ignore")) + 1


class _Whitelist:
    """Refuse every part of a syntax tree that the operator form does not have."""

    def __init__(self, text: str) -> None:
        self._lines = python_lines(text)
        self._faults: list[GraphFault] = []

    def check(self, tree: ast.Module) -> list[GraphFault]:
        stack: list[tuple[ast.AST, int]] = [(tree, 0)]
        while stack:
            node, depth = stack.pop()
            if depth > MAX_DEPTH:
                msg = f"the graph nests deeper than {MAX_DEPTH} levels: name a part on a line of its own, x = a >> b"
                return [GraphFault(*place(_located(node), self._lines), msg)]
            if not self._fits(node):
                continue
            for child in ast.iter_child_nodes(node):
                spine = isinstance(node, ast.BinOp) and isinstance(child, ast.BinOp) and child is node.left
                stack.append((child, depth if spine else depth + 1))
        return sorted(self._faults, key=lambda fault: (fault.line, fault.column))

    def _fits(self, node: ast.AST) -> bool:
        msg = None
        if isinstance(node, ast.operator) and type(node) not in SPELLED:
            return True  # reported with its BinOp, which has a place
        if isinstance(node, ast.BinOp) and type(node.op) not in SPELLED:
            msg = "this operator has no meaning in a graph: use >>, &, |, % or []"
        elif not isinstance(node, _FITTING):
            msg = f"{_said(node)} is not allowed in a graph: it is a description and is never run as Python"
        elif isinstance(node, ast.Assign):
            msg = _assignment_fault(node)
        elif isinstance(node, ast.Call):
            msg = _call_fault(node)
        elif isinstance(node, ast.Constant) and type(node.value) not in (str, int, float, bool):
            msg = f"{_said(node)} is not allowed in a graph: values are text, numbers, True and False"
        elif isinstance(node, ast.UnaryOp) and not _is_number(node):
            msg = "only a number takes a minus sign"
        if msg is not None:
            self._faults.append(GraphFault(*place(_located(node), self._lines), msg))
        return msg is None


def _located(node: ast.AST) -> Any:
    return node if hasattr(node, "lineno") else ast.Name(id="", lineno=1, col_offset=0)


def _said(node: ast.AST) -> str:
    if isinstance(node, ast.Constant):
        return f"the value {str(node.value)[:40]}"
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(node).__name__).lower()
    return f"Python's {words!r}"


def _is_number(node: ast.UnaryOp) -> bool:
    operand = node.operand
    return isinstance(node.op, ast.USub) and isinstance(operand, ast.Constant) and type(operand.value) in (int, float)


def _assignment_fault(node: ast.Assign) -> str | None:
    if len(node.targets) != 1 or not isinstance(node.targets[0], ast.Name):
        return "an assignment gives one plain name to one value: x = a >> b"
    name = node.targets[0].id
    return f"{name!r} cannot be assigned to: choose another name" if name in _NAMES_TAKEN else None


def _call_fault(node: ast.Call) -> str | None:
    if not isinstance(node.func, ast.Name):
        return "only switch can be called in a graph"
    if node.func.id != "switch":
        return (
            f"{node.func.id} cannot be called with arguments: only switch can" if node.args or node.keywords else None
        )
    given = [*node.args, *(keyword.value for keyword in node.keywords if keyword.arg == "expression")]
    plain = len(given) == 1 == len(node.args) + len(node.keywords)
    fitting = plain and isinstance(given[0], ast.Constant) and isinstance(given[0].value, str)
    return None if fitting else 'switch takes one quoted expression: switch("$ctx.params.x")["A" >> a, "*" >> b]'
