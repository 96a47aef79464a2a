"""One workflow submitted once for each set of parameters in a file.

Source: contract, section 3 (``POST /runs/batch``); issue 3, "Batches".
"""

from __future__ import annotations

import contextlib
import json
import math
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import IO, TYPE_CHECKING, Any, NoReturn

from pyoco_server.cli.client_wait import run_at_end
from pyoco_server.cli.params import as_mapping, parse_json, parse_yaml
from pyoco_server.cli.progress import is_live
from pyoco_server.cli.subcommands import json_line, print_json
from pyoco_server.errors import RunNotCompleted, RunsRefused
from pyoco_server.states import RunStatus

if TYPE_CHECKING:
    from pyoco_server.client.http import PyocoHttpClient

#: A batch is closed before it grows beyond this: half of what a gateway takes.
_MAX_BATCH_BYTES = 4 * 1024 * 1024
#: How much of what comes through a pipe is kept in memory; the rest goes to a temporary file.
_MAX_SPOOLED_BYTES = 16 * 1024 * 1024
_FLAG = "--params-file"

Fail = Callable[[str], NoReturn]


class ParameterSets:
    """The sets of parameters in a file, read twice: all are checked before the first is submitted.

    A file that begins with ``{`` has a JSON object on each line, and only one line of it is in memory at a time; any
    other is a list in JSON or YAML.

    :param name: the file, or ``-`` for stdin.
    :param fail: called with what is wrong; must raise.
    """

    def __init__(self, name: str, fail: Fail) -> None:
        self._name = name
        self._fail = fail
        self._source = self._open()
        self._listed = None if self._begins_with_brace() else self._read_list()
        #: How many there are.
        self.count = sum(1 for _ in self)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return self._lines() if self._listed is None else iter(self._listed)

    def close(self) -> None:
        self._source.close()

    def _open(self) -> IO[bytes]:
        if self._name == "-":
            spool = tempfile.SpooledTemporaryFile(max_size=_MAX_SPOOLED_BYTES)
            for chunk in iter(lambda: sys.stdin.buffer.read(65536), b""):
                spool.write(chunk)
            spool.seek(0)
            return spool
        try:
            return open(self._name, "rb")
        except (OSError, ValueError) as exc:
            # ValueError: a name with a null character.
            self._fail(f"{_FLAG} {self._name} cannot be read: {getattr(exc, 'strerror', None) or exc}")

    def _begins_with_brace(self) -> bool:
        self._source.seek(0)
        for line in self._source:
            text = line.removeprefix(b"\xef\xbb\xbf").strip()
            if text:
                return text.startswith(b"{")
        self._fail(f"{_FLAG} {self._name} is empty: give a JSON object a line, or a list of them in JSON or YAML")

    def _lines(self) -> Iterator[dict[str, Any]]:
        self._source.seek(0)
        for number, line in enumerate(self._source, start=1):
            what = f"{_FLAG} {self._name}, line {number}"
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
                if text.strip():
                    yield as_mapping(what, parse_json(text), self._fail)
            except ValueError as exc:
                self._fail(f"{what} is not JSON: {exc}")

    def _read_list(self) -> list[dict[str, Any]]:
        self._source.seek(0)
        what = f"{_FLAG} {self._name}"
        try:
            text = self._source.read().decode("utf-8-sig")
        except UnicodeDecodeError as exc:
            self._fail(f"{what} is not UTF-8 text: {exc.reason} at byte {exc.start}")
        try:
            found = parse_json(text)
        except ValueError:
            found = parse_yaml(what, text, self._fail)
        if not isinstance(found, list):
            self._fail(f"{what} must be a list of objects, or have a JSON object on each line")
        return [as_mapping(f"{what}, item {number}", item, self._fail) for number, item in enumerate(found, start=1)]


