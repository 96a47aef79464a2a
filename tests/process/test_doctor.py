"""``pyoco-nats doctor`` and ``status`` look at a real nats-server with which something is wrong."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from pyoco_server.bridge.messages import Write
from pyoco_server.contract import names
from tests.support import roles
from tests.support.clinic import Clinic
from tests.support.nats import NatsServer, free_port

SECOND = 1_000_000_000
BUCKET = {"max_msgs_per_subject": 1, "discard": "new", "allow_rollup_hdrs": True, "deny_delete": True}


@pytest.fixture(scope="module")
def shared_clinic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clinic]:
    folder = tmp_path_factory.mktemp("clinic")
    server = NatsServer(folder / "nats", roles.SERVER_CONF).start()
    # All that the doctor looks at and mends is permitted to an administrator.
    found = Clinic(server.url, folder, **roles.sign_in(names.ADMIN_ROLE))
    yield found
    found.close()
    server.stop()
    assert server.violations() == []


@pytest.fixture
def clinic(shared_clinic: Clinic) -> Iterator[Clinic]:
    """A NATS on which everything is in order."""
    yield shared_clinic
    shared_clinic.restore_order()


@pytest.mark.parametrize("prog", ["pyoco-nats", "pyoco-server-admin"])
def test_nothing_is_wrong_with_what_we_make(clinic: Clinic, prog: str) -> None:
    assert clinic.ask("doctor", prog=prog) == (0, "nothing is wrong\n")
    status, printed = clinic.ask("status", prog=prog)
    assert status == 0 and printed.endswith("nothing is wrong\n")


def test_what_is_missing_is_told_and_made_by_fix(clinic: Clinic) -> None:
    clinic.bus.api("STREAM.DELETE.PYOCO_DLQ")
    clinic.bus.api("STREAM.DELETE.KV_pyoco_runs")
    status, printed = clinic.ask("doctor")
    assert (status, printed.splitlines()) == (
        3,
        [
            "warning: stream-missing KV_pyoco_runs: It is not there; a gateway that starts makes it.",
            "  pyoco-nats doctor --fix",
            "warning: stream-missing PYOCO_DLQ: It is not there; a gateway that starts makes it.",
            "  pyoco-nats doctor --fix",
        ],
    )
    mended = clinic.doctor("--fix")
    assert (mended.status, mended.found) == (0, set())
    assert mended.fixed == {("stream-missing", "KV_pyoco_runs"), ("stream-missing", "PYOCO_DLQ")}


def test_settings_of_an_older_fleet_are_mended_and_what_is_stored_stays(clinic: Clinic) -> None:
    clinic.replace("KV_pyoco_runs", subjects=["$KV.pyoco_runs.>"], **BUCKET)
    clinic.replace("KV_pyoco_workers", subjects=["$KV.pyoco_workers.>"], max_age=15 * SECOND, **BUCKET)
    clinic.replace("PYOCO_DLQ", subjects=["pyoco.dlq.>"], max_msgs=7)
    clinic.replace("PYOCO_LOGS", subjects=["pyoco.logs.>"])
    clinic.put_worker("w1", time.time())
    found = clinic.doctor()
    assert found.status == 3
    wrong = {
        ("no-message-ttl", "KV_pyoco_runs"),
        ("workers-forgotten", "KV_pyoco_workers"),
        ("no-limit", "PYOCO_DLQ"),
        ("no-limit", "PYOCO_LOGS"),
        ("no-direct-get", "PYOCO_LOGS"),
    }
    assert found.found == wrong
    assert all(finding["fixable"] for finding in found.findings)
    mended = clinic.doctor("--fix")
    assert (mended.status, mended.found, mended.fixed) == (0, set(), wrong)
    assert clinic.settings("KV_pyoco_runs")["allow_msg_ttl"] is True
    assert clinic.settings("KV_pyoco_workers")["max_age"] == 0
    assert clinic.settings("PYOCO_LOGS")["allow_direct"] is True
    # Limits that its operator has set are as they were.
    letters = clinic.settings("PYOCO_DLQ")
    assert (letters["max_msgs"], letters["max_age"]) == (7, 7 * 86_400 * SECOND)
    assert clinic.bus.api("STREAM.INFO.KV_pyoco_workers")["state"]["messages"] == 1


def test_a_limit_that_would_remove_what_is_stored_is_left_to_the_operator(clinic: Clinic) -> None:
    clinic.replace("PYOCO_DLQ", subjects=["pyoco.dlq.>"])
    for _ in range(3):
        clinic.bus.write(Write("pyoco.dlq.t", b"{}"))
    found = clinic.doctor("--fix", PYOCO_DLQ_MAX_MSGS="2")
    assert (found.status, found.found, found.fixed) == (3, {("no-limit", "PYOCO_DLQ")}, {("no-limit", "PYOCO_DLQ")})
    (left,) = found.findings
    assert (left["fixable"], left["remedy"]) == (False, "nats stream edit PYOCO_DLQ --max-msgs 2")
    stream = clinic.bus.api("STREAM.INFO.PYOCO_DLQ")
    assert (stream["state"]["messages"], stream["config"]["max_bytes"]) == (3, 536_870_912)


def test_a_change_that_the_server_refuses_is_told_and_keeps_no_other_from_being_made(clinic: Clinic) -> None:
    # Messages are to be known for longer than they would be kept.
    clinic.replace("PYOCO_DLQ", subjects=["pyoco.dlq.>"], duplicate_window=30 * 86_400 * SECOND)
    clinic.replace("PYOCO_LOGS", subjects=["pyoco.logs.>"], allow_direct=True)
    mended = clinic.doctor("--fix")
    assert (mended.status, mended.fixed) == (3, {("no-limit", "PYOCO_LOGS")})
    (left,) = mended.findings
    assert (left["id"], left["subject"]) == ("no-limit", "PYOCO_DLQ")
    assert "It cannot be mended: NATS refused STREAM.UPDATE.PYOCO_DLQ: " in left["text"]


def test_a_stream_that_cannot_be_made_keeps_no_other_from_being_made(clinic: Clinic) -> None:
    clinic.bus.api("STREAM.DELETE.PYOCO_DLQ")
    clinic.bus.api("STREAM.DELETE.PYOCO_LOGS")
    # Its subjects belong to somebody else.
    clinic.bus.api("STREAM.CREATE.OTHER", {"name": "OTHER", "subjects": ["pyoco.dlq.>"]})
    mended = clinic.doctor("--fix")
    assert (mended.status, mended.fixed) == (3, {("stream-missing", "PYOCO_LOGS")})
    (left,) = mended.findings
    assert "It cannot be mended: NATS refused STREAM.CREATE.PYOCO_DLQ: " in left["text"]


def test_markers_of_expired_runs_are_told_and_switched_off(clinic: Clinic) -> None:
    clinic.change("KV_pyoco_runs", subject_delete_marker_ttl=60 * SECOND)
    assert clinic.doctor("--fix").fixed == {("delete-markers", "KV_pyoco_runs")}
    assert clinic.settings("KV_pyoco_runs").get("subject_delete_marker_ttl", 0) == 0


def test_a_queue_that_gives_running_jobs_away_is_a_fault_and_mended(clinic: Clinic) -> None:
    clinic.serve_tag("t", PYOCO_CONSUMER_ACK_WAIT_SEC="8", PYOCO_CONSUMER_MAX_DELIVER="3")
    found = clinic.doctor()
    assert found.status == 4
    wrong = {("ack-wait", "pyoco_workers_t"), ("max-deliver", "pyoco_workers_t")}
    assert found.found == wrong
    mended = clinic.doctor("--fix")
    assert (mended.status, mended.fixed) == (0, wrong)
    settings = clinic.bus.api("CONSUMER.INFO.PYOCO_WORK.pyoco_workers_t")["config"]
    assert (settings["ack_wait"], settings["max_deliver"]) == (30 * SECOND, 20)


def test_a_stream_of_another_prefix_is_a_fault_that_fix_leaves_alone(clinic: Clinic) -> None:
    found = clinic.doctor("--fix", PYOCO_WORK_SUBJECT_PREFIX="team.work")
    assert (found.status, found.found, found.fixed) == (4, {("subjects", "PYOCO_WORK")}, set())


def test_a_work_stream_that_keeps_what_is_done_is_a_fault(clinic: Clinic) -> None:
    clinic.replace("PYOCO_WORK", subjects=["pyoco.work.>"])
    found = clinic.doctor("--fix")
    assert (found.status, found.found) == (4, {("retention", "PYOCO_WORK")})


def test_settings_that_contradict_each_other_are_a_fault(clinic: Clinic) -> None:
    found = clinic.doctor(PYOCO_ACK_PROGRESS_INTERVAL_SEC="30")
    assert (found.status, found.found) == (4, {("settings", "environment")})
    assert "PYOCO_CONSUMER_ACK_WAIT_SEC" in found.findings[0]["text"]


def test_jobs_that_nobody_will_take_are_told(clinic: Clinic) -> None:
    for tag in ("gpu", "cpu"):
        clinic.serve_tag(tag)
        clinic.queue(tag)
    # Somebody has mistyped a tag, and nobody has ever served it.
    clinic.queue("gqu")
    clinic.put_worker("w1", time.time(), tags=["cpu"])
    assert clinic.doctor().found == {("no-worker", "gpu"), ("no-worker", "gqu")}


def test_a_tag_that_nobody_uses_any_more_is_told_and_forgotten_by_fix(clinic: Clinic) -> None:
    for tag in ("known", "unused", "waiting"):
        clinic.serve_tag(tag)
    clinic.put_worker("w1", time.time(), state="STOPPED_GRACEFUL", tags=["known"])
    clinic.queue("waiting")
    # Not yet: somebody may come back.
    assert clinic.doctor().found == {("no-worker", "waiting")}
    week = {"PYOCO_WORKER_RETENTION_SEC": "0.1"}
    unused = ("tag-unused", "pyoco_workers_unused")
    assert clinic.doctor(**week).found == {("no-worker", "waiting"), unused}
    assert (
        "NATS remembers no job handed out for 0 days; pollers over HTTP are not seen" in clinic.ask("doctor", **week)[1]
    )
    assert clinic.doctor("--fix", **week).fixed == {unused}
    left = {consumer["name"] for consumer in clinic.bus.api("CONSUMER.LIST.PYOCO_WORK")["consumers"]}
    assert left == {"pyoco_workers_known", "pyoco_workers_waiting"}


def test_a_tag_is_served_where_a_worker_that_asks_over_http_has_one_of_its_runs(clinic: Clinic) -> None:
    leased = {"lease_reply": "$JS.ACK.x", "lease_until": time.time() + 60}
    for tag, lease, workflow in (
        ("polled", leased, None),
        # Its worker is gone.
        ("left", {**leased, "lease_until": time.time() - 1}, None),
        # What waits has a flow.yaml, which such a worker is not given.
        ("yaml", leased, "flow: {}"),
    ):
        clinic.serve_tag(tag)
        clinic.queue_run(tag, status="RUNNING", **lease)
        assert clinic.take(tag)
        clinic.queue_run(tag, workflow_yaml=workflow, status="PENDING")
    assert clinic.doctor().found == {("no-worker", "left"), ("no-worker", "yaml")}


def test_jobs_that_were_handed_out_too_often_are_told(clinic: Clinic) -> None:
    clinic.serve_tag("t", PYOCO_CONSUMER_MAX_DELIVER="1", PYOCO_CONSUMER_ACK_WAIT_SEC="0.2")
    clinic.queue("t")
    clinic.exhaust("t")
    env = {"PYOCO_CONSUMER_MAX_DELIVER": "1", "PYOCO_ACK_PROGRESS_INTERVAL_SEC": "0.1"}
    found = clinic.doctor(**env, PYOCO_CONSUMER_ACK_WAIT_SEC="0.2")
    assert (found.status, found.found) == (3, {("stuck-jobs", "t")})


def test_workers_that_are_lost_or_cannot_sync_their_wheels_are_told(clinic: Clinic) -> None:
    now = time.time()
    clinic.put_worker("here", now, wheel_sync={"last_result": "error", "last_error": "no room"})
    clinic.put_worker("hidden", now - 60, hidden=True, lost_at=now)
    clinic.put_worker("lost", now - 60, lost_at=now)
    clinic.put_worker("stopped", now - 60, state="STOPPED_GRACEFUL")
    assert clinic.doctor().found == {("wheel-sync", "here"), ("worker-lost", "lost")}


def test_clocks_that_disagree_are_told_and_one_that_makes_a_worker_look_lost_is_a_fault(clinic: Clinic) -> None:
    now = time.time()
    for worker_id, off_sec in {"same": 0, "ahead": 8, "behind": -8, "far-behind": -60}.items():
        clinic.put_worker(worker_id, now + off_sec)
    found = clinic.doctor()
    assert found.status == 4
    wrong = {(finding["severity"], finding["subject"]) for finding in found.findings if finding["id"] == "clock"}
    assert wrong == {("warning", "ahead"), ("warning", "behind"), ("fault", "far-behind")}


def test_status_shows_as_json_what_there_is(clinic: Clinic) -> None:
    clinic.serve_tag("t")
    clinic.queue("t")
    clinic.put_worker("w1", time.time(), version="1.2.3", concurrency=4, host="h")
    status, printed = clinic.ask("status", "--json")
    found = json.loads(printed)
    assert (status, found["findings"]) == (0, [])
    streams = {stream["name"]: stream for stream in found["streams"]}
    assert (streams["PYOCO_WORK"]["messages"], streams["PYOCO_WORK"]["replicas"]) == (1, 1)
    assert streams["PYOCO_DLQ"]["max_bytes"] == 536_870_912
    (consumer,) = found["consumers"]
    assert (consumer["name"], consumer["waiting"], consumer["max_deliver"]) == ("pyoco_workers_t", 1, 20)
    (worker,) = found["workers"]
    assert (worker["worker_id"], worker["version"], worker["slots"]) == ("w1", "1.2.3", 4)
    assert abs(found["clock_ahead_sec"]) < 1


def test_status_shows_tables_for_eyes(clinic: Clinic) -> None:
    clinic.put_worker("w1", time.time() + 9)
    status, printed = clinic.ask("status")
    lines = [line.split() for line in printed.splitlines()]
    assert status == 3
    assert ["name", "messages", "bytes", "limit", "replicas", "behind", "consumers"] in lines
    assert ["KV_pyoco_runs", "0", "0", "-", "1", "-", "0"] in lines
    assert ["warning", "clock", "w1"] in lines
    assert printed.endswith("what mends it: pyoco-nats doctor\n")


def test_an_address_at_which_no_server_greets_is_told(clinic: Clinic) -> None:
    away = f"nats://127.0.0.1:{free_port()}"
    found = clinic.doctor("--nats-url", f"{clinic.url},{away}")
    assert (found.status, found.found) == (3, {("server-silent", away)})
