"""``pyoco-client``: submit runs, read them, watch them, cancel them.

JSON goes to stdout, one document on one line; what is said about it goes to stderr.

Source: contract, section 5.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

from pyoco_server.cli.client_artifacts import add_artifacts
from pyoco_server.cli.client_cancel import add_cancel
from pyoco_server.cli.client_command import PROG, add_command, add_connection, api_key_of, print_page
from pyoco_server.cli.client_dlq import add_dlq
from pyoco_server.cli.client_fleet import add_metrics, add_worker_drain, add_workers
from pyoco_server.cli.client_logs import add_logs
from pyoco_server.cli.client_policy import add_idempotency_key, add_policy, policy_of
from pyoco_server.cli.client_rerun import add_rerun
from pyoco_server.cli.client_wait import WAIT_NOTE, add_wait, check_wait, print_run
from pyoco_server.cli.client_watch import add_watch
from pyoco_server.cli.client_wheels import add_wheels
from pyoco_server.cli.completion import PrintCompletion
from pyoco_server.cli.epilogs import listed
from pyoco_server.cli.exits import EXIT_DONE, CommandParser, ShowVersion, command
from pyoco_server.cli.params import gather, read_text
from pyoco_server.cli.subcommands import print_json
from pyoco_server.errors import Fault, InvalidCommand, InvalidInput

if TYPE_CHECKING:
    from pyoco_server.client.http import PyocoHttpClient

_EPILOG = f"""\
Answers are JSON on stdout, one document on one line; all else goes to stderr. An error begins with its id and shows an
example of how it is done. The flags of the connection may also stand after the subcommand.

examples:
  {PROG} submit --flow-name main --param x=1 --tag hello
  {PROG} submit-yaml --workflow-file flow.yaml --flow-name main --tag default
  {PROG} watch RUN_ID --until-terminal
  {PROG} --server http://gateway:8000 --api-key-file ~/.pyoco-key list --status FAILED --output table
  {PROG} --print-completion bash >~/.local/share/bash-completion/completions/{PROG}

"""
_EXIT_STATUS = {
    "0": "it did what it was asked; that a run has failed is no failure of the command, unless --wait or --exit-status "
    "makes it one",
    "1": "it could not, for a bad argument, an error of the gateway or no gateway, or with --wait or --exit-status the "
    "run is not COMPLETED; stderr says why",
    "130": "Ctrl-C",
}
_ENVIRONMENT = {
    "COLUMNS": "width of tables in a terminal, where it is not the terminal's own",
    "NO_COLOR": "if it is set: no colours",
    "PYOCO_LOG_LEVEL": "DEBUG shows the traceback of an unexpected error",
}

_SUBMIT_EPILOG = f"""\
It prints {{run_id, status}}. Later wins where a parameter is given twice: --params-file, then --params, then --param.

{WAIT_NOTE}

examples:
  {PROG} submit --flow-name main --param x=1 --param name=alice
  {PROG} submit --flow-name main --params '{{"x": 1, "names": ["a", "b"]}}' --tag gpu --tags nightly,eu
  {PROG} submit --flow-name main --params-file params.yaml --param x=2
  {PROG} submit --flow-name main --tag nightly --wait || echo failed
"""

_SUBMIT_YAML_EPILOG = f"""\
It prints {{run_id, status}}, with warnings where the file has what is allowed and probably not meant; stderr has them,
too. Parameters are laid over the defaults of the file. Later wins where one is given twice: --params-file, then
--params, then --param.

With --each it prints that of each run, in the order of the file, or the problem of a run that was refused; the exit
status is 1 then. A fault in the file is found before anything is submitted.

{WAIT_NOTE}

With --each and --wait all runs are submitted first, each has its line as soon as it and those before it have ended, and
the exit status is 0 if all are COMPLETED.

examples:
  {PROG} submit-yaml --workflow-file flow.yaml --flow-name main --tag default
  {PROG} submit-yaml --workflow-file flow.yaml --flow-name main --tag default --param x=2
  {PROG} submit-yaml --workflow-file flow.yaml --flow-name main --tag default --params-file sweep.jsonl --each
  make-flow | {PROG} submit-yaml --workflow-file - --flow-name main --tag default
"""

_GET_EPILOG = f"""\
It prints the run as GET /runs/{{run_id}} answers it.

examples:
  {PROG} get RUN_ID
  {PROG} get RUN_ID --records | jq .task_records
"""

_TASKS_EPILOG = f"""\
It prints {{run_id, flow_name, status, tasks, task_records, task_records_truncated}}.

examples:
  {PROG} tasks RUN_ID
  {PROG} tasks RUN_ID | jq -r '.tasks | to_entries[] | "\\(.key) \\(.value)"'
