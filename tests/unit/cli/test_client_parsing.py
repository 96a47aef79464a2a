"""The command line of ``pyoco-client``: what is accepted, what is refused and how."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest

from pyoco_server.cli.client import get_parser, main
from pyoco_server.cli.client_command import api_key_of
from pyoco_server.cli.params import gather
from pyoco_server.errors import InvalidCommand

COMMANDS = ("submit", "submit-yaml", "get", "tasks", "list", "list-vnext", "watch")
#: The least that each command accepts.
LEAST = {
    "submit": ["submit"],
    "submit-yaml": ["submit-yaml", "--workflow-file", "f", "--flow-name", "main", "--tag", "t"],
    "get": ["get", "r1"],
    "tasks": ["tasks", "r1"],
    "list": ["list"],
    "list-vnext": ["list-vnext"],
    "watch": ["watch", "r1"],
}


def fail(message: str) -> NoReturn:
    raise InvalidCommand(message)


class TestFlags:
    @pytest.mark.parametrize("command", COMMANDS)
    def test_connection_flags_stand_before_or_after_the_command(self, command: str) -> None:
        connection = ["--server", "http://g:1", "--api-key", "k", "--api-key-header", "X-K"]
        for argv in ([*connection, *LEAST[command]], [*LEAST[command], *connection]):
            args = get_parser().parse_args(argv)
            assert (args.server, args.api_key, args.api_key_header) == ("http://g:1", "k", "X-K")

    @pytest.mark.parametrize("command", COMMANDS)
    def test_connection_defaults_are_those_of_the_contract(self, command: str) -> None:
        args = get_parser().parse_args(LEAST[command])
        assert (args.server, args.api_key, args.api_key_header) == (
            "http://127.0.0.1:8000",
            None,
            "X-API-Key",
        )

    def test_the_flow_is_main_unless_it_is_named(self) -> None:
        assert get_parser().parse_args(["submit"]).flow_name == "main"

    @pytest.mark.parametrize(("line", "known"), [("rerun --run-id r1", "rerun"), ("dlq show 1 --all", "dlq show")])
    def test_what_nobody_knows_is_refused_with_the_example_of_the_subcommand(self, line: str, known: str) -> None:
        with pytest.raises(InvalidCommand, match="unrecognized arguments: --") as caught:
            get_parser().parse_args(line.split())
        example, help = caught.value.hints
        assert example.startswith(f"example: pyoco-client {known} ")
        assert help == f"help: pyoco-client {known} --help"

    def test_lists_are_json_unless_a_table_is_asked_for(self) -> None:
        assert get_parser().parse_args(["list"]).output == "json"
        assert get_parser().parse_args(["list-vnext", "--output", "table"]).output == "table"

    def test_all_flags_of_watch_are_read(self) -> None:
        argv = "watch r1 --records --since 1.5 --timeout-sec 7 --max-events 3 --until-terminal --output status"
        args = get_parser().parse_args(argv.split())
        assert (args.run_id, args.records, args.since, args.timeout_sec) == ("r1", True, 1.5, 7)
        assert (args.max_events, args.until_terminal, args.output) == (3, True, "status")

    @pytest.mark.parametrize("command", COMMANDS)
    def test_the_example_that_errors_show_is_of_the_same_command(self, command: str) -> None:
        with pytest.raises(InvalidCommand, match="why") as caught:
            get_parser().parse_args(LEAST[command]).fail("why")
        assert f"{caught.value.hints[0]} ".startswith(f"example: pyoco-client {command} ")


class TestApiKey:
    @pytest.mark.parametrize("content", ["pyoco_id.secret", "pyoco_id.secret\n", " pyoco_id.secret \r\n"])
    def test_a_key_is_read_from_a_file(self, tmp_path: Path, content: str) -> None:
        (tmp_path / "key").write_text(content)
        args = get_parser().parse_args(["list", "--api-key-file", str(tmp_path / "key")])
        assert api_key_of(args) == "pyoco_id.secret"

    @pytest.mark.parametrize(
        ("argv", "words"),
        [
            (["--api-key", "k", "list", "--api-key-file", "f"], "--api-key and --api-key-file: give one of them"),
            (["--api-key-file", "/no/such/file", "list"], "--api-key-file /no/such/file cannot be read"),
            (["--api-key-file", "/dev/null", "list"], "The API key must be printable ASCII"),
        ],
    )
    def test_a_key_that_cannot_be_read_is_refused(
        self, argv: list[str], words: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(argv) == 1
        assert capsys.readouterr().err.startswith(f"ERR-PYOCO-0018 {words}")


class TestRefusals:
    @pytest.mark.parametrize(
        ("argv", "words"),
        [
            ([], "COMMAND"),
            (["fly"], "invalid choice: 'fly'"),
            (["submit-yaml", "--workflow-file", "f", "--flow-name", "main"], "--tag"),
            (["get"], "RUN_ID"),
            (["list", "--limit", "many"], "--limit"),
            (["list", "--output", "plugins"], "--output"),
            (["watch", "r1", "--timeout-sec", "0"], "must be at least 1, not 0"),
            (["watch", "r1", "--timeout-sec", "1.5"], "invalid whole number value: '1.5'"),
            (["watch", "r1", "--max-events", "-1"], "must be at least 0, not -1"),
            (["get", "r1", "r2"], "r2"),
            (["get", ""], "'' is not the id of a run"),
            (["list", "--api-key", "é"], "The API key must be printable ASCII"),
            (["submit", "--params", "{"], "--params is not JSON"),
            (["submit", "--params", "[1]"], "--params must be an object of names and values, not a list"),
            (["submit", "--param", "x"], "--param 'x' is not KEY=VALUE"),
            (["submit", "--param", " =1"], "--param ' =1' is not KEY=VALUE"),
            (
                ["submit", "--params-file", "/no/such/file"],
                "--params-file /no/such/file cannot be read: No such",
            ),
            (
                ["submit-yaml", "--workflow-file", "/", "--flow-name", "f", "--tag", "t"],
                "--workflow-file / cannot",
            ),
        ],
    )
    def test_a_bad_command_line_is_exit_1_with_reason_example_and_help(
        self, argv: list[str], words: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(argv) == 1
        out, err = capsys.readouterr()
        assert out == ""
        first, *rest = err.splitlines()
        assert first.startswith("ERR-PYOCO-0018 ") and words in first
        assert rest[0].startswith("  example: pyoco-client ")
        assert rest[1].startswith("  help: pyoco-client") and rest[1].endswith(" --help")

    def test_a_workflow_that_is_no_text_is_refused_with_the_place(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        file = tmp_path / "flow.yaml"
        file.write_bytes(b"ok\xff")
        assert main(["submit-yaml", "--workflow-file", str(file), "--flow-name", "f", "--tag", "t"]) == 1
        assert "is not UTF-8 text: invalid start byte at byte 2" in capsys.readouterr().err

    def test_no_gateway_is_exit_1_and_names_the_address(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["--server", "no-scheme", "list"]) == 1
        out, err = capsys.readouterr()
        assert out == "" and err.startswith("ERR-PYOCO-HTTP 'no-scheme' is not the address of a gateway")


class TestParams:
    def test_later_wins_file_then_json_then_assignments(self, tmp_path: Path) -> None:
        file = tmp_path / "params.yaml"
        file.write_text("a: 1\nb: 1\nc: 1\n")
        given = gather(str(file), '{"b": 2, "c": 2}', ["c=3", "d=4", "d=5"], fail)
        assert given == {"a": 1, "b": 2, "c": 3, "d": 5}

    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("1", 1),
            ("1.5", 1.5),
            ("true", True),
            ("null", None),
            ("[1, 2]", [1, 2]),
            ('{"k": "v"}', {"k": "v"}),
            ('"1"', "1"),
            ("alice", "alice"),
            ("a=b", "a=b"),
            ("", ""),
            ("01", "01"),
            ("NaN", "NaN"),
            ("-Infinity", "-Infinity"),
            ("1e999", "1e999"),
            ("[" * 100_000, "[" * 100_000),
        ],
    )
    def test_a_value_is_json_where_it_parses_else_text(self, text: str, value: object) -> None:
        assert gather(None, None, [f"x={text}"], fail) == {"x": value}

    @pytest.mark.parametrize("content", ['{"x": [1, "あ"]}', "x:\n- 1\n- あ\n", "\ufeffx: [1, あ]"])
    def test_a_file_is_json_or_yaml(self, tmp_path: Path, content: str) -> None:
        file = tmp_path / "params"
        file.write_text(content, encoding="utf-8")
        assert gather(str(file), None, [], fail) == {"x": [1, "あ"]}

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            ("", "not nothing"),
            ("- 1", "not a list"),
            ("just words", "not a text"),
            ("x: [1", "neither JSON nor YAML"),
            ("1: x", "a name that is not text: 1"),
            ("day: 2026-01-01", "JSON cannot carry"),
            ("x: .inf", "JSON cannot carry"),
            ("x: !!python/name:os.system", "neither JSON nor YAML"),
        ],
    )
    def test_a_file_that_holds_no_parameters_is_refused_by_name(self, tmp_path: Path, content: str, words: str) -> None:
        file = tmp_path / "params"
        file.write_text(content)
        with pytest.raises(InvalidCommand, match=words) as caught:
            gather(str(file), None, [], fail)
        assert str(file) in str(caught.value)


class TestHelp:
    @pytest.mark.parametrize("argv", [[], *[[command] for command in COMMANDS]])
    def test_help_goes_to_stdout_with_examples_and_is_exit_0(
        self, argv: list[str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main([*argv, "--help"]) == 0
        out, err = capsys.readouterr()
        assert out.startswith("usage: pyoco-client") and "examples:\n" in out
        assert err == ""

    def test_version_goes_to_stdout(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["--version"]) == 0
        assert capsys.readouterr().out.startswith("pyoco-client ")

    def test_the_parser_is_built_without_anything_heavy(self) -> None:
        code = (
            "import sys; import pyoco_server.cli.client as c; c.get_parser();"
            "print(sorted({'requests', 'rich', 'yaml', 'urllib3', 'nats', 'flask'} & set(sys.modules)))"
        )
        ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
        assert ran.stdout.strip() == "[]"
