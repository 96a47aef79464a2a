"""The time limit of a run, in each of the ways to submit one."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.conftest import HELLO_FLOW
from tests.support.gateway import LocalGateway, fault_places
from tests.support.parts import Parts

WAYS = {
    "/runs": {"json": {"flow_name": "main", "timeout_sec": 2.5}},
    "/runs/yaml": {"files": {"workflow": HELLO_FLOW}, "data": {"flow_name": "main", "timeout_sec": "2.5"}},
    "/runs/yaml?flow_name=main&timeout_sec=2.5": {"data": HELLO_FLOW, "headers": {"Content-Type": "text/plain"}},
    "/runs/batch": {"json": {"runs": [{"flow_name": "main", "timeout_sec": 2.5}]}},
    "/runs/batch?": {"json": {"workflow": HELLO_FLOW, "flow_name": "main", "params": [{}], "timeout_sec": 2.5}},
}


@pytest.mark.parametrize("path", WAYS)
def test_limit_is_stored_and_carried_by_the_job(shared: LocalGateway, shared_parts: Parts, path: str) -> None:
    answer: dict[str, Any] = shared.ask("POST", path, **WAYS[path]).json()
    run_id = answer["runs"][0]["run_id"] if "runs" in answer else answer["run_id"]
    assert shared_parts.snapshot(run_id)["timeout_sec"] == 2.5
    jobs = [json.loads(job.payload) for job in shared_parts.jobs()]
    assert [job["timeout_sec"] for job in jobs if job["run_id"] == run_id] == [2.5]


@pytest.mark.parametrize("value", [-1, "1", True, 1e300])
def test_limit_that_is_none_is_refused(shared: LocalGateway, value: Any) -> None:
    answer = shared.ask("POST", "/runs", json={"flow_name": "main", "timeout_sec": value})
    assert fault_places(answer, "ERR-PYOCO-0002") == ["body.timeout_sec"]


@pytest.mark.parametrize("value", ["soon", "nan", "1_0", "-1"])
def test_limit_in_a_form_that_is_none_is_refused(shared: LocalGateway, value: str) -> None:
    answer = shared.ask(
        "POST", "/runs/yaml", files={"workflow": HELLO_FLOW}, data={"flow_name": "main", "timeout_sec": value}
    )
    assert fault_places(answer, "ERR-PYOCO-0002") == ["form.timeout_sec"]
