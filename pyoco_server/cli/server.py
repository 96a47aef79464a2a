"""``pyoco-server``: the gateway, alone or with a NATS server and a worker beside it.

Source: contract, section 5.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from pyoco_server.cli import arguments
from pyoco_server.cli.completion import PrintCompletion
from pyoco_server.cli.epilogs import ENV_FILE_HELP, environment, listed
from pyoco_server.cli.exits import CommandParser, ShowVersion, command

_EPILOG = """\
Without a subcommand, up is meant, and flags without one belong to it.

SIGINT and SIGTERM stop it and what it has started: the worker first, whose runs may go on for PYOCO_DRAIN_SEC, then the
gateway, then NATS. A second signal means now. Logs are JSON lines on stdout.

examples:
  pyoco-server demo                      see everything work, then look at the address that it names
  pyoco-server up --with-worker          gateway, worker and a NATS server of their own, for one machine
  pyoco-server up --nats-url nats://n1:4222,nats://n2:4222 --host 0.0.0.0
  pyoco-server --port 8080               the same as: pyoco-server up --port 8080
  pyoco-server --print-completion bash >~/.local/share/bash-completion/completions/pyoco-server

"""
_UP_EPILOG = """\
The worker of --with-worker is started again when it dies, and not when it is drained or stopped by a signal of its own.

With --with-nats-bootstrap NATS is started by the command nats-bootstrap instead, and stopped with the gateway; a port
that is in use, a start that takes over 10 s and a --nats-url that contradicts it are errors.

examples:
  pyoco-server up --port 8000
  pyoco-server up --with-worker --worker-tags cpu,gpu --worker-flow-resolver flows.py:resolve
  pyoco-server up --nats-url nats://n1:4222,nats://n2:4222 --host 0.0.0.0
  pyoco-server up --with-nats-bootstrap --nats-client-port 4333
"""
_DEMO_EPILOG = """\
examples:
  pyoco-server demo
  pyoco-server demo --exit --port 0
"""
_EXIT_STATUS = {
    "0": "it was stopped by a signal; demo --exit: the sample flow is COMPLETED",
    "1": "it could not start, for a bad argument, a port in use or an absent NATS, or a part of it has failed, or the "
    "sample flow of demo has; stderr says why",
    "130": "demo: Ctrl-C before the sample flow had ended",
}
_VARIABLES = (
    "PYOCO_NATS_URL",
    "PYOCO_HTTP_AUTH_MODE",
    "PYOCO_HTTP_API_KEY_HEADER",
    "PYOCO_AUTH_PEPPER",
    "PYOCO_DASHBOARD_LANG",
    "PYOCO_READ_MODEL_PATH",
    "PYOCO_NATS_SYNC",
    "PYOCO_NATS_REPLICAS",
    "PYOCO_LOG_LEVEL",
    "PYOCO_LOG_FORMAT",
)
_FILES = {
    ".env": ENV_FILE_HELP,
    ".pyoco/nats": "data, configuration and log of the NATS server that is started here",
    ".pyoco/demo-worker.log": "log of the worker of demo",
}


#: Flags that do not belong to 'up' where they stand without a subcommand.
_OF_THE_WHOLE = ("-h", "--help", "--version", "--print-completion")


def get_parser() -> argparse.ArgumentParser:
    """Make the parser of ``pyoco-server``."""
    parser = CommandParser(
        prog="pyoco-server",
        description="Serve the HTTP API and the dashboard.",
        epilog="\n".join(
            (_EPILOG + listed("exit status", _EXIT_STATUS), environment(*_VARIABLES), listed("files", _FILES))
        ),
        example="pyoco-server up --port 8000",
    )
    parser.add_argument("--version", action=ShowVersion)
    parser.add_argument("--print-completion", action=PrintCompletion)
    commands = parser.add_subparsers(dest="command", metavar="{up,demo}", parser_class=CommandParser)
    up = commands.add_parser(
        "up",
        help="serve the HTTP API",
        description="Serve the HTTP API. Where no NATS server is named and none answers at the default address, "
        "one is started here, with its data under .pyoco/nats.",
        epilog=_UP_EPILOG,
        example="pyoco-server up --port 8000",
    )
    _add_shared(up)
    _add_up(up)
    demo = commands.add_parser(
        "demo",
        help="start everything, run a sample flow and show it",
        description="Start NATS, gateway and worker, run a sample flow, show its tasks as they change state, and go "
        "on serving until Ctrl-C. A port that is in use and was not asked for is replaced by a free one.",
        epilog=_DEMO_EPILOG,
        example="pyoco-server demo",
    )
    _add_shared(demo)
    demo.set_defaults(with_nats_bootstrap=False)
    demo.add_argument("--exit", action="store_true", help="stop everything when the sample flow has ended")
    return parser


def _add_shared(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", default="127.0.0.1", help="address to serve (default 127.0.0.1)")
    parser.add_argument("--port", type=arguments.port, help="port to serve, 0 takes a free one (default 8000)")
    parser.add_argument("--log-level", metavar="LEVEL", help="DEBUG, INFO, WARNING … (env PYOCO_LOG_LEVEL)")
    parser.add_argument("--nats-url", metavar="URL", help="NATS servers, separated by commas (env PYOCO_NATS_URL)")
    nats = parser.add_argument_group("a NATS server of one's own")
    nats.add_argument("--nats-listen-host", default="127.0.0.1", metavar="HOST", help="its address (default 127.0.0.1)")
    nats.add_argument(
        "--nats-client-port", type=arguments.port, metavar="PORT", help="its port, 0 takes a free one (default 4222)"
    )
    nats.add_argument(
        "--nats-http-port",
        type=arguments.port,
        metavar="PORT",
        help="its monitoring port (default: none; 8222 with --with-nats-bootstrap)",
    )


def _add_up(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--dashboard-lang",
        choices=("auto", "ja", "en"),
        help="language of the pages; auto asks the browser (env PYOCO_DASHBOARD_LANG, default auto)",
    )
    parser.add_argument(
        "--with-nats-bootstrap", action="store_true", help="start NATS by the command nats-bootstrap, which is on PATH"
    )
    worker = parser.add_argument_group("a worker beside the gateway")
    worker.add_argument("--with-worker", action="store_true", help="start one")
    worker.add_argument(
        "--worker-id",
        type=arguments.worker_id,
        metavar="ID",
        help="its name in the worker registry (default: host and port)",
    )
    worker.add_argument("--worker-tags", type=arguments.tags, metavar="A,B", help="tags that it serves")
    worker.add_argument("--worker-flow-resolver", metavar="SPEC", help="module:function or file.py:function")
    worker.add_argument(
        "--worker-poll-timeout",
        type=arguments.seconds,
        metavar="SEC",
        help="how long it waits for a job at a time (default 1)",
    )


def parse(words: list[str]) -> argparse.Namespace:
    """Read a command line, without the command's name."""
    if not words or (words[0].startswith("-") and words[0].partition("=")[0] not in _OF_THE_WHOLE):
        # Flags without a subcommand belong to 'up', as users of 0.5.1 have them in their scripts.
        words = ["up", *words]
    return get_parser().parse_args(words)


@command("pyoco-server")
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    args = parse(list(sys.argv[1:] if argv is None else argv))
    with args.parser.explaining():
        if args.command == "demo":
            from pyoco_server.cli.demo import run_demo

            return run_demo(args)
        from pyoco_server.cli.up import run_up

        return run_up(args)