"""

_LIST_EPILOG = f"""\
It prints an array of runs, or a table with the columns run_id, status, flow_name, tag and updated_at.

examples:
  {PROG} list --status RUNNING --output table
  {PROG} list --flow main --limit 200 | jq -r '.[].run_id'
"""

_LIST_VNEXT_EPILOG = f"""\
It prints {{items, next_cursor}}, where next_cursor of the last page is null, or the table of list and below it
next_cursor, where there is another page.

examples:
  {PROG} list-vnext --limit 100
  {PROG} list-vnext --limit 100 --cursor CURSOR      the next page, by next_cursor of the page before
  {PROG} list-vnext --updated-after 1767225600       what has changed since
"""


def get_parser() -> CommandParser:
    """Give the parser; its namespace has ``run``, an :data:`Action`, and ``fail``, the parser's ``error``."""
    parser = CommandParser(
        prog=PROG,
        description="Submit runs to a Pyoco gateway, read them, watch them, cancel them.",
        epilog=_EPILOG + listed("exit status", _EXIT_STATUS) + "\n" + listed("environment", _ENVIRONMENT),
        example=f"{PROG} submit --flow-name main --param x=1 --tag hello",
    )
    parser.add_argument("--version", action=ShowVersion)
    parser.add_argument("--print-completion", action=PrintCompletion)
    add_connection(parser, top=True)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_submit(commands)
    _add_submit_yaml(commands)
    _add_reads(commands)
    _add_lists(commands)
    add_watch(commands)
    add_logs(commands)
    add_artifacts(commands)
    add_cancel(commands)
    add_workers(commands)
    add_worker_drain(commands)
    add_wheels(commands)
    add_metrics(commands)
    add_rerun(commands)
    add_dlq(commands)
    return parser


