"""The edges of a flow, as they are drawn."""

from __future__ import annotations

import pytest
import yaml

from pyoco_server.workflow.flow_yaml import Workflow, parse_workflow
from pyoco_server.workflow.graph_edges import edges_of


def _workflow(graph: str, tasks: str) -> Workflow:
    defined = {name: {"callable": f"jobs:{name}"} for name in tasks.split()}
    return parse_workflow(yaml.safe_dump({"version": 1, "flow": {"graph": graph}, "tasks": defined}))


@pytest.mark.parametrize(
    ("graph", "tasks", "edges"),
    [
        ("a >> b >> c", "a b c", ["ab", "bc"]),
        ("a >> b\na >> c\n(b & c) >> d", "a b c d", ["ab", "ac", "bd", "cd"]),
        ("flow >> a >> [b, c] >> d", "a b c d", ["ab", "ac", "bd", "cd"]),
        ("a >> b", "a b c", ["ab"]),
        ("flow >> (a >> b)[3] >> c", "a b c", ["ab", "bc"]),
        ("a >> repeat(count=2) { b >> c } >> d", "a b c d", ["ab", "bc", "cd"]),
        (
            "a >> switch(on=kind) { x: b; y: c >> d } >> e",
            "a b c d e",
            ["ab", "ac", "be", "cd", "de"],
        ),
    ],
)
def test_edges_say_what_waits_for_what(graph: str, tasks: str, edges: list[str]) -> None:
    assert ["".join(edge) for edge in edges_of(_workflow(graph, tasks))] == edges
