"""``pyoco-nats service``: a NATS node that systemd starts.

Source: contract, section 5; systemd.service(5), systemd.syntax(7).
"""

from __future__ import annotations

import argparse
import getpass
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pyoco_server.cli import arguments
from pyoco_server.cli.exits import EXIT_DONE, CommandParser
from pyoco_server.cli.node import add_node_flags, add_seed
from pyoco_server.cli.subcommands import add_subcommand, print_json
from pyoco_server.errors import InvalidCommand

if TYPE_CHECKING:
    from pyoco_server.config import Config

#: First line of each unit, by which uninstall knows its own.
_MARK = "# Made by pyoco-nats service install."
_UNIT_DIR = "/etc/systemd/system"
_UNIT = """\
{mark}
[Unit]
Description=NATS node of Pyoco
Wants=network-online.target
After=network-online.target
# Nobody may be there to start it again, whatever keeps it from running.
StartLimitIntervalSec=0

[Service]
# The command becomes nats-server, which says nothing to systemd: who asks for it waits for it.
Type=exec
ExecStart={command}
Environment={sync}
User={user}
# After pyoco-nats down or leave its exit status is 0, and it stays down.
Restart=on-failure
RestartSec=5
# It writes what it has and hands over what it leads; killed, it would lose time at the next start.
TimeoutStopSec=120
LimitNOFILE=65536
# All but the data folder, which may lie anywhere, is out of its hands.
NoNewPrivileges=yes
CapabilityBoundingSet=
ProtectSystem=full
PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
UMask=0077
SystemCallArchitectures=native

[Install]
WantedBy=multi-user.target
"""

_SERVICE_EPILOG = """\
examples:
  pyoco-nats service install --datafolder /var/lib/pyoco-nats
  pyoco-nats service uninstall
"""
_INSTALL_EPILOG = """\
It takes the flags of up and, with --seed, of join, and writes a unit that runs that. At the end it prints {unit, next}:
the file, and the command that has systemd start it. PYOCO_NATS_SYNC goes into the unit as it is now.

examples:
  pyoco-nats service install --datafolder /var/lib/pyoco-nats
  pyoco-nats service install --cluster team --listen n1 --datafolder /var/lib/pyoco-nats --run-as nats
  pyoco-nats service install --seed n1,n2 --listen n3 --datafolder /var/lib/pyoco-nats --run-as nats
"""
_UNINSTALL_EPILOG = """\
It removes a unit that install has made, and no other. A node that runs goes on; what it has stored stays. At the end
it prints {unit, next}: the file that was, and the command that has systemd stop it and forget it.

examples:
  pyoco-nats service uninstall
  pyoco-nats service uninstall --service-name pyoco-nats-2
"""


def add_service(commands: argparse._SubParsersAction[CommandParser]) -> None:
    """Add ``service install`` and ``service uninstall``."""
    service = commands.add_parser(
        "service",
        help="have systemd run a NATS node",
        description="Have systemd run a NATS node.",
        epilog=_SERVICE_EPILOG,
        example="pyoco-nats service install --datafolder /var/lib/pyoco-nats",
    )
    actions = service.add_subparsers(dest="action", required=True, metavar="COMMAND")
    install = add_subcommand(actions, "install", _install, "write a unit for systemd", _INSTALL_EPILOG)
    add_node_flags(install)
    add_seed(install, is_required=False)
    install.add_argument(
        "--run-as", type=arguments.word, metavar="USER", help="user that owns the data folder (default: yourself)"
    )
    uninstall = add_subcommand(actions, "uninstall", _uninstall, "remove the unit", _UNINSTALL_EPILOG)
    for parser in (install, uninstall):
        parser.add_argument(
            "--service-name",
            type=arguments.word,
            default="pyoco-nats",
            metavar="NAME",
            help="name of the unit (default pyoco-nats)",
        )
        parser.add_argument(
            "--unit-dir", default=_UNIT_DIR, metavar="DIR", help=f"folder of the unit (default {_UNIT_DIR})"
        )


def _install(args: argparse.Namespace, config: Config) -> int:
    words = [str(Path(sys.executable).parent / "pyoco-nats"), "join" if args.seed else "up"]
    given = {
        "--seed": ",".join(args.seed),
        "--cluster": args.cluster,
        "--listen": args.listen,
        "--client-port": args.client_port,
        "--http-port": args.http_port,
        "--cluster-port": args.cluster_port,
        "--server-name": args.server_name,
        # A service has another working directory.
        "--permissions": args.permissions and args.permissions.resolve(),
        "--datafolder": Path(args.datafolder).resolve(),
    }
    for flag, value in given.items():
        if value:
            words += [flag, str(value)]
    text = _UNIT.format(
        mark=_MARK,
        command=" ".join(map(_quoted, words)),
        sync=_quoted(f"PYOCO_NATS_SYNC={config.nats_sync}"),
        user=args.run_as or getpass.getuser(),
    )
    path = _unit_path(args)
    if path.exists() and not _is_ours(path):
        raise InvalidCommand(f"{path} is there, and pyoco-nats has not made it: give another --service-name.")
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as exc:
        raise InvalidCommand(f"{path} cannot be written: {exc.strerror}. Run it as root, or give --unit-dir.") from exc
    print_json({"unit": str(path), "next": f"systemctl daemon-reload && systemctl enable --now {args.service_name}"})
    return EXIT_DONE


def _uninstall(args: argparse.Namespace, config: Config) -> int:
    path = _unit_path(args)
    if not _is_ours(path):
        raise InvalidCommand(f"{path} is no unit that pyoco-nats has made; nothing was removed.")
    try:
        path.unlink()
    except OSError as exc:
        raise InvalidCommand(f"{path} cannot be removed: {exc.strerror}. Run it as root.") from exc
    print_json({"unit": str(path), "next": f"systemctl disable --now {args.service_name}; systemctl daemon-reload"})
    return EXIT_DONE


def _unit_path(args: argparse.Namespace) -> Path:
    return Path(args.unit_dir) / f"{args.service_name}.service"


def _is_ours(path: Path) -> bool:
    try:
        return path.read_text(encoding="utf-8").startswith(_MARK)
    except (OSError, UnicodeDecodeError):
        return False


def _quoted(word: str) -> str:
    """Write a word so that systemd takes it as it is: blanks, quotes, and what it would replace (% and $)."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"' if escaped != word or " " in word else word
