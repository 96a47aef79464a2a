"""The man pages are those of the parsers and documents, and what sets them finds nothing wrong with them."""

from __future__ import annotations

import re
import subprocess

import pytest

from pyoco_server.config import settings
from tests.support.documents import DOCS, blocks
from tests.support.man_pages import FOLDER, pages
from tests.support.tools import need

PAGES = sorted(pages())
#: What reads a page and says what is wrong with it: the formatter of most systems, and a checker that is stricter.
#: Of each the package that brings it, and its flags.
_CHECKERS = {
    "groff": ("groff-base", "-man", "-ww", "-Tutf8", "-z"),
    "mandoc": ("mandoc", "-T", "lint", "-W", "warning"),
}


def test_stored_pages_are_those_of_the_parsers_and_documents() -> None:
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


def shown(name: str) -> str:
    """Give a page as a wide terminal shows it."""
    need("groff", _CHECKERS["groff"][0])
    command = ["groff", "-man", "-Tutf8", "-P-cbou", "-rLL=200n", str(FOLDER / name)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def test_a_page_shows_flags_and_examples_as_one_types_them() -> None:
    page = shown("pyoco-client.1")
    assert "\n       --workflow-file FILE\n" in page
    assert """    pyoco-client tasks RUN_ID | jq -r '.tasks | to_entries[] | "\\(.key) \\(.value)"'\n""" in page
    for section in ("NAME", "SYNOPSIS", "OPTIONS", "COMMANDS", "EXAMPLES", "EXIT STATUS", "ENVIRONMENT", "SEE ALSO"):
        assert f"\n{section}\n" in page


def test_a_page_shows_every_setting_with_what_it_is_and_its_default() -> None:
    text = " ".join(shown("pyoco-server.5").split())
    for record in settings().values():
        assert re.search(rf"{record.env} {re.escape(record.help)}\. Default: ", text), record.env


def test_a_page_shows_the_format_of_a_flow_yaml_with_its_examples() -> None:
    text = shown("pyoco-flow.7")
    for block in blocks((DOCS / "flow_yaml.md").read_text(), "yaml"):
        assert "".join(f"           {line}\n" for line in block.splitlines()) in text
    assert "\n       pyoco-server(1), pyoco-worker(1)" in text