@command(PROG)
def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    :param argv: the arguments without the command's name; the process's own when ``None``.
    :return: the exit status.
    """
    args = get_parser().parse_args(argv)
    # requests takes longer to import than --help takes altogether.
    from pyoco_server.client.http import PyocoHttpClient

    with args.parser.explaining():
        try:
            with PyocoHttpClient(args.server, api_key=api_key_of(args), api_key_header=args.api_key_header) as client:
                args.run(args, client)
        except InvalidInput as exc:
            # What the client refuses to send was given on this command line.
            raise InvalidCommand(exc.detail) from exc
    return EXIT_DONE


def _add_submit(commands: argparse._SubParsersAction[CommandParser]) -> None:
    parser = add_command(commands, "submit", _submit, "submit a run of a flow that workers know", _SUBMIT_EPILOG)
    parser.add_argument("--flow-name", default="main", metavar="NAME", help="flow to run (default: main)")
    _add_params(parser)
    parser.add_argument("--tag", help="routing tag: which workers may run it (default: the gateway's)")
    parser.add_argument("--tags", metavar="A,B", help="labels for display and filters, separated by commas")
    add_idempotency_key(parser)
    add_policy(parser)
    add_wait(parser)


def _add_submit_yaml(commands: argparse._SubParsersAction[CommandParser]) -> None:
    parser = add_command(
        commands, "submit-yaml", _submit_yaml, "submit a run of the flow in a file", _SUBMIT_YAML_EPILOG
    )
    parser.add_argument("--workflow-file", required=True, metavar="FILE", help="the flow.yaml; - is stdin")
    parser.add_argument("--flow-name", required=True, metavar="NAME", help="name of the flow")
    parser.add_argument("--tag", required=True, help="routing tag: which workers may run it")
    _add_params(parser)
    add_idempotency_key(parser)
    add_policy(parser)
    add_wait(parser)
    parser.add_argument(
        "--each",
        action="store_true",
        help="a run for each set of parameters in --params-file: a JSON object a line, or a list in JSON or YAML; "
        "--params and --param are laid over each",
    )


def _add_params(parser: CommandParser) -> None:
    parser.add_argument("--params", metavar="JSON", help="parameters, as a JSON object")
    parser.add_argument(
        "--params-file", metavar="FILE", help="file with the parameters, a JSON or YAML mapping; - is stdin"
    )
    parser.add_argument(
        "--param",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="one parameter; the value is JSON where it parses, else text; may be repeated",
    )


def _add_reads(commands: argparse._SubParsersAction[CommandParser]) -> None:
    get = add_command(commands, "get", _get, "print the snapshot of a run", _GET_EPILOG)
    get.add_argument("run_id", metavar="RUN_ID", help="the run")
    get.add_argument(
        "--records",
        action="store_true",
        help="with times, inputs, output and error of each task (task_records)",
    )
    tasks = add_command(commands, "tasks", _tasks, "print the tasks of a run with their records", _TASKS_EPILOG)
    tasks.add_argument("run_id", metavar="RUN_ID", help="the run")


def _add_lists(commands: argparse._SubParsersAction[CommandParser]) -> None:
    plain = add_command(commands, "list", _list, "list runs, newest first", _LIST_EPILOG)
    paged = add_command(commands, "list-vnext", _list_vnext, "list runs page by page, newest first", _LIST_VNEXT_EPILOG)
    for parser in (plain, paged):
        parser.add_argument("--status", help="only runs in this state, such as RUNNING")
        parser.add_argument("--flow", metavar="NAME", help="only runs of this flow")
        parser.add_argument("--tag", help="only runs with this routing tag")
        parser.add_argument("--full", action="store_true", help="whole snapshots instead of summaries")
        parser.add_argument("--limit", type=int, metavar="N", help="how many at most, 1 to 200 (default: 50)")
    paged.add_argument(
        "--updated-after",
        type=float,
        metavar="TIME",
        help="only runs that changed after this, in unix seconds",
    )
    paged.add_argument("--cursor", help="next_cursor of the page before")
    paged.add_argument("--workflow-yaml-sha256", metavar="HEX", help="only runs of this very flow.yaml")
    for parser in (plain, paged):
        parser.add_argument("--output", choices=("json", "table"), default="json", help="default: json")


def _submit(args: argparse.Namespace, client: PyocoHttpClient) -> None:
    check_wait(args)
    tags = None if args.tags is None else [tag.strip() for tag in args.tags.split(",") if tag.strip()]
    params = gather(args.params_file, args.params, args.param, args.fail)
    options = {**policy_of(args), "idempotency_key": args.idempotency_key}
    print_run(client.submit_run(args.flow_name, params, tag=args.tag, tags=tags, **options), args, client)


def _submit_yaml(args: argparse.Namespace, client: PyocoHttpClient) -> None:
    check_wait(args)
    text = read_text("--workflow-file", args.workflow_file, args.fail)
    if not args.each:
        params = gather(args.params_file, args.params, args.param, args.fail)
        options = {**policy_of(args), "idempotency_key": args.idempotency_key}
        answer = client.submit_run_yaml(text, flow_name=args.flow_name, tag=args.tag, params=params, **options)
        for warning in answer.get("warnings", []):
            print(f"{PROG}: warning: {args.workflow_file}: {_fault(warning)}", file=sys.stderr)
        print_run(answer, args, client)
        return
    from pyoco_server.cli.submit_each import ParameterSets, print_ends, print_results, submit_each

    if args.params_file is None:
        args.fail("--each needs --params-file, the file with the sets of parameters")
    if args.idempotency_key is not None:
        args.fail("--idempotency-key names one run, so it does not go with --each")
    over = gather(None, args.params, args.param, args.fail)
    with closing(ParameterSets(args.params_file, args.fail)) as sets:
        batches = submit_each(client, text, sets, over, flow_name=args.flow_name, tag=args.tag, policy=policy_of(args))
        if args.wait:
            print_ends(client, batches, args.wait_sec)
        else:
            print_results(batches)


def _fault(warning: Mapping[str, Any]) -> Fault:
    """Give a warning with the fields that are known here: a newer gateway may tell more."""
    known = (field.name for field in dataclasses.fields(Fault))
    return Fault(**{name: warning[name] for name in known if name in warning})


def _get(args: argparse.Namespace, client: PyocoHttpClient) -> None:
    print_json(client.get_run_with_records(args.run_id) if args.records else client.get_run(args.run_id))


def _tasks(args: argparse.Namespace, client: PyocoHttpClient) -> None:
    print_json(client.get_tasks(args.run_id))


def _list(args: argparse.Namespace, client: PyocoHttpClient) -> None:
    runs = client.list_runs(status=args.status, flow=args.flow, tag=args.tag, full=args.full, limit=args.limit)
    if args.output == "json":
        print_json(runs)
    else:
        _print_runs(runs)


def _list_vnext(args: argparse.Namespace, client: PyocoHttpClient) -> None:
    page = client.list_runs_vnext(
        status=args.status,
        flow=args.flow,
        tag=args.tag,
        full=args.full,
        limit=args.limit,
        updated_after=args.updated_after,
        cursor=args.cursor,
        workflow_yaml_sha256=args.workflow_yaml_sha256,
    )
    print_page(page, args.output, _print_runs)


def _print_runs(runs: Sequence[Mapping[str, Any]]) -> None:
    from pyoco_server.cli.tables import RUN_COLUMNS, print_table

    print_table(runs, RUN_COLUMNS, sys.stdout)
