"""What commands with subcommands share: how a subcommand is added, and how its answer is printed.

Source: contract, section 5.
"""

from __future__ import annotations

import argparse
import json
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
    print(json.dumps(document), flush=True)
