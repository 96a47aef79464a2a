"""What the subcommands of ``pyoco-client`` share.

Source: contract, section 5.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import TYPE_CHECKING

from pyoco_server.cli.exits import CommandParser

if TYPE_CHECKING:
    from pyoco_server.client.http import PyocoHttpClient

PROG = "pyoco-client"
DEFAULT_SERVER = "http://127.0.0.1:8000"
DEFAULT_API_KEY_HEADER = "X-API-Key"

#: A command: what it was asked, and the client that it asks.
Action = Callable[[argparse.Namespace, "PyocoHttpClient"], None]


def add_connection(parser: argparse.ArgumentParser, *, top: bool = False) -> None:
    """Add what every command needs, also after the subcommand: there without defaults, which would win."""
    group = parser.add_argument_group("connection")
    group.add_argument(
        "--server",
        default=DEFAULT_SERVER if top else argparse.SUPPRESS,
        metavar="URL",
        help=f"address of the gateway (default: {DEFAULT_SERVER})",
    )
    group.add_argument(
        "--api-key",
        default=None if top else argparse.SUPPRESS,
        metavar="KEY",
        help="API key, where the gateway asks for one",
    )
    group.add_argument(
        "--api-key-header",
        default=DEFAULT_API_KEY_HEADER if top else argparse.SUPPRESS,
        metavar="NAME",
        help=f"header that carries the key (default: {DEFAULT_API_KEY_HEADER})",
    )


def add_command(
    commands: argparse._SubParsersAction[CommandParser], name: str, run: Action, help: str, epilog: str
) -> CommandParser:
    """Add a subcommand; its namespace has ``run`` and ``fail``, see :func:`pyoco_server.cli.client.get_parser`."""
    # The first example of the epilog is the one that errors show.
    example = epilog.partition("examples:\n")[2].splitlines()[0].strip()
    parser = commands.add_parser(
        name, help=help, description=f"{help[0].upper()}{help[1:]}.", epilog=epilog, example=example
    )
    add_connection(parser)
    parser.set_defaults(run=run, fail=parser.error)
    return parser


def at_least(low: int) -> Callable[[str], int]:
    """Give the type of a flag that takes whole numbers from ``low`` on."""

    def whole(text: str) -> int:
        number = int(text)
        if number < low:
            raise argparse.ArgumentTypeError(f"must be at least {low}, not {number}")
        return number

    # argparse names the type in its message for text that is no number.
    whole.__name__ = "whole number"
    return whole


def print_json(document: object) -> None:
    """Print a document on one line."""
    print(json.dumps(document), flush=True)
