"""``pyoco-nats up``, ``join`` and ``down``: one NATS node of this machine.

Source: contract, section 5; design, section 9.
"""

from __future__ import annotations

import argparse
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pyoco_server.cli import arguments
from pyoco_server.cli.arguments import CLUSTER_PORT
from pyoco_server.cli.exits import EXIT_DONE, CommandParser
from pyoco_server.cli.subcommands import add_subcommand, print_json

if TYPE_CHECKING:
    from pyoco_server.config import Config
    from pyoco_server.node import Node

CLIENT_PORT = 4222
HTTP_PORT = 8222
#: That of ``pyoco-server up``, so that one may go on with what the other has stored.
DATA_FOLDER = ".pyoco/nats"

_UP_EPILOG = """\
The node runs in the foreground until Ctrl-C, SIGTERM or pyoco-nats down; its log goes to stderr. It writes to disk
before it confirms (PYOCO_NATS_SYNC), and answers for monitoring on this machine alone. The first node of a cluster
serves when a second one has joined. What follows -- goes to nats-server as it is, and wins.

examples:
  pyoco-nats up
  pyoco-nats up --cluster team --listen n1 --datafolder /var/lib/pyoco-nats
  pyoco-nats up --client-port 4333 -- -js -D
"""
_JOIN_EPILOG = """\
It runs like up. Give the addresses of several nodes, so that this one finds the others also when one of them is away.
Afterwards pyoco-nats doctor --fix gives what is stored a copy on three of them.

examples:
  pyoco-nats join --seed n1 --listen n2
  pyoco-nats join --seed n1:6222,n2:6222 --listen n3 --datafolder /var/lib/pyoco-nats
"""
_DOWN_EPILOG = """\
When the node has ended it prints {pid, datafolder}. What it has stored stays, and up or join go on with it.

examples:
  pyoco-nats down --confirm
  pyoco-nats down --datafolder /var/lib/pyoco-nats --confirm
"""
_LEAVE_EPILOG = """\
Run it on the machine that leaves. Each stream and bucket of which the node has a copy gets one on another node, then
the node is removed from the cluster and stops. When as many nodes as there are replicas would not be left, it is
refused. At the end it prints {server, moved, pid}. What is left in its folder is of no use: remove it.

A node whose machine is lost cannot leave by itself. Run leave --lost on a node that is left: others get the copies that
it had, and it prints {server, moved}. That is not needed where a new machine joins under the lost one's name.

examples:
  pyoco-nats leave --confirm
  pyoco-nats leave --lost n3 --datafolder /var/lib/pyoco-nats --confirm
  pyoco-nats leave --datafolder /var/lib/pyoco-nats --confirm
"""


def add_node_commands(commands: argparse._SubParsersAction[CommandParser]) -> None:
    """Add ``up``, ``join`` and ``down``."""
    up = add_subcommand(commands, "up", _run, "run a NATS node of its own, or the first of a cluster", _UP_EPILOG)
    add_node_flags(up)
    up.set_defaults(seed=[])
    join = add_subcommand(commands, "join", _run, "run a NATS node that joins others", _JOIN_EPILOG)
    add_node_flags(join)
    add_seed(join, is_required=True)
    for parser in (up, join):
        parser.add_argument("nats_args", nargs="*", metavar="NATS_ARG", help="flags of nats-server, after --")
    down = add_subcommand(commands, "down", _down, "stop the NATS node of a folder", _DOWN_EPILOG)
    leave = add_subcommand(commands, "leave", _leave, "take a NATS node out of its cluster for good", _LEAVE_EPILOG)
    leave.add_argument("--lost", metavar="NAME", help="node that is gone for good, and not that of this machine")
    leave.add_argument(
        "--stop-anyway",
        action="store_true",
        help="keep one replica alone of what would have more than nodes are left; with --lost: give up what has none",
    )
    for parser in (down, leave):
        add_folder(parser)
        parser.add_argument("--confirm", action="store_true", help="say that it is meant")


