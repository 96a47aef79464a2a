"""JSON on stdout: one line, with letters as they are where stdout takes them, and nothing that drives a terminal."""

from __future__ import annotations

import io
import json
import sys

import pytest

from pyoco_server.cli.subcommands import print_json


def printed(document: object, encoding: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Give what is printed to a stdout of this encoding; what that does not take is an error."""
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding, errors="strict"))
    print_json(document)
    return raw.getvalue().decode(encoding)


def test_japanese_is_printed_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert printed({"日次集計": "完了"}, "utf-8", monkeypatch) == '{"日次集計": "完了"}\n'


@pytest.mark.parametrize("encoding", ["ascii", "euc-jp", "latin-1"])
def test_it_is_escaped_where_stdout_may_not_take_it(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    line = printed({"name": "集計 é 😀"}, encoding, monkeypatch)
    assert line.isascii() and json.loads(line) == {"name": "集計 é 😀"}


def test_what_nobody_can_read_is_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    hostile = "集計 \x1b[2J \x9b31m \u202egnp \u2028 \ud800 \U000e0001"
    line = printed([hostile], "utf-8", monkeypatch)
    assert line.endswith("\n") and line[:-1].isprintable() and "集計" in line
    assert json.loads(line) == [hostile]
