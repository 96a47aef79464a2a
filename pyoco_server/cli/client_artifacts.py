"""``pyoco-client artifacts``: the files that the tasks of a run have saved."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any

from pyoco_server.cli.client_command import PROG, add_command, at_least
from pyoco_server.cli.exits import CommandParser
from pyoco_server.cli.subcommands import print_json

if TYPE_CHECKING:
    from pyoco_server.client.http import PyocoHttpClient

_EPILOG = f"""\
It prints an array of files, each with name, attempt, task, size_bytes, content_type, sha256 and created_at: all that
there are, of every attempt.

With --download those of the newest attempt that has each of them are written below the folder, under their names, and
only these are printed, with path. A file that is there already with the same bytes is left as it is; one with other
bytes ends the command before anything is written. Nothing is written outside of the folder, nor through a link.

examples:
  {PROG} artifacts RUN_ID
  {PROG} artifacts RUN_ID --download results
  {PROG} artifacts RUN_ID --attempt 1 --download first-attempt
"""


def add_artifacts(commands: argparse._SubParsersAction[CommandParser]) -> None:
    """Add the subcommand."""
    parser = add_command(commands, "artifacts", _artifacts, "list or download the files that a run has saved", _EPILOG)
    parser.add_argument("run_id", metavar="RUN_ID", help="the run")
    parser.add_argument("--download", metavar="DIR", help="folder to write them to; it is made where it is missing")
    parser.add_argument("--attempt", type=at_least(1), metavar="N", help="only those of this attempt")


def _artifacts(args: argparse.Namespace, client: PyocoHttpClient) -> None:
    found = client.get_artifacts(args.run_id)
    if args.attempt is not None:
        found = [entry for entry in found if entry["attempt"] == args.attempt]
    print_json(found if args.download is None else _download(args, client, _newest(found)))


def _newest(found: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Give of each name the file of the newest attempt."""
    by_name: dict[str, dict[str, Any]] = {}
    for entry in sorted(found, key=lambda entry: int(entry["attempt"])):
        by_name[str(entry["name"])] = entry
    return [by_name[name] for name in sorted(by_name)]


def _download(
    args: argparse.Namespace, client: PyocoHttpClient, wanted: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    from pyoco_server.cli.download_folder import DownloadFolder, DownloadRefused, clash

    if found := clash(dict.fromkeys(entry["name"] for entry in wanted)):
        args.fail(f"--download: {found[0]!r} and {found[1]!r} cannot both be files there. Give --attempt N")
    path = args.download
    try:
        with closing(DownloadFolder(args.download)) as folder:
            missing = []
            for entry in wanted:
                path = os.path.join(args.download, entry["name"])
                if not folder.has(entry["name"], entry["sha256"]):
                    missing.append(entry)
            for entry in missing:
                path = os.path.join(args.download, entry["name"])
                fetch = partial(client.download_artifact, args.run_id, entry["name"], attempt=entry["attempt"])
                folder.write(entry["name"], fetch)
    except DownloadRefused as exc:
        args.fail(f"--download: {path!r}: {exc}. Give another folder")
    except OSError as exc:
        args.fail(f"--download: {path!r}: {exc.strerror or exc}")
    return [{**entry, "path": os.path.join(args.download, entry["name"])} for entry in wanted]
