"""What parse_workflow gives for a good file, and which fault it finds where in a bad one."""

from __future__ import annotations

import hashlib
import threading

import pytest

from pyoco_server.errors import Fault, WorkflowInvalid, WorkflowTooLarge
from pyoco_server.workflow import flow_yaml
from pyoco_server.workflow.flow_yaml import TaskSpec, parse_workflow

GOOD = """\
version: 1
flow:
  graph: |
    load >> clean
  defaults:
    path: data.csv
    options: {deep: [1, 2.5, true, null]}
tasks:
  load:
    callable: shop.tasks:load
    outputs: [scratch.rows]
  clean:
    use: shop/clean
    inputs: {rows: $node.load.output, mode: $ctx.params.mode, home: $env.HOME, price: "5$"}
runtime:
  expose_env: [HOME]
pipes:
  both: load >> clean
"""


def faults_of(text: str | bytes) -> tuple[Fault, ...]:
    with pytest.raises(WorkflowInvalid) as caught:
        parse_workflow(text)
    return caught.value.faults


def test_a_good_file_gives_all_its_parts() -> None:
    workflow = parse_workflow(GOOD)
    assert workflow.text == GOOD
    assert workflow.sha256 == hashlib.sha256(GOOD.encode()).hexdigest()
    assert workflow.size_bytes == len(GOOD.encode())
    assert workflow.graph == "load >> clean\n"
    assert workflow.defaults == {"path": "data.csv", "options": {"deep": [1, 2.5, True, None]}}
    assert workflow.tasks["load"] == TaskSpec("shop.tasks:load", None, {}, ["scratch.rows"])
    assert workflow.tasks["clean"].use == "shop/clean"
    assert workflow.tasks["clean"].inputs["price"] == "5$"
    assert workflow.pipes == {"both": "load >> clean"}
    assert (workflow.expose_env, workflow.version, workflow.warnings) == (["HOME"], 1, ())


def test_bytes_and_text_of_one_file_are_one_cached_workflow() -> None:
    assert parse_workflow(GOOD) is parse_workflow(GOOD.encode())


@pytest.mark.parametrize(
    "text", ["flow:\n\tgraph: a\n", "flow:\n  graph: |\n    a\n\tb\n", "flow: {graph: a}\r\n\t- b"]
)
def test_a_tab_that_indents_is_called_one(text: str) -> None:
    (fault,) = faults_of(text)
    line = text[: text.index("\t")].count("\n") + 1
    said = "this is not YAML: a tab stands where only spaces may: indent with spaces"
    assert (fault.line, fault.column, fault.msg) == (line, 1, said)


def test_a_byte_order_mark_is_kept_in_text_and_hash_and_counts_no_column() -> None:
    data = b"\xef\xbb\xbf" + GOOD.encode()
    workflow = parse_workflow(data)
    assert workflow.text.encode() == data
    assert workflow.sha256 == hashlib.sha256(data).hexdigest()
    assert faults_of(b"\xef\xbb\xbfnonsense: 1\nflow: {graph: a}")[0].column == 1


def test_params_are_laid_over_a_copy_of_the_defaults() -> None:
    workflow = parse_workflow(GOOD)
    params = workflow.params_over_defaults({"path": "other.csv", "n": 1})
    assert params == {"path": "other.csv", "n": 1, "options": {"deep": [1, 2.5, True, None]}}
    params["options"]["deep"].clear()
    assert parse_workflow(GOOD).defaults["options"] == {"deep": [1, 2.5, True, None]}


def test_what_is_left_empty_counts_as_left_out() -> None:
    workflow = parse_workflow(
        "flow: {graph: a, defaults: }\ntasks: {a: {inputs: , outputs: , use: }}\npipes:\nruntime:\n"
    )
    assert (workflow.defaults, workflow.tasks, workflow.pipes) == ({}, {"a": TaskSpec()}, {})
    assert parse_workflow("flow: {graph: a}\ntasks:\n").tasks == {}


def test_merge_keys_and_aliases_read_as_pyoco_reads_them() -> None:
    text = (
        "flow: {graph: a >> b}\ntasks:\n  a: &base {callable: m:f, inputs: {x: 1}}\n  b: {<<: *base, callable: m:g}\n"
    )
    assert parse_workflow(text).tasks["b"] == TaskSpec("m:g", None, {"x": 1}, [])


@pytest.mark.parametrize("written", ["1", "'1'", "1.0"])
def test_version_one_is_accepted_in_every_spelling(written: str) -> None:
    assert parse_workflow(f"version: {written}\nflow: {{graph: a}}").version == 1


