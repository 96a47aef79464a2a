"""``pyoco-nats``: the life of a NATS node, and the health of what is in it.

Source: contract, section 5; design, section 9.
"""

from __future__ import annotations

from collections.abc import Sequence

from pyoco_server.cli.backups import add_backup, add_restore
from pyoco_server.cli.completion import PrintCompletion
from pyoco_server.cli.epilogs import ENV_FILE_HELP, environment, listed
from pyoco_server.cli.exits import CommandParser, ShowVersion, command
from pyoco_server.cli.health import HEALTH_STATUS, add_doctor, add_status
from pyoco_server.cli.nats_access import add_nats_url, carry_out
from pyoco_server.cli.node import add_node_commands
from pyoco_server.cli.node_service import add_service
from pyoco_server.cli.permissions import add_permissions

PROG = "pyoco-nats"

_EPILOG = f"""\
examples:
  {PROG} up
  {PROG} up --cluster team --listen n1
  {PROG} join --seed n1 --listen n2
  {PROG} status
  {PROG} doctor --fix
  {PROG} backup /backup/today
  {PROG} --print-completion bash >~/.local/share/bash-completion/completions/{PROG}

"""
_EXIT_STATUS = {
    "0": "it did what it was asked; up, join: the node was stopped; status, doctor: nothing is wrong",
    "1": "it could not, for a bad argument or because no NATS server answers; up, join: nats-server could not start; "
    "stderr says why",
    **HEALTH_STATUS,
    "130": "Ctrl-C",
}
_VARIABLES = ("PYOCO_NATS_URL", "PYOCO_NATS_SYNC", "PYOCO_NATS_REPLICAS", "PYOCO_LOG_LEVEL")
_FILES = {
    ".env": ENV_FILE_HELP,
    ".pyoco/nats/nats-server.conf": "configuration of the node, made anew by each up and join",
    ".pyoco/nats/nats-server.pid": "its process id",
    ".pyoco/nats/system-password": "what leave logs in with",
}


def get_parser() -> CommandParser:
    """Give the parser; its namespace has ``run``, an :data:`~pyoco_server.cli.nats_access.Action`."""
    parser = CommandParser(
        prog=PROG,
        description="Look after the NATS servers of a Pyoco installation.",
        epilog="\n".join(
            (
                _EPILOG + listed("exit status", _EXIT_STATUS),
                environment(*_VARIABLES),
                listed("files", _FILES),
            )
        ),
        example=f"{PROG} doctor",
    )
    parser.add_argument("--version", action=ShowVersion)
    parser.add_argument("--print-completion", action=PrintCompletion)
    add_nats_url(parser, is_top=True)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    add_node_commands(commands)
    add_service(commands)
    add_permissions(commands)
    for add in (add_status, add_doctor):
        add_nats_url(add(commands, PROG))
    for add_data in (add_backup, add_restore):
        add_nats_url(add_data(commands))
    return parser


@command(PROG)
def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    :param argv: the arguments without the command's name; the process's own when ``None``.
    :return: the exit status.
    """
    return carry_out(get_parser().parse_args(argv))
