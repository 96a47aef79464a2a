"""The set-up that bin/ does on first use, with a stand-in for uv: no network, no real packages."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

CLONE = Path(__file__).resolve().parents[2]

#: Makes an environment whose one command tells how it was called, and counts its own runs. A file `break` or
#: `hang` beside the count makes it fail, or stop half-way until it is killed.
FAKE_UV = """#!/bin/sh
case $1 in --version) echo uv; exit ;; python) exit 2 ;; esac
echo "$*" >>"$FAKE_UV_CALLS"
mkdir -p "$UV_PROJECT_ENVIRONMENT/bin"
[ ! -e "$FAKE_UV_CALLS.hang" ] || { : >"$UV_PROJECT_ENVIRONMENT/half-done"; exec sleep 60; }
[ ! -e "$FAKE_UV_CALLS.break" ] || { echo "no route to host" >&2; exit 2; }
ln -sf "$FAKE_PYTHON" "$UV_PROJECT_ENVIRONMENT/bin/python"
printf '#!/bin/sh\\necho "$PWD|$VIRTUAL_ENV|$*"\\n' >"$UV_PROJECT_ENVIRONMENT/bin/pyoco-client"
chmod +x "$UV_PROJECT_ENVIRONMENT/bin/pyoco-client"
"""


class Clone:
    def __init__(self, folder: Path) -> None:
        self.root = folder / "a clone"
        shutil.copytree(CLONE / "bin", self.root / "bin")
        for name in ("pyproject.toml", "setup.py"):
            shutil.copy(CLONE / name, self.root)
        fake = folder / "fake"
        fake.mkdir()
        (fake / "uv").write_text(FAKE_UV)
        (fake / "uv").chmod(0o755)
        self.calls_file = folder / "calls"
        self.env = {
            "PATH": f"{fake}:{os.environ['PATH']}",
            "HOME": str(folder),
            "FAKE_UV_CALLS": str(self.calls_file),
            "FAKE_PYTHON": sys.executable,
            "PYOCO_PYTHON": sys.executable,
        }

    def start(self, *args: str, script: Path | None = None, **env: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [script or self.root / "bin/pyoco-client", *args],
            env={**self.env, **env},
            cwd=self.calls_file.parent,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def run(self, *args: str, script: Path | None = None, **env: str) -> "subprocess.CompletedProcess[str]":
        process = self.start(*args, script=script, **env)
        out, err = process.communicate(timeout=30)
        return subprocess.CompletedProcess(args, process.returncode, out, err)

    def set_ups(self) -> int:
        return len(self.calls_file.read_text().splitlines()) if self.calls_file.exists() else 0


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    return Clone(tmp_path)


def test_the_first_start_sets_up_and_the_second_goes_straight_to_the_command(clone: Clone) -> None:
    first = clone.run("get", "two words")
    assert first.returncode == 0, first.stderr
    assert first.stdout == f"{clone.calls_file.parent}|{clone.root}/.venv|get two words\n"
    assert "Setting up" in first.stderr
    second = clone.run("get", "two words")
    assert (second.stdout, second.stderr) == (first.stdout, "")
    assert clone.set_ups() == 1


def test_a_symlink_to_a_script_finds_the_clone(clone: Clone, tmp_path: Path) -> None:
    link = tmp_path / "pyoco"
    link.symlink_to(clone.root / "bin/pyoco-client")
    assert f"|{clone.root}/.venv|" in clone.run(script=link).stdout


def test_two_first_starts_at_once_set_up_once(clone: Clone) -> None:
    starts = [clone.start(str(number)) for number in range(4)]
    for start in starts:
        _, err = start.communicate(timeout=30)
        assert start.returncode == 0, err
    assert clone.set_ups() == 1


def test_a_killed_set_up_is_repaired_by_the_next_start(clone: Clone) -> None:
    hang = Path(f"{clone.calls_file}.hang")
    hang.touch()
    half_done = clone.root / ".venv/half-done"
    process = clone.start()
    deadline = time.monotonic() + 20
    while not half_done.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(process.pid, 9)
    process.communicate()
    hang.unlink()
    after = clone.run("ready")
    assert after.returncode == 0, after.stderr
    assert not half_done.exists()


def test_a_failed_set_up_says_so_and_the_next_start_tries_again(clone: Clone) -> None:
    broken = Path(f"{clone.calls_file}.break")
    broken.touch()
    failed = clone.run()
    assert (failed.returncode, failed.stdout) == (1, "")
    assert "no route to host\npyoco-server: The set-up failed" in failed.stderr
    broken.unlink()
    assert clone.run().returncode == 0


def test_a_changed_pyproject_is_installed_by_the_next_start(clone: Clone) -> None:
    clone.run()
    with (clone.root / "pyproject.toml").open("a") as file:
        file.write("# changed\n")
    clone.run()
    clone.run()
    assert clone.set_ups() == 2


def test_a_clone_that_was_moved_is_set_up_anew(clone: Clone) -> None:
    clone.run()
    clone.root = clone.root.rename(clone.root.with_name("elsewhere"))
    assert f"|{clone.root}/.venv|" in clone.run().stdout
    assert clone.set_ups() == 2


def test_an_unknown_python_is_refused_in_one_sentence_and_leaves_the_environment_alone(clone: Clone) -> None:
    clone.run()
    refused = clone.run(PYOCO_PYTHON="python9.99")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith("pyoco-server: PYOCO_PYTHON=python9.99 names no Python 3.10 or newer")
    assert refused.stderr.count("\n") == 1
    assert clone.run().stderr == ""
