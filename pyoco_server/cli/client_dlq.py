"""``pyoco-client dlq``: look at dead letters, replay them, remove them.

Source: contract, section 5; issue 4.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pyoco_server.cli.client_command import PROG, add_command, at_least, print_page
from pyoco_server.cli.exits import CommandParser
from pyoco_server.cli.subcommands import print_json
from pyoco_server.errors import RunsRefused

if TYPE_CHECKING:
    from pyoco_server.client.http import PyocoHttpClient

_COLUMNS = ("seq", "timestamp", "tag", "reason", "run_id", "flow_name", "error")

_EPILOG = f"""\
A dead letter says why a job could not be done. It is replayed, or purged, or goes by itself after seven days.

examples:
  {PROG} dlq list --output table
"""

_LIST_EPILOG = f"""\
It prints {{items, next_cursor}}, or a table and below it next_cursor, where there is another page. A page may be short
and yet have a next one.

examples:
  {PROG} dlq list --reason worker_process_died --output table
  {PROG} dlq list --tag gpu | jq -r '.items[] | "\\(.seq) \\(.error)"'
"""

_SHOW_EPILOG = f"""\
It prints the letter as dlq list has it among its items.

examples:
  {PROG} dlq show 42
"""

_REPLAY_EPILOG = f"""\
It prints {{seq, run_id, status}} of the new run; of many letters {{seq, run_id}}, one a line, or the problem of a
letter that could not be replayed and stays; the exit status is 1 then. The new run has the parameters, tags and
workflow of the failed one and names it (replay_of); the letter is removed.

examples:
  {PROG} dlq replay 42
  {PROG} dlq replay --tag gpu --reason worker_process_died
  {PROG} dlq replay --all
"""

_PURGE_EPILOG = f"""\
It prints {{seq, deleted}} of one letter, or {{deleted}}, how many there were.

examples:
  {PROG} dlq purge 42
  {PROG} dlq purge --reason invalid_job
  {PROG} dlq purge --all
"""


def add_dlq(commands: argparse._SubParsersAction[CommandParser]) -> None:
    """Add the subcommand with those of its own."""
    dlq = add_command(commands, "dlq", _list, "look at dead letters, replay them, remove them", _EPILOG)
    letters = dlq.add_subparsers(dest="dlq_command", required=True, metavar="COMMAND")
    listing = add_command(letters, "list", _list, "list dead letters, newest first", _LIST_EPILOG)
    _add_filter(listing)
    listing.add_argument("--limit", type=at_least(1), metavar="N", help="how many at most, 1 to 200 (default: 50)")
    listing.add_argument("--cursor", help="next_cursor of the page before")
    _add_output(listing)
    show = add_command(letters, "show", _show, "print a dead letter", _SHOW_EPILOG)
    show.add_argument("seq", metavar="SEQ", type=at_least(0), help="its number")
    _add_output(show)
    replay = add_command(letters, "replay", _replay, "submit the runs of dead letters again", _REPLAY_EPILOG)
    purge = add_command(letters, "purge", _purge, "remove dead letters", _PURGE_EPILOG)
    for parser in (replay, purge):
        parser.add_argument("seq", metavar="SEQ", type=at_least(0), nargs="?", help="number of one letter")
        _add_filter(parser)
        parser.add_argument("--all", action="store_true", help="every dead letter that there is")


def _add_filter(parser: CommandParser) -> None:
    parser.add_argument("--tag", help="only those of this routing tag")
    parser.add_argument("--reason", help="only those with this reason, such as execution_error")


def _add_output(parser: CommandParser) -> None:
    parser.add_argument("--output", choices=("json", "table"), default="json", help="default: json")


def _list(args: argparse.Namespace, client: PyocoHttpClient) -> None:
    page = client.list_dead_letters(tag=args.tag, reason=args.reason, limit=args.limit, cursor=args.cursor)
    print_page(page, args.output, _print_table)


def _show(args: argparse.Namespace, client: PyocoHttpClient) -> None:
    letter = client.get_dead_letter(args.seq)
    if args.output == "json":
        print_json(letter)
    else:
        _print_table([letter])


def _replay(args: argparse.Namespace, client: PyocoHttpClient) -> None:
    if _names_one(args):
        print_json(client.replay_dead_letter(args.seq))
        return
    done = refused = 0
    for result in client.replay_dead_letters(tag=args.tag, reason=args.reason):
        print_json(result)
        done += 1
        refused += "run_id" not in result
    if refused:
        raise RunsRefused(f"{refused} of {done} dead letters could not be replayed; the lines with a 'detail' say why.")


def _purge(args: argparse.Namespace, client: PyocoHttpClient) -> None:
    if _names_one(args):
        print_json(client.delete_dead_letter(args.seq))
    else:
        print_json({"deleted": client.purge_dead_letters(tag=args.tag, reason=args.reason)})


def _names_one(args: argparse.Namespace) -> bool:
    """Say whether one letter is meant, and not all that match; fails where neither or both are said."""
    names_many = args.tag is not None or args.reason is not None
    if (args.seq is not None) + names_many + args.all != 1:
        args.fail("give one of these: the number of a letter, --tag or --reason or both, --all")
    return args.seq is not None


def _print_table(letters: Sequence[Mapping[str, Any]]) -> None:
    from pyoco_server.cli.tables import print_table

    print_table(letters, _COLUMNS, sys.stdout, whole=("seq", "reason", "run_id"))