def submit_each(
    client: PyocoHttpClient,
    workflow_yaml: str,
    sets: ParameterSets,
    over: Mapping[str, Any],
    *,
    flow_name: str,
    tag: str,
    policy: Mapping[str, Any],
) -> Iterator[list[dict[str, Any]]]:
    """Submit a run for each set of parameters, a batch at each ``next()``; show progress on stderr.

    :param over: parameters that are laid over those of each set.
    :param policy: how each run is tried.
    :return: the results of each batch: of each run ``{run_id, status}``, or its problem document, in order.
    :raises PyocoServerError: a batch was not accepted or not answered; what was given had been dealt with before.
    """
    with _progress(sets.count) as advance:
        for batch in _batches(sets, over):
            results = client.submit_batch_yaml(workflow_yaml, batch, flow_name=flow_name, tag=tag, **policy)
            yield results
            advance(len(results))


def print_results(batches: Iterable[list[dict[str, Any]]]) -> None:
    """Print the result of each submission as it comes.

    :raises RunsRefused: the gateway refused some; their problems stand in the output.
    """
    done = refused = 0
    for results in batches:
        for result in results:
            print(json_line(result))
        sys.stdout.flush()
        done += len(results)
        refused += sum(map(_is_refused, results))
    _check_refused(refused, done)


def print_ends(client: PyocoHttpClient, batches: Iterable[list[dict[str, Any]]], wait_sec: float | None) -> None:
    """Submit all runs, then print each when it and those before it have ended.

    :param wait_sec: seconds to wait for all of them; no limit when ``None``.
    :raises RunsRefused: the gateway refused some; their problems stand in the output.
    :raises RunNotCompleted: some did not end as COMPLETED, or not in time; they were printed as they are.
    """
    left: deque[dict[str, Any]] = deque()
    done = refused = other = 0
    try:
        for results in batches:
            left.extend(results)
        end = math.inf if wait_sec is None else time.monotonic() + wait_sec
        with _bar(len(left), "ended") as advance:
            while left:
                result = left[0] if _is_refused(left[0]) else _at_end(client, left[0]["run_id"], end)
                left.popleft()
                print_json(result)
                done += 1
                refused += _is_refused(result)
                other += result["status"] != RunStatus.COMPLETED
                advance(1)
    except BaseException:
        # The other runs go on, and their ids must not be lost.
        for result in left:
            print_json(result)
        raise
    _check_refused(refused, done)
    if other:
        raise RunNotCompleted(f"{other} of {done} runs are not COMPLETED; their lines say what they are.")


def _at_end(client: PyocoHttpClient, run_id: str, end: float) -> dict[str, Any]:
    """Give a run as it has ended, or as it is at ``end``, a time of ``time.monotonic()``."""
    return run_at_end(client, run_id, None if end == math.inf else max(0.0, end - time.monotonic()))


def _is_refused(result: Mapping[str, Any]) -> bool:
    return "detail" in result


def _check_refused(refused: int, done: int) -> None:
    if refused:
        raise RunsRefused(f"{refused} of {done} runs were refused; the lines with a 'detail' say why.")


def _batches(sets: ParameterSets, over: Mapping[str, Any]) -> Iterator[list[dict[str, Any]]]:
    from pyoco_server.client.submit import BATCH_MAX_RUNS

    batch: list[dict[str, Any]] = []
    size = 0
    for params in sets:
        one = {**params, **over}
        one_size = len(json.dumps(one))
        if len(batch) == BATCH_MAX_RUNS or (batch and size + one_size > _MAX_BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(one)
        size += one_size
    if batch:
        yield batch


@contextlib.contextmanager
def _progress(total: int) -> Iterator[Callable[[int], None]]:
    """Show on stderr how many runs have been submitted: a bar in a terminal, a line a batch elsewhere."""
    if is_live(sys.stderr):
        with _bar(total, "runs") as advance:
            yield advance
        return
    done = 0

    def say(count: int) -> None:
        nonlocal done
        done += count
        print(f"{done} of {total} runs", file=sys.stderr, flush=True)

    yield say


@contextlib.contextmanager
def _bar(total: int, what: str) -> Iterator[Callable[[int], None]]:
    """Show a bar, on stderr, where that is a terminal."""
    if not is_live(sys.stderr):
        yield lambda count: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(file=sys.stderr), redirect_stdout=False, redirect_stderr=False) as bar:
        task = bar.add_task(what, total=total)
        yield lambda count: bar.advance(task, count)
