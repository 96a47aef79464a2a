"""How a run is shown while it goes on: a display that changes in a terminal, a line per change elsewhere.

Used by ``pyoco-client watch`` and ``pyoco-server demo``. Nothing here prints to stdout unless it is told to.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Iterable, Mapping
from typing import IO, TYPE_CHECKING, Any

from pyoco_server.cli.tables import printable
from pyoco_server.states import TERMINAL, RunStatus, TaskState
from pyoco_server.text_width import shortened, width

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

    from pyoco_server.client.http import PyocoHttpClient

#: State as a shape beside the word, for who skims; never colour alone.
_SHAPES = {
    TaskState.PENDING: "○",
    TaskState.RUNNING: "◐",
    TaskState.SUCCEEDED: "●",
    TaskState.FAILED: "✗",
    TaskState.CANCELLED: "⊘",
}
_STYLES = {
    "RUNNING": "cyan",
    "SUCCEEDED": "green",
    "COMPLETED": "green",
    "FAILED": "bold red",
    "CANCELLED": "yellow",
    "CANCELLING": "yellow",
    "PENDING": "dim",
}
#: Which tasks stay in view when a flow has more of them than the terminal has lines.
_URGENCY = {"RUNNING": 0, "FAILED": 1, "CANCELLED": 2, "PENDING": 3, "SUCCEEDED": 4}
#: A task's name is padded to this, so that the states of most flows stand in one column.
_NAME_PLACES = 15
#: How often the elapsed times of a live display move on.
_FRAMES_PER_SEC = 8
#: Lines of a live display that are not tasks: the run above, the count and the cursor below.
_OTHER_LINES = 3


def show_run(
    client: PyocoHttpClient,
    run_id: str,
    *,
    stream: IO[str] | None = None,
    live: bool | None = None,
    timeout_sec: int | None = None,
) -> dict[str, Any]:
    """Show a run until its end.

    :param stream: where to show it; stdout when ``None``.
    :param live: draw over what was drawn before (a terminal) or print a line per change; :func:`is_live` of
        ``stream`` when ``None``.
    :param timeout_sec: seconds after which to stop, whatever the run's state; no bound when ``None``.
    :return: the last snapshot, with task records; terminal unless the time was over first.
    :raises GatewayRefused: with status 404 where there is no such run.
    :raises GatewayUnreachable: no gateway, or it went away for longer than a restart takes; safe to repeat.
    """
    events = client.watch_run(run_id, include_records=True, until_terminal=True, timeout_sec=timeout_sec)
    snapshot = show_events(events, stream=stream, live=live)
    return client.get_run_with_records(run_id) if snapshot is None else snapshot


def show_events(
    events: Iterable[Mapping[str, Any]], *, stream: IO[str] | None = None, live: bool | None = None
) -> dict[str, Any] | None:
    """Show the events of a watch as they come.

    :param events: what ``PyocoHttpClient.watch_run`` gives; task times need ``include_records``.
    :return: the last snapshot; ``None`` when none came.
    """
    stream = sys.stdout if stream is None else stream
    if is_live(stream) if live is None else live:
        return _show_live(events, stream)
    lines = ChangeLines()
    snapshot: dict[str, Any] | None = None
    for event in events:
        if "snapshot" in event["data"]:
            snapshot = event["data"]["snapshot"]
            for line in lines.of(snapshot, now=float(event["data"].get("ts") or time.time())):
                print(line, file=stream, flush=True)
    return snapshot


def is_live(stream: IO[str]) -> bool:
    """Say whether a stream is a terminal on which one can draw over what was drawn."""
    if not stream.isatty():
        return False
    from rich.console import Console

    return not Console(file=stream).is_dumb_terminal


class ChangeLines:
    """Turns the snapshots of one run into a line per change, each with the time of the change.

    A task that began and ended between two snapshots gets both its lines: the records know when.
    """

    def __init__(self) -> None:
        self._run: str | None = None
        self._tasks: dict[str, str] = {}

    def of(self, snapshot: Mapping[str, Any], *, now: float) -> list[str]:
        """Give the lines of what has changed since the last snapshot, in the order in which it happened.

        :param now: the gateway's time, unix seconds; used for changes that carry no time of their own.
        """
        changes = [change for name in snapshot.get("tasks") or {} for change in self._task(snapshot, name, now)]
        changes.sort(key=lambda change: change[0])
        status = str(snapshot.get("status"))
        if status != self._run:
            line = f"run {snapshot.get('run_id')} {status}"
            if status in TERMINAL:
                changes.append((snapshot.get("end_time") or now, line + _after(_run_sec(snapshot, now))))
            else:
                since = "start_time" if status == RunStatus.RUNNING else "updated_at"
                changes.insert(0, (snapshot.get(since) or now, line))
            self._run = status
        return [f"{time.strftime('%H:%M:%S', time.localtime(at))} {printable(line)}" for at, line in changes]

    def _task(self, snapshot: Mapping[str, Any], name: str, now: float) -> list[tuple[float, str]]:
        state, before = str(snapshot["tasks"][name]), self._tasks.get(name, TaskState.PENDING.value)
        if state == before:
            return []
        self._tasks[name] = state
        record = _record(snapshot, name)
        began, ended = record.get("started_at"), record.get("ended_at")
        label = _padded(name, _NAME_PLACES)
        if state in (TaskState.PENDING, TaskState.RUNNING):
            return [(began or now, f"{label} {state}")]
        lines = []
        if before == TaskState.PENDING and began is not None:
            lines.append((began, f"{label} {TaskState.RUNNING}"))
        lines.append((ended or now, f"{label} {state}{_after(_task_sec(record, now))}"))
        return lines


def print_results(snapshot: Mapping[str, Any], stream: IO[str]) -> None:
    """Print what each task gave: its output, or its error with the traceback's last line.

    Long values are shortened only where ``stream`` is a terminal.

    :param snapshot: with ``task_records``.
    """
    places = shutil.get_terminal_size().columns if stream.isatty() else sys.maxsize
    names = list(snapshot.get("tasks") or {})
    column = max([_NAME_PLACES, *(width(printable(name)) for name in names)])
    lines = []
    for name in names:
        result = _result(snapshot, name)
        if result is not None:
            lines.append(f"{_padded(printable(name), column)} {printable(result)}")
    error = snapshot.get("error")
    if error and TaskState.FAILED not in (snapshot.get("tasks") or {}).values():
        # No task failed: the flow could not be resolved, the runner died, the time was over.
        lines.append(f"error: {printable(str(error))}")
    if snapshot.get("task_records_truncated"):
        lines.append("(some results were too large to be kept whole)")
    for line in ["results:", *(f"  {line}" for line in lines)] if lines else []:
        print(shortened(line, places), file=stream)
    stream.flush()


def _result(snapshot: Mapping[str, Any], name: str) -> str | None:
    record = _record(snapshot, name)
    state = snapshot["tasks"][name]
    if state == TaskState.SUCCEEDED:
        return json.dumps(record["output"], ensure_ascii=False) if "output" in record else state
    if state != TaskState.FAILED:
        return None
    error = str(record.get("error") or "")
    last = (str(record.get("traceback") or "").strip().splitlines() or [""])[-1]
    # The last line usually ends in the error's text: say it once.
    told = last if error in last else f"{error} ({last})" if last else error
    return f"{state} {told.strip()}".rstrip()


def _padded(name: str, places: int) -> str:
    return name + " " * (places - width(name))


def _record(snapshot: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    return (snapshot.get("task_records") or {}).get(name) or {}


def _task_sec(record: Mapping[str, Any], now: float) -> float | None:
    """Give how long a task has taken, or takes by now; ``None`` where it has not begun or nobody knows."""
    if record.get("duration_ms") is not None:
        return float(record["duration_ms"]) / 1000
    if record.get("started_at") is None:
        return None
    return max(0.0, float(record.get("ended_at") or now) - float(record["started_at"]))


def _run_sec(snapshot: Mapping[str, Any], now: float) -> float | None:
    if snapshot.get("start_time") is None:
        return None
    return max(0.0, float(snapshot.get("end_time") or now) - float(snapshot["start_time"]))


def _after(seconds: float | None) -> str:
    return "" if seconds is None else f" {_seconds(seconds)}"


def _seconds(seconds: float) -> str:
    if seconds < 10:
        return f"{seconds:.2f} s"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


class _Display:
    """What a live display shows at this moment; rich asks for it at every frame, so that times move on."""

    def __init__(self, lines: int) -> None:
        self._lines = lines
        self._snapshot: Mapping[str, Any] = {}
        # The clocks of two machines differ; elapsed times are told by the gateway's.
        self._ahead_sec = 0.0

    def take(self, snapshot: Mapping[str, Any], ts: float) -> None:
        self._snapshot, self._ahead_sec = snapshot, ts - time.time()

    def __rich__(self) -> RenderableType:
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        if not self._snapshot:
            return Text("waiting for the run's state")
        now = time.time() + self._ahead_sec
        states = dict(self._snapshot.get("tasks") or {})
        shown = self._in_view(states)
        grid = Table.grid(padding=(0, 2))
        for name in shown:
            state = states[name]
            style = _STYLES.get(state, "")
            elapsed = _task_sec(_record(self._snapshot, name), now)
            grid.add_row(
                Text(f"  {_SHAPES.get(state, '?')}", style),
                Text(printable(name)),
                Text(state, style),
                Text("" if elapsed is None else _seconds(elapsed), justify="right"),
            )
        done = sum(state == TaskState.SUCCEEDED for state in states.values())
        hidden = f", {len(states) - len(shown)} not shown" if len(shown) < len(states) else ""
        count = Text(f"  {done} of {len(states)} tasks succeeded{hidden}", "dim")
        return Group(self._heading(now), grid, count)

    def _heading(self, now: float) -> Text:
        from rich.text import Text

        status = str(self._snapshot.get("status"))
        heading = Text(f"run {printable(str(self._snapshot.get('run_id')))}  ")
        heading.append(status, _STYLES.get(status, ""))
        heading.append(_after(_run_sec(self._snapshot, now)))
        if self._snapshot.get("worker_id"):
            heading.append(f"  on {printable(str(self._snapshot['worker_id']))}", "dim")
        return heading

    def _in_view(self, states: Mapping[str, str]) -> list[str]:
        """Give the tasks that fit, in the flow's order, the ones that matter now first to stay."""
        room = max(1, self._lines - _OTHER_LINES)
        ranked = sorted(states, key=lambda name: _URGENCY.get(states[name], 0))
        kept = set(ranked[:room])
        return [name for name in states if name in kept]


def _show_live(events: Iterable[Mapping[str, Any]], stream: IO[str]) -> dict[str, Any] | None:
    from rich.console import Console
    from rich.live import Live

    console = Console(file=stream)
    display = _Display(console.size.height)
    snapshot: dict[str, Any] | None = None
    # Neither stream is taken over: warnings and logs of this process go where they always go.
    live = Live(
        display,
        console=console,
        refresh_per_second=_FRAMES_PER_SEC,
        redirect_stdout=False,
        redirect_stderr=False,
    )
    with live:
        for event in events:
            if "snapshot" in event["data"]:
                snapshot = event["data"]["snapshot"]
                display.take(snapshot, float(event["data"].get("ts") or time.time()))
                live.refresh()
    return snapshot
