"""Files made to harm: nothing in them is executed, and each is refused or read within a bounded time."""

from __future__ import annotations

import time
import warnings
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyoco_server.errors import WorkflowInvalid, WorkflowTooLarge
from pyoco_server.workflow.flow_yaml import parse_workflow
from pyoco_server.workflow.graph import build_flow

PROFILE = settings(deadline=None, derandomize=True, database=None)

#: Seconds that one hostile file may take; some ten times what the worst of them needs.
BOUND_SEC = 6.0

PAYLOADS = [
    "__import__('os').system('touch {path}')",
    "a >> __import__('os').system('touch {path}')",
    "open('{path}', 'w')",
    "(lambda: open('{path}', 'w'))()",
    "[open('{path}', 'w') for x in [1]]",
    "{{x: open('{path}', 'w') for x in [1]}}",
    "f\"{{open('{path}', 'w')}}\"",
    "a.__class__.__mro__[1].__subclasses__()",
    "(x := open('{path}', 'w'))",
    "a(*[open('{path}', 'w')])",
    "a(**dict(x=open('{path}', 'w')))",
    "import os; os.system('touch {path}')",
    'exec(\'open("{path}", "w")\')',
    'eval(\'open("{path}", "w")\')',
    "@open('{path}', 'w')\ndef f(): pass",
    "class X(open('{path}', 'w')): pass",
    "with open('{path}', 'w') as f: pass",
    "assert open('{path}', 'w')",
    "print(file=open('{path}', 'w'))",
    "a[open('{path}', 'w')]",
    'a[\'open("{path}", "w")\']',
    'a % \'open("{path}", "w")\'',
    "flow >> a[\"__import__('os').system('touch {path}') as x\"]",
    "switch('open(\"{path}\", \"w\")')['*' >> a]",
    "switch(open('{path}', 'w'))['*' >> a]",
    "repeat(count=\"open('{path}', 'w')\") {{ a }}",
    "foreach(over=\"$ctx.x + open('{path}', 'w')\") {{ a }}",
    "until(cond=\"$ctx.x.__class__(open('{path}', 'w'))\") {{ a }}",
    "switch(on=\"$ctx.x if open('{path}', 'w') else 1\") {{ default: a }}",
]


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''").replace("\n", "\n\n") + "'"


@pytest.mark.parametrize("payload", PAYLOADS)
@pytest.mark.parametrize(
    "file",
    [
        "flow: {{graph: {0}}}\ntasks: {{a: {{}}}}",
        "flow: {{graph: a}}\ntasks: {{a: {{callable: {0}}}}}",
        "flow: {{graph: a}}\ntasks: {{a: {{use: {0}, inputs: {{x: {0}}}, outputs: [{0}]}}}}",
        "flow: {{graph: pipe(p)}}\npipes: {{p: {0}}}",
        "flow: {{graph: a, defaults: {{x: {0}}}}}",
        "flow: {{graph: a, defaults: !!python/object/apply:os.system [{0}]}}",
    ],
)
def test_no_text_is_ever_executed(payload: str, file: str, tmp_path: Path) -> None:
    from pyoco.core.models import Task

    witness = tmp_path / "witness"
    text = file.format(quoted(payload.format(path=witness)))
    try:
        workflow = parse_workflow(text)
    except WorkflowInvalid:
        pass
    else:
        build_flow(workflow, {"a": Task(func=lambda: None, name="a")}, "main")
    assert not witness.exists()


@pytest.mark.parametrize("payload", PAYLOADS)
def test_a_payload_in_the_graph_is_refused(payload: str) -> None:
    with pytest.raises(WorkflowInvalid):
        parse_workflow(f"flow: {{graph: {quoted(payload.format(path='/nowhere'))}}}\n")


