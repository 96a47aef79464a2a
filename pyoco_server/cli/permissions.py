"""``pyoco-nats permissions``: what gateways, workers and administrators may do on NATS, as files for nats-server.

Source: issue 8, "Securing NATS".
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from pyoco_server.cli import arguments
from pyoco_server.cli.exits import EXIT_DONE, CommandParser
from pyoco_server.cli.subcommands import add_subcommand, print_json

if TYPE_CHECKING:
    from pyoco_server.config import Config

_EPILOG = """\
It follows the names that the settings give to streams, buckets and subjects, and asks no server. Without --output it
prints a part for nats-server.conf, in which passwords are variables of the server's environment. With it the folder
gets permissions.conf and routes.conf for the nodes (pyoco-nats up --permissions) and gateway.env, worker.env and
admin.env with a user and a password for whoever signs in; nobody but the owner can read them. Done again, after an
upgrade or a change of names, it keeps the passwords. At the end it prints {files}.

examples:
  pyoco-nats permissions
  pyoco-nats permissions --output /etc/pyoco/nats
  pyoco-nats permissions --worker-tags gpu,cpu --output /etc/pyoco/nats
"""


def add_permissions(commands: argparse._SubParsersAction[CommandParser]) -> CommandParser:
    """Add ``permissions``."""
    parser = add_subcommand(commands, "permissions", _run, "say what each role may do on NATS", _EPILOG)
    parser.add_argument("--output", type=Path, metavar="DIR", help="write files with passwords into this folder")
    parser.add_argument(
        "--worker-tags", type=arguments.tags, metavar="A,B", help="tags whose jobs workers may take (default: all)"
    )
    return parser


def _run(args: argparse.Namespace, config: Config) -> int:
    from pyoco_server.operations.permissions import ANY
    from pyoco_server.operations.permissions_folder import server_text, variables, write_folder

    tags = args.worker_tags or [ANY]
    if args.output is None:
        print(server_text(config, variables(), tags), end="")
    else:
        print_json({"files": [str(path) for path in write_folder(config, args.output, tags)]})
    return EXIT_DONE
