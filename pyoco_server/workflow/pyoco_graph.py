"""pyoco's own graph language, read by pyoco's own parser and bounded by us.

pyoco bounds the terms of an expanded graph; it bounds neither nesting nor how often a pipe's text is read
again, and a hostile file can cost minutes that way. Both are counted here before pyoco expands anything.

Source: contract, section 4; pyoco 0.8.0 ``dsl/graph.py``.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pyoco_server.workflow.graph_faults import GraphFault, PlacedFault, place_of
from pyoco_server.workflow.operator_words import check_expression

#: Levels of blocks, pipes included. The engine recurses through them, on a stack that holds more beside.
MAX_NESTING = 100
#: Braces open at one point of a text, quoted ones and those of {{templates}} included.
_MAX_OPEN_BRACES = 2 * MAX_NESTING
#: Characters that pyoco reads while it expands pipes, each as often as it is read: about a second.
MAX_EXPANDED_CHARS = 1_000_000
#: pyoco's own bound on pipes in pipes; past it the expansion is refused anyway.
_MAX_PIPE_DEPTH = 128

#: What pyoco raises for a graph it does not take; RecursionError for one that nests too deep.
REFUSALS = (ValueError, TypeError, SyntaxError, RecursionError, MemoryError)
#: The names of pyoco's tokens, as its messages have them, in what an author of a graph knows.
_WORDS = {
    **{"EOF": "the end", "SHIFT": "'>>'", "IDENT": "a name", "STRING": "quoted text", "NUMBER": "a number"},
    **{"LPAREN": "'('", "RPAREN": "')'", "LBRACE": "'{'", "RBRACE": "'}'", "COLON": "':'", "SEMI": "';'"},
    **{"COMMA": "','", "EQUAL": "'='", "TEMPLATE": "a {{...}} expression"},
}
_KIND = re.compile(f"'({'|'.join(_WORDS)})'")
_POSITION = re.compile(r"(?: at)? position (\d+)")


@dataclass
class Reading:
    """What pyoco's parser made of a text: ``terms`` (a Pipeline, pipes expanded) or ``None``, and faults."""

    terms: Any = None
    faults: list[PlacedFault] = field(default_factory=list)

    def nodes(self) -> dict[str, str]:
        """Give node name to task name, in the order of first appearance."""
        found: dict[str, str] = {}
        for term in self._task_terms():
            found.setdefault(term.node_name or term.name, term.name)
        return found

    def names(self) -> set[str]:
        """Give the tasks that are named, those of a node that stands there twice, too."""
        return {term.name for term in self._task_terms()}

    def _task_terms(self) -> Iterator[Any]:
        from pyoco.dsl.graph_terms import TaskTerm

        return (term for term in _walk(self.terms) if isinstance(term, TaskTerm))


def read(text: str, pipes: Mapping[str, str]) -> Reading:
    """Parse ``text`` and ``pipes`` with pyoco, expand and validate.

    :return: ``terms`` is ``None`` only where ``text`` itself does not parse: then it may be the other form.
    """
    from pyoco.dsl.graph import parse_graph, resolve_pipe_refs, validate_graph_terms

    reading = Reading()
    parsed: dict[str | None, Any] = {}
    for name, source in ((None, text), *pipes.items()):
        try:
            _check_braces(source)
            parsed[name] = parse_graph(source)
        except REFUSALS as exc:
            reading.faults.append(PlacedFault(fault_of(exc, source), name))
    if None not in parsed:
        return reading
    reading.terms = parsed[None]
    if reading.faults:
        return reading
    costly = _too_costly({None: text, **dict(pipes.items())}, parsed)
    if costly:
        reading.faults.append(PlacedFault(GraphFault(1, 1, costly)))
        return reading
    try:
        reading.terms = resolve_pipe_refs(parsed[None], dict(pipes))
        nested = _nesting(reading.terms)
        said = [] if nested <= MAX_NESTING else [f"blocks nest {nested} levels deep, more than {MAX_NESTING}"]
        said = said or _expression_faults(reading.terms) or validate_graph_terms(reading.terms).errors
        for message in said:
            place = place_of(text, _place_of_named(message, text))
            reading.faults.append(PlacedFault(GraphFault(*place, message)))
    except REFUSALS as exc:
        reading.faults.append(PlacedFault(fault_of(exc, text)))
    return reading


def _check_braces(text: str) -> None:
    """Refuse blocks in blocks before pyoco recurses into them; braces in quoted text have room in the bound."""
    if text.count("{") <= _MAX_OPEN_BRACES:
        return
    opened = 0
    for brace in re.finditer("[{}]", text):
        opened += 1 if brace.group() == "{" else -1
        if opened > _MAX_OPEN_BRACES:
            raise RecursionError


def _expression_faults(pipeline: Any) -> list[str]:
    """Find expressions too large to be parsed; pyoco parses them when it builds the Flow."""
    sources = (getattr(term, name, None) for term in _walk(pipeline) for name in ("on", "over", "cond", "count"))
    return [msg for source in sources if isinstance(source, str) for msg in [check_expression(source)] if msg]