def test_a_file_over_the_limit_is_too_large_and_at_the_limit_is_not() -> None:
    text = "flow: {graph: ä}"
    assert parse_workflow(text, max_bytes=len(text) + 1)
    for form in (text, text.encode()):
        with pytest.raises(WorkflowTooLarge, match="PYOCO_WORKFLOW_YAML_MAX_BYTES"):
            parse_workflow(form, max_bytes=len(text))


def test_a_large_file_is_refused_by_size_although_it_is_cached() -> None:
    parse_workflow(GOOD)
    with pytest.raises(WorkflowTooLarge):
        parse_workflow(GOOD, max_bytes=10)


def test_all_faults_are_found_at_once_in_the_order_of_the_file() -> None:
    text = "version: 3\nflow: {graph: 5, x: 1}\ntasks:\n  a: {callable: nocolon, outputs: [1]}\nextra: 1\n"
    assert [fault.loc for fault in faults_of(text)] == [
        *("version", "flow.graph", "flow.x", "tasks.a.callable", "tasks.a.outputs[0]", "extra")
    ]


BAD = [
    # text, loc, line, column, part of the message
    ("", "", 1, 1, "empty"),
    ("# only\n", "", 1, 1, "empty"),
    ("null", "", 1, 1, "empty"),
    ("- a", "", 1, 1, "must be a mapping"),
    ("just text", "", 1, 1, "must be a mapping"),
    (b"flow:\n  x\xff: 1", "", 2, 4, "0xff is not UTF-8"),
    ("flow: \ud800", "", 1, 7, "surrogate"),
    ("flow:\n a\x00", "", 2, 3, "U+0000"),
    ("flow:\n a\x1b", "", 2, 3, "U+001B"),
    ("flow: [", "", 1, 8, "not YAML"),
    ("flow: {graph: a}\n b: 1", "", 2, 2, "not YAML"),
    ("flow: {graph: a}\n---\nx: 1", "", 2, 1, "more than one document"),
    ("flow: *nowhere", "", 1, 7, "no anchor &nowhere"),
    ("flow: &a {graph: a, defaults: {x: *a}}", "", 1, 35, "inside its own anchor"),
    ("flow: {graph: &x a, defaults: {y: &x 1}}", "", 1, 35, "defined twice"),
    ("tasks: {}", "flow", 1, 1, "flow is missing"),
    ("flow:", "flow.graph", 1, 6, "graph is missing"),
    ("flow: {defaults: {}}", "flow.graph", 1, 7, "graph is missing"),
    ("flow: a", "flow", 1, 7, "must be a mapping"),
    ("flow: {graph: [a]}", "flow.graph", 1, 15, "must be text"),
    ("flow: {graph: 5}", "flow.graph", 1, 15, "must be text and is a number"),
    ("flow: {graph: ' '}", "flow.graph", 1, 15, "empty"),
    ("flow: {graph: a, defaults: [1]}", "flow.defaults", 1, 28, "must be a mapping"),
    ("flow: {graph: a, foo: 1}", "flow.foo", 1, 18, "use graph, defaults"),
    ("flow: {graph: a}\nflows: {}", "flows", 2, 1, "one flow"),
    ("flow: {graph: a}\ndiscovery: {}", "discovery", 2, 1, "PYOCO_DISCOVERY_MODULES"),
    ("flow: {graph: a}\nother: {}", "other", 2, 1, "use version, flow"),
    ("flow: {graph: a}\nflow: {graph: b}", "flow", 2, 1, "stands on line 1 already"),
    ("flow: {graph: a}\ntasks:\n  a: {}\n  a: {}", "tasks.a", 4, 3, "stands on line 3 already"),
    ("flow: {graph: a}\n5: 1", "", 2, 1, "a key must be text and '5' is a number"),
    ("flow: {graph: a}\ntasks: {on: {}}", "tasks", 2, 9, "true or false: quote it"),
    ("flow: {graph: a}\n? [x]\n: 1", "", 2, 3, "a list"),
    ("version: 2\nflow: {graph: a}", "version", 1, 10, "write version: 1"),
    ("version: true\nflow: {graph: a}", "version", 1, 10, "write version: 1"),
    ("version: [1]\nflow: {graph: a}", "version", 1, 10, "write version: 1"),
    ("flow: {graph: a}\ntasks: [a]", "tasks", 2, 8, "must be a mapping"),
    ("flow: {graph: a}\ntasks:\n  a:", "tasks.a", 3, 5, "write callable or use"),
    ("flow: {graph: a}\ntasks: {a: m:f}", "tasks.a", 2, 12, "must be a mapping"),
    ("flow: {graph: a}\ntasks: {'': {}}", "tasks.", 2, 9, "printable"),
    ("flow: {graph: a}\ntasks: {a: {run: 1}}", "tasks.a.run", 2, 13, "use callable, use"),
    ("flow: {graph: a}\ntasks: {a: {callable: m:f, use: g}}", "tasks.a", 2, 28, "not both"),
    ("flow: {graph: a}\ntasks: {a: {callable: m.f}}", "tasks.a.callable", 2, 23, "package.module:function"),
    ("flow: {graph: a}\ntasks: {a: {callable: 'm:f()'}}", "tasks.a.callable", 2, 23, "does not name a function"),
    ("flow: {graph: a}\ntasks: {a: {callable: 'm:f:g'}}", "tasks.a.callable", 2, 23, "does not name"),
    ("flow: {graph: a}\ntasks: {a: {callable: 7}}", "tasks.a.callable", 2, 23, "must be text"),
    ("flow: {graph: a}\ntasks: {a: {use: ''}}", "tasks.a.use", 2, 18, "empty"),
    ("flow: {graph: a}\ntasks: {a: {inputs: [1]}}", "tasks.a.inputs", 2, 21, "must be a mapping"),
    ("flow: {graph: a}\ntasks: {a: {inputs: {1: x}}}", "tasks.a.inputs", 2, 22, "must be text"),
    ("flow: {graph: a}\ntasks: {a: {outputs: x}}", "tasks.a.outputs", 2, 22, "list of texts"),
    ("flow: {graph: a}\ntasks: {a: {outputs: [x, 1]}}", "tasks.a.outputs[1]", 2, 26, "must be text"),
    ("flow: {graph: a}\npipes: [x]", "pipes", 2, 8, "must be a mapping"),
    ("flow: {graph: a}\npipes: {p: 1}", "pipes.p", 2, 12, "must be text"),
    ("flow: {graph: a}\nruntime: {env: 1}", "runtime.env", 2, 11, "use expose_env"),
    ("flow: {graph: a}\nruntime: {expose_env: A}", "runtime.expose_env", 2, 23, "list of texts"),
    ("flow: {graph: a, defaults: {d: 2024-01-31}}", "flow.defaults.d", 1, 32, "quote it"),
    ("flow: {graph: a, defaults: {d: [2024-01-31 10:00:00]}}", "flow.defaults.d[0]", 1, 33, "quote it"),
    ("flow: {graph: a, defaults: {d: !!set {x}}}", "flow.defaults.d", 1, 32, "write a list"),
    ("flow: {graph: a, defaults: {d: !!binary aGk=}}", "flow.defaults.d", 1, 32, "base64"),
    ("flow: {graph: a, defaults: {d: !!omap [{a: 1}]}}", "flow.defaults.d", 1, 32, "ordered map"),
    ("flow: {graph: a, defaults: {d: .nan}}", "flow.defaults.d", 1, 32, "no NaN"),
    ("flow: {graph: a, defaults: {d: -.inf}}", "flow.defaults.d", 1, 32, "no infinity"),
    ("flow: {graph: a, defaults: {d: 1.0e+999}}", "flow.defaults.d", 1, 32, "no infinity"),
    ("flow: {graph: a, defaults: {1: 2}}", "flow.defaults", 1, 29, "quote it"),
    ("flow: {graph: a, defaults: {d: =}}", "flow.defaults.d", 1, 32, "quote it"),
    ("flow: {graph: a, defaults: {d: 0b_}}", "flow.defaults.d", 1, 32, "does not read as int"),
    (f"flow: {{graph: a, defaults: {{d: {'9' * 400}}}}}", "flow.defaults.d", 1, 32, "quote it"),
    (f"flow: {{graph: a, defaults: {{d: 1{':59' * 20_000}}}}}", "flow.defaults.d", 1, 32, "quote it"),
    ("flow: {graph: a, defaults: {d: !!python/name:os.system x}}", "flow.defaults.d", 1, 32, "not allowed"),
    ("flow: {graph: a, defaults: {d: !mine x}}", "flow.defaults.d", 1, 32, "'!mine' is not allowed"),
    ("flow: {graph: a, defaults: {<<: 5}}", "flow.defaults", 1, 33, "<< takes a mapping"),
    ("flow: {graph: a}\ntasks: {a: {inputs: {x: $bogus}}}", "tasks.a.inputs.x", 2, 25, "$node.<node>.output"),
    ("flow: {graph: a}\ntasks: {a: {inputs: {x: $node.a}}}", "tasks.a.inputs.x", 2, 25, "refers to nothing"),
    ("flow: {graph: a}\ntasks: {a: {inputs: {x: $node..output}}}", "tasks.a.inputs.x", 2, 25, "refers"),
    ("flow: {graph: a}\ntasks: {a: {inputs: {x: $ctx.scratch.y}}}", "tasks.a.inputs.x", 2, 25, "refers"),
    ("flow: {graph: a}\ntasks: {a: {inputs: {x: $env.}}}", "tasks.a.inputs.x", 2, 25, "refers"),
]


