"""``pyoco-nats backup`` and ``restore``.

Source: contract, section 5; design, section 9.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pyoco_server.cli.exits import EXIT_DONE, CommandParser
from pyoco_server.cli.nats_access import PATIENT_BUDGET_SEC, connected
from pyoco_server.cli.subcommands import add_subcommand, print_json

if TYPE_CHECKING:
    from pyoco_server.config import Config
    from pyoco_server.operations.manifest import SavedStream

_BACKUP_EPILOG = """\
Everybody may go on working meanwhile. The folder gets one file a stream and, last, manifest.json with the sum of each:
without it a folder is no backup. A bucket may be named as it is: pyoco_runs. At the end it prints {folder, streams}.

examples:
  pyoco-nats backup /backup/today
  pyoco-nats backup /backup/today --stream pyoco_runs --stream pyoco_wheels
  pyoco-nats backup "/backup/$(date +%F)" >/dev/null
"""
_RESTORE_EPILOG = """\
Stop workers and gateways before; while one of them runs nothing is restored. All files are checked before the first
stream is made. Streams that are there are left alone, and nothing is restored, unless --replace --confirm has them
removed; a restore that was interrupted is repeated in that way. At the end it prints {folder, streams}.

examples:
  pyoco-nats restore /backup/today
  pyoco-nats restore /backup/today --replace --confirm
  pyoco-nats restore /backup/today --stream pyoco_wheels --nats-url nats://n1:4222
"""


def add_backup(commands: argparse._SubParsersAction[CommandParser]) -> CommandParser:
    """Add ``backup``."""
    parser = add_subcommand(commands, "backup", _backup, "save streams and buckets in a folder", _BACKUP_EPILOG)
    _add_shared(parser, "output", "folder to make")
    return parser


def add_restore(commands: argparse._SubParsersAction[CommandParser]) -> CommandParser:
    """Add ``restore``."""
    parser = add_subcommand(
        commands, "restore", _restore, "make streams and buckets of a backup again", _RESTORE_EPILOG
    )
    _add_shared(parser, "input", "folder that backup has made")
    parser.add_argument("--replace", action="store_true", help="remove what is there under the same names")
    parser.add_argument("--confirm", action="store_true", help="say that --replace is meant")
    parser.add_argument(
        "--despite-gateways",
        action="store_true",
        help="restore although gateways run; what they accept meanwhile may be lost",
    )
    return parser


def _add_shared(parser: CommandParser, flag: str, help: str) -> None:
    parser.add_argument("folder", nargs="?", metavar="DIR", help=help)
    parser.add_argument(f"--{flag}", metavar="DIR", dest="named_folder", help="the same, as nats-bootstrap has it")
    parser.add_argument(
        "--stream",
        action="append",
        default=[],
        metavar="NAME",
        help="stream or bucket, again for another (default: all)",
    )


def _backup(args: argparse.Namespace, config: Config) -> int:
    from pyoco_server.operations.backup import save

    folder = _folder(args, "--output")
    with connected(config, args.parser.prog, budget_sec=PATIENT_BUDGET_SEC) as bus:
        saved = save(bus, folder, args.stream, lambda stream: _tell("saved", stream))
    return _end(folder, saved)


def _restore(args: argparse.Namespace, config: Config) -> int:
    from pyoco_server.operations.backup import restore

    folder = _folder(args, "--input")
    if args.replace and not args.confirm:
        args.fail("--confirm is missing: --replace removes what is in the streams and buckets now")
    with connected(config, args.parser.prog, budget_sec=PATIENT_BUDGET_SEC) as bus:
        restored = restore(
            bus,
            config,
            folder,
            args.stream,
            replaces=args.replace,
            lets_gateways_run=args.despite_gateways,
            report=lambda stream: _tell("restored", stream),
        )
    return _end(folder, restored)


def _folder(args: argparse.Namespace, flag: str) -> Path:
    if (args.folder is None) == (args.named_folder is None):
        args.fail(f"name one folder, as DIR or by {flag}")
    return Path(args.folder or args.named_folder)


def _tell(what: str, stream: SavedStream) -> None:
    print(f"{what} {stream.name}: {stream.message_count} messages, {stream.size_bytes} bytes", file=sys.stderr)


def _end(folder: Path, streams: list[SavedStream]) -> int:
    entries = [{"name": each.name, "messages": each.message_count, "bytes": each.size_bytes} for each in streams]
    print_json({"folder": str(folder), "streams": entries})
    return EXIT_DONE
