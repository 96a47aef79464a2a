"""How long runs are kept: the ended ones expire, the others never, and what comes back from long ago is ended."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from pyoco_server.bridge.messages import Write
from pyoco_server.contract.jobs import Job
from pyoco_server.errors import KeyMissing
from pyoco_server.operations.retention import Retention
from pyoco_server.readmodel.model import ReadModel
from pyoco_server.readmodel.queries import RunQuery
from pyoco_server.service import Deadline
from pyoco_server.states import RunStatus
from tests.support.gateway import LocalGateway
from tests.support.nats import NatsServer
from tests.support.parts import Parts, stored_run
from tests.support.waiting import eventually

TTL = "Nats-TTL"


@contextmanager
def keeping(parts: Parts, retention_sec: float) -> Iterator[tuple[Retention, ReadModel]]:
    """Give the operation and a read model of its own, with a retention that no setting allows."""
    model = ReadModel(parts.bus, replace(parts.config, run_retention_sec=retention_sec))
    model.start()
    try:
        eventually(lambda: model.is_complete, what="the read model being complete")
        yield Retention(parts.runs, model, parts.queue, retention_sec=retention_sec), model
    finally:
        model.stop(Deadline(5))


def no_pause(seconds: float) -> bool:
    """Do not wait, and go on."""
    return False


def ttl(parts: Parts, run_id: str) -> str | None:
    stored = parts.bus.last("KV_pyoco_runs", f"$KV.pyoco_runs.{run_id}")
    return stored.headers.get(TTL)


def expires_at_once(parts: Parts, run_id: str) -> bool:
    """Say whether a run has the shortest expiry that there is, or has expired since."""
    try:
        return ttl(parts, run_id) == "1s"
    except KeyMissing:
        return True


def listed(model: ReadModel) -> list[str]:
    return [document["run_id"] for document in model.list_runs(RunQuery(limit=50, tenant_id=None)).documents]


@pytest.mark.long
def test_gateway_has_ended_runs_expire_whoever_ended_them_and_no_others(local: LocalGateway, parts: Parts) -> None:
    parts.put("done", {**stored_run("done", status="COMPLETED", worker_id="of-0.5.1"), "unknown_field": [1]})
    parts.put("goes-on", stored_run("goes-on", status="RUNNING"))
    waits = local.submit("f")
    before = parts.bus.last("KV_pyoco_runs", "$KV.pyoco_runs.done").payload
    eventually(lambda: ttl(parts, "done"), what="the expiry")
    # Thirty days, and the very same bytes.
    assert 2592000 - 30 < int(str(ttl(parts, "done")).removesuffix("s")) <= 2592000
    assert parts.bus.last("KV_pyoco_runs", "$KV.pyoco_runs.done").payload == before
    assert ttl(parts, "goes-on") is None and ttl(parts, waits) is None


@pytest.mark.long
def test_ended_run_expires_in_its_time_and_its_row_is_not_stamped_again(parts: Parts) -> None:
    parts.put("done", stored_run("done", status="FAILED"))
    parts.put("goes-on", stored_run("goes-on", status="RUNNING"))
    with keeping(parts, 5.0) as (retention, model):
        assert retention.stamp(no_pause) == 1
        eventually(lambda: not model.unstamped_runs(10), what="the stamped run being seen")
        revision = parts.runs.get("done").revision
        assert retention.stamp(no_pause) == 0
        assert parts.runs.get("done").revision == revision
        eventually(lambda: parts.keys() == {"goes-on"}, what="the expiry")
        # Nothing was left in its place: readers of 0.5.1 stumble over markers.
        with pytest.raises(KeyMissing):
            parts.bus.last("KV_pyoco_runs", "$KV.pyoco_runs.done")


def test_run_that_was_written_since_it_was_looked_up_is_left_alone(parts: Parts) -> None:
    for run_id in ("changed", "removed", "same"):
        parts.put(run_id, stored_run(run_id, status="COMPLETED"))
    with keeping(parts, 3600.0) as (retention, model):
        revisions = model.unstamped_runs(10)
        assert list(revisions) == ["changed", "removed", "same"]
        parts.put("changed", stored_run("changed", status="RUNNING"))
        parts.bus.api("STREAM.PURGE.KV_pyoco_runs", {"filter": "$KV.pyoco_runs.removed"})
        assert parts.runs.stamp(revisions, 3600.0, parts.runs.server_time()) == 1
        assert ttl(parts, "changed") is None and ttl(parts, "same") is not None
        eventually(lambda: list(model.unstamped_runs(10)) == ["removed"], what="the changes being seen")
        assert retention.stamp(no_pause) == 0


def test_many_runs_are_given_their_expiry_over_time(parts: Parts) -> None:
    parts.put_many([stored_run(f"r{number}", status="COMPLETED") for number in range(250)])
    with keeping(parts, 3600.0) as (retention, model):
        for count in (100, 100, 50, 0):
            assert retention.stamp(no_pause) == count
            last = parts.info("KV_pyoco_runs")["state"]["last_seq"]
            assert model.wait_for(last, 30)


def test_so_many_that_small_turns_never_end_have_theirs_in_one_piece_by_piece(parts: Parts) -> None:
    parts.put_many([stored_run(f"r{number}", status="COMPLETED") for number in range(1150)])
    paused: list[float] = []

    def stop_in_the_second_turn(seconds: float) -> bool:
        paused.append(seconds)
        return len(paused) > 4

    with keeping(parts, 3600.0) as (retention, model):
        for pause, count in (
            (stop_in_the_second_turn, 500),
            (stop_in_the_second_turn, 100),
            (no_pause, 500),
            (no_pause, 50),
        ):
            assert retention.stamp(pause) == count
            last = parts.info("KV_pyoco_runs")["state"]["last_seq"]
            assert model.wait_for(last, 30)
    assert len(paused) == 5


def test_each_turn_asks_for_the_time_and_the_settings_of_the_bucket_in_one_request(parts: Parts) -> None:
    parts.put("done", stored_run("done", status="COMPLETED"))
    parts.put("from-long-ago", stored_run("from-long-ago", status="RUNNING", updated_at=time.time() - 7200))
    asked: list[str] = []
    with keeping(parts, 3600.0) as (retention, model):
        assert model.stale_runs(time.time() - 3600.0) == ["from-long-ago"]
        listening = parts.bus.subscribe(
            "$JS.API.STREAM.INFO.KV_pyoco_runs", lambda request: asked.append(request.reply)
        )
        parts.bus.call(listening, timeout_sec=30)
        for turn, count in ((lambda: retention.stamp(no_pause), 1), (retention.end_old, 0)):
            asked.clear()
            assert turn() == count
            # What comes over this connection comes in order.
            parts.bus.server_time("PYOCO_WORK")
            assert len(asked) == 1


def test_run_that_ended_longer_ago_than_runs_are_kept_expires_at_once(parts: Parts) -> None:
    parts.put("done", stored_run("done", status="CANCELLED"))
    moment = parts.runs.get("done").stored_at
    eventually(lambda: parts.runs.server_time() > moment + 2.5, what="its time being over")
    with keeping(parts, 2.5) as (retention, _):
        assert retention.stamp(no_pause) == 1
        assert expires_at_once(parts, "done")


def test_runs_are_kept_for_ever_where_the_operator_says_so(parts: Parts) -> None:
    parts.put("done", stored_run("done", status="COMPLETED"))
    with keeping(parts, 0.0) as (retention, _):
        assert retention.stamp(no_pause) == 0
    assert ttl(parts, "done") is None


def test_bucket_that_takes_no_expiry_is_reported_once_and_serves_on(
    parts: Parts, caplog: pytest.LogCaptureFixture
) -> None:
    parts.bus.api("STREAM.DELETE.KV_pyoco_runs")
    old = {"name": "KV_pyoco_runs", "subjects": ["$KV.pyoco_runs.>"], "max_msgs_per_subject": 1, "storage": "file"}
    parts.bus.api("STREAM.CREATE.KV_pyoco_runs", {**old, "allow_rollup_hdrs": True, "allow_direct": True})
    parts.put("done", stored_run("done", status="COMPLETED"))
    with keeping(parts, 3600.0) as (retention, model):
        assert (retention.stamp(no_pause), retention.stamp(no_pause)) == (0, 0)
        assert caplog.text.count("--allow-msg-ttl") == 1
        assert listed(model) == ["done"]
        parts.configure("KV_pyoco_runs", allow_msg_ttl=True)
        assert retention.stamp(no_pause) == 1
    assert ttl(parts, "done") is not None


@pytest.mark.long
def test_what_comes_back_from_long_ago_after_a_crash_of_nats_is_hidden_and_ended_or_expires_again(
    nats: NatsServer, parts: Parts
) -> None:
    parts.put("first", stored_run("first", status="RUNNING"))
    for run_id in ("done", "ghost"):
        parts.put(run_id, stored_run(run_id, status="RUNNING", worker_id="w"))
    ghost = parts.runs.get("ghost")
    parts.runs.update(replace(ghost.snapshot, status=RunStatus.COMPLETED), ghost.revision, ttl_sec=1)
    parts.end("done")
    with keeping(parts, 6.0) as (retention, _):
        retention.stamp(no_pause)
        eventually(lambda: parts.keys() == {"first"}, what="the expiry")
    nats.stop(signal.SIGKILL)
    nats.start()
    eventually(lambda: parts.bus.is_connected, what="the connection")
    # As they were before they were given their expiry: ours had ended already.
    assert [parts.snapshot(run_id)["status"] for run_id in ("done", "ghost")] == ["COMPLETED", "RUNNING"]
    moment = parts.runs.get("first").stored_at
    eventually(lambda: parts.runs.server_time() > moment + 7, what="their time being over")
    parts.put("alive", stored_run("alive", status="RUNNING"))
    with keeping(parts, 6.0) as (retention, model):
        assert sorted(listed(model)) == ["alive", "done"]
        # Both from long ago, and the one that was there all along.
        assert (retention.stamp(no_pause), retention.end_old()) == (1, 2)
        assert expires_at_once(parts, "done") and ttl(parts, "alive") is None
        ended = parts.snapshot("ghost")
        assert ended["status"] == "FAILED" and ended["error"].startswith("expired: ")
        assert ttl(parts, "ghost") == "60s"
        eventually(lambda: "ghost" not in model.stale_runs(time.time()), what="no ghost any more")
        assert not parts.messages("PYOCO_DLQ")


@pytest.mark.long
def test_run_that_nobody_has_written_for_longer_than_runs_are_kept_is_ended(parts: Parts) -> None:
    with keeping(parts, 4.0) as (retention, model):
        parts.put("silent", stored_run("silent", status="PENDING", updated_at=time.time() - 60))
        eventually(lambda: listed(model) == ["silent"], what="the run in the list")
        # Its own clock says so; the server's does not yet.
        assert retention.end_old() == 0
        moment = parts.runs.get("silent").stored_at
        eventually(lambda: parts.runs.server_time() > moment + 4.0, what="its time being over")
        assert retention.end_old() == 1
    assert parts.snapshot("silent")["status"] == "FAILED"


@pytest.mark.long
def test_no_job_lies_in_the_queue_for_longer_than_its_run_is_kept(parts: Parts) -> None:
    """Without a worker for its tag nobody else would ever take it out."""
    with keeping(parts, 4.0) as (retention, model):
        for run_id in ("over", "goes-on", "gone"):
            parts.queue.publish(Job(run_id, "f", "nobody"))
        parts.bus.write(Write("pyoco.work.nobody", b"cannot be read"))
        parts.put("over", stored_run("over", updated_at=time.time() - 60))
        moment = parts.runs.get("over").stored_at
        eventually(lambda: parts.runs.server_time() > moment + 4.0, what="its time being over")
        parts.put("goes-on", stored_run("goes-on", status="RUNNING"))
        parts.queue.publish(Job("new", "f", "nobody"))
        eventually(lambda: "goes-on" in listed(model), what="the run in the list")
        retention.end_old()
    assert parts.snapshot("over")["status"] == "FAILED"
    # A run that has not ended may need its job, and one that is young its snapshot.
    assert parts.queued_ids() == ["goes-on", "new"]
