"""What arrives of a runner's output in pieces of any size becomes lines with their tasks."""

from __future__ import annotations

import pytest

from pyoco_server.contract.output_marks import mark
from pyoco_server.worker.printed import Printed, PrintedReader
from tests.support.waiting import eventually

_TOKEN = "0123"
_PRINTED = b"".join(
    [
        b"of the run\n",
        mark(_TOKEN, "grün [\x1f]", "stdout"),
        "of grün, ".encode(),
        mark(_TOKEN, "second", "stderr"),
        b"of second\n",
        mark(_TOKEN, "grün [\x1f]", "stdout"),
        b"again\n\x1e\x1e0123 no mark\x1e0123[\n",
        mark(_TOKEN, None, "stdout"),
        b"\xff and no end",
    ]
)


def _read(pieces: list[bytes]) -> dict[tuple[str | None, str], str]:
    reader = PrintedReader("stdout", _TOKEN)
    found: dict[tuple[str | None, str], str] = {}
    for piece in [*pieces, b""]:
        for printed in reader.read(piece):
            source = (printed.task, printed.stream)
            found[source] = found.get(source, "") + printed.text
    return found


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50, 10_000])
def test_marks_are_found_wherever_the_pieces_end(size: int) -> None:
    pieces = [_PRINTED[start : start + size] for start in range(0, len(_PRINTED), size)]
    assert _read(pieces) == {
        (None, "stdout"): "of the run\n\\xff and no end",
        ("grün [\x1f]", "stdout"): "of grün, again\n\x1e\x1e0123 no mark\x1e0123[\n",
        ("second", "stderr"): "of second\n",
    }


def test_a_mark_that_never_ends_is_text_in_the_end() -> None:
    begun = b"\x1e0123[" + b"x" * 10_000
    assert _read([begun[:5], begun[5:]]) == {(None, "stdout"): begun.decode()}


@pytest.mark.parametrize("torn", [b'["a\nb", "stdout"]', b"[]", b'["a"]', b'[7, "stdout"]', b'["a", null]', b"[\xff]"])
def test_a_mark_that_something_was_printed_into_is_text(torn: bytes) -> None:
    printed = b"\x1e0123" + torn + b"\x1f" + mark(_TOKEN, "next", "stdout") + b"of next"
    found = _read([printed])
    assert found[("next", "stdout")] == "of next"
    assert "0123[" in found[(None, "stdout")]


def test_lines_of_two_tasks_that_print_in_turns_are_put_together() -> None:
    reader = PrintedReader("stdout", _TOKEN)
    turns = [("a", b"1"), ("b", b"2"), ("a", b"3\n"), ("b", b"4\n")]
    found = [printed for task, text in turns for printed in reader.read(mark(_TOKEN, task, "stdout") + text)]
    assert found == [Printed("a", "stdout", "13\n"), Printed("b", "stdout", "24\n")]


def test_a_line_that_is_cut_because_it_does_not_end_is_not_cut_in_a_character() -> None:
    reader = PrintedReader("stdout", _TOKEN)
    first, second = "ü" * 5_000, "é" * 10
    data = first.encode() + "é".encode()[:1]
    found = list(reader.read(data))
    found += reader.read("é".encode()[1:] + (second[1:] + "\n").encode())
    assert [printed.text for printed in found] == [first, second + "\n"]


def test_a_line_that_waits_for_its_end_is_not_passed_on_in_the_midst_of_a_character() -> None:
    reader = PrintedReader("stdout", _TOKEN)
    data = "読む".encode()
    assert list(reader.read(data[:4])) == []
    found = eventually(lambda: list(reader.waiting()), what="the first character")
    found += reader.read(data[4:] + b"\n")
    assert [printed.text for printed in found] == ["読", "む\n"]


def test_the_beginning_of_a_character_that_never_comes_is_given_at_the_end() -> None:
    assert _read([b"x\xe3"]) == {(None, "stdout"): "x\\xe3"}
