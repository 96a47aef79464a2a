"""The progress of a run: a line per change in a pipe, a display in a terminal, results at the end."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from typing import Any

import pytest

from pyoco_server.cli.progress import ChangeLines, is_live, print_results, show_events

ERROR = "Traceback (most recent call last):\n  File \"x.py\", line 1, in boom\nValueError: no column 'price'\n"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def utc_and_a_wide_terminal() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "UTC")
        time.tzset()
        patch.setenv("COLUMNS", "80")
        patch.setenv("TERM", "xterm")
        patch.delenv("NO_COLOR", raising=False)
        yield
    time.tzset()


def record(state: str, began: float | None = None, ended: float | None = None, **values: Any) -> dict[str, Any]:
    duration = None if began is None or ended is None else (ended - began) * 1000
    return {"state": state, "started_at": began, "ended_at": ended, "duration_ms": duration, **values}


def snapshot(status: str, records: dict[str, dict[str, Any]], **values: Any) -> dict[str, Any]:
    tasks = {name: one["state"] for name, one in records.items()}
    return {
        "run_id": "r1",
        "status": status,
        "tasks": tasks,
        "task_records": records,
        "updated_at": 1.0,
        **values,
    }


def event(document: dict[str, Any], ts: float = 9.0) -> dict[str, Any]:
    return {"event": "snapshot", "data": {"run_id": "r1", "ts": ts, "snapshot": document}}


class TestChangeLines:
    def test_each_change_is_one_line_with_its_own_time(self) -> None:
        lines = ChangeLines()
        pending = {"load": record("PENDING"), "left": record("PENDING")}
        assert lines.of(snapshot("PENDING", pending), now=1.0) == ["00:00:01 run r1 PENDING"]
        running = {"load": record("RUNNING", 2.0), "left": record("PENDING")}
        assert lines.of(snapshot("RUNNING", running, start_time=1.0), now=3.0) == [
            "00:00:01 run r1 RUNNING",
            "00:00:02 load            RUNNING",
        ]
        done = {"load": record("SUCCEEDED", 2.0, 2.12), "left": record("FAILED", 3.0, 4.0)}
        assert lines.of(snapshot("FAILED", done, start_time=1.0, end_time=5.0), now=9.0) == [
            "00:00:02 load            SUCCEEDED 0.12 s",
            "00:00:03 left            RUNNING",
            "00:00:04 left            FAILED 1.00 s",
            "00:00:05 run r1 FAILED 4.00 s",
        ]

    def test_changes_of_one_snapshot_stand_in_the_order_in_which_they_happened(self) -> None:
        records = {"slow": record("SUCCEEDED", 2.0, 5.0), "fast": record("SUCCEEDED", 2.5, 3.0)}
        lines = ChangeLines().of(snapshot("RUNNING", records, start_time=1.0), now=6.0)
        assert [line.split()[1:3] for line in lines[1:]] == [
            ["slow", "RUNNING"],
            ["fast", "RUNNING"],
            ["fast", "SUCCEEDED"],
            ["slow", "SUCCEEDED"],
        ]

    def test_a_snapshot_without_changes_gives_no_line(self) -> None:
        lines = ChangeLines()
        same = snapshot("RUNNING", {"load": record("RUNNING", 2.0)}, start_time=1.0)
        assert lines.of(same, now=3.0) != []
        assert lines.of(same, now=4.0) == []

    def test_tasks_without_records_are_told_by_the_gateways_time(self) -> None:
        bare = {"run_id": "r1", "status": "RUNNING", "tasks": {"load": "SUCCEEDED"}}
        assert ChangeLines().of(bare, now=7.0) == [
            "00:00:07 run r1 RUNNING",
            "00:00:07 load            SUCCEEDED",
        ]

    def test_a_second_attempt_shows_its_tasks_again(self) -> None:
        lines = ChangeLines()
        first = snapshot("RUNNING", {"load": record("RUNNING", 2.0)}, start_time=1.0)
        lines.of(first, now=2.0)
        again = snapshot("RUNNING", {"load": record("PENDING")}, start_time=1.0)
        assert lines.of(again, now=5.0) == ["00:00:05 load            PENDING"]
        assert lines.of(first, now=6.0) == ["00:00:02 load            RUNNING"]

    def test_names_cannot_move_the_cursor(self) -> None:
        lines = ChangeLines().of(snapshot("RUNNING", {"a\x1b[2J": record("RUNNING", 1.0)}), now=1.0)
        assert "\x1b" not in "".join(lines)

    @pytest.mark.parametrize(
        ("seconds", "words"),
        [(9.994, "9.99 s"), (59.94, "59.9 s"), (61.0, "1 min 01 s"), (3720.0, "1 h 02 min")],
    )
    def test_durations_are_told_in_units_of_their_size(self, seconds: float, words: str) -> None:
        done = snapshot("COMPLETED", {}, start_time=1.0, end_time=1.0 + seconds)
        assert ChangeLines().of(done, now=0.0)[0].endswith(f" {words}")


class TestShowEvents:
    def test_a_pipe_gets_plain_lines_and_the_last_snapshot_comes_back(self) -> None:
        stream = io.StringIO()
        last = snapshot("COMPLETED", {"load": record("SUCCEEDED", 1.0, 2.0)}, start_time=1.0, end_time=2.0)
        heartbeat = {"event": "heartbeat", "data": {"run_id": "r1", "ts": 5.0}}
        assert show_events([event(snapshot("RUNNING", {})), heartbeat, event(last)], stream=stream) is last
        assert stream.getvalue().endswith("00:00:02 run r1 COMPLETED 1.00 s\n")
        assert "\x1b" not in stream.getvalue()

    def test_a_terminal_gets_a_display_with_word_and_shape_of_each_state(self) -> None:
        stream = Terminal()
        records = {"load": record("SUCCEEDED", 1.0, 2.0), "boom": record("FAILED", 2.0, 2.5)}
        show_events([event(snapshot("FAILED", records, start_time=1.0, end_time=3.0))], stream=stream)
        shown = stream.getvalue()
        assert "\x1b[" in shown
        for words in (
            "run r1",
            "FAILED",
            "2.00 s",
            "●",
            "load",
            "SUCCEEDED",
            "✗",
            "boom",
            "1 of 2 tasks succeeded",
        ):
            assert words in shown

    def test_no_color_keeps_the_display_and_leaves_out_the_colours(self, monkeypatch: pytest.MonkeyPatch) -> None:
        events = [event(snapshot("RUNNING", {"load": record("SUCCEEDED", 1.0, 2.0)}))]
        coloured, plain = Terminal(), Terminal()
        show_events(events, stream=coloured)
        monkeypatch.setenv("NO_COLOR", "1")
        show_events(events, stream=plain)
        assert "\x1b[32m" in coloured.getvalue()
        assert "\x1b[32m" not in plain.getvalue() and "SUCCEEDED" in plain.getvalue()

    def test_a_flow_with_more_tasks_than_lines_keeps_what_goes_on_in_view(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("LINES", "8")
        stream = Terminal()
        records = {f"task{index}": record("SUCCEEDED", 1.0, 2.0) for index in range(20)}
        records["late"] = record("RUNNING", 2.0)
        show_events([event(snapshot("RUNNING", records))], stream=stream)
        assert "late" in stream.getvalue() and "task19" not in stream.getvalue()
        assert "20 of 21 tasks succeeded, 16 not shown" in stream.getvalue()

    def test_a_dumb_terminal_gets_plain_lines(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert is_live(Terminal())
        monkeypatch.setenv("TERM", "dumb")
        assert not is_live(Terminal())
        assert not is_live(io.StringIO())


class TestResults:
    def test_each_task_gives_its_output_or_its_error(self) -> None:
        stream = io.StringIO()
        records = {
            "load": record("SUCCEEDED", output={"rows": 3, "名": "あ"}),
            "boom": record("FAILED", error="no column 'price'", traceback=ERROR),
            "join": record("PENDING"),
        }
        print_results(snapshot("FAILED", records, error="no column 'price'"), stream)
        assert stream.getvalue() == (
            "results:\n"
            '  load            {"rows": 3, "名": "あ"}\n'
            "  boom            FAILED ValueError: no column 'price'\n"
        )

    def test_an_error_that_the_traceback_does_not_end_in_is_told_too(self) -> None:
        stream = io.StringIO()
        print_results(snapshot("FAILED", {"a": record("FAILED", error="why", traceback="X: y\n")}), stream)
        assert "FAILED why (X: y)" in stream.getvalue()

    def test_an_error_of_no_task_is_told_on_its_own(self) -> None:
        stream = io.StringIO()
        print_results(snapshot("FAILED", {}, error="flow_not_found: main"), stream)
        assert stream.getvalue() == "results:\n  error: flow_not_found: main\n"

    def test_a_run_that_has_nothing_to_tell_prints_nothing(self) -> None:
        stream = io.StringIO()
        print_results(snapshot("CANCELLED", {"a": record("CANCELLED")}), stream)
        assert stream.getvalue() == ""

    def test_results_that_were_trimmed_are_said_to_be(self) -> None:
        stream = io.StringIO()
        print_results(snapshot("COMPLETED", {}, task_records_truncated=True), stream)
        assert "too large to be kept whole" in stream.getvalue()

    @pytest.mark.parametrize(("stream", "is_cut"), [(Terminal(), True), (io.StringIO(), False)])
    def test_long_results_are_cut_in_a_terminal_alone(self, stream: io.StringIO, is_cut: bool) -> None:
        print_results(snapshot("COMPLETED", {"a": record("SUCCEEDED", output="x" * 500)}), stream)
        assert ("…" in stream.getvalue(), "x" * 500 in stream.getvalue()) == (is_cut, not is_cut)
