"""How commands that speak to NATS themselves are told where it is, and come to it.

Source: contract, section 5.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyoco_server.bridge.client import Bus
    from pyoco_server.config import Config

#: Together less than the ten seconds in which the command has to say that nobody is there.
_CONNECT_SEC = 5.0
_BUDGET_SEC = 2.0
_CLOSE_SEC = 2.0
#: For who looks at a cluster that has just lost a server: an election takes five to seven seconds.
PATIENT_BUDGET_SEC = 15.0

#: A command: what it was asked, and the settings; gives the exit status.
Action = Callable[[argparse.Namespace, "Config"], int]


def add_nats_url(parser: argparse.ArgumentParser, *, is_top: bool = False) -> None:
    """Add the flag that stands before or after the subcommand: there without a default, which would win."""
    parser.add_argument(
        "--nats-url",
        default=None if is_top else argparse.SUPPRESS,
        metavar="URL",
        help="NATS servers, separated by commas (env PYOCO_NATS_URL)",
    )


def carry_out(args: argparse.Namespace) -> int:
    """Have the action of a command line do its work.

    :param args: with ``run``, an :data:`Action`, and ``nats_url``.
    :return: the exit status.
    """
    import logging

    from pyoco_server.config import Config

    # What the connection logs while it tries would stand on stderr beside the one sentence that says how it ended.
    logging.getLogger("pyoco_server").addHandler(logging.NullHandler())
    run: Action = args.run
    with args.parser.explaining():
        return run(args, Config.from_env(nats_url=args.nats_url))


@contextmanager
def connected(config: Config, name: str, *, budget_sec: float = _BUDGET_SEC) -> Iterator[Bus]:
    """Connect for as long as the ``with`` block lasts.

    :param name: what NATS knows the connection by.
    :param budget_sec: seconds that a request may spend on retries.
    :raises BusUnavailable: nobody answers.
    """
    from pyoco_server.bridge.client import Bus
    from pyoco_server.contract import names
    from pyoco_server.service import Deadline

    bus = Bus.of(config, names.ADMIN_ROLE, name=name, budget_sec=budget_sec)
    bus.connect(_CONNECT_SEC)
    try:
        yield bus
    finally:
        bus.close(Deadline(_CLOSE_SEC))
