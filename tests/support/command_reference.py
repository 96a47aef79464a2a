"""What the parsers of our commands say, in a form that man pages and ``docs/commands.md`` are written from."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from dataclasses import dataclass

from pyoco_server.cli import admin, client, nats, server, worker
from pyoco_server.cli.epilogs import take_apart

#: Parsers of the installed commands, in the order of the documents.
PARSERS = (server.get_parser, worker.get_parser, client.get_parser, admin.get_parser, nats.get_parser)


@dataclass(frozen=True)
class Argument:
    """A flag or a positional argument.

    :param names: of a flag, ``--wait`` or ``-h, --help``; empty for a positional one.
    :param value: what stands for its value; empty for a flag without one.
    :param usage: how it stands in the synopsis.
    """

    names: str
    value: str
    usage: str
    help: str


@dataclass(frozen=True)
class Command:
    """A command, or a subcommand with the words before it.

    :param arguments: of each group, by its title; without those that the command above has, too.
    :param notes: paragraphs.
    :param sections: lines by title: ``examples``, and of a whole command ``exit status``, ``environment``, ``files``.
    """

    words: str
    description: str
    arguments: dict[str, list[Argument]]
    notes: list[str]
    sections: dict[str, list[str]]
    subcommands: list[Command]

    @property
    def synopsis(self) -> str:
        words = [argument.usage for arguments in self.arguments.values() for argument in arguments if argument.usage]
        return " ".join([self.words, *words, *(["COMMAND ..."] if self.subcommands else [])])

    @property
    def everything(self) -> list[Command]:
        """This command and all below it."""
        return [self, *(each for command in self.subcommands for each in command.everything)]


def commands() -> list[Command]:
    """Give the installed commands."""
    return [_command(make(), ()) for make in PARSERS]


def examples(lines: Sequence[str]) -> list[str]:
    """Give examples as a shell takes them: what is said about one is a comment."""
    return [re.sub(r" {3,}", "   # ", line, count=1) for line in lines]


def _command(parser: argparse.ArgumentParser, above: tuple[argparse.ArgumentParser, ...]) -> Command:
    known = {name for each in above for action in each._actions for name in action.option_strings}
    arguments = {}
    for group in parser._action_groups:
        own = [_argument(action) for action in group._group_actions if _is_own(action, known)]
        if own:
            arguments[str(group.title)] = own
    notes, sections = take_apart(parser.epilog or "")
    nested = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    below = [_command(each, (*above, parser)) for action in nested for each in action.choices.values()]
    return Command(parser.prog, str(parser.description), arguments, notes, sections, below)


def _is_own(action: argparse.Action, known: set[str]) -> bool:
    return not isinstance(action, argparse._SubParsersAction) and not known.intersection(action.option_strings)


def _argument(action: argparse.Action) -> Argument:
    value = "" if action.nargs == 0 else _value(action)
    # Some versions of Python add the default of a flag that has a negative form, others do not.
    help = re.sub(r" \(default: (True|%\(default\)s)\)$", "", action.help or "").replace("%%", "%")
    if not action.option_strings:
        return Argument("", value, f"[{value}]" if action.nargs == "?" else value, help)
    if isinstance(action, argparse._HelpAction):
        return Argument(", ".join(action.option_strings), "", "", help)
    usage = f"{' | '.join(action.option_strings)} {value}".strip()
    repeated = " ..." if isinstance(action, argparse._AppendAction) else ""
    return Argument(", ".join(action.option_strings), value, usage if action.required else f"[{usage}]{repeated}", help)


def _value(action: argparse.Action) -> str:
    if action.metavar is None and action.choices is not None:
        return "{" + ",".join(map(str, action.choices)) + "}"
    return str(action.metavar or action.dest.upper())
