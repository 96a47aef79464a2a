"""How every command ends: errors to exit statuses, and the parser whose errors are errors of ours.

Source: contract, section 5, first paragraph.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

from pyoco_server.cli.epilogs import HelpFormatter
from pyoco_server.errors import GatewayRefused, GatewayUnreachable, InvalidCommand, PyocoServerError, Unavailable

#: The command did what was asked.
EXIT_DONE = 0
#: Something that the user can mend: a bad argument, an HTTP error, nobody there. Not argparse's 2.
EXIT_MENDABLE = 1
#: What was named does not exist (``revoke`` of an unknown key).
EXIT_NOT_FOUND = 2
#: What was looked at works, and something needs to be looked after (``doctor``, ``status``).
EXIT_WARNINGS = 3
#: Something does not work (``doctor``, ``status``).
EXIT_FAULTS = 4
#: Ctrl-C: 128 and the number of SIGINT, as a shell says it.
EXIT_INTERRUPTED = 130

Main = Callable[[Sequence[str] | None], int]


def command(prog: str) -> Callable[[Main], Callable[..., int]]:
    """Make a ``main`` that never raises: whatever happens becomes an exit status and words on stderr.

    :param prog: name of the command, for the message of an error that nobody expected.
    :return: a decorator of ``main(argv) -> int``; the result may be called without ``argv``, which then is
        the process's own.
    """

    def decorate(main: Main) -> Callable[..., int]:
        @functools.wraps(main)
        def wrapped(argv: Sequence[str] | None = None) -> int:
            try:
                _open_closed_streams()
                _forgive_encoding()
                status = main(argv)
                # Else a full disk or a closed pipe shows only while the interpreter ends, as status 120.
                sys.stdout.flush()
                return status
            except SystemExit as exc:
                return _status_of_help(exc)
            except KeyboardInterrupt:
                return EXIT_INTERRUPTED
            except PyocoServerError as exc:
                return _say("\n".join(_told(exc, prog)), exc.exit_code)
            except BrokenPipeError as exc:
                return EXIT_DONE if _stdout_is_closed() else _unexpected(prog, exc)
            except Exception as exc:
                return _unexpected(prog, exc)

        return wrapped

    return decorate


class CommandParser(argparse.ArgumentParser):
    """A parser whose errors are :class:`InvalidCommand`, with an example of how it is done.

    Its namespace has ``parser``, the parser of the subcommand that was given.

    :param example: a command line that works; shown with each error.
    :param epilog: see :mod:`pyoco_server.cli.epilogs`.
    """

    def __init__(self, *args: Any, example: str = "", **kwargs: Any) -> None:
        kwargs.setdefault("formatter_class", HelpFormatter)
        super().__init__(*args, **kwargs)
        self._example = example
        # Of nested parsers the innermost wins: the one that knows what was meant.
        self.set_defaults(parser=self)

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Read a command line; what nobody knows is refused by the subcommand that was given."""
        found, unknown = self.parse_known_args(args, namespace)
        if unknown:
            found.parser.error(f"unrecognized arguments: {' '.join(unknown)}")
        return found

    def error(self, message: str) -> NoReturn:
        """Refuse the command line, or a value found wrong later on.

        :raises InvalidCommand: always.
        """
        with self.explaining():
            raise InvalidCommand(message)

    @contextlib.contextmanager
    def explaining(self) -> Iterator[None]:
        """Give an error of what was asked, or of whom, the example of this command as it passes here."""
        try:
            yield
        except (InvalidCommand, GatewayRefused, GatewayUnreachable, Unavailable) as exc:
            exc.hints = exc.hints or self._hints
            raise

    @property
    def _hints(self) -> tuple[str, ...]:
        help = f"help: {self.prog} --help"
        return (f"example: {self._example}", help) if self._example else (help,)


class ShowVersion(argparse.Action):
    """``--version``: print name and version on stdout, and end."""

    def __init__(self, option_strings: Sequence[str], dest: str, **kwargs: Any) -> None:
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, help="print the version and exit")

    def __call__(self, parser: argparse.ArgumentParser, *args: Any, **kwargs: Any) -> None:
        # Reading the metadata costs more than the rest of the start: only on demand.
        from importlib.metadata import PackageNotFoundError, version

        try:
            number = version("pyoco-server")
        except PackageNotFoundError:
            number = "(not installed)"
        print(parser.prog, number)
        parser.exit(EXIT_DONE)


def _told(exc: PyocoServerError, prog: str) -> list[str]:
    """Give what is said of an error, line by line: id and reason; its title in the locale's language; what helps."""
    # Only now: these would cost every command some milliseconds.
    from pyoco_server.config import locale_lang
    from pyoco_server.titles import title_of

    lang = locale_lang()
    title = [] if lang == "en" else [title_of(exc, lang)]
    return [f"{exc.err_id or prog + ':'} {exc.detail}", *(f"  {line}" for line in (*title, *exc.hints))]


def _say(message: str, status: int) -> int:
    # A stderr that is closed or full must not turn the status into another.
    try:
        print(message, file=sys.stderr, flush=True)
    except OSError:
        pass
    return status


def _status_of_help(exc: SystemExit) -> int:
    """``--help`` and ``--version`` end by ``SystemExit``, and so may code that was not written here."""
    if exc.code is None or isinstance(exc.code, int):
        return exc.code or EXIT_DONE
    return _say(str(exc.code), EXIT_MENDABLE)


def _unexpected(prog: str, exc: Exception) -> int:
    _discard_output()
    if _wants_traceback():
        import traceback

        traceback.print_exception(type(exc), exc, exc.__traceback__)
    words = " ".join(str(exc).split())
    what = f"{type(exc).__name__}: {words}" if words else type(exc).__name__
    hint = "PYOCO_LOG_LEVEL=DEBUG shows where it comes from."
    return _say(f"{prog}: unexpected {what}. {hint}", EXIT_MENDABLE)


def _wants_traceback() -> bool:
    from pyoco_server.config import Config

    try:
        return Config.from_env().log_level == "DEBUG"
    except PyocoServerError:
        return False


def _open_closed_streams() -> None:
    """Open the null device where a standard stream is closed (``>&-``): else a socket would get its number."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            null = os.open(os.devnull, os.O_RDWR)
            if null != number:
                os.dup2(null, number)
                os.close(null)
            setattr(sys, name, open(number, "w" if number else "r", closefd=False))


def _forgive_encoding() -> None:
    """A locale without a character must not turn a message into an error."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def _stdout_is_closed() -> bool:
    """Say whether the reader of stdout has gone (``… | head -1``); if so nothing more is written there.

    It has what it wanted, so that is no failure.
    """
    import select

    try:
        descriptor = sys.stdout.fileno()
    except (OSError, ValueError):
        return False
    poll = select.poll()
    # No event is asked for: an error or a hang-up is reported all the same.
    poll.register(descriptor, 0)
    if not poll.poll(0):
        return False
    _redirect_to_null(descriptor)
    return True


def _discard_output() -> None:
    """Give up what stdout cannot take: the interpreter would try again while it ends, and end with 120."""
    try:
        sys.stdout.flush()
    except OSError:
        _redirect_to_null(sys.stdout.fileno())


def _redirect_to_null(descriptor: int) -> None:
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, descriptor)
    os.close(null)
