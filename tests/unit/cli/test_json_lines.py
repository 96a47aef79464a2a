"""JSON on stdout: one line, on a terminal with letters as they are and nothing that drives it, else in ASCII."""

from __future__ import annotations

import io
import json
import sys

import pytest

from pyoco_server.cli.subcommands import print_json


class Terminal(io.TextIOWrapper):
    def isatty(self) -> bool:
        return True


def printed(
    document: object, encoding: str, monkeypatch: pytest.MonkeyPatch, kind: type[io.TextIOWrapper] = Terminal
) -> str:
    """Give what is printed to a stdout of this encoding; what that does not take is an error."""
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", kind(raw, encoding=encoding, errors="strict"))
    print_json(document)
    return raw.getvalue().decode(encoding)


def test_japanese_is_printed_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert printed({"日次集計": "完了"}, "utf-8", monkeypatch) == '{"日次集計": "完了"}\n'


def test_a_program_that_reads_it_gets_ascii(monkeypatch: pytest.MonkeyPatch) -> None:
    assert printed(["集計"], "utf-8", monkeypatch, io.TextIOWrapper) == '["\\u96c6\\u8a08"]\n'


@pytest.mark.parametrize("encoding", ["ascii", "euc-jp", "latin-1"])
def test_it_is_escaped_where_stdout_may_not_take_it(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    line = printed({"name": "集計 é 😀"}, encoding, monkeypatch)
    assert line.isascii() and json.loads(line) == {"name": "集計 é 😀"}


def test_what_nobody_can_read_is_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    hostile = "集計 \x1b[2J \x9b31m \u202egnp \u2028 \ud800 \U000e0001"
    line = printed([hostile], "utf-8", monkeypatch)
    assert line.endswith("\n") and line[:-1].isprintable() and "集計" in line
    assert json.loads(line) == [hostile]
