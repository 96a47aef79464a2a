"""The man pages are those of the parsers, and what sets them finds nothing wrong with them."""

from __future__ import annotations

import subprocess

import pytest

from tests.support.man_pages import FOLDER, pages
from tests.support.tools import need

PAGES = sorted(pages())
#: What reads a page and says what is wrong with it: the formatter of most systems, and a checker that is stricter.
#: Of each the package that brings it, and its flags.
_CHECKERS = {
    "groff": ("groff-base", "-man", "-ww", "-Tutf8", "-z"),
    "mandoc": ("mandoc", "-T", "lint", "-W", "warning"),
}


def test_stored_pages_are_those_of_the_parsers() -> None:
    stored = {path.name: path.read_text() for path in FOLDER.iterdir()}
    assert stored == pages(), "make man/ anew: make documents"


@pytest.mark.parametrize("checker", _CHECKERS)
@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_set_without_a_warning(name: str, checker: str) -> None:
    package, *words = _CHECKERS[checker]
    need(checker, package)
    command = [checker, *words, str(FOLDER / name)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    warnings = [line for line in (done.stdout + done.stderr).splitlines() if "missing date" not in line]
    assert warnings == []


def test_a_page_shows_flags_and_examples_as_one_types_them() -> None:
    need("groff", _CHECKERS["groff"][0])
    command = ["groff", "-man", "-Tutf8", "-P-cbou", "-rLL=200n", str(FOLDER / "pyoco-client.1")]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    assert "\n       --workflow-file FILE\n" in shown
    assert """    pyoco-client tasks RUN_ID | jq -r '.tasks | to_entries[] | "\\(.key) \\(.value)"'\n""" in shown
    for section in ("NAME", "SYNOPSIS", "OPTIONS", "COMMANDS", "EXAMPLES", "EXIT STATUS", "ENVIRONMENT", "SEE ALSO"):
        assert f"\n{section}\n" in shown
