"""One workflow submitted once for each set of parameters in a file.

Source: contract, section 3 (``POST /runs/batch``); issue 3, "Batches".
"""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from typing import IO, TYPE_CHECKING, Any, NoReturn

from pyoco_server.cli.params import as_mapping, parse_json, parse_yaml
from pyoco_server.cli.progress import is_live
from pyoco_server.errors import RunsRefused

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
) -> None:
    """Submit a run for each set of parameters; print the result of each on stdout, in order, and progress on stderr.

    :param over: parameters that are laid over those of each set.
    :param policy: how each run is tried.
    :raises RunsRefused: the gateway refused some; their problems stand in the output.
    :raises PyocoServerError: a batch was not accepted or not answered; what was printed had been dealt with before.
    """
    done = refused = 0
    with _progress(sets.count) as advance:
        for batch in _batches(sets, over):
            results = client.submit_batch_yaml(workflow_yaml, batch, flow_name=flow_name, tag=tag, policy=policy)
            for result in results:
                print(json.dumps(result))
            sys.stdout.flush()
            done += len(results)
            refused += sum("detail" in result for result in results)
            advance(len(results))
    if refused:
        raise RunsRefused(f"{refused} of {done} runs were refused; the lines with a 'detail' say why.")


def _batches(sets: ParameterSets, over: Mapping[str, Any]) -> Iterator[list[dict[str, Any]]]:
    from pyoco_server.client.http import BATCH_MAX_RUNS

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
    if not is_live(sys.stderr):
        done = 0

        def say(count: int) -> None:
            nonlocal done
            done += count
            print(f"{done} of {total} runs", file=sys.stderr, flush=True)

        yield say
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("runs"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(file=sys.stderr), redirect_stdout=False, redirect_stderr=False) as bar:
        task = bar.add_task("runs", total=total)
        yield lambda count: bar.advance(task, count)
