"""``--print-completion``: what makes a shell complete the words of a command, made from its parser by shtab."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from typing import Any

from pyoco_server.cli.exits import EXIT_DONE

SHELLS = ("bash", "zsh", "fish", "tcsh")


class PrintCompletion(argparse.Action):
    """``--print-completion SHELL``: print the script for a shell on stdout, and end."""

    def __init__(self, option_strings: Sequence[str], dest: str, **kwargs: Any) -> None:
        help = "print what makes a shell complete this command and exit"
        super().__init__(option_strings, argparse.SUPPRESS, choices=SHELLS, help=help)

    def __call__(self, parser: argparse.ArgumentParser, namespace: object, values: Any, *args: Any) -> None:
        # Takes longer than all else that --help does.
        import shtab

        for action in _actions(parser):
            # What shtab wants to know of an argument is an attribute of its action.
            kinds = {"FILE": shtab.FILE, "DIR": shtab.DIRECTORY}
            if action.metavar in kinds:
                vars(action)["complete"] = kinds[action.metavar]
        print(shtab.complete(parser, values))
        parser.exit(EXIT_DONE)


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Give the arguments of a parser and of all its subcommands."""
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for subparser in action.choices.values():
                yield from _actions(subparser)
