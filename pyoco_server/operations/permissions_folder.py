"""Permissions as files for nats-server, with a password of its own for each role, and for whoever signs in with it.

Source: nats-server, ``authorization`` of a server and of its ``cluster``.
"""

from __future__ import annotations

import contextlib
import json
import re
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path

from pyoco_server.config import Config
from pyoco_server.contract import names
from pyoco_server.errors import InvalidCommand
from pyoco_server.node import PERMISSIONS_FILE, ROUTES_FILE
from pyoco_server.operations.permissions import ANY, permissions
from pyoco_server.store_folder import write_whole

#: The user that nodes of a cluster sign in as with each other.
_ROUTE_USER = "pyoco_route"
_HEAD = """\
# What the roles of pyoco-server may do on NATS. pyoco-nats permissions has made this; do not change it by hand.
"""


def user(role: str) -> str:
    """Give the name that a role signs in with."""
    return f"pyoco_{role}"


def server_text(config: Config, passwords: Mapping[str, str], tags: Sequence[str] = (ANY,)) -> str:
    """Write the permissions of all roles, as a part of the configuration of nats-server.

    :param passwords: of each role; a word that begins with ``$`` is a variable of the server's environment.
    :param tags: those whose jobs workers may take.
    """
    lines = [_HEAD + "authorization {", "  users: ["]
    for role in names.ROLES:
        allowed = permissions(config, role, tags)
        lines += [
            "    {",
            f"      user: {user(role)}",
            f"      password: {_word(passwords[role])}",
            "      permissions: {",
        ]
        for kind, subjects in (("publish", allowed.publish), ("subscribe", allowed.subscribe)):
            lines.append(f"        {kind}: {{ allow: [")
            # Some requests belong to several uses of a stream.
            lines += [f"          {json.dumps(subject)}" for subject in dict.fromkeys(subjects)]
            lines.append("        ] }")
        lines += ["      }", "    }"]
    return "\n".join([*lines, "  ]", "}"]) + "\n"


def variables() -> dict[str, str]:
    """Give the variables that stand for the passwords where no file keeps them."""
    return {role: f"$PYOCO_{role.upper()}_PASSWORD" for role in names.ROLES}


def write_folder(config: Config, folder: Path, tags: Sequence[str]) -> list[Path]:
    """Write the files of nodes and roles; a password that stands in the folder already stays as it is.

    :return: the files, which nobody but their owner can read.
    :raises InvalidCommand: the folder cannot be written.
    """
    passwords = {role: _password(folder / f"{role}.env") for role in names.ROLES}
    texts = {PERMISSIONS_FILE: server_text(config, passwords, tags)}
    texts[ROUTES_FILE] = f"{_HEAD}user: {_ROUTE_USER}\npassword: {_word(_password(folder / ROUTES_FILE))}\n"
    for role, password in passwords.items():
        texts[f"{role}.env"] = f"PYOCO_NATS_USER={user(role)}\nPYOCO_NATS_PASSWORD={password}\n"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, text in texts.items():
            write_whole(folder / name, text)
    except OSError as exc:
        raise InvalidCommand(f"Permissions cannot be written to {folder}: {exc.strerror}.") from exc
    return [folder / name for name in texts]


def _password(path: Path) -> str:
    """Find the password in a file, or make one."""
    with contextlib.suppress(FileNotFoundError):
        found = re.search(r"^(?:PYOCO_NATS_PASSWORD=|password: )\"?([\w-]+)\"?$", path.read_text(), re.MULTILINE)
        if found is None:
            raise InvalidCommand(f"{path} is there, and holds no password of pyoco-nats permissions: move it away.")
        return found[1]
    return secrets.token_urlsafe(24)


def _word(text: str) -> str:
    return text if text.startswith("$") else json.dumps(text)
