"""What commands with subcommands share: how a subcommand is added, and how its answer is printed.

Source: contract, section 5.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from typing import Any

from pyoco_server.cli.epilogs import EXAMPLES, take_apart
from pyoco_server.cli.exits import CommandParser


def add_subcommand(
    commands: argparse._SubParsersAction[CommandParser], name: str, run: Callable[..., Any], help: str, epilog: str
) -> CommandParser:
    """Add a subcommand; its namespace has ``run``, what carries it out, and ``fail``, the parser's ``error``.

    :param help: says what it does, in a few words that begin small.
    :param epilog: with a paragraph ``examples:``, of which errors show the first.
    """
    example = take_apart(epilog)[1][EXAMPLES][0]
    parser = commands.add_parser(
        name, help=help, description=f"{help[0].upper()}{help[1:]}.", epilog=epilog, example=example
    )
    parser.set_defaults(run=run, fail=parser.error)
    return parser


def print_json(document: object) -> None:
    """Print a document on one line."""
    print(json_line(document), flush=True)


def json_line(document: object) -> str:
    """Give a document as one line; on a terminal that takes all letters, with the letters as they are.

    Escaped is there, too, what nobody can read, or what would drive the terminal: names come from anybody's flow.
    Programs get the bytes that the published commands print.
    """
    encoding = (getattr(sys.stdout, "encoding", None) or "ascii").lower()
    shows_letters = sys.stdout.isatty() and encoding in ("utf-8", "utf8")
    text = json.dumps(document, ensure_ascii=not shows_letters)
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in text)
