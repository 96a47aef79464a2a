"""``--print-completion``: shells complete subcommands, flags, values and files, with the script that is printed."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from pyoco_server.cli import admin, client, nats, server, worker
from pyoco_server.cli.completion import SHELLS
from tests.support.tools import need

MAINS = {
    "pyoco-server": server.main,
    "pyoco-worker": worker.main,
    "pyoco-client": client.main,
    "pyoco-server-admin": admin.main,
    "pyoco-nats": nats.main,
}
#: Completes the last of the words that it is given, and prints what it finds.
_COMPLETE = """
source "$1"
shift
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
"_shtab_${1//-/_}" "$1" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}" 2>/dev/null
printf '%s\\n' "${COMPREPLY[@]}"
"""


def script(prog: str, shell: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert MAINS[prog](["--print-completion", shell]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("prog", MAINS)
def test_every_command_has_a_script_for_every_shell(prog: str, shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert prog in script(prog, shell, capsys)


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("pyoco-client wat", ["watch"]),
        ("pyoco-client submit-yaml --work", ["--workflow-file"]),
        ("pyoco-client submit-yaml --workflow-file fl", ["flow.yaml"]),
        ("pyoco-client --server http://g:1 list --output ", ["json", "table"]),
        ("pyoco-client workers --state R", ["RUNNING"]),
        ("pyoco-client dlq re", ["replay"]),
        ("pyoco-client dlq replay --re", ["--reason"]),
        ("pyoco-server u", ["up"]),
        ("pyoco-server up --with-n", ["--with-nats-bootstrap"]),
        ("pyoco-worker --wheel-sync-dir fol", ["folder"]),
        ("pyoco-worker --no-w", ["--no-wheel-sync"]),
        ("pyoco-server-admin api-key cre", ["create"]),
        ("pyoco-server-admin api-key create --ten", ["--tenant"]),
        ("pyoco-nats doc", ["doctor"]),
    ],
)
def test_bash_completes_subcommands_flags_values_and_files(
    words: str, found: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    need("bash", "bash")
    (tmp_path / "flow.yaml").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "script").write_text(script(words.split()[0], "bash", capsys))
    done = subprocess.run(
        ["bash", "-c", _COMPLETE, "bash", "./script", *words.split(" ")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert done.stdout.split() == found, done


def test_a_shell_that_is_not_known_is_refused_with_those_that_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert server.main(["--print-completion", "cmd"]) == 1
    assert "choose from" in capsys.readouterr().err
