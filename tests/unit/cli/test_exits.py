"""The wrapper of every command: each way to end has its status, and words on stderr alone."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from pyoco_server.cli.exits import command
from pyoco_server.errors import GatewayUnreachable, InvalidCommand, PyocoServerError

ROOT = Path(__file__).parents[3]


def ending(exc: BaseException | None = None, status: int = 0) -> int:
    @command("pyoco-test")
    def main(argv: Sequence[str] | None = None) -> int:
        if exc is not None:
            raise exc
        return status

    return main([])


class OddEnd(PyocoServerError):
    """An error with a status of its own."""

    exit_code = 2


@pytest.mark.parametrize(
    ("exc", "status", "words"),
    [
        (InvalidCommand("no such file"), 1, "ERR-PYOCO-0018 no such file\n"),
        (GatewayUnreachable("nobody there"), 1, "ERR-PYOCO-HTTP nobody there\n"),
        (OddEnd(), 2, "pyoco-test: An error with a status of its own.\n"),
        (KeyboardInterrupt(), 130, ""),
        (SystemExit(0), 0, ""),
        (SystemExit(None), 0, ""),
        (SystemExit(3), 3, ""),
        (SystemExit("words"), 1, "words\n"),
    ],
)
def test_each_error_has_its_status_and_its_words(
    exc: BaseException, status: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ending(exc) == status
    assert capsys.readouterr() == ("", words)


def test_the_status_of_a_main_is_passed_on() -> None:
    assert ending(status=2) == 2


def test_an_unexpected_error_is_one_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYOCO_LOG_LEVEL", raising=False)
    assert ending(ValueError("two\nlines")) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("pyoco-test: unexpected ValueError: two lines.")


def test_an_unexpected_error_shows_where_it_comes_from_when_asked(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYOCO_LOG_LEVEL", "debug")
    assert ending(ValueError("x")) == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_bad_log_level_does_not_hide_an_unexpected_error(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYOCO_LOG_LEVEL", "loud")
    assert ending(ValueError("x")) == 1
    assert "unexpected ValueError: x" in capsys.readouterr().err


def run_in_shell(script: str, body: str) -> subprocess.CompletedProcess[str]:
    """Run a command whose ``main`` is ``body``, as ``$MAIN`` of a shell script."""
    code = (
        "import sys\n"
        "from pyoco_server.cli.exits import command\n"
        "@command('pyoco-test')\n"
        f"def main(argv=None):\n    {body}\n    return 0\n"
        "sys.exit(main())\n"
    )
    return subprocess.run(
        ["bash", "-c", script],
        env={"MAIN": code, "PYTHON": sys.executable, "PATH": "/usr/bin:/bin", "LC_ALL": "POSIX"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
    )


@pytest.mark.parametrize("body", ["print('x' * 100_000)", "print('x')", "print('x' * 100_000, flush=True)"])
def test_a_reader_that_has_gone_is_no_failure_and_no_noise(body: str) -> None:
    # The fifo's reader opens and closes before a byte is written, however the two are scheduled.
    wait = "import select; p = select.poll(); p.register(1, 0); p.poll(10_000)"
    ran = run_in_shell('"$PYTHON" -c "$MAIN" | true; echo "${PIPESTATUS[0]}"', f"{wait}; {body}")
    assert (ran.stdout, ran.stderr) == ("0\n", "")


def test_a_broken_pipe_that_is_not_stdout_is_a_failure() -> None:
    ran = run_in_shell('"$PYTHON" -c "$MAIN"', "raise BrokenPipeError(32, 'Broken pipe')")
    assert ran.returncode == 1
    assert ran.stderr.startswith("pyoco-test: unexpected BrokenPipeError: [Errno 32] Broken pipe.")


def test_output_that_cannot_be_written_is_a_failure() -> None:
    # A limit on files stands for a disk that is full.
    script = 'out=$(mktemp); ulimit -f 0; "$PYTHON" -c "$MAIN" > "$out"; status=$?; rm "$out"; exit $status'
    ran = run_in_shell(script, "print('x')")
    assert ran.returncode == 1
    assert ran.stderr.startswith("pyoco-test: unexpected OSError: [Errno 27] File too large.")


def test_a_character_that_the_locale_lacks_is_written_as_its_number() -> None:
    ran = run_in_shell('PYTHONUTF8=0 PYTHONIOENCODING=ascii "$PYTHON" -c "$MAIN"', "print('a\\u2026b')")
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "a\\u2026b\n", "")
