"""Tables: one line per item, whole in a pipe, cut to the terminal's width in a terminal."""

from __future__ import annotations

import io
from typing import Any

import pytest

from pyoco_server.cli.tables import RUN_COLUMNS, print_table
from pyoco_server.text_width import width


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def run(**values: Any) -> dict[str, Any]:
    return {
        "run_id": "r" * 36,
        "status": "COMPLETED",
        "flow_name": "main",
        "tag": "t",
        "updated_at": 1.5,
        **values,
    }


def test_no_items_is_said_in_words() -> None:
    stream = io.StringIO()
    print_table([], RUN_COLUMNS, stream)
    assert stream.getvalue() == "(no items)\n"


def test_columns_stand_under_their_headings_without_trailing_blanks() -> None:
    stream = io.StringIO()
    print_table([run(run_id="a", tag="long-tag"), run(run_id="b", updated_at=2)], RUN_COLUMNS, stream)
    assert stream.getvalue() == (
        "run_id  status     flow_name  tag       updated_at\n"
        "a       COMPLETED  main       long-tag  1.5\n"
        "b       COMPLETED  main       t         2\n"
    )


@pytest.mark.parametrize("nothing", [None, "", []])
def test_a_missing_value_is_a_dash_so_that_words_can_be_counted(nothing: object) -> None:
    stream = io.StringIO()
    print_table([run(run_id="a", tag=nothing)], RUN_COLUMNS, stream)
    assert stream.getvalue().splitlines()[1].split() == ["a", "COMPLETED", "main", "-", "1.5"]


def test_wide_characters_keep_the_columns_in_line() -> None:
    stream = io.StringIO()
    print_table([run(flow_name="流れ"), run(flow_name="flow")], RUN_COLUMNS, stream)
    lines = stream.getvalue().splitlines()
    assert {width(line[: line.rindex("t  ")]) for line in lines[1:]} == {36 + 2 + 9 + 2 + 9 + 2}


@pytest.mark.parametrize("places", [200, 100, 80])
def test_a_terminal_gets_lines_that_fit_with_ids_and_states_whole(places: int, monkeypatch: pytest.MonkeyPatch) -> None:
    line = shown(places, monkeypatch)
    assert width(line) <= places
    assert line.startswith("r" * 36 + "  COMPLETED  ") and "…" in line


@pytest.mark.parametrize("places", [72, 48])
def test_a_narrow_terminal_gets_lines_that_fit_with_ids_cut(places: int, monkeypatch: pytest.MonkeyPatch) -> None:
    line = shown(places, monkeypatch)
    assert width(line) == places
    assert line.startswith("rrrrrrr") and line.count("…") >= 4


def shown(places: int, monkeypatch: pytest.MonkeyPatch) -> str:
    """Give the line of a run with a long name in a terminal of so many places."""
    monkeypatch.setenv("COLUMNS", str(places))
    stream = Terminal()
    print_table([run(flow_name="f" * 80, tag="t" * 80, updated_at=1795283706.4834738)], RUN_COLUMNS, stream)
    return stream.getvalue().splitlines()[1]


def test_a_pipe_gets_every_value_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    stream = io.StringIO()
    print_table([run(flow_name="f" * 80)], RUN_COLUMNS, stream)
    assert "f" * 80 in stream.getvalue()


def test_what_would_move_the_cursor_is_escaped() -> None:
    stream = io.StringIO()
    print_table([run(flow_name="a\x1b[2Jb\nc")], RUN_COLUMNS, stream)
    assert "a\\x1b[2Jb\\nc" in stream.getvalue()
