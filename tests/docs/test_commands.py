"""Help, ``docs/commands.md`` and the man pages say what the parsers of the commands take."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from importlib.metadata import distribution

import pytest

from pyoco_server.cli import admin, client, nats, server, worker
from pyoco_server.cli.epilogs import EXAMPLES, take_apart
from pyoco_server.cli.exits import CommandParser
from pyoco_server.config import ENV_FILE, LOAD_DOTENV, settings
from tests.support.command_pages import document
from tests.support.command_reference import PARSERS, Command, commands
from tests.support.documents import DOCS

PARSE: dict[str, Callable[[list[str]], object]] = {
    "pyoco-server": server.parse,
    "pyoco-worker": lambda words: worker.get_parser().parse_args(words),
    "pyoco-client": lambda words: client.get_parser().parse_args(words),
    "pyoco-server-admin": lambda words: admin.get_parser().parse_args(words),
    "pyoco-nats": lambda words: nats.get_parser().parse_args(words),
}
EVERYTHING = [each for command in commands() for each in command.everything]


def test_every_command_that_is_installed_has_a_chapter() -> None:
    scripts = distribution("pyoco-server").entry_points.select(group="console_scripts")
    assert {command.words for command in commands()} == {script.name for script in scripts}


def test_documented_commands_are_those_of_the_code() -> None:
    stored = (DOCS / "commands.md").read_text()
    assert stored == document(), "make docs/commands.md anew: make documents"


@pytest.mark.parametrize("command", EVERYTHING, ids=lambda command: command.words)
def test_every_command_and_each_of_its_arguments_is_explained(command: Command) -> None:
    assert command.description.endswith(".") and command.sections.get("examples")
    for arguments in command.arguments.values():
        assert [argument for argument in arguments if not argument.help] == []


@pytest.mark.parametrize("command", EVERYTHING, ids=lambda command: command.words)
def test_every_example_is_accepted(command: Command) -> None:
    for example in command.sections["examples"]:
        # Three blanks set off what is said about a line; pipes and the like lead from or to other programs.
        parts = re.split(r" \|\|? | >", re.split(" {3,}", example)[0])
        prog, *words = shlex.split(next(part for part in parts if part.startswith("pyoco-")))
        assert example.startswith(command.words) or "|" in example or command.subcommands
        try:
            PARSE[prog](words)
        except SystemExit as ending:
            assert ending.code == 0


@pytest.mark.parametrize("command", commands(), ids=lambda command: command.words)
def test_every_installed_command_says_how_it_ends_and_what_it_reads(command: Command) -> None:
    assert set(command.sections) >= {"examples", "exit status", "environment"}


@pytest.mark.parametrize("places", [80, 100])
@pytest.mark.parametrize("make", PARSERS, ids=lambda make: make.__module__)
def test_help_fits_the_terminal_except_for_examples(
    make: Callable[[], CommandParser], places: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(places))
    parser = make()
    notes, sections = take_apart(parser.epilog or "")
    shown = parser.format_help()
    assert [line for line in shown.splitlines() if len(line) > places and line[2:] not in sections[EXAMPLES]] == []
    words = set(shown.split())
    assert all(set(text.split()) <= words for text in (*notes, *sections["exit status"], *sections["environment"]))


def test_every_variable_that_is_named_is_a_setting() -> None:
    known = {setting.env for setting in settings().values()} | {ENV_FILE, LOAD_DOTENV}
    assert set(re.findall(r"\bPYOCO_[A-Z_]+", document())) <= known
