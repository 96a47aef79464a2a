"""``status`` and ``doctor``, of ``pyoco-nats`` and of ``pyoco-server-admin``.

Source: contract, sections 2 and 5.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pyoco_server.cli.exits import EXIT_DONE, EXIT_FAULTS, EXIT_WARNINGS, CommandParser
from pyoco_server.cli.nats_access import PATIENT_BUDGET_SEC, connected
from pyoco_server.cli.subcommands import add_subcommand, print_json
from pyoco_server.cli.tables import print_table, printable

if TYPE_CHECKING:
    from pyoco_server.config import Config
    from pyoco_server.operations.findings import Finding

#: For the section "exit status" of the commands that have these subcommands.
HEALTH_STATUS = {
    "3": "status, doctor: it works, and there are warnings",
    "4": "status, doctor: something does not work",
}
_STATUS_EPILOG = """\
It shows servers, streams and buckets with what they hold and may hold, consumers, workers, and how many things doctor
would tell of. With --json it is one document, the findings of doctor with it.

examples:
  {prog} status
  {prog} status --json | jq -r '.streams[] | "\\(.name) \\(.bytes)"'
  {prog} status --nats-url nats://n1:4222,nats://n2:4222,nats://n3:4222
"""
_DOCTOR_EPILOG = """\
Each line says how bad it is, of what kind, what it is about and what is wrong; below it stands what mends it. --fix
makes streams and buckets that are missing, raises replicas, adds limits where there are none and sets what stands in
the way of a feature; a limit beyond which something is stored it leaves to you, and it removes nothing but the
consumers of tags that nobody has used for a week. How a server writes to disk is seen on its monitoring port only:
without --monitor, port 8222 of the hosts in --nats-url is tried.

examples:
  {prog} doctor
  {prog} doctor --fix
  {prog} doctor --monitor http://n1:8222,http://n2:8222
  {prog} doctor --json | jq -r '.findings[] | "\\(.severity) \\(.id) \\(.subject)"'
"""


def add_status(commands: argparse._SubParsersAction[CommandParser], prog: str) -> CommandParser:
    """Add the subcommand ``status``."""
    epilog = _STATUS_EPILOG.replace("{prog}", prog)
    parser = add_subcommand(commands, "status", _status, "show what NATS holds, and who works with it", epilog)
    _add_shared(parser)
    return parser


def add_doctor(commands: argparse._SubParsersAction[CommandParser], prog: str) -> CommandParser:
    """Add the subcommand ``doctor``."""
    epilog = _DOCTOR_EPILOG.replace("{prog}", prog)
    parser = add_subcommand(commands, "doctor", _doctor, "look for what is wrong, and say what mends it", epilog)
    _add_shared(parser)
    parser.add_argument("--fix", action="store_true", help="mend what is safe to mend, and look again")
    return parser


def _add_shared(parser: CommandParser) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON document on one line")
    parser.add_argument(
        "--monitor",
        metavar="URL",
        type=lambda text: [url.strip() for url in text.split(",") if url.strip()],
        help="monitoring ports of the servers, separated by commas (default: port 8222 of the hosts of --nats-url)",
    )


def _status(args: argparse.Namespace, config: Config) -> int:
    from pyoco_server.cli.status_view import document, print_status
    from pyoco_server.operations.doctor import examine

    with connected(config, args.parser.prog, budget_sec=PATIENT_BUDGET_SEC) as bus:
        survey, findings = examine(bus, config, args.monitor)
    if args.json:
        seen = {} if survey is None else document(survey)
        print_json({**seen, "findings": [finding.to_document() for finding in findings]})
        return _exit_status(findings)
    if survey is not None:
        print_status(survey, sys.stdout)
    _print_summary(findings, args.parser.prog.replace("status", "doctor"))
    return _exit_status(findings)


def _doctor(args: argparse.Namespace, config: Config) -> int:
    from pyoco_server.operations.doctor import examine, mend

    fixed: list[Finding] = []
    with connected(config, args.parser.prog, budget_sec=PATIENT_BUDGET_SEC) as bus:
        _, findings = examine(bus, config, args.monitor)
        if args.fix and any(finding.change for finding in findings):
            fixed, findings = mend(bus, config, findings, args.monitor)
    if args.json:
        lists: dict[str, Any] = {"findings": findings, "fixed": fixed}
        print_json({name: [finding.to_document() for finding in found] for name, found in lists.items()})
    else:
        _print_findings(findings, fixed)
    return _exit_status(findings)


def _print_findings(findings: Sequence[Finding], fixed: Sequence[Finding]) -> None:
    for finding in fixed:
        print(f"fixed: {finding.id} {printable(finding.subject)}: {printable(finding.text)}")
    for finding in findings:
        print(f"{finding.severity}: {finding.id} {printable(finding.subject)}: {printable(finding.text)}")
        print(f"  {printable(finding.remedy)}")
    if not findings:
        print("nothing is wrong")


def _print_summary(findings: Sequence[Finding], doctor: str) -> None:
    print()
    if not findings:
        print("nothing is wrong")
        return
    rows = [{"severity": finding.severity, "finding": finding.id, "subject": finding.subject} for finding in findings]
    print_table(rows, ("severity", "finding", "subject"), sys.stdout, whole=("severity",))
    print(f"what mends it: {doctor}")


def _exit_status(findings: Sequence[Finding]) -> int:
    from pyoco_server.operations.findings import Severity

    if any(finding.severity is Severity.FAULT for finding in findings):
        return EXIT_FAULTS
    return EXIT_WARNINGS if findings else EXIT_DONE
