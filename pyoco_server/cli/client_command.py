"""What the subcommands of ``pyoco-client`` share.

Source: contract, section 5.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pyoco_server.cli.exits import CommandParser
from pyoco_server.cli.params import read_text
from pyoco_server.cli.subcommands import add_subcommand, print_json

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
        help="API key, where the gateway asks for one; whoever lists the processes of this machine sees it",
    )
    group.add_argument(
        "--api-key-file",
        default=None if top else argparse.SUPPRESS,
        metavar="FILE",
        help="file with the API key, which nobody sees; - is stdin",
    )
    group.add_argument(
        "--api-key-header",
        default=DEFAULT_API_KEY_HEADER if top else argparse.SUPPRESS,
        metavar="NAME",
        help=f"header that carries the key (default: {DEFAULT_API_KEY_HEADER})",
    )


def api_key_of(args: argparse.Namespace) -> str | None:
    """Give the API key that was given, in one way or the other."""
    if args.api_key_file is None:
        return None if args.api_key is None else str(args.api_key)
    if args.api_key is not None:
        args.fail("--api-key and --api-key-file: give one of them")
    return read_text("--api-key-file", args.api_key_file, args.fail).strip()


def add_command(
    commands: argparse._SubParsersAction[CommandParser], name: str, run: Action, help: str, epilog: str
) -> CommandParser:
    """Add a subcommand, see :func:`add_subcommand`, with the flags of the connection."""
    parser = add_subcommand(commands, name, run, help, epilog)
    add_connection(parser)
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


def print_page(
    page: Mapping[str, Any], output: str, print_items: Callable[[Sequence[Mapping[str, Any]]], None]
) -> None:
    """Print a page of a list, as JSON or as a table with the cursor of the next page below it.

    :param page: ``{items, next_cursor}``.
    :param output: ``json`` or ``table``.
    :param print_items: prints the table.
    """
    if output == "json":
        print_json(page)
        return
    print_items(page["items"])
    if page["next_cursor"]:
        print(f"next_cursor: {page['next_cursor']}")
