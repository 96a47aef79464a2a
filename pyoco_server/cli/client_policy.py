"""Flags of what submits runs: how often and how a run is tried, and the name of a submission.

Source: issue 4.
"""

from __future__ import annotations

import argparse
from typing import Any

from pyoco_server.cli.client_command import at_least
from pyoco_server.cli.exits import CommandParser


def add_policy(parser: CommandParser) -> None:
    """Add the flags."""
    parser.add_argument(
        "--max-attempts",
        type=at_least(1),
        metavar="N",
        help="try a run that fails again until N attempts have failed (default: 1, no second one)",
    )
    parser.add_argument(
        "--retry-delay-sec",
        type=float,
        metavar="SEC",
        help="from the first failure to the next attempt; doubled with each failure, up to an hour (default: 10)",
    )
    parser.add_argument(
        "--timeout-sec",
        type=float,
        metavar="SEC",
        help="how long an attempt may take; 0 = as long as it likes (default: the worker's own limit)",
    )
    parser.add_argument(
        "--no-resume",
        dest="resume",
        action="store_const",
        const=False,
        help="execute all tasks in each attempt, also those that an earlier one has finished",
    )


def add_idempotency_key(parser: CommandParser) -> None:
    """Add the flag that makes a submission safe to repeat."""
    parser.add_argument(
        "--idempotency-key",
        metavar="KEY",
        help="names this submission: the same command with the same key again, as by a retried cron job, makes no "
        "second run and prints the first one",
    )


def policy_of(args: argparse.Namespace) -> dict[str, Any]:
    """Give what was said, by the names that the API has for it."""
    said = {name: getattr(args, name) for name in ("max_attempts", "retry_delay_sec", "timeout_sec", "resume")}
    return {name: value for name, value in said.items() if value is not None}
