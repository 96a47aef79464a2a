"""What ``pyoco-client`` makes of fields that it does not know yet."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pyoco_server.cli.client import main
from tests.support.fake_gateway import fake_gateway, json_answer


def test_a_warning_that_says_more_than_is_known_is_shown_and_the_run_is_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workflow = tmp_path / "flow.yaml"
    workflow.write_text("version: 1")
    warning = {"loc": "tasks.a", "msg": "is not used", "line": 2, "column": 3, "severity": "low"}
    answer = {"run_id": "r1", "status": "PENDING", "warnings": [warning]}
    with fake_gateway() as gateway:
        gateway.answers = [json_answer(answer)]
        command = ["submit-yaml", "--workflow-file", str(workflow), "--flow-name", "main", "--tag", "t"]
        assert main(["--server", gateway.url, *command]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out) == answer
    assert err == f"pyoco-client: warning: {workflow}: line 2, column 3: tasks.a: is not used\n"
