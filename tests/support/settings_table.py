"""The table of ``docs/config.md``, made from the settings records: ``python -m tests.support.settings_table``."""

from __future__ import annotations

from dataclasses import fields

from pyoco_server.config import Config, settings

HEADING = """\
# Settings

Environment variables, or lines of a `.env` file in the working directory. The environment wins over the file, and a
flag over both. `PYOCO_LOAD_DOTENV=0` turns the file off, `PYOCO_ENV_FILE` names another. A value that does not parse
is an error that names the variable, the value and what is expected. Names in `_SEC` are seconds, in `_BYTES` bytes.

| variable | default | expected | what it is |
|---|---|---|---|
"""


def table() -> str:
    """Give the whole document."""
    defaults = {item.name: item.default for item in fields(Config)}
    rows = [
        f"| `{setting.env}` | `{defaults[name]}` | {setting.expected} | {setting.help} |\n"
        for name, setting in settings().items()
    ]
    return HEADING + "".join(rows)


if __name__ == "__main__":
    print(table(), end="")