@pytest.mark.parametrize(("text", "loc", "line", "column", "part"), BAD)
def test_a_fault_is_named_with_its_place_and_remedy(
    text: str | bytes, loc: str, line: int, column: int, part: str
) -> None:
    fault = faults_of(text)[0]
    assert (fault.loc, fault.line, fault.column) == (loc, line, column), fault
    assert part in fault.msg


GRAPH_PLACES = [
    # file, line, column, part of the message
    ("flow:\n  graph: |\n    a >> b\n    c >> >\n", 4, 10, "Unsupported operator '>'"),
    ("flow:\n  graph: |\n\n    a >> (b\n", 4, 10, ""),
    ("flow:\n  graph: |2\n      a >> b\n     ~\n", 4, 0, ""),
    ("flow:\r\n  graph: |\r\n    a >> b\r\n    c.d\r\n", 4, 6, "'.' has no meaning"),
    ("flow: {graph: a >> b.c}", 1, 21, "'.' has"),
    ("flow: {graph: 'a >> b.c'}", 1, 22, "'.' has"),
    ('flow: {graph: "a >> b.c"}', 1, 22, "'.' has"),
    ('flow: {graph: "a >>\\tb.c"}', 1, 15, "line 1, column 7 of the text"),
    ("flow:\n  graph: >\n    a >>\n    b.c\n", 2, 10, "of the text"),
    ("flow:\n  graph: |\n    é >> b\n    é >> b.c\n", 4, 11, "'.' has"),
    ("flow:\n  graph: |\n    repeat(count=2) {\n      a >>\n    }\n", 5, 5, "got '}'"),
    ("flow:\n  graph: |\n    a >> pipe(p)\n", 3, 15, "Unknown pipe"),
    # What only pyoco's language has is told in its words.
    ("flow: {graph: 'repeat(n=2) { a }'}", 1, 16, "requires 'count='"),
    ("flow: {graph: 'switch(x) { a: b }'}", 1, 24, "Expected '=', got ')'"),
    ("flow: {graph: 'until(cond=scratch.x) { a }'}", 1, 34, "a path stands in quotes"),
    ("flow: {graph: 'x: a >> x: b'}", 1, 16, "Duplicate node name: x"),
]


