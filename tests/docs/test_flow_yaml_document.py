"""docs/flow_yaml.md holds: each file in it runs and gives what stands below, each fault is told as it stands there."""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyoco_server.contract.runner_protocol import Begin, Ended, Message, TaskChanged
from pyoco_server.errors import WorkflowInvalid
from pyoco_server.runner.allowed import Allowed
from pyoco_server.runner.executor import Executor
from pyoco_server.workflow import flow_yaml, operator_graph, operator_syntax, operator_words, pyoco_graph, yaml_nodes
from pyoco_server.workflow.flow_yaml import parse_workflow
from tests.support.documents import DOCS, blocks, section, table

TEXT = (DOCS / "flow_yaml.md").read_text()
#: The files of the document, each with the results that stand below it.
FILES = re.findall(r"^```yaml\n(.*?)^```\n\n```json\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
#: A text, and what is said of it.
_TOLD = re.compile(r"((?:^(?!  ).*\n)+)((?:^  .*\n)+)", re.MULTILINE)
_CHECKED, _, _EXECUTED = TEXT.partition("## What a worker cannot do")
FAULTS = [pair for block in blocks(_CHECKED, "text") for pair in _TOLD.findall(block)]
FAILURES = [pair for block in blocks(_EXECUTED, "text") for pair in _TOLD.findall(block)]
WORKFLOW = Path(flow_yaml.__file__).parent


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The functions of the document, as a module that the files find."""
    path = tmp_path_factory.mktemp("code") / "tasks.py"
    (source,) = blocks(TEXT, "python")
    path.write_text(source)
    spec = importlib.util.spec_from_file_location("tasks", path)
    assert spec is not None and spec.loader is not None
    sys.modules["tasks"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield
    del sys.modules["tasks"]


def execute(text: str, folder: Path) -> tuple[Ended, dict[str, object]]:
    """Execute a file as a runner does, and give its end and the result of each task that has succeeded."""
    told: list[Message] = []
    executor = Executor(None, told.append, lambda name: contextlib.nullcontext(), Allowed())
    params = parse_workflow(text).params_over_defaults({})
    ended = executor.execute(Begin("run", "main", params, text, str(folder), 10_000, 10_000))
    changes = [message for message in told if isinstance(message, TaskChanged)]
    return ended, {change.name: change.record["output"] for change in changes if change.state == "SUCCEEDED"}


@pytest.mark.parametrize("number", range(len(FILES)))
def test_a_file_gives_what_stands_below_it(
    number: int, tasks: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text, results = FILES[number]
    ended, outputs = execute(text, tmp_path)
    assert (ended.status, ended.error) == ("COMPLETED", None)
    assert outputs == json.loads(results)


def test_every_file_has_its_results() -> None:
    assert len(FILES) == len(blocks(TEXT, "yaml")) >= 8


@pytest.mark.parametrize("number", range(len(FAULTS)))
def test_a_fault_or_warning_is_told_as_it_stands_there(number: int) -> None:
    text, lines = FAULTS[number]
    try:
        told = parse_workflow(text.removesuffix("\n")).warnings
    except WorkflowInvalid as exc:
        told = exc.faults
    assert [str(fault) for fault in told] == [line.removeprefix("  ") for line in lines.splitlines()]


@pytest.mark.parametrize("number", range(len(FAILURES)))
def test_a_file_that_a_worker_cannot_execute_fails_as_it_stands_there(
    number: int, tasks: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text, error = FAILURES[number]
    ended, _ = execute(text, tmp_path)
    assert (ended.status, ended.error) == ("FAILED", error.strip())


def test_every_message_of_the_checks_stands_in_the_document() -> None:
    words = " ".join(TEXT.split())
    missing = {message for path in WORKFLOW.glob("*.py") for message in _messages(path) if message not in words}
    assert not missing
    assert len(FAULTS) >= 80 and len(FAILURES) >= 9


def _messages(path: Path) -> Iterator[str]:
    """Give the texts in a module that are parts of what it says to users."""
    tree = ast.parse(path.read_text())
    left_out: set[ast.AST] = set()
    for node in ast.walk(tree):
        is_prose = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        is_compared = isinstance(node, ast.Call) and ast.unparse(node.func).startswith(("re.", "said.", "furthest."))
        is_of_ours = isinstance(node, ast.Assert) or (
            isinstance(node, ast.Raise) and "AssertionError" in ast.dump(node)
        )
        if is_prose or is_compared or is_of_ours:
            left_out.update(ast.walk(node))
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in left_out:
            if len(node.value) >= 12 and " " in node.value:
                yield " ".join(node.value.split())


def test_the_keys_are_those_that_are_taken() -> None:
    rows = [row["key"] for row in table(section(TEXT, "## A file"), "key")]
    file = "\n".join(
        f"{key}: {value}"
        for key, value in {
            "version": 1,
            "tasks": "{a: {callable: 'm:f', inputs: {x: 1}, outputs: [scratch.x]}, b: {use: a}}",
            "flow": "{graph: a, defaults: {}}",
            "pipes": "{}",
            "runtime": "{expose_env: [HOME]}",
        }.items()
    )
    parse_workflow(file)
    for unknown, known in (("x: 1\n" + file, ""), (file.replace("graph: a,", "graph: a, x: 1,"), "flow.")):
        with pytest.raises(WorkflowInvalid, match="is not known here") as caught:
            parse_workflow(unknown)
        named = caught.value.faults[0].msg.partition(": use ")[2].split(", ")
        assert {f"{known}{name}" for name in named} <= {*rows, "runtime"}


def test_the_limits_are_those_of_the_code() -> None:
    rows = {row["limit"]: row["value"].replace(",", "") for row in table(section(TEXT, "## Limits"), "limit")}
    assert rows.pop("size of the file") == "PYOCO_WORKFLOW_YAML_MAX_BYTES"
    assert {limit: int(value) for limit, value in rows.items()} == {
        "nesting of YAML": yaml_nodes.MAX_DEPTH,
        "values, aliases expanded": yaml_nodes.MAX_NODES,
        "characters of a number": yaml_nodes.MAX_NUMBER_CHARS,
        "nesting of blocks": pyoco_graph.MAX_NESTING,
        "text of the pipes, expanded": pyoco_graph.MAX_EXPANDED_CHARS,
        "characters of an operator graph": operator_words.MAX_TEXT_CHARS,
        "brackets within brackets of an operator graph": operator_words.MAX_BRACKETS,
        "operators in a statement": operator_words.MAX_OPERATORS,
        "levels of an operator graph": operator_syntax.MAX_DEPTH,
        "tasks that one value of an operator graph stands for": operator_graph.MAX_WEIGHT,
        "characters of an expression": operator_words.MAX_EXPRESSION_CHARS,
        "brackets of an expression": operator_words.MAX_EXPRESSION_BRACKETS,
        "faults that are told at once": flow_yaml.MAX_FAULTS,
    }
