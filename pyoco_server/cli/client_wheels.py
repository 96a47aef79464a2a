"""``pyoco-client wheels``, ``wheel-history``, ``wheel-upload`` and ``wheel-delete``: the code that workers run.

Source: contract, section 5.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

from pyoco_server.cli.client_command import PROG, add_command
from pyoco_server.cli.exits import CommandParser
from pyoco_server.cli.subcommands import print_json

if TYPE_CHECKING:
    from pyoco_server.client.http import PyocoHttpClient
    from pyoco_server.wheelfile.check import Wheel

#: A description of so many characters counts as a usage text.
_USAGE_CHARS = 80
#: Smaller files are sent before a bar would be seen.
_BAR_BYTES = 1024 * 1024

_WHEELS_EPILOG = f"""\
It prints an array of wheels, each with name, size_bytes, tags, sha256_hex and more.

examples:
  {PROG} wheels
  {PROG} wheels | jq -r '.[] | "\\(.name) \\(.tags | join(","))"'
"""
_HISTORY_EPILOG = f"""\
It prints an array of events, each with occurred_at, action, wheel_name, tags, who did it (actor) and from where
(source).

examples:
  {PROG} wheel-history --limit 20
  {PROG} wheel-history --action delete | jq -r '.[] | "\\(.wheel_name) \\(.actor.api_key_id)"'
"""
_UPLOAD_EPILOG = f"""\
It prints the wheel as wheels lists it.

Workers that were started with --wheel-sync and serve one of the tags import it from their next run on; without tags all
of them do. Each version of a package must be newer than all before.

Before it is sent the wheel is checked: whole, METADATA with Name and Version, entry points, and a usage text (a
description of {_USAGE_CHARS} characters or more, or a Documentation project URL). --preflight warn only says what is
missing, off checks nothing here; the gateway checks every wheel in any case.

examples:
  {PROG} wheel-upload --wheel-file dist/my_tasks-1.2-py3-none-any.whl --tags cpu,gpu
  {PROG} wheel-upload --wheel-file dist/my_tasks-1.2-py3-none-any.whl --allow-no-entry-points
"""
_DELETE_EPILOG = f"""\
It prints {{name, deleted}}.

examples:
  {PROG} wheel-delete --name my_tasks-1.2-py3-none-any.whl
"""


def add_wheels(commands: argparse._SubParsersAction[CommandParser]) -> None:
    """Add the four subcommands."""
    add_command(commands, "wheels", _wheels, "list what is in the wheel registry", _WHEELS_EPILOG)
    history = add_command(
        commands, "wheel-history", _history, "list uploads and deletes of wheels, newest first", _HISTORY_EPILOG
    )
    history.add_argument("--limit", type=int, metavar="N", help="how many at most, 1 to 500 (default: 100)")
    history.add_argument("--wheel-name", metavar="NAME", help="only of this wheel")
    history.add_argument("--action", choices=("upload", "delete"), help="only these")
    upload = add_command(commands, "wheel-upload", _upload, "upload a wheel for workers to import", _UPLOAD_EPILOG)
    upload.add_argument("--wheel-file", required=True, metavar="FILE", help="the wheel")
    upload.add_argument("--tags", metavar="A,B", help="routing tags of the workers that it is for (default: all)")
    upload.add_argument(
        "--replace", action=argparse.BooleanOptionalAction, default=True, help="noted in the history, no more"
    )
    upload.add_argument(
        "--preflight", choices=("strict", "warn", "off"), default="strict", help="see below (default: strict)"
    )
    upload.add_argument("--allow-no-entry-points", action="store_true", help="do without entry points")
    upload.add_argument("--allow-missing-usage-doc", action="store_true", help="do without a usage text")
    delete = add_command(commands, "wheel-delete", _delete, "delete a wheel from the wheel registry", _DELETE_EPILOG)
    delete.add_argument("--name", required=True, metavar="NAME", help="the wheel, as it is listed")


def _wheels(args: argparse.Namespace, client: PyocoHttpClient) -> None:
    print_json(client.list_wheels())


def _history(args: argparse.Namespace, client: PyocoHttpClient) -> None:
    print_json(client.list_wheel_history(limit=args.limit, wheel_name=args.wheel_name, action=args.action))


def _delete(args: argparse.Namespace, client: PyocoHttpClient) -> None:
    print_json(client.delete_wheel(args.name))


def _upload(args: argparse.Namespace, client: PyocoHttpClient) -> None:
    path = Path(args.wheel_file)
    tags = [tag.strip() for tag in (args.tags or "").split(",") if tag.strip()]
    try:
        with path.open("rb") as file:
            if args.preflight != "off":
                _check(file, path.name, args)
            with _bar(os.fstat(file.fileno()).st_size, path.name) as progress:
                entry = client.upload_wheel(
                    filename=path.name, data=file, replace=args.replace, tags=tags, progress=progress
                )
    except OSError as exc:
        args.fail(f"--wheel-file {path}: {exc.strerror or exc}")
    print_json(entry)


def _check(file: IO[bytes], name: str, args: argparse.Namespace) -> None:
    """Judge the wheel as ``--preflight`` says; strict ends the command."""
    from pyoco_server.contract.wheels import WheelName
    from pyoco_server.errors import InvalidInput
    from pyoco_server.wheelfile.check import check_wheel

    try:
        wheel = check_wheel(file, WheelName.parse(name))
        faults, hints = _missing(wheel, args), _hints(wheel)
    except InvalidInput as exc:
        faults, hints = [str(exc)], []
    if faults and args.preflight == "strict":
        args.fail(f"preflight: {'; '.join(faults)}. Mend the wheel, or give --preflight warn")
    for text in (*hints, *faults):
        print(f"{PROG}: preflight: warning: {text}", file=sys.stderr)


def _missing(wheel: Wheel, args: argparse.Namespace) -> list[str]:
    faults = []
    if not wheel.entry_points and not args.allow_no_entry_points:
        faults.append("the wheel has no entry points, so 'use' finds nothing in it (--allow-no-entry-points)")
    has_link = any(url.partition(",")[0].strip().lower() == "documentation" for url in wheel.project_urls)
    if len(wheel.description) < _USAGE_CHARS and not has_link and not args.allow_missing_usage_doc:
        faults.append(
            f"the wheel has no usage text: neither a description of {_USAGE_CHARS} characters nor a Documentation "
            "project URL (--allow-missing-usage-doc)"
        )
    return faults


def _hints(wheel: Wheel) -> list[str]:
    from pyoco_server.wheelfile.check import PLUGIN_GROUP

    hints = [] if wheel.summary else ["the Summary in METADATA is empty"]
    if wheel.entry_points and not wheel.plugins:
        hints.append(f"the wheel has no entry points in the group {PLUGIN_GROUP}, where 'use' looks")
    return hints


@contextlib.contextmanager
def _bar(size: int, name: str) -> Iterator[Callable[[int], None]]:
    """Show on a terminal how much has been sent."""
    if size < _BAR_BYTES or not sys.stderr.isatty():
        yield lambda sent: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(name, total=size)
        yield lambda sent: progress.update(task, completed=sent)