def fault_of(exc: BaseException, text: str) -> GraphFault:
    """Turn what pyoco says about ``text`` into a fault; ``position N`` becomes line and column."""
    if isinstance(exc, (RecursionError, MemoryError)):
        return GraphFault(1, 1, "the graph nests too deep: split it")
    said = str(exc)
    found = _POSITION.search(said)
    if found:
        position = _start_of_quoted(said, text, int(found.group(1)))
        said = _POSITION.sub("", said)
        return GraphFault(*place_of(text, min(position, len(text.rstrip()))), _KIND.sub(_in_words, said))
    if said.startswith("Empty pipeline"):
        return GraphFault(*place_of(text, len(text.rstrip())), "a chain is empty: name a task in it")
    return GraphFault(*place_of(text, _place_of_named(said, text)), said)


def _in_words(kind: re.Match[str]) -> str:
    return _WORDS[kind.group(1)]


def _start_of_quoted(said: str, text: str, position: int) -> int:
    """A quoted branch (``a: "x >> y"``) is parsed apart and its positions count in it: blame its start."""
    from pyoco.dsl.graph import parse_graph, tokenize_graph

    if '"' not in text and "'" not in text:
        # Else a large text would be read a second time, for nothing.
        return position
    try:
        quoted = [token for token in tokenize_graph(text) if token.kind == "STRING"]
    except REFUSALS:
        return position
    for token in quoted:
        try:
            parse_graph(token.value)
        except REFUSALS as exc:
            if str(exc) == said and position < token.pos + len(token.value):
                return _first(token.pos, position, text, said)
    return position


def _first(quoted_at: int, position: int, text: str, said: str) -> int:
    """Prefer the outer position where the character there is the one that the message names."""
    named = re.search(r"character '(.)'", said)
    return position if named and text[position : position + 1] == named.group(1) else quoted_at


def _place_of_named(said: str, text: str) -> int:
    """Find the word that a message without a position ends with, such as ``Unknown pipe reference: x``."""
    word = re.search(r"['\s](\w+)['.]*$", said)
    found = re.search(rf"\b{re.escape(word.group(1))}\b", text) if word else None
    return found.start() if found else 0


def names_read_differently(names: Iterable[str], defined: Iterable[str]) -> dict[str, str]:
    """Find names that Python normalised away from a key of ``tasks``, with what to say about each."""
    known = set(defined)
    read_as = {unicodedata.normalize("NFKC", name): name for name in known if name.isidentifier()}
    return {
        name: f"Python reads this name as {name!r}: write the key {read_as[name]!r} under tasks like that"
        for name in names
        if name not in known and name in read_as
    }


def _branches(term: Any) -> Iterator[Any]:
    """Give the pipelines inside a term."""
    for case in getattr(term, "cases", ()):
        yield case.branch
    for name in ("default", "body"):
        inner = getattr(term, name, None)
        if inner is not None:
            yield inner


def _walk(pipeline: Any) -> Iterator[Any]:
    """Give every term in the order of the text, without recursion."""
    stack = [iter(pipeline.terms)]
    while stack:
        term = next(stack[-1], None)
        if term is None:
            stack.pop()
            continue
        yield term
        inner = [below for branch in _branches(term) for below in branch.terms]
        if inner:
            stack.append(iter(inner))


def _nesting(pipeline: Any) -> int:
    deepest = 0
    stack = [(pipeline, 1)]
    while stack:
        current, depth = stack.pop()
        deepest = max(deepest, depth)
        stack.extend((branch, depth + 1) for term in current.terms for branch in _branches(term))
    return deepest


def _too_costly(texts: Mapping[str | None, str], parsed: Mapping[str | None, Any]) -> str | None:
    """Count what expanding the pipes would read; cycles and unknown pipes are left for pyoco to name."""
    from pyoco.dsl.graph_terms import PipeRefTerm

    if len(texts) == 1:
        return None
    uses = {
        name: [term.name for term in _walk(pipeline) if isinstance(term, PipeRefTerm)]
        for name, pipeline in parsed.items()
    }
    cost = {name: len(text) for name, text in texts.items()}
    # Each round looks one level of pipes deeper, as pyoco does to its own bound; the cap keeps sums small.
    for _ in range(_MAX_PIPE_DEPTH):
        deeper = {
            name: min(MAX_EXPANDED_CHARS + 1, len(texts[name]) + sum(cost.get(used, 0) for used in uses[name]))
            for name in texts
        }
        if deeper[None] > MAX_EXPANDED_CHARS:
            return _cycle(uses) or "the pipes expand to too much text: use each less often, or shorten them"
        if deeper == cost:
            return None
        cost = deeper
    return None


def _cycle(uses: Mapping[str | None, list[str]]) -> str | None:
    """Name a pipe that stands inside itself, which is a clearer reason than how large it grows."""
    for start in uses:
        reached: set[str] = set()
        ahead = list(uses[start])
        while ahead:
            name = ahead.pop()
            if name not in reached:
                reached.add(name)
                ahead.extend(uses.get(name, ()))
        if start in reached:
            return f"Cyclic pipe reference detected: {start} stands inside itself"
    return None