@pytest.mark.parametrize(("text", "line", "column", "part"), GRAPH_PLACES)
def test_a_fault_in_the_graph_is_found_in_the_file(text: str, line: int, column: int, part: str) -> None:
    fault = faults_of(text)[0]
    assert fault.loc == "flow.graph"
    assert fault.line == line
    assert not column or fault.column == column
    assert part in fault.msg


def test_a_fault_in_a_pipe_is_found_in_that_pipe() -> None:
    fault = faults_of("flow: {graph: pipe(p)}\npipes:\n  p: |\n    a >>\n    >> b\n")[0]
    assert (fault.loc, fault.line, fault.column) == ("pipes.p", 5, 5)


def test_a_file_with_endless_faults_reports_the_first_hundred() -> None:
    faults = faults_of("flow: {graph: a}\n" + "\n".join(f"k{n}: 1" for n in range(500)))
    assert len(faults) == 101
    assert faults[-1].msg.startswith("there are 400 more")


def test_warnings_carry_their_place_in_the_file() -> None:
    workflow = parse_workflow("flow:\n  graph: |\n    a >> b\n    a[3]\n")
    assert [(w.loc, w.line, w.column) for w in workflow.warnings] == [("flow.graph", 4, 5)]


def test_the_cache_is_bounded_by_count_and_by_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    cache = flow_yaml._Cache(3, 200)
    monkeypatch.setattr(flow_yaml, "_CACHE", cache)
    kept = [parse_workflow(f"flow: {{graph: a{n}}}") for n in range(10)]
    assert [w.graph for w in kept if cache.get(w.sha256)] == ["a7", "a8", "a9"]
    parse_workflow("flow: {graph: a} # " + "x" * 170)
    assert not any(cache.get(w.sha256) for w in kept)
    large = parse_workflow("flow: {graph: a} # " + "x" * 300)
    assert cache.get(large.sha256) is None and cache._bytes == 0


def test_threads_share_the_cache() -> None:
    failed: list[BaseException] = []

    def work() -> None:
        try:
            for n in range(60):
                assert parse_workflow(f"flow: {{graph: a{n % 7} >> b}}").graph == f"a{n % 7} >> b"
        except BaseException as exc:
            failed.append(exc)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not failed