def add_node_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say what node it is."""
    parser.add_argument("--cluster", type=arguments.word, metavar="NAME", help="cluster that it belongs to")
    parser.add_argument(
        "--listen",
        metavar="HOST[:PORT]",
        type=arguments.address,
        help="where it listens, for clients and, at this port, for other nodes (default 127.0.0.1; in a cluster "
        "0.0.0.0)",
    )
    parser.add_argument(
        "--client-port",
        type=arguments.fixed_port,
        default=CLIENT_PORT,
        metavar="PORT",
        help=f"port for clients (default {CLIENT_PORT})",
    )
    parser.add_argument(
        "--http-port",
        type=arguments.fixed_port,
        default=HTTP_PORT,
        metavar="PORT",
        help=f"port for monitoring, on this machine alone (default {HTTP_PORT})",
    )
    parser.add_argument(
        "--cluster-port",
        type=arguments.fixed_port,
        metavar="PORT",
        help=f"port for other nodes (default: that of --listen, else {CLUSTER_PORT})",
    )
    parser.add_argument(
        "--server-name",
        type=arguments.word,
        metavar="NAME",
        help="what the other nodes know it by (default: the host's name, with the port for clients if it is not 4222)",
    )
    parser.add_argument(
        "--permissions",
        type=Path,
        metavar="DIR",
        help="folder that pyoco-nats permissions --output has written (default: everybody may do everything)",
    )
    add_folder(parser)


def add_seed(parser: argparse.ArgumentParser, *, is_required: bool) -> None:
    parser.add_argument(
        "--seed",
        type=arguments.addresses,
        required=is_required,
        default=[],
        metavar="HOST[:PORT]",
        help=f"nodes to join, separated by commas (port {CLUSTER_PORT} unless it is given)",
    )


def add_folder(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--datafolder",
        "--data-folder",
        default=DATA_FOLDER,
        metavar="DIR",
        help=f"folder of its data, configuration and process id (default {DATA_FOLDER})",
    )


def _run(args: argparse.Namespace, config: Config) -> int:
    _node(args, config).run(args.nats_args)


def _node(args: argparse.Namespace, config: Config) -> Node:
    from pyoco_server.node import Node, cluster_of

    folder = Path(args.datafolder)
    cluster = args.cluster or (cluster_of(args.seed, folder) if args.seed else None)
    default = "127.0.0.1" if cluster is None else "0.0.0.0"
    host, _, port = (args.listen or f"{default}:{CLUSTER_PORT}").rpartition(":")
    own = socket.gethostname() if args.client_port == CLIENT_PORT else f"{socket.gethostname()}-{args.client_port}"
    return Node(
        folder=folder,
        name=args.server_name or own,
        host=host.strip("[]"),
        client_port=args.client_port,
        http_port=args.http_port,
        cluster=cluster,
        cluster_port=int(port) if args.cluster_port is None else args.cluster_port,
        seeds=tuple(args.seed),
        sync=config.nats_sync,
        permissions=args.permissions,
    )


def _down(args: argparse.Namespace, config: Config) -> int:
    from pyoco_server.node import stop_node

    if not args.confirm:
        args.fail(
            "--confirm is missing: down stops the node, and clients that use it go to other nodes, if there are any"
        )
    print_json({"pid": stop_node(Path(args.datafolder)), "datafolder": args.datafolder})
    return EXIT_DONE


def _leave(args: argparse.Namespace, config: Config) -> int:
    from pyoco_server.cli.nats_access import PATIENT_BUDGET_SEC, connected
    from pyoco_server.node import running_node, stop_node
    from pyoco_server.operations.leave import leave, remove_lost

    if not args.confirm:
        args.fail(
            "--confirm is missing: leave moves all that the node holds to others, and takes it out of the cluster"
        )
    folder = Path(args.datafolder)
    node = running_node(folder)
    if not node.cluster:
        args.fail(f"{node.name} belongs to no cluster: use down to stop it")
    plain, system = config.with_nats_url(node.url), config.with_nats_url(node.system_url)
    with (
        connected(plain, args.parser.prog, budget_sec=PATIENT_BUDGET_SEC) as bus,
        connected(system, args.parser.prog, budget_sec=PATIENT_BUDGET_SEC) as system_bus,
    ):
        if args.lost is not None:
            moved = remove_lost(bus, system_bus, args.lost, gives_up=args.stop_anyway)
            print_json({"server": args.lost, "moved": moved})
            return EXIT_DONE
        moved = leave(
            bus,
            system_bus,
            node.name,
            lowers=args.stop_anyway,
            report=lambda stream: print(f"moved {stream}", file=sys.stderr),
        )
    print_json({"server": node.name, "moved": moved, "pid": stop_node(folder)})
    return EXIT_DONE
