"""The older operator form of a graph: a whitelist over Python's syntax tree, and our own evaluator.

The 0.5.1 worker runs such a text as Python. Here nothing textual is ever executed: the text is parsed to a
syntax tree, every node of it must be on the whitelist, and the tree is walked by :class:`Evaluation`, which
applies ``>> & | % []`` to pyoco's own operator objects. The Flow therefore is what pyoco's operators make.

What a run of the 0.5.1 worker (with pyoco 0.8.0) showed, and what is kept:

- Every task under ``tasks`` belongs to the flow and runs, named by the graph or not. Lines do not chain:
  each adds dependencies (``a >> b`` then ``b >> c``), and a graph of ``a`` alone adds none.
- ``flow`` is the Flow itself, also where a task has that name. Only what stands after ``flow >>`` becomes the
  program, so a loop or a switch elsewhere (``a[3]``) is dropped and its tasks run once; that is a warning.
- ``(a & b) >> c`` waits for both, ``(a | b) >> c`` for either, ``(a & b) >> [c, d]`` joins each with each.
  ``>>`` binds tighter than ``&`` and ``|``. ``a >> [b, c]``, ``a & b & c`` and ``(a >> b) & c`` fail there.
- ``[a, b] >> c`` outside ``flow >>`` has no effect at all, nor has ``"A" >> b >> c`` as a case (its value is
  then ``"A" >> b``, which nothing equals); both are warnings. ``flow >> [a, b] >> c`` joins.
- ``x = a >> b`` and a later ``x`` work, ``a()`` is ``a``, and a name is NFKC-normalised, as Python does.
- Tasks that a worker merely discovered ran there too, for every workflow. That is not kept: a plug-in that
  nobody named does not run. Nor are Python's other statements, calls, attributes and comprehensions.

Source: contract, section 4.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from typing import Any

from pyoco_server.workflow.graph_faults import GraphFault
from pyoco_server.workflow.operator_syntax import SPELLED, OperatorProgram, place
from pyoco_server.workflow.operator_words import check_expression

#: Tasks that one value may stand for, the bound that pyoco's parser puts on expanded pipes.
MAX_WEIGHT = 4_096
#: Tasks and dependencies touched by the whole text: about a second of work.
MAX_WORK = 1_000_000


class _Refused(Exception):
    """A part of the text cannot be evaluated; the fault says where."""

    def __init__(self, fault: GraphFault) -> None:
        self.fault = fault


class Evaluation:
    """The Flow that a program makes of ``tasks``, with faults and warnings.

    :param tasks: names to pyoco Tasks, which become part of the Flow and are linked: pass fresh ones.
    """

    def __init__(self, program: OperatorProgram, tasks: Mapping[str, Any], flow_name: str) -> None:
        from pyoco.core.models import Flow
        from pyoco.dsl import nodes, syntax

        self._syntax, self._nodes = syntax, nodes
        self._program = program
        self._work = self._tail = 0
        self.flow: Any = Flow(name=flow_name)
        self.faults: list[GraphFault] = []
        self.warnings: list[GraphFault] = []
        self._values: dict[str, tuple[Any, int]] = {}
        for name, task in tasks.items():
            self.flow.add_task(task)
            self._values[name] = (syntax.TaskWrapper(task), 1)
        self._values["flow"] = (self.flow, 1)
        for statement in program.statements:
            self._run(statement)

    def _run(self, statement: ast.stmt) -> None:
        try:
            if isinstance(statement, ast.Assign):
                target = statement.targets[0]
                assert isinstance(target, ast.Name)
                self._values[target.id] = self._eval(statement.value)
            elif isinstance(statement, ast.Expr):
                self._warn_of_no_effect(statement, self._eval(statement.value)[0])
        except _Refused as refused:
            self.faults.append(refused.fault)

    def _warn_of_no_effect(self, statement: ast.Expr, value: Any) -> None:
        if isinstance(value, self._syntax.FlowFragment) and value.has_control_flow():
            self._warn(statement, "this loop or switch has no effect: attach it with flow >> ...")
        elif isinstance(value, self._nodes.CaseNode):
            self._warn(
                statement,
                "this line has no effect: a list or text before >> joins nothing, write (a & b) >> c",
            )

    def _warn_of_loose_ends(self, node: ast.BinOp, left: Any, right: Any) -> None:
        """pyoco joins single tasks around & and |, and passes over chains without a word."""
        if not isinstance(left, (self._syntax.Parallel, self._syntax.Branch)):
            return
        single = self._syntax.TaskWrapper
        loose = [item for item in left if not isinstance(item, single)]
        if loose or (isinstance(right, self._syntax.FlowFragment) and not isinstance(right, single)):
            self._warn(node, "only single tasks are joined here: write (a & b) >> c, and c >> d on a line of its own")

    def _warn(self, node: ast.AST, msg: str) -> None:
        self.warnings.append(GraphFault(*place(node, self._program.lines), msg))

    def _fault(self, node: ast.AST, msg: str) -> _Refused:
        return _Refused(GraphFault(*place(node, self._program.lines), msg))

    def _charge(self, node: ast.AST, work: int, weight: int) -> int:
        """Count the work of one operation before it is done, and give the weight of its result."""
        self._work += work
        if weight > MAX_WEIGHT or self._work > MAX_WORK:
            raise self._fault(node, "the graph grows too large here: it stands for too many tasks or dependencies")
        return weight

    def _eval(self, node: ast.expr) -> tuple[Any, int]:
        """Give the value of ``node`` and its weight: how many tasks it stands for."""
        if isinstance(node, ast.BinOp):
            return self._chain(node)
        if isinstance(node, ast.Name):
            return self._name(node)
        if isinstance(node, ast.Constant):
            return node.value, 1
        if isinstance(node, ast.UnaryOp) and isinstance(node.operand, ast.Constant):
            number = node.operand.value
            assert isinstance(number, (int, float)), "the whitelist lets numbers through only"
            return -number, 1
        if isinstance(node, (ast.List, ast.Tuple)):
            parts = [self._eval(item) for item in node.elts]
            weight = self._charge(node, len(parts), 1 + sum(part[1] for part in parts))
            values = [part[0] for part in parts]
            return (values if isinstance(node, ast.List) else tuple(values)), weight
        if isinstance(node, ast.Subscript):
            return self._subscript(node)
        assert isinstance(node, ast.Call) and isinstance(node.func, ast.Name), node
        return self._call(node, node.func)

    def _name(self, node: ast.Name) -> tuple[Any, int]:
        if node.id == "switch":
            raise self._fault(node, "switch is no task here: " + 'write switch("$ctx.params.x")["A" >> a, "*" >> b]')
        if node.id not in self._values:
            raise self._fault(node, f"{node.id!r} has no value, because its own line is refused")
        return self._values[node.id]

    def _call(self, node: ast.Call, func: ast.Name) -> tuple[Any, int]:
        if func.id != "switch":
            value, weight = self._name(func)
            if not isinstance(value, self._syntax.TaskWrapper):
                raise self._fault(node, f"{func.id!r} is not a task: write it without ()")
            return value, weight
        argument = node.args[0] if node.args else node.keywords[0].value
        assert isinstance(argument, ast.Constant)
        self._check_expression(node, argument.value)
        return self._apply(node, self._syntax.switch, argument.value), 1

    def _check_expression(self, node: ast.AST, value: Any) -> None:
        """Refuse text that pyoco could not parse safely, before pyoco makes an expression of it."""
        msg = check_expression(value) if isinstance(value, str) else None
        if msg:
            raise self._fault(node, msg)

    def _apply(self, node: ast.AST, function: Any, *arguments: Any) -> Any:
        """Call one of pyoco's operators and turn what it says into a fault."""
        try:
            return function(*arguments)
        except (TypeError, ValueError, SyntaxError, RecursionError, MemoryError) as exc:
            said = str(exc) or type(exc).__name__
            raise self._fault(node, f"pyoco refuses this: {_without_addresses(said)}") from exc

    def _chain(self, node: ast.BinOp) -> tuple[Any, int]:
        # The left spine is walked in a loop: a >> b >> ... is as deep as it is long.
        spine = [node]
        while isinstance(spine[-1].left, ast.BinOp):
            spine.append(spine[-1].left)
        left, weight = self._eval(spine[-1].left)
        for step in reversed(spine):
            right, right_weight = self._eval(step.right)
            left, weight = self._combine(step, left, weight, right, right_weight)
        return left, weight

    def _combine(self, node: ast.BinOp, left: Any, weight: int, right: Any, right_weight: int) -> tuple[Any, int]:
        fragment, parts = self._syntax.FlowFragment, (list, tuple)
        if isinstance(node.op, ast.Mod):
            if not isinstance(left, fragment):
                raise self._fault(node, 'only a task or a chain takes %: (a >> b) % "$ctx.params.done"')
            self._charge(node, weight, weight + 1)
            for part in right if isinstance(right, tuple) else (right,):
                self._check_expression(node, part)
            return self._apply(node, lambda: left % right), weight + 1
        if isinstance(right, self._nodes.CaseNode) and (left is self.flow or isinstance(left, parts)):
            self._warn(node, "what stands after >> joins nothing: a list or text before >> has no effect")
        elif not isinstance(right, (fragment, *parts)):
            raise self._fault(node, f"what stands after {SPELLED[type(node.op)]} must be a task, a chain or a list")
        if not isinstance(node.op, ast.RShift):
            return self._join(node, left, weight, right, right_weight)
        return self._shift(node, left, weight, right, right_weight)

    def _join(self, node: ast.BinOp, left: Any, weight: int, right: Any, right_weight: int) -> tuple[Any, int]:
        if not isinstance(left, self._syntax.TaskWrapper):
            sign = SPELLED[type(node.op)]
            raise self._fault(
                node,
                f"what stands before {sign} must be one task; for more of them write flow >> [a, b, c] >> d",
            )
        weight = self._charge(node, 1, weight + right_weight)
        join = (lambda: left & right) if isinstance(node.op, ast.BitAnd) else (lambda: left | right)
        return self._apply(node, join), weight

    def _shift(self, node: ast.BinOp, left: Any, weight: int, right: Any, right_weight: int) -> tuple[Any, int]:
        if left is self.flow:
            self._charge(node, right_weight * max(self._tail, 1), right_weight)
            self._tail = right_weight
        elif isinstance(left, (list, tuple)):
            self._charge(node, weight * right_weight, max(weight, right_weight))
        else:
            self._charge(node, weight + right_weight, weight + right_weight)
        if isinstance(left, self._syntax.FlowFragment) and isinstance(right, (list, tuple)):
            raise self._fault(node, "a list cannot follow a task: start with flow >> ..., or one line for each")
        self._warn_of_loose_ends(node, left, right)
        if isinstance(left, self._nodes.CaseNode):
            self._warn(node, 'this case never matches: put its chain in brackets, "A" >> (a >> b)')
        value = self._apply(node, lambda: left >> right)
        return value, 1 if value is self.flow else right_weight if value is right else weight + right_weight

    def _subscript(self, node: ast.Subscript) -> tuple[Any, int]:
        value, weight = self._eval(node.value)
        if not isinstance(value, (self._syntax.FlowFragment, self._syntax.SwitchBuilder)):
            raise self._fault(node, "only a task, a chain in brackets or switch(...) takes []")
        selector, selector_weight = self._eval(node.slice)
        if isinstance(value, self._syntax.SwitchBuilder):
            cases = selector if isinstance(selector, (list, tuple)) else [selector]
            if not all(isinstance(case, self._nodes.CaseNode) for case in cases):
                raise self._fault(node, 'each case of a switch reads "value" >> task')
        weight = self._charge(node, weight + selector_weight, weight + selector_weight)
        self._check_expression(node, selector)
        return self._apply(node, lambda: value[selector]), weight


def _without_addresses(said: str) -> str:
    return re.sub(r"<[\w.]+ object at 0x[0-9a-f]+>", "a task", said)[:300]
