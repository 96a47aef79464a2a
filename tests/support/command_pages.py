"""``docs/commands.md``, made from the parsers: ``python -m tests.support.command_pages > docs/commands.md``."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence

from pyoco_server.cli.epilogs import EXAMPLES, rows
from tests.support.command_reference import Argument, Command, commands, examples

_INTRODUCTION = """\
# Commands

Made from the commands' own parsers; `--help` and the man pages say the same: `man pyoco-client` where they are
installed, `man man/pyoco-client.1` in a clone.

**stdout is data, stderr is talk.** What a command was asked for stands on stdout, as one JSON document on one line
unless another form is asked for; progress, warnings and errors go to stderr. With `--output table` cells are whole in a
pipe; in a terminal they are cut so that a line fits. `NO_COLOR` turns colours off. Nothing asks a question, so cron is
safe.

**Exit status**: 0 done; 1 anything that one can mend (a bad argument, an HTTP error, nobody there); 2 what was named
does not exist (`api-key revoke`); 3 warnings and 4 faults (`status`, `doctor`); 130 Ctrl-C. An error begins with its id
and shows an example of how it is done; then nothing is on stdout, except for results that were there before it, as with
`--each`, `--wait` and `watch`:

```
ERR-PYOCO-HTTP HTTP 404 GET /runs/x: There is no run x.
  example: pyoco-client get RUN_ID
  help: pyoco-client get --help
```
"""
#: What commands say; all ids stand in docs/spec.md.
_ERRORS = {
    "ERR-PYOCO-0018": "a bad argument or setting, a file that cannot be read, a wheel that fails the preflight, a "
    "flow resolver that cannot be imported or called, a port in use, whatever goes wrong with --with-nats-bootstrap",
    "ERR-PYOCO-HTTP": "no connection to the gateway, or its answer: HTTP status, method, path and what is wrong",
    "ERR-PYOCO-CANCEL": "cancel --wait: the run has not ended in time; the request stands",
    "ERR-PYOCO-RUN": "--wait and watch --exit-status: the run is not COMPLETED",
    "ERR-PYOCO-0003": "no NATS server answers (pyoco-nats, pyoco-server-admin, pyoco-worker --run-once)",
}
_USES = """
**In cron**, one line submits a run, waits for its end and says by its status how that was; the key makes it safe to
repeat:

```
0 2 * * *  pyoco-client submit --flow-name nightly --idempotency-key "nightly $(date +\\%F)" --wait >/dev/null
```

**Completion**: `--print-completion bash` (zsh, fish, tcsh) prints what makes a shell complete subcommands, flags,
values and files. Bash looks for it where an example of each command puts it, fish in
`~/.config/fish/completions/pyoco-client.fish`, zsh in a file `_pyoco-client` in a folder of `$fpath`.
"""
_TITLES = {"positional arguments": "arguments"}


def document() -> str:
    """Give the whole document."""
    lines = [line for command in commands() for line in _chapter(command, 2)]
    return _INTRODUCTION + "\n".join(_table("id", _ERRORS)) + "\n" + _USES + "\n".join(lines) + "\n"


def _chapter(command: Command, level: int) -> Iterator[str]:
    yield from ("", f"{'#' * level} {command.words}", "", *_wrapped(command.description))
    yield from (
        "",
        "```",
        *textwrap.wrap(command.synopsis, 116, subsequent_indent="    ", break_on_hyphens=False),
        "```",
    )
    for note in command.notes:
        yield from ("", *_wrapped(note))
    for title, arguments in command.arguments.items():
        yield from _table(_TITLES.get(title, title), {_name(argument): argument.help for argument in arguments})
    for title, lines in command.sections.items():
        if title == EXAMPLES:
            yield from ("", "```sh", *examples(lines), "```")
        else:
            yield from _table(title, rows(lines))
    for below in command.subcommands:
        yield from _chapter(below, level + 1)


def _table(title: str, cells: Mapping[str, str]) -> Sequence[str]:
    lines = [f"| `{name}` | {_with_code(text)} |" for name, text in cells.items()]
    return ["", f"| {title} | |", "|---|---|", *lines]


def _name(argument: Argument) -> str:
    return f"{argument.names} {argument.value}".strip()


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(_with_code(text), 120, break_on_hyphens=False)


def _with_code(text: str) -> str:
    """Mark flags and variables as code."""
    return re.sub(r"(?<![\w-])(--[a-z][a-z-]*|(PYOCO|NO)_[A-Z_]+)\b", r"`\1`", text)


if __name__ == "__main__":
    print(document(), end="")
