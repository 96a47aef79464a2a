"""The words and signs of the operator form, checked before Python's parser sees the text.

Python's parser recurses in C: thousands of signs or brackets in a row overrun the stack of a thread where
that is small (1 MiB on Alpine, 512 KiB on macOS) and end the process, which no exception handler can help.
So the text is cut into words first, by rules that agree with Python's for all that this form has, and what
could nest is counted. Everything else Python has is refused here by its name.

Source: contract, section 4.
"""

from __future__ import annotations

import keyword
import re

from pyoco_server.workflow.graph_faults import GraphFault, place_of

#: Characters of a graph in this form.
MAX_TEXT_CHARS = 65_536
#: Brackets within brackets: each level costs Python's parser some 6 KiB of stack.
MAX_BRACKETS = 30
#: Operators and opening brackets in one statement: the tree is as deep as a chain is long.
MAX_OPERATORS = 500
#: Characters of an expression, and opening brackets in it; pyoco gives each to Python's parser.
MAX_EXPRESSION_CHARS = 1_000
MAX_EXPRESSION_BRACKETS = 30

_WORD = re.compile(
    r"""
    (?P<space>  [ \t\f]+ | \\\r?\n )
  | (?P<line>   \r\n | \r | \n )
  | (?P<note>   \#[^\r\n]* )
  | (?P<text>   (?!'''|\"\"\") (?: '(?:[^'\\\r\n]|\\.)*' | "(?:[^"\\\r\n]|\\.)*" ) )
  | (?P<number> [0-9][0-9_]* (?: \.[0-9]* )? (?![\w.]) )
  | (?P<name>   (?: [A-Za-z_] | [^\x00-\x7f] ) (?: \w | [^\x00-\x7f] )* )
  | (?P<chain>  >>(?!=) | [&|%](?!=) )
  | (?P<open>   [\[(] )
  | (?P<close>  [\])] )
  | (?P<sign>   -(?![-=>]) | =(?!=) | , | ; )
    """,
    re.VERBOSE,
)
_ALLOWED_KEYWORDS = {"True", "False", "pass"}


def check_words(text: str) -> GraphFault | None:
    """Find the first part of ``text`` that is no word of the form, or nests too deep to be parsed."""
    if len(text) > MAX_TEXT_CHARS:
        return GraphFault(1, 1, f"the graph is longer than {MAX_TEXT_CHARS} characters: split the workflow")
    at = depth = operators = 0
    before = ""
    while at < len(text):
        word = _WORD.match(text, at)
        if word is None:
            return _fault(text, at, _not_a_word(text[at]))
        kind, at = str(word.lastgroup), word.end()
        if (kind == "line" and depth == 0) or word.group() == ";":
            operators = 0
        depth += (kind == "open") - (kind == "close")
        operators += kind in ("open", "chain")
        msg = _refusal(kind, word.group(), before, depth, operators)
        if msg:
            return _fault(text, word.start(), msg)
        before = before if kind in ("space", "line", "note") else word.group()
        if kind == "name" and text[at : at + 1] in ("'", '"'):
            return _fault(text, word.start(), f"text has no prefix {word.group()!r} here: write plain quotes")
    return None


def _fault(text: str, at: int, msg: str) -> GraphFault:
    return GraphFault(*place_of(text, at), msg)


def _not_a_word(char: str) -> str:
    if char in "'\"":
        return "this text has no end on its line, or has three quotes: write it in one pair of quotes"
    if char.isdigit():
        return "this number is not one of the form: write 3 or 2.5, and a space after it"
    if char == ".":
        return "'.' has no meaning in a graph: a path stands in quotes, \"$ctx.params.n\""
    return f"{char!r} has no meaning in a graph, which is a description and is never run as Python"


def _refusal(kind: str, word: str, before: str, depth: int, operators: int) -> str | None:
    if kind == "name" and word not in _ALLOWED_KEYWORDS and keyword.iskeyword(word):
        return f"Python's {word!r} has no meaning in a graph, which is a description and is never run as Python"
    if word == "-" == before:
        return "only a number takes a minus sign"
    if depth > MAX_BRACKETS:
        return f"brackets nest deeper than {MAX_BRACKETS} levels: name a part on a line of its own, x = a >> b"
    if operators > MAX_OPERATORS:
        return f"this statement has more than {MAX_OPERATORS} operators: split it into lines"
    return None


def check_expression(source: str) -> str | None:
    """Tell what makes ``source`` too large an expression to be parsed, if anything does."""
    if len(source) > MAX_EXPRESSION_CHARS:
        return f"an expression has at most {MAX_EXPRESSION_CHARS} characters and this one {len(source)}"
    if source.count("(") + source.count("[") + source.count("{") > MAX_EXPRESSION_BRACKETS:
        return f"an expression has at most {MAX_EXPRESSION_BRACKETS} brackets"
    return None
