"""The end of ``--help``: paragraphs, and sections, which are headings of man pages and of ``docs/commands.md``, too.

A section is a line such as ``examples:`` and lines with two blanks before them; nothing comes after the sections.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping

_WIDTH = 116

#: Where settings stand, for the section ``files``.
ENV_FILE_HELP = "settings, one VARIABLE=value a line, in the working directory; the environment wins over it"


def listed(title: str, rows: Mapping[str, str]) -> str:
    """Give a section of names and what each of them is."""
    places = max(map(len, rows)) + 4
    lines = [f"{title}:"]
    for name, text in rows.items():
        first, *others = textwrap.wrap(text, _WIDTH - places)
        lines += [f"  {name.ljust(places - 4)}  {first}", *(" " * places + line for line in others)]
    return "\n".join(lines) + "\n"


def environment(*variables: str) -> str:
    """Give the section about settings, in the words that the settings have for themselves."""
    from pyoco_server.config import settings

    known = {setting.env: setting.help for setting in settings().values()}
    return listed("environment", {name: known[name] for name in variables})
