"""Both dialects give the Flow of the original: pyoco's builder, and Python over pyoco's operator objects."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyoco.core.engine import Engine
from pyoco.core.models import Flow, Task
from pyoco.dsl import nodes as dsl
from pyoco.dsl.graph import build_flow_from_graph
from pyoco.dsl.syntax import TaskWrapper, switch

from pyoco_server.errors import FlowNotFound, WorkflowInvalid
from pyoco_server.workflow.flow_yaml import Workflow, parse_workflow
from pyoco_server.workflow.graph import build_flow, has_control_flow, task_names_of

PROFILE = settings(deadline=None, derandomize=True, database=None)
NAMES = "abcde"


def tasks_of(names: str = NAMES) -> dict[str, Task]:
    return {name: Task(func=lambda: None, name=name) for name in names}


def workflow_of(graph: str, names: str = NAMES, pipes: dict[str, str] | None = None) -> Workflow:
    lines = ["flow:", "  graph: |1", *("   " + row for row in graph.split("\n")), "tasks:"]
    lines += [f"  {name}: {{callable: 'm:{name}'}}" for name in names] or ["  {}"]
    lines += ["pipes:", *(f"  {name}: {text!r}" for name, text in (pipes or {}).items())]
    return parse_workflow("\n".join(lines) + "\n")


def program_of(node: Any) -> Any:
    """Give a node of a program as plain values; expressions by their text."""
    if isinstance(node, dsl.TaskNode):
        return node.task.name
    if isinstance(node, (dsl.SubFlowNode, list, tuple)):
        return [program_of(step) for step in (node.steps if isinstance(node, dsl.SubFlowNode) else node)]
    if isinstance(node, dsl.CaseNode):
        return ("case", program_of(node.value), program_of(node.target))
    if isinstance(node, dsl.DSLNode):
        return (type(node).__name__, {key: program_of(value) for key, value in vars(node).items()})
    if isinstance(node, TaskWrapper):
        return ("wrapper", node.task.name)
    return getattr(node, "source", node)


def shape_of(flow: Flow) -> dict[str, Any]:
    """Give all of a Flow that the engine looks at, as plain values."""
    return {
        "name": flow.name,
        "tasks": {
            task.name: (
                sorted(d.name for d in task.dependencies),
                sorted(d.name for d in task.dependents),
                task.trigger_policy,
            )
            for task in flow.tasks
        },
        "control flow": flow.has_control_flow(),
        "program": program_of(flow.build_program()),
    }


def as_051_does(graph: str, names: str = NAMES) -> Flow:
    """Run the text as Python, as the 0.5.1 worker does (black-box runs): in this test only."""
    flow = Flow(name="main")
    known: dict[str, Any] = {}
    for name, task in tasks_of(names).items():
        flow.add_task(task)
        known[name] = TaskWrapper(task)
    exec(graph, {"__builtins__": {}}, {**known, "switch": switch, "flow": flow})
    return flow


# pyoco's own dialect


@st.composite
def own_chains(draw: st.DrawFn, depth: int = 2) -> str:
    terms = draw(st.lists(own_terms(depth), min_size=1, max_size=4))
    return draw(st.sampled_from([" >> ", ">>", "\n>> ", " >> # why\n "])).join(terms)


@st.composite
def own_terms(draw: st.DrawFn, depth: int) -> str:
    kind = draw(st.sampled_from(["task", "task", "task", "node", "pipe", "repeat", "foreach", "until", "switch"]))
    name = draw(st.sampled_from(NAMES))
    if kind == "node":
        return f"n{draw(st.integers(0, 30))}: {name}"
    if kind == "pipe":
        return draw(st.sampled_from(["pipe(p)", "pipe('q')"]))
    if kind == "task" or depth == 0:
        return name
    inner = own_chains(depth - 1)
    collect = draw(st.sampled_from(["", ", collect=last", ", collect=flatten"]))
    if kind == "repeat":
        count = draw(st.sampled_from(["2", "n", "{{ params.n }}", '"$ctx.params.n + 1"']))
        return f"repeat(count={count}{collect}) {{ {draw(inner)} }}"
    if kind == "foreach":
        return (
            f"foreach(over={draw(st.sampled_from(['rows', '{{ results.a }}']))}, item=x{collect}) {{ {draw(inner)} }}"
        )
    if kind == "until":
        return f"until(cond={draw(st.sampled_from(['done', '{{ scratch.done }}']))}, max_iter=3) {{ {draw(inner)} }}"
    cases = "; ".join(
        f"{key}: {draw(inner)}" for key in draw(st.sampled_from([("A",), ("A", "2", "true"), ("'x y'",)]))
    )
    return f"switch(on=kind) {{ {cases}{draw(st.sampled_from(['', '; default: a', ';']))} }}"


@pytest.mark.long
@settings(PROFILE, max_examples=300)
@given(own_chains())
def test_a_graph_in_pyocos_language_gives_pyocos_flow(graph: str) -> None:
    pipes = {"p": "a >> b", "q": "c"}
    try:
        theirs = build_flow_from_graph(graph=graph, tasks=tasks_of(), pipes=pipes, flow_name="f")
    except Exception:
        with pytest.raises(WorkflowInvalid):
            workflow_of(graph, pipes=pipes)
        return
    try:
        workflow = workflow_of(graph, pipes=pipes)
    except WorkflowInvalid as exc:
        assert "wait for each other" in str(exc)
        assert_deadlock(theirs)
        return
    ours = build_flow(workflow, tasks_of(), "f")
    assert shape_of(ours) == shape_of(theirs)
    assert set(task_names_of(workflow)) == {task.name for task in ours.tasks}
    assert has_control_flow(workflow) == ours.has_control_flow()


def assert_deadlock(flow: Flow) -> None:
    with pytest.raises(RuntimeError, match="Deadlock"):
        Engine(trace_backend=Silent()).run(flow)


class Silent:
    """A trace backend that says nothing."""

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **kwargs: None


# the operator form


@st.composite
def lists(draw: st.DrawFn) -> str:
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=3))
    return draw(st.sampled_from(["[{}]", "({},)"])).format(", ".join(names))


@st.composite
def pairs(draw: st.DrawFn) -> str:
    one, two = draw(st.sampled_from(NAMES)), draw(st.sampled_from(NAMES))
    return f"({one} {draw(st.sampled_from('&|'))} {two})"


@st.composite
def expressions(draw: st.DrawFn, depth: int = 3) -> str:
    if depth == 0:
        return draw(st.sampled_from(NAMES))
    inner = expressions(depth - 1)
    kind = draw(st.sampled_from(["chain", "chain", "name", "join", "call", "repeat", "each", "until", "switch"]))
    if kind == "chain":
        return f"({draw(inner)} >> {draw(inner)})"
    if kind == "join":
        return f"({draw(pairs())} >> {draw(st.one_of(inner, lists(), pairs()))})"
    if kind == "call":
        return f"{draw(st.sampled_from(NAMES))}()"
    if kind == "repeat":
        return f"{draw(inner)}[{draw(st.sampled_from(['0', '3', 'True', '-1', '2.5']))}]"
    if kind == "each":
        return f"{draw(inner)}[{draw(st.sampled_from(['$ctx.params.rows', '$ctx.params.rows as x', 'rows as x']))!r}]"
    if kind == "until":
        return f"({draw(inner)} % {draw(st.sampled_from([repr('$ctx.done'), repr(('$ctx.n > 3', 5)), '5']))})"
    if kind == "switch":
        cases = ", ".join(
            f"{key} >> {draw(inner)}" for key in draw(st.sampled_from([("'A'",), ("1", "'*'"), ("-2.5",)]))
        )
        return f"switch('$ctx.params.kind')[{cases}]"
    return draw(st.sampled_from(NAMES))


@st.composite
def statements(draw: st.DrawFn) -> str:
    rest = st.one_of(expressions(), expressions(1), lists(), pairs())
    kind = draw(st.sampled_from(["plain", "flow", "flow", "join", "name", "list", "bare"]))
    if kind == "flow":
        return " >> ".join(["flow", *draw(st.lists(rest, min_size=1, max_size=3))])
    if kind == "name":
        return f"x = {draw(expressions(1))}; x >> {draw(st.sampled_from(NAMES))}"
    if kind == "join":
        return f"{draw(st.one_of(pairs(), lists()))} >> {draw(rest)}"
    if kind == "list":
        return draw(lists())
    if kind == "bare":
        return " ".join(
            draw(st.sampled_from([("a", ">>", "b", "&", "c"), ("a", "|", "b", ">>", "c"), ("a", ",", "b")]))
        )
    return draw(expressions())


@settings(PROFILE, max_examples=600)
@given(st.lists(statements(), min_size=1, max_size=4))
def test_a_graph_in_the_operator_form_gives_the_flow_of_python(rows: list[str]) -> None:
    graph = "\n".join([*rows, "d, e  # never pyoco's own language"])
    try:
        theirs = as_051_does(graph)
    except (TypeError, ValueError, SyntaxError, AttributeError, IndexError):
        with pytest.raises(WorkflowInvalid):
            workflow_of(graph)
        return
    try:
        workflow = workflow_of(graph)
    except WorkflowInvalid as exc:
        if "wait for each other" not in str(exc):
            # The one thing that Python takes and we do not: an element of a list, ((a & b) >> [c])[0].
            assert "only a task, a chain in brackets or switch(...) takes []" in str(exc)
            return
        assert_deadlock(theirs)
        return
    ours = build_flow(workflow, tasks_of(), "main")
    assert shape_of(ours) == shape_of(theirs)
    assert list(task_names_of(workflow)) and set(task_names_of(workflow)) == set(NAMES)
    assert has_control_flow(workflow) == theirs.has_control_flow()


@pytest.mark.parametrize(
    "graph",
    [
        *("a >> b\nb >> c", "a >> b\nc >> d", "a\nb", "(a & b) >> c", "(a | b) >> c", "a & b", "a | b", "[a, b]"),
        *("[a, b] >> c", "flow >> [a, b] >> c", "flow >> a >> b", "flow >> a\nflow >> b", "a | b >> c", "a & b >> c"),
        *("x = a >> b\nx >> c", "a[3]", "flow >> a[3]", "flow >> a['$ctx.params.items as it']", "a >> b; c >> d"),
        *("flow >> a % ('$ctx.params.flag', 5)", "flow >> a % '$ctx.params.flag'", "(a & b) >> [c, d]", "a, b"),
        *("flow >> switch('$ctx.params.x')['A' >> a >> c, '*' >> b] >> d", "a() >> b()", "(a & b) >> (c | d)"),
        *("flow >> switch(expression='$ctx.params.x')[['A' >> a]]", "b >> a\nflow >> a >> c", "flow >> (a, b) >> c"),
        *("flow >> a[2] >> [b, c] >> d", "(a >> b)[2] >> c", "# why\na >> b # because\n\nb >> c", "a & (b >> c)"),
        *("(a & (b >> c)) >> d", "(a & b) >> (c, d) >> e", "(a >>\n b)\nb >> c", "a >> \\\n b\nb >> c", "pass\na"),
    ],
)
def test_what_the_051_worker_was_seen_to_run_gives_the_same_flow(graph: str) -> None:
    workflow = workflow_of(graph)
    assert workflow.checked_graph.dialect == "operators"
    assert shape_of(build_flow(workflow, tasks_of(), "main")) == shape_of(as_051_does(graph))


@pytest.mark.parametrize(
    "graph", ["a >> [b, c]", "a >> (b & c) >> d", "a & b & c", "a | b | c", "(a >> b) & c", "a[-1]"]
)
def test_what_the_051_worker_was_seen_to_fail_on_is_refused(graph: str) -> None:
    with pytest.raises(WorkflowInvalid):
        workflow_of(graph)
    with pytest.raises((TypeError, ValueError)):
        as_051_does(graph)


# which dialect


@pytest.mark.parametrize(
    "graph", ["a", "a >> b >> c", " a\n>>\nb", "# why\na", "switch >> a", "repeat >> a", "if >> a"]
)
def test_a_text_of_both_dialects_is_pyocos(graph: str) -> None:
    workflow = workflow_of(graph)
    assert workflow.checked_graph.dialect == "pyoco"
    assert "e" not in task_names_of(workflow)


def test_flow_is_the_flow_unless_a_task_of_the_file_has_that_name() -> None:
    assert workflow_of("flow >> a").checked_graph.dialect == "operators"
    named = parse_workflow("flow: {graph: flow >> a}\ntasks: {flow: {use: x}, a: {use: x}}")
    assert named.checked_graph.dialect == "pyoco"
    assert list(task_names_of(named)) == ["flow", "a"]


def test_names_are_read_raw_by_pyoco_and_normalised_by_the_operator_form() -> None:
    assert list(task_names_of(workflow_of("a >> ﬁ", ["a", "ﬁ"]))) == ["a", "ﬁ"]
    assert "fi" in task_names_of(workflow_of("a >> ﬁ\na", ["a", "fi"]))
    with pytest.raises(WorkflowInvalid, match="Python reads this name as 'fi'"):
        workflow_of("a >> ﬁ\na", ["a", "ﬁ"])


# nodes and tasks


def test_nodes_come_in_the_order_of_the_graph_and_then_of_the_file() -> None:
    assert list(task_names_of(workflow_of("d >> b\nb >> a"))) == ["d", "b", "a", "c", "e"]
    assert task_names_of(workflow_of("y: d >> b >> switch(on=k) { 1: x: d; default: a }")) == {
        **{"y": "d", "b": "b", "x": "d", "a": "a"}
    }


@pytest.mark.parametrize("graph", ["a >> missing", "a >> missing\na"])
def test_a_task_that_only_a_worker_knows_is_accepted_and_built_or_named(graph: str) -> None:
    workflow = workflow_of(graph)
    assert "missing" in task_names_of(workflow)
    known = {**tasks_of(), "missing": Task(func=print, name="missing")}
    assert "missing" in {task.name for task in build_flow(workflow, known, "main").tasks}
    with pytest.raises(FlowNotFound, match=r"^missing: "):
        build_flow(workflow, tasks_of(), "main")


def test_tasks_that_nobody_named_do_not_join_the_flow() -> None:
    known = {**tasks_of(), "plugged": Task(func=print, name="plugged")}
    for graph in ("a >> b", "a >> b\nb >> c"):
        assert "plugged" not in {task.name for task in build_flow(workflow_of(graph), known, "main").tasks}


def test_a_defined_task_that_could_not_be_loaded_matters_only_where_it_is_named() -> None:
    workflow = workflow_of("a >> b\nb >> c")
    flow = build_flow(workflow, tasks_of("abcd"), "main")
    assert {task.name for task in flow.tasks} == set("abcd")


@pytest.mark.parametrize("graph", ["a >> b >> c", "(a | b) >> c\nc >> d"])
def test_building_twice_leaves_the_given_tasks_alone(graph: str) -> None:
    known = tasks_of()
    known["a"].inputs = {"x": [1]}
    workflow = workflow_of(graph)
    first, second = build_flow(workflow, known, "one"), build_flow(workflow, known, "two")
    assert shape_of(first)["tasks"] == shape_of(second)["tasks"]
    assert all(not t.dependencies and not t.dependents and t.trigger_policy == "ALL" for t in known.values())
    next(task for task in first.tasks if task.name == "a").inputs["x"].append(2)
    assert known["a"].inputs == {"x": [1]}


def test_one_task_under_two_names_stays_one() -> None:
    known = tasks_of("a")
    known["b"] = known["a"]
    with pytest.raises(WorkflowInvalid, match="a >> b >> a"):
        workflow_of("a >> b >> a")
    assert len(build_flow(workflow_of("c >> d\nd >> e", "cde"), {**tasks_of("cd"), "e": known["a"]}, "m").tasks) == 3


@pytest.mark.parametrize(
    ("graph", "cycle"),
    [
        ("a >> b >> a", "a >> b >> a"),
        ("a >> a", "a >> a"),
        ("a >> b\nb >> c\nc >> a\nd >> e", "a >> b >> c >> a"),
        ("(a & b) >> c\nc >> a", "a >> c >> a"),
        ("flow >> a >> b >> a", "a >> b >> a"),
    ],
)
def test_a_cycle_is_refused_with_its_tasks(graph: str, cycle: str) -> None:
    with pytest.raises(WorkflowInvalid, match="none can start") as caught:
        workflow_of(graph)
    shown = caught.value.faults[0].msg.split(": ")[1].split(" >> ")
    assert sorted(set(shown)) == sorted(set(cycle.split(" >> "))) and shown[0] == shown[-1]


@pytest.mark.parametrize("graph", ["(c | b) >> a\na >> b", "a >> repeat(count=2) { b } >> a", "flow >> a[2] >> b >> a"])
def test_a_cycle_that_does_not_block_is_accepted(graph: str) -> None:
    workflow_of(graph)


@pytest.mark.parametrize(
    ("graph", "part"),
    [
        ("a >> b\na[3]", "attach it with flow >>"),
        ("[a, b] >> c", "joins nothing"),
        ("flow >> switch('$ctx.x')['A' >> a >> b]", "never matches"),
        ("(a & b) >> (c >> d)", "only single tasks are joined"),
    ],
)
def test_what_is_allowed_and_has_no_effect_is_a_warning(graph: str, part: str) -> None:
    assert part in workflow_of(graph).warnings[0].msg


def test_a_stand_in_runs_through_the_engine_as_the_original_does() -> None:
    seen: list[str] = []
    known = {name: Task(func=lambda name=name: seen.append(name), name=name) for name in "abc"}
    workflow = workflow_of("flow >> (a >> b)[2] >> c", "abc")
    Engine(trace_backend=Silent()).run(build_flow(workflow, known, "main"))
    assert seen == ["a", "b", "a", "b", "c"]


def test_importing_the_package_does_not_import_pyoco() -> None:
    code = "import sys, pyoco_server.workflow.graph, pyoco_server.workflow.flow_yaml; print('pyoco' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "False"
