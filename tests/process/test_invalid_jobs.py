"""Jobs that cannot be read: they leave the queue with a dead letter, and never execute."""

from __future__ import annotations

import json
import time
import uuid
from typing import Any

import pytest

from tests.process.conftest import Workshop
from tests.support.fleet import Fleet, flow


def job(**changes: Any) -> bytes:
    """Give a job that is valid but for the changes; a field that is changed to ``...`` is left out."""
    fields = {"run_id": str(uuid.uuid4()), "flow_name": "main", "tag": "t", "tags": ["t"], "params": {}, **changes}
    return json.dumps({name: value for name, value in fields.items() if value is not ...}).encode()


def refused(fleet: Fleet, payload: bytes) -> dict[str, Any]:
    """Queue a job, wait until it is out of the queue, and give its dead letter."""
    before = fleet.dead_letters()
    fleet.queue(payload)
    fleet.wait_until(fleet.queue_is_empty, "the job leaving the queue")
    (letter,) = fleet.dead_letters()[len(before) :]
    return letter


@pytest.mark.parametrize(
    ("payload", "error"),
    [
        (b"{", "The job is not JSON: "),
        (b"", "The job is not JSON: "),
        (b"\xff\xfe\x00", "The job is not JSON: "),
        (b"[" * 100_000, "The job is not JSON: "),
        (b'["run"]', "The job is a JSON list, not an object."),
        (job(run_id=...), "The job lacks 'run_id'."),
        (job(flow_name=...), "The job lacks 'flow_name'."),
        (job(params=...), "The job lacks 'params'."),
        (job(run_id=7), "The job's 'run_id' is a int, which it must not be."),
        (job(params=[1]), "The job's 'params' is a list, which it must not be."),
        (job(tags=["t", 5]), "The job's 'tags' must all be strings."),
        (job(workflow_yaml={"version": 1}), "The job's 'workflow_yaml' is a dict, which it must not be."),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "job",
)
def test_job_that_cannot_be_read_becomes_a_dead_letter_and_no_run(
    workshop: Workshop, payload: bytes, error: str
) -> None:
    letter = refused(workshop.fleet, payload)
    assert letter.pop("timestamp") == pytest.approx(time.time(), abs=20)
    assert letter.pop("error").startswith(error)
    run_id = letter.pop("run_id")
    assert run_id is None or not workshop.fleet.has_run(run_id)
    assert letter == {
        "reason": "invalid_job",
        "flow_name": None,
        "tag": "t",
        "tags": [],
        "tenant_id": None,
        "api_key_id": None,
        "worker_id": "w1",
        "subject": "pyoco.work.t",
        "num_delivered": 1,
        "payload": payload[:4096].decode(errors="replace"),
    }
    workshop.fleet.ended(workshop.fleet.submit(flow("quick")))


def test_job_that_cannot_be_read_fails_its_run_with_its_one_dead_letter(workshop: Workshop) -> None:
    fleet = workshop.fleet
    run_id = fleet.store_pending(flow("quick"), tags=["nightly"], tenant_id="acme", api_key_id="key12345").run_id
    letter = refused(fleet, job(run_id=run_id, params="x=1"))
    run = fleet.run(run_id)
    assert (run["status"], run["attempt"]) == ("FAILED", 0)
    assert run["error"] == "invalid_job: The job's 'params' is a str, which it must not be."
    assert run["end_time"] == pytest.approx(time.time(), abs=20)
    of_run = ("run_id", "flow_name", "tag", "tags", "tenant_id", "api_key_id")
    assert [letter[name] for name in of_run] == [run_id, "main", "t", ["nightly"], "acme", "key12345"]
    assert len(fleet.dead_letters(run_id)) == 1


def test_job_that_cannot_be_read_changes_no_run_that_is_over(workshop: Workshop) -> None:
    fleet = workshop.fleet
    run_id = fleet.submit(flow("quick"), tenant_id="acme")
    over = fleet.ended(run_id)
    letter = refused(fleet, job(run_id=run_id, params=None))
    assert fleet.run(run_id) == over
    # It is its tenant's all the same.
    assert (letter["flow_name"], letter["tenant_id"]) == ("main", "acme")


def test_run_id_of_a_megabyte_still_leaves_the_queue_with_a_dead_letter(workshop: Workshop) -> None:
    letter = refused(workshop.fleet, job(run_id="r" * 1_000_000, params=None))
    assert letter["run_id"] == "r" * 256