def bombs() -> dict[str, str]:
    """Give files near the usual limit of 256 KiB, each hostile in its own way."""
    large = 250_000
    aliases = "\n".join(f"  k{n}: &k{n} [{', '.join([f'*k{n - 1}'] * 9)}]" for n in range(1, 12))
    merges = "\n".join(f"  m{n}: &m{n} {{<<: [*m{n - 1}, *m{n - 1}], x{n}: 1}}" for n in range(1, 60))
    doubling = "\n".join(f"x{n} = x{n - 1} >> x{n - 1}" for n in range(1, 60))
    loops = "\n".join(f"x{n} = (x{n - 1} >> x{n - 1})[2]" for n in range(1, 60))
    pipes = "\n".join(f"  p{n}: pipe(p{n - 1}) >> pipe(p{n - 1})" for n in range(1, 100))
    return {
        "flow lists": "a: " + "[" * large,
        "flow mappings": "a: " + "{b: " * (large // 4),
        "block lists": "- " * (large // 2),
        "keys of keys": "? " * (large // 2),
        "closed lists": "a: " + "[" * 100_000 + "]" * 100_000,
        "block mappings": "\n".join(" " * n + "a:" for n in range(700)),
        "aliases": f"flow:\n graph: a\n defaults:\n  k0: &k0 [x, x]\n{aliases}".replace("\n  k", "\n   k"),
        "merges": f"flow:\n graph: a\n defaults:\n  m0: &m0 {{a: 1}}\n{merges}",
        "wide merges": "flow:\n graph: a\n defaults:\n  m: &m {"
        + ", ".join(f"k{n}: 1" for n in range(5_000))
        + "}\n"
        + "\n".join(f"  n{n}: {{<<: *m}}" for n in range(9_000)),
        "many keys": "flow: {graph: a}\n" + "\n".join(f"k{n}: 1" for n in range(25_000)),
        "same key": "flow: {graph: a}\n" + "k: 1\n" * 40_000,
        "brackets": f"flow: {{graph: {quoted('(' * large)}}}",
        "signs": f"flow: {{graph: {quoted('-' * large + '1')}}}",
        "signs below the text limit": f"flow: {{graph: {quoted('- ' * 30_000 + '1')}}}",
        "chain": f"flow: {{graph: {quoted(' >> '.join(['a'] * 50_000))}}}",
        "chain of names": f"flow: {{graph: {quoted(' >> '.join(f'a{n}' for n in range(25_000)))}}}",
        "operator chain": f"flow: {{graph: {quoted('a;' + '>>'.join(['a'] * 20_000))}}}",
        "powers": f"flow: {{graph: {quoted('a[' + '**'.join(['9'] * 20_000) + ']')}}}",
        "one power": "flow: {graph: 'a[10**9**9]'}",
        "subscripts": f"flow: {{graph: {quoted('a' + '[1]' * 15_000)}}}",
        "attributes": f"flow: {{graph: {quoted('a' + '.b' * 25_000)}}}",
        "lines": "flow:\n graph: |\n" + "  a >> b\n" * 25_000,
        "doubling": f"flow:\n graph: |\n  x0 = a >> b\n{doubling}\n".replace("\nx", "\n  x"),
        "loops": f"flow:\n graph: |\n  x0 = a >> b\n{loops}\n".replace("\nx", "\n  x"),
        "list times list": "flow:\n graph: |\n  x = [" + "a, " * 9_000 + "]\n  flow >> x >> x >> x >> x\n",
        "wide joins": "flow:\n graph: |\n  x = [" + "a, " * 4_000 + "]\n" + "  (a & b) >> x\n" * 500,
        "digits": f"flow: {{graph: {quoted('a[' + '9' * 60_000 + ']')}}}",
        "own digits": f"flow: {{graph: 'repeat(count={'9' * large}) {{ a }}'}}",
        "own blocks": f"flow: {{graph: {quoted('repeat(count=2){' * 15_000 + 'a' + '}' * 15_000)}}}",
        "own blocks near the limit": f"flow: {{graph: {quoted('repeat(count=2){' * 80 + 'a' + '}' * 80)}}}",
        "brackets at the limit": f"flow: {{graph: {quoted('[' * 30 + 'a' + ']' * 30)}}}",
        "expression at the limit": f"flow: {{graph: {quoted('a % ' + chr(34) + '-' * 999 + '1' + chr(34))}}}",
        "brackets in an expression": f"flow: {{graph: {quoted('a % ' + repr('(' * 30 + '1' + ')' * 30))}}}",
        "choices": f"flow: {{graph: {quoted('a[' + '1if 1else ' * 6_000 + '2]')}}}",
        "own text": f"flow: {{graph: {quoted('a #' + '{' * large)}}}",
        "pipes": f"flow: {{graph: pipe(p99)}}\npipes:\n  p0: a\n{pipes}",
        "long pipes": "flow:\n  graph: " + " >> ".join(["pipe(p)"] * 4_000) + f"\npipes:\n  p: 'a #{'x' * 200_000}'",
        "pipe in itself": "flow: {graph: pipe(p)}\npipes: {p: pipe(p) >> pipe(p)}",
        "expression": f"flow: {{graph: {quoted('a % ' + chr(34) + '(' * 60_000 + chr(34))}}}",
        "own expression": f"flow: {{graph: 'until(cond=\"$ctx.a{' + $ctx.a' * 20_000}\") {{ a }}'}}",
        "templates": f"flow: {{graph: {quoted('{{ x }} ' * 30_000)}}}",
        "quoted branches": "flow: {graph: 'switch(on=x) {" + ' a: "a >> >";' * 15_000 + "}'}",
        "references": "flow: {graph: a}\ntasks: {a: {inputs: {" + f"x: '$node.{'.' * 200_000}'" + "}}}",
    }


@pytest.mark.long
@pytest.mark.parametrize("name", bombs())
def test_a_bomb_is_refused_or_read_in_bounded_time(name: str) -> None:
    # What else the machine does takes none of this thread's time.
    started = time.thread_time()
    try:
        parse_workflow(bombs()[name])
    except WorkflowInvalid as exc:
        assert exc.faults and all(fault.line and fault.column for fault in exc.faults)
    assert time.thread_time() - started < BOUND_SEC


@pytest.mark.parametrize("name", ["flow lists", "block lists", "keys of keys", "closed lists", "block mappings"])
def test_deep_nesting_is_named_as_such(name: str) -> None:
    with pytest.raises(WorkflowInvalid, match="deeper than 100 levels"):
        parse_workflow(bombs()[name])


@pytest.mark.parametrize("name", ["aliases", "merges", "wide merges"])
def test_an_alias_bomb_is_named_as_such(name: str) -> None:
    with pytest.raises(WorkflowInvalid, match="more than 100000 values once its aliases are expanded"):
        parse_workflow(bombs()[name])


def test_ninety_levels_are_read() -> None:
    parse_workflow("flow: {graph: a, defaults: {x: " + "[" * 90 + "]" * 90 + "}}")


def test_warnings_of_pythons_parser_do_not_leak() -> None:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        for graph in ("a % '1or 2'\nb", "a['\\d']\nb", "a % (1if 1else 2)", 'until(cond="$ctx.x == 1or 2") { a }'):
            try:
                parse_workflow("flow: {graph: " + quoted(graph) + "}")
            except WorkflowInvalid:
                pass
    assert not seen


@settings(PROFILE, max_examples=300)
@given(st.one_of(st.text(), st.binary(), st.text(alphabet="a:-[]{}&*!|>'\"#%@,?\n <=1.~$")))
def test_any_input_is_read_or_refused(text: str | bytes) -> None:
    try:
        parse_workflow(text, max_bytes=10_000)
    except (WorkflowInvalid, WorkflowTooLarge):
        pass


@settings(PROFILE, max_examples=500)
@given(
    st.one_of(
        st.text(max_size=60),
        st.text(alphabet="ab>&|%[](){}:;=,.'\"\\ \n\t#12_*@-", max_size=60),
        st.lists(
            st.sampled_from(
                "a b flow switch repeat foreach until pipe on count over cond default >> & | % [ ] ( ) { } : ; = , "
                "'*' '$ctx.params.x' 2 3.5 -1 x = \n lambda not if for None True {{ x }} ² ﬁ \\".split(" ")
            ),
            max_size=25,
        ).map(" ".join),
    )
)
def test_any_graph_is_read_or_refused(graph: str) -> None:
    from pyoco.core.models import Task

    from pyoco_server.workflow.flow_checks import parse_graph_text

    checked, faults = parse_graph_text(graph, {"p": "a >> b"}, ["a", "b"])
    assert bool(checked) != bool(faults)
    for placed in faults:
        assert placed.fault.line >= 1 and placed.fault.column >= 1
    if checked is not None and checked.program is None:
        assert set(checked.named) == set(checked.nodes.values())
        assert all(Task(func=print, name=name) for name in checked.nodes)
