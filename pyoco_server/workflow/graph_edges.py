"""What a flow's tasks wait for, as somebody draws it.

A flow without loops and switches waits by dependencies. One with them runs step by step: what ends a step leads to
what begins the next, each case of a switch is a way of its own, and a loop's body stands where it stands.

Source: pyoco 0.8.0 ``core/engine.py``, ``dsl/nodes.py``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyoco_server.workflow.graph import flow_of_stand_ins

if TYPE_CHECKING:
    from pyoco_server.workflow.flow_yaml import Workflow

#: Node names: the second waits for the first.
Edge = tuple[str, str]


def edges_of(workflow: Workflow) -> list[Edge]:
    """Give the edges of a checked workflow, each once, in the order of their names' appearance."""
    flow = flow_of_stand_ins(workflow)
    edges: set[Edge] = set()
    if flow.has_control_flow():
        _step(flow.build_program(), edges)
    else:
        edges = {(before.name, task.name) for task in flow.tasks for before in task.dependencies}
    place = {name: number for number, name in enumerate(workflow.checked_graph.nodes)}
    return sorted(edges, key=lambda edge: (place[edge[0]], place[edge[1]]))


def _step(node: Any, edges: set[Edge]) -> tuple[set[str], set[str]]:
    """Add the edges within a node of a program; give the tasks that begin it and those that end it."""
    from pyoco.dsl.nodes import SubFlowNode, SwitchNode, TaskNode

    if isinstance(node, TaskNode):
        return {node.task.name}, {node.task.name}
    if isinstance(node, SwitchNode):
        ways = [_step(case.target, edges) for case in node.cases]
        return {name for first, _ in ways for name in first}, {name for _, last in ways for name in last}
    if not isinstance(node, SubFlowNode):
        return _step(node.body, edges)
    begin: set[str] = set()
    end: set[str] = set()
    for step in node.steps:
        first, last = _step(step, edges)
        edges.update((before, after) for before in end for after in first if before != after)
        begin = begin or first
        end = last or end
    return begin, end
