"""``docs/config.md``, made from the settings records: ``python -m tests.support.settings_table > docs/config.md``."""

from __future__ import annotations

import ast
import importlib.util
from dataclasses import fields
from pathlib import Path
from typing import Any

import grimp

from pyoco_server.config import ENV_FILE, LOAD_DOTENV, Config, settings
from pyoco_server.setting import Setting
from pyoco_server.sign_in import SignIn

_INTRODUCTION = f"""\
# Settings

Environment variables, or lines of a `.env` file in the working directory. The environment wins over the file, and a
flag over both. They are read once, when a process starts. A value that does not parse is an error that names the
variable, the value and what is expected. Names in `_SEC` are seconds, in `_BYTES` bytes.

| variable | default | what it is |
|---|---|---|
| `{LOAD_DOTENV}` | `1` | `0`: no file is read |
| `{ENV_FILE}` | (none) | another file, which must exist |

These two stand in the environment alone. The file is looked for in the working directory and nowhere above it.

A secret (password and token for NATS, `PYOCO_AUTH_PEPPER`) can stand in a file, which a variable of its name and
`_FILE` names, such as `PYOCO_NATS_PASSWORD_FILE`; a line break at its end is none of it.

Names of streams, buckets and subjects must be the same for all gateways and workers of an installation, and for
`pyoco-server-admin` and `pyoco-nats`, whose `doctor` compares them with what is there.
What a setting says of a stream, a bucket or a consumer counts when it is made; what is there stays as it is
([spec.md](spec.md#nats)). `PYOCO_WORKERS_KV_TTL_SEC` of 0.5.1 is not read: a lost worker stays visible until
`PYOCO_WORKER_RETENTION_SEC` has passed.
"""
_HEADINGS = {
    ("gateway", "worker"): "## Gateway and worker",
    ("gateway",): "## Gateway alone",
    (
        "worker",
    ): "## Worker alone\n\nA worker refuses to start where `PYOCO_ACK_PROGRESS_INTERVAL_SEC` is not less than\n"
    "`PYOCO_CONSUMER_ACK_WAIT_SEC`, or `PYOCO_RUN_HEARTBEAT_INTERVAL_SEC` not less than\n"
    "`PYOCO_WORKER_DISCONNECT_TIMEOUT_SEC`.",
    (): "## `pyoco-server up`, for the NATS that it starts",
}
_COLUMNS = "| variable | default | expected | what it is |\n|---|---|---|---|\n"
#: Where the code of each process begins.
_ROOTS = {
    "gateway": ("pyoco_server.gateway.serve",),
    "worker": ("pyoco_server.worker.supervisor", "pyoco_server.worker.sentinel_process", "pyoco_server.cli.worker"),
}
#: What stands for a setting in the code besides its name.
_ALIASES = {
    "asks_for_keys": {"http_auth_mode"},
    "time_limit_sec": {"run_timeout_sec"},
    "allowed_patterns": {"worker_allow"},
    "sign_in": {f"nats_{item.name}" for item in fields(SignIn)},
}


def document() -> str:
    """Give the whole document: the settings by the processes that read them."""
    readers = _readers()
    defaults = {item.name: item.default for item in fields(Config)}
    text = _INTRODUCTION
    for processes, heading in _HEADINGS.items():
        rows = [
            f"| `{record.env}` | {_code(written(record, defaults[name]))} | {record.expected} | {record.help} |\n"
            for name, record in settings().items()
            if readers[name] == processes
        ]
        text += f"\n{heading}\n\n{_COLUMNS}{''.join(rows)}"
    return text


def written(record: Setting, default: Any) -> str:
    """Give a default as one writes it into a variable."""
    if record.default_text is not None:
        return record.default_text
    if isinstance(default, bool):
        return str(default).lower()
    return f"{default:.15g}" if isinstance(default, float) else str(default)


def _code(text: str) -> str:
    return f"`{text}`" if text else "(empty)"


def _readers() -> dict[str, tuple[str, ...]]:
    """Give the processes that read each setting: those with a module that names it."""
    # Else the package itself, which names its Python API for type checkers, would lead everybody to all of it.
    graph = grimp.build_graph("pyoco_server", exclude_type_checking_imports=True)
    found: dict[str, tuple[str, ...]] = dict.fromkeys(settings(), ())
    for process, roots in _ROOTS.items():
        modules = set(roots).union(*(graph.find_upstream_modules(root) for root in roots))
        named = set().union(*(_named(module) for module in modules - {"pyoco_server.config"}))
        for name in named:
            found[name] = (*found[name], process)
    return found


def _named(module: str) -> set[str]:
    """Give the settings that a module reads, as in ``self._config.consumer_max_deliver``."""
    spec = importlib.util.find_spec(module)
    assert spec is not None and spec.origin is not None
    names: set[str] = set()
    for node in ast.walk(ast.parse(Path(spec.origin).read_text())):
        if isinstance(node, ast.Attribute) and isinstance(node.value, (ast.Name, ast.Attribute)):
            owner = node.value.id if isinstance(node.value, ast.Name) else node.value.attr
            if owner in ("config", "_config"):
                names |= _ALIASES.get(node.attr, {node.attr})
    return names & set(settings())


if __name__ == "__main__":
    print(document(), end="")
