"""The graph of a workflow, in either of its two dialects.

A text that pyoco's own parser takes is pyoco's; every other text is the older operator form, told in
:mod:`pyoco_server.workflow.operator_graph`. Where both take a text (``a >> b >> c``) pyoco's own wins, so
only the tasks that the graph names belong to the flow. One exception keeps the files of 0.5.1 users alive:
where ``flow`` is named and no task of the file has that name, ``flow >> a`` is the operator form.

The gateway asks :func:`parse_graph_text` for the nodes and the faults, the runner asks :func:`build_flow`
for the Flow; both get the same reading. Expressions are compiled by pyoco when a Flow is built and evaluated
by its engine only.

Source: contract, section 4; pyoco 0.8.0 ``dsl/graph.py``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pyoco_server.errors import Fault, FlowNotFound, WorkflowInvalid
from pyoco_server.workflow import pyoco_graph
from pyoco_server.workflow.graph_faults import GraphFault, PlacedFault, place_of
from pyoco_server.workflow.operator_graph import Evaluation
from pyoco_server.workflow.operator_syntax import OperatorProgram, parse_operators, python_lines, silenced

if TYPE_CHECKING:
    from pyoco.core.models import Flow, Task

    from pyoco_server.workflow.flow_yaml import Workflow

PYOCO = "pyoco"
OPERATORS = "operators"
#: What only pyoco's language has, outside of quoted text: blocks and names of nodes.
_OWN_SIGNS = ("{", "}", ":")


@dataclass(frozen=True)
class Graph:
    """A checked graph; shared between threads, so nothing in it is ever changed.

    :param dialect: :data:`PYOCO` or :data:`OPERATORS`.
    :param nodes: node name to the task it runs, in the order of first appearance. In the operator form the
        tasks that the graph does not name follow in the order of the file.
    :param named: the tasks that the text itself names; a worker must know each of them.
    :param has_control_flow: whether the engine runs the program step by step (loops, switches).
    :param warnings: what is allowed and probably not meant; places count in the graph's text.
    """

    dialect: str
    nodes: Mapping[str, str]
    named: tuple[str, ...]
    has_control_flow: bool
    warnings: tuple[GraphFault, ...] = ()
    program: OperatorProgram | None = field(default=None, repr=False)


def parse_graph_text(
    text: str, pipes: Mapping[str, str], task_names: Iterable[str]
) -> tuple[Graph | None, list[PlacedFault]]:
    """Decide the dialect of ``text`` and check all that does not depend on what a worker knows.

    :param task_names: the keys of ``tasks``, in the order of the file.
    :return: the graph, or ``None`` and what is wrong, each with its place.
    """
    defined = tuple(task_names)
    own = pyoco_graph.read(text, pipes)
    if own.terms is not None and ("flow" in defined or "flow" not in own.names()):
        return _check_pyoco(text, pipes, own)
    program, faults, is_python = parse_operators(text)
    if program is not None:
        return _check_operators(text, program, defined)
    if own.terms is not None:
        return _check_pyoco(text, pipes, own)
    return None, _of_likelier_dialect(own.faults, faults, is_python, text)


def _of_likelier_dialect(
    own: list[PlacedFault], operators: list[GraphFault], is_python: bool, text: str
) -> list[PlacedFault]:
    """Neither parser took the text: report the one that got further, for that is what was meant."""
    if _stands_at(operators[0], text) in _OWN_SIGNS:
        return own
    furthest = next(placed.fault for placed in own if placed.pipe is None)
    there, here = (furthest.line, furthest.column), (operators[0].line, operators[0].column)
    # At the same place pyoco's words say more, but for a character that only the other form knows about.
    vague = furthest.msg.startswith("Unexpected character")
    if is_python or here > there or (here == there and vague):
        return [PlacedFault(fault) for fault in operators]
    return own


def _stands_at(fault: GraphFault, text: str) -> str:
    """Give the character that a fault is about; nothing at the end of the text."""
    line = "".join(python_lines(text)[fault.line - 1 : fault.line])
    return line[fault.column - 1 : fault.column]


def _check_pyoco(
    text: str, pipes: Mapping[str, str], own: pyoco_graph.Reading
) -> tuple[Graph | None, list[PlacedFault]]:
    if own.faults:
        return None, own.faults
    nodes = own.nodes()
    stand_ins = {name: _stand_in(name) for name in own.names()}
    try:
        flow = _build_pyoco(text, pipes, stand_ins, "check")
    except pyoco_graph.REFUSALS as exc:
        return None, [PlacedFault(pyoco_graph.fault_of(exc, text))]
    stuck = _stuck(flow, text)
    if stuck:
        return None, [PlacedFault(stuck)]
    return Graph(PYOCO, nodes, tuple(dict.fromkeys(nodes.values())), flow.has_control_flow()), []


def _check_operators(
    text: str, program: OperatorProgram, defined: tuple[str, ...]
) -> tuple[Graph | None, list[PlacedFault]]:
    misspelt = pyoco_graph.names_read_differently(program.names, defined)
    if misspelt:
        return None, [PlacedFault(GraphFault(*program.places[name], msg)) for name, msg in misspelt.items()]
    names = tuple(dict.fromkeys((*program.names, *defined)))
    with silenced(text):
        made = Evaluation(program, {name: _stand_in(name) for name in names}, "check")
    faults = made.faults or [fault for fault in [_stuck(made.flow, text)] if fault]
    if faults:
        return None, [PlacedFault(fault) for fault in faults]
    graph = Graph(
        OPERATORS,
        {name: name for name in names},
        program.names,
        made.flow.has_control_flow(),
        tuple(made.warnings),
        program,
    )
    return graph, []


def build_flow(workflow: Workflow, tasks: Mapping[str, Task], flow_name: str) -> Flow:
    """Build the Flow of ``workflow`` out of the tasks that a worker knows.

    :param tasks: task name to Task. They are copied: linking them would leave the dependencies of one run in
        the next one's flow, as it does in the 0.5.1 worker with tasks that modules share.
    :return: a Flow that nobody else holds.
    :raises FlowNotFound: the graph names a task that ``tasks`` lacks; the message begins with its name.
    """
    graph = workflow.checked_graph
    for name in graph.named:
        if name not in tasks:
            raise FlowNotFound(
                f"{name}: the graph names this task and the worker does not know it. Define tasks.{name} in "
                "flow.yaml, or make it known to the worker (PYOCO_DISCOVERY_MODULES, a plug-in wheel)."
            )
    own = _Copies()
    if graph.program is None:
        fresh = {name: own.of(tasks[name]) for name in graph.named}
        return _build_pyoco(workflow.graph, workflow.pipes, fresh, flow_name)
    # A defined task that no worker could load and the graph does not name is left out, as 0.5.1 does.
    fresh = {name: own.of(tasks[name]) for name in graph.nodes if name in tasks}
    with silenced(workflow.graph):
        made = Evaluation(graph.program, fresh, flow_name)
    if made.faults:
        raise WorkflowInvalid(faults=[Fault("flow.graph", fault.msg) for fault in made.faults])
    flow: Flow = made.flow
    return flow


def flow_of_stand_ins(workflow: Workflow) -> Flow:
    """Build the Flow of a checked workflow without its functions, to look at its shape; it cannot be run."""
    graph = workflow.checked_graph
    return build_flow(workflow, {name: _stand_in(name) for name in graph.nodes.values()}, "shape")


def task_names_of(workflow: Workflow) -> dict[str, str]:
    """Give the nodes of the flow, in order, each with the task that it runs."""
    return dict(workflow.checked_graph.nodes)


def has_control_flow(workflow: Workflow) -> bool:
    """Tell whether the engine runs the flow step by step: loops or switches."""
    return workflow.checked_graph.has_control_flow


def _build_pyoco(text: str, pipes: Mapping[str, str], tasks: dict[str, Any], flow_name: str) -> Flow:
    from pyoco.dsl.graph import build_flow_from_graph

    with silenced(text + "".join(pipes.values())):
        return build_flow_from_graph(graph=text, tasks=tasks, pipes=dict(pipes), flow_name=flow_name)


def _never_called() -> None:
    raise AssertionError("a stand-in for a task was called")


def _stand_in(name: str) -> Task:
    from pyoco.core.models import Task

    return Task(func=_never_called, name=name)


class _Copies:
    """Fresh copies of tasks; a task known under two names stays one task."""

    def __init__(self) -> None:
        self._made: dict[int, Task] = {}

    def of(self, task: Task) -> Task:
        from copy import copy, deepcopy

        if id(task) not in self._made:
            fresh = copy(task)
            fresh.dependencies, fresh.dependents = set(), set()
            fresh.inputs, fresh.outputs = deepcopy(task.inputs), list(task.outputs)
            self._made[id(task)] = fresh
        return self._made[id(task)]


def _stuck(flow: Flow, text: str) -> GraphFault | None:
    """Find the tasks that could never start: the engine would end such a run as a deadlock.

    A flow with loops or switches runs step by step and does not look at dependencies.
    """
    if flow.has_control_flow():
        return None
    waiting = {task: len(task.dependencies) for task in flow.tasks}
    ready = [task for task, count in waiting.items() if count == 0]
    started = set(ready)
    while ready:
        for after in ready.pop().dependents:
            waiting[after] -= 1
            if after not in started and (after.trigger_policy == "ANY" or waiting[after] == 0):
                started.add(after)
                ready.append(after)
    left = {task for task in flow.tasks if task not in started}
    if not left:
        return None
    path = [min(left, key=lambda task: task.name)]
    while path[-1] not in path[:-1]:
        path.append(min((d for d in path[-1].dependencies if d in left), key=lambda task: task.name))
    names = [task.name for task in reversed(path[path.index(path[-1]) :])]
    word = re.search(rf"\b{re.escape(names[0])}\b", text)
    place = place_of(text, word.start() if word else 0)
    return GraphFault(*place, f"the tasks wait for each other and none can start: {' >> '.join(names)}")
