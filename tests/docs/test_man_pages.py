"""The man pages are those of the parsers, and what sets them finds nothing wrong with them."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from tests.support.man_pages import FOLDER, pages

PAGES = sorted(pages())
#: What reads a page and says what is wrong with it: the formatter of most systems, and a checker that is stricter.
_CHECKERS = {
    "groff": ("groff", "-man", "-ww", "-Tutf8", "-z"),
    "mandoc": ("mandoc", "-T", "lint", "-W", "warning"),
}


def test_stored_pages_are_those_of_the_parsers() -> None:
    stored = {path.name: path.read_text() for path in FOLDER.iterdir()}
    assert stored == pages(), "make man/ anew: make documents"


@pytest.mark.parametrize("checker", _CHECKERS)
@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_set_without_a_warning(name: str, checker: str) -> None:
    if shutil.which(checker) is None and not os.environ.get("CI"):
        pytest.skip(f"{checker} is not installed")
    command = [*_CHECKERS[checker], str(FOLDER / name)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    warnings = [line for line in (done.stdout + done.stderr).splitlines() if "missing date" not in line]
    assert warnings == []


@pytest.mark.skipif(shutil.which("groff") is None, reason="groff is not installed")
def test_a_page_shows_flags_and_examples_as_one_types_them() -> None:
    command = ["groff", "-man", "-Tutf8", "-P-cbou", "-rLL=200n", str(FOLDER / "pyoco-client.1")]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    assert "\n       --workflow-file FILE\n" in shown
    assert """    pyoco-client tasks RUN_ID | jq -r '.tasks | to_entries[] | "\\(.key) \\(.value)"'\n""" in shown
    for section in ("NAME", "SYNOPSIS", "OPTIONS", "COMMANDS", "EXAMPLES", "EXIT STATUS", "ENVIRONMENT", "SEE ALSO"):
        assert f"\n{section}\n" in shown
