"""``GET /metrics``: the numbers are true, the names are those of the conventions, and the labels have bounds."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from pyoco_server.bridge.messages import Write
from pyoco_server.gateway.instruments import MAX_FLOWS, MAX_TAGS
from pyoco_server.stores.standing import read_standing
from tests.support.commands import run
from tests.support.gateway import LocalGateway, problem
from tests.support.nats import NatsServer
from tests.support.parts import Parts, stored_run
from tests.support.promlint import criticised
from tests.support.waiting import eventually

#: As 0.5.1 names them: gauges, for all that their names say.
INHERITED = {"pyoco_runs_total", "pyoco_runs_today_total", "pyoco_workers_alive_total", "pyoco_dlq_messages_total"}
DAY_SEC = 86400
DOCUMENT = Path(__file__).parents[2] / "docs" / "metrics.md"


def families(gateway: LocalGateway) -> dict[str, Metric]:
    answer = gateway.get("/metrics")
    assert answer.status_code == 200, answer.text
    return {family.name: family for family in text_string_to_metric_families(answer.text)}


def value(gateway: LocalGateway, name: str, **labels: str) -> float | None:
    """Give the value of one series; ``None`` where there is no such series."""
    for family in families(gateway).values():
        for sample in family.samples:
            if (sample.name, sample.labels) == (name, labels):
                return sample.value
    return None


def test_the_four_of_0_5_1_keep_their_names_and_kinds(local: LocalGateway, parts: Parts) -> None:
    now = time.time()
    runs = {"a": "PENDING", "b": "FAILED", "c": "FAILED", "d": "COMPLETED"}
    for run_id, status in runs.items():
        parts.put(run_id, stored_run(run_id, status=status, updated_at=now))
    parts.put("old", stored_run("old", status="COMPLETED", updated_at=now - DAY_SEC))
    for worker_id, age_sec, state in (("w1", 0, "IDLE"), ("w2", 0, "RUNNING"), ("w3", 99, "IDLE"), ("w4", 0, "GONE")):
        record = {"worker_id": worker_id, "last_seen_at": now - age_sec, "hidden": worker_id == "w2"}
        if state != "GONE":
            parts.put(worker_id, {**record, "state": state}, bucket="pyoco_workers")
    for _ in range(3):
        parts.bus.write(Write("pyoco.dlq.t", b"{}"))
    eventually(lambda: value(local, "pyoco_runs_total", status="COMPLETED") == 2, what="all runs")
    eventually(lambda: value(local, "pyoco_workers_alive_total") == 2, what="both workers that live")
    assert value(local, "pyoco_runs_total", status="FAILED") == 2
    assert value(local, "pyoco_runs_total", status="RUNNING") == 0
    assert value(local, "pyoco_runs_today_total", status="FAILED") == 2
    assert value(local, "pyoco_runs_today_total", status="COMPLETED") == 1
    assert value(local, "pyoco_dlq_messages_total") == 3
    assert {families(local)[name].type for name in INHERITED} == {"gauge"}
    assert local.get("/metrics").headers["Content-Type"].startswith("text/plain; version=0.0.4")


def test_counts_follow_every_change_of_a_run(local: LocalGateway, parts: Parts) -> None:
    run_id = local.submit()
    assert value(local, "pyoco_runs_total", status="PENDING") == 1
    parts.put(run_id, stored_run(run_id, status="COMPLETED"))
    eventually(lambda: value(local, "pyoco_runs_total", status="COMPLETED") == 1, what="the run having ended")
    assert value(local, "pyoco_runs_total", status="PENDING") == 0
    # The same state again, and once more: it stays one run.
    parts.put(run_id, stored_run(run_id, status="COMPLETED"))
    parts.put("next", stored_run("next", status="FAILED"))
    eventually(lambda: value(local, "pyoco_runs_total", status="FAILED") == 1, what="the next run")
    assert value(local, "pyoco_runs_total", status="COMPLETED") == 1
    parts.bus.api("STREAM.PURGE.KV_pyoco_runs", {"filter": f"$KV.pyoco_runs.{run_id}"})
    local.parts.model.forget(run_id)
    assert value(local, "pyoco_runs_total", status="COMPLETED") == 0


def test_queue_shows_how_many_wait_and_for_how_long(local: LocalGateway, parts: Parts) -> None:
    now = time.time()
    for number in range(3):
        run_id = f"gpu-{number}"
        parts.put(run_id, stored_run(run_id, tag="gpu", submitted_at=now - 100 * number))
    parts.put("cpu", stored_run("cpu", tag="cpu", status="RUNNING"))
    for number, tag in enumerate(("gpu", "gpu", "later")):
        # No worker could begin them now.
        run_id = f"again-{number}"
        parts.put(run_id, stored_run(run_id, tag=tag, submitted_at=now - 900, attempt=1, retry_at=now + 600))
    eventually(lambda: value(local, "pyoco_queue_waiting_retries", tag="later") == 1, what="the runs that wait")
    assert value(local, "pyoco_queue_depth", tag="gpu") == 3
    assert value(local, "pyoco_queue_waiting_retries", tag="gpu") == 2
    assert value(local, "pyoco_queue_depth", tag="later") == 0
    assert value(local, "pyoco_queue_oldest_job_age_seconds", tag="later") == 0
    assert value(local, "pyoco_queue_waiting_retries", tag="cpu") == 0
    assert value(local, "pyoco_queue_oldest_job_age_seconds", tag="gpu") == pytest.approx(200, abs=10)
    assert value(local, "pyoco_queue_depth", tag="cpu") == 0
    assert value(local, "pyoco_queue_oldest_job_age_seconds", tag="cpu") == 0


def test_run_that_ends_is_measured_once_and_none_that_had_ended_before(
    serve: Callable[..., LocalGateway], parts: Parts
) -> None:
    ended = {"status": "COMPLETED", "start_time": 100.0, "end_time": 102.0}
    parts.put("before", stored_run("before", **ended))
    gateway = serve()
    gateway.wait_until_complete()
    parts.put("r", stored_run("r", status="RUNNING", start_time=100.0))
    for _ in range(2):
        parts.put("r", stored_run("r", **ended))
    parts.put("never-begun", stored_run("never-begun", status="CANCELLED", end_time=5.0))
    # Runs are measured in their order, and after they are in the list.
    parts.put("last", stored_run("last", flow_name="last", **ended))
    name = "pyoco_run_duration_seconds"
    eventually(lambda: value(gateway, f"{name}_count", flow="last", status="COMPLETED") == 1, what="the last run")
    assert value(gateway, f"{name}_count", flow="main", status="COMPLETED") == 1
    assert value(gateway, f"{name}_sum", flow="main", status="COMPLETED") == 2
    assert value(gateway, f"{name}_bucket", flow="main", status="COMPLETED", le="1.0") == 0
    assert value(gateway, f"{name}_bucket", flow="main", status="COMPLETED", le="5.0") == 1
    assert value(gateway, f"{name}_count", flow="main", status="CANCELLED") is None


def test_requests_are_counted_by_the_template_of_their_route(local: LocalGateway) -> None:
    run_id = local.submit()
    for _ in range(3):
        local.get(f"/runs/{run_id}")
    local.get("/runs/nope")
    local.get("/no/such/path")
    local.ask("NONSENSE", "/runs")

    def count(route: str, method: str, status: str) -> float | None:
        return value(local, "pyoco_http_request_duration_seconds_count", route=route, method=method, status=status)

    assert count("/runs/<run_id>", "GET", "200") == 3
    assert count("/runs/<run_id>", "GET", "404") == 1
    assert count("/runs", "POST", "200") == 1
    assert count("(none)", "GET", "404") == 1
    assert count("(none)", "(others)", "405") == 1
    labels = [sample.labels for family in families(local).values() for sample in family.samples]
    assert run_id not in str(labels) and "no/such" not in str(labels)


def test_flows_and_tags_beyond_the_bound_share_a_series(local: LocalGateway, parts: Parts) -> None:
    documents = []
    for number in range(MAX_TAGS + 50):
        fields = {"flow_name": f"flow-{number}", "tag": f"tag-{number}", "start_time": 1.0, "end_time": 2.0}
        documents.append(stored_run(f"e{number}", status="COMPLETED", **fields))
        documents.append(stored_run(f"w{number}", **fields, submitted_at=time.time() - 50))
    parts.put_many(documents)
    eventually(lambda: value(local, "pyoco_runs_total", status="PENDING") == MAX_TAGS + 50, what="all runs")
    total, rest = "pyoco_run_duration_seconds_count", MAX_TAGS + 50 - MAX_FLOWS
    # Runs are measured after they are in the list.
    eventually(lambda: value(local, total, flow="(others)", status="COMPLETED") == rest, what="all runs being measured")
    found = families(local)
    flows = {sample.labels["flow"] for sample in found["pyoco_run_duration_seconds"].samples}
    assert len(flows) == MAX_FLOWS + 1
    assert len(found["pyoco_queue_depth"].samples) == MAX_TAGS + 1
    assert value(local, "pyoco_queue_depth", tag="(others)") == 50
    assert value(local, "pyoco_queue_waiting_retries", tag="(others)") == 0
    assert value(local, "pyoco_queue_oldest_job_age_seconds", tag="(others)") == pytest.approx(50, abs=20)


def test_runs_that_no_list_takes_are_not_measured_either(local: LocalGateway, parts: Parts) -> None:
    for name in ("flow_name", "tag"):
        parts.put(name, stored_run(name, **{name: "half \ud800"}, status="COMPLETED", start_time=1.0, end_time=2.0))
    parts.put("r", stored_run("r", status="COMPLETED", start_time=1.0, end_time=2.0))
    total = "pyoco_run_duration_seconds_count"
    eventually(lambda: value(local, total, flow="main", status="COMPLETED") == 1, what="the run that is one")
    assert value(local, "pyoco_runs_total", status="COMPLETED") == 1


@pytest.mark.parametrize("odd", [{"flow_name": None}, {"end_time": 10**400}], ids=["no flow", "no time"])
def test_odd_run_that_ends_does_not_end_the_gateway(local: LocalGateway, parts: Parts, odd: dict[str, object]) -> None:
    ended = {"status": "COMPLETED", "start_time": 1.0, "end_time": 2.0}
    parts.put("odd", stored_run("odd", **{**ended, **odd}))
    # Its flow may be missing altogether, too.
    document = stored_run("nameless", **{**ended, **odd})
    del document["flow_name"]
    parts.put("nameless", document)
    parts.put("r", stored_run("r", flow_name="last", **ended))
    total = "pyoco_run_duration_seconds"
    eventually(lambda: value(local, f"{total}_count", flow="last", status="COMPLETED") == 1, what="the last run")
    assert value(local, f"{total}_sum", flow="main", status="COMPLETED") is None
    is_measured = "flow_name" in odd
    assert value(local, f"{total}_count", flow="(others)", status="COMPLETED") == (2 if is_measured else None)
    assert not local.failures


def test_lag_is_the_age_of_what_is_stored_and_not_yet_in_the_list(local: LocalGateway, parts: Parts) -> None:
    local.submit()
    assert value(local, "pyoco_read_model_lag_seconds") == 0
    with local.parts.model.writing():
        # The follower cannot apply what comes while somebody else writes.
        parts.put("late", stored_run("late"))
        eventually(lambda: read_standing(parts.bus, parts.config, 1).lag_sec > 0.2, what="a lag")
    eventually(lambda: value(local, "pyoco_read_model_lag_seconds") == 0, what="the end of the lag")


def test_a_lag_takes_no_second_question(local: LocalGateway, parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    parts.put("r", stored_run("r"))
    monkeypatch.setattr(parts.bus, "api", None)
    eventually(lambda: read_standing(parts.bus, parts.config, 0).lag_sec > 0, what="a lag")


def test_names_help_and_kinds_follow_the_conventions(local: LocalGateway, parts: Parts) -> None:
    parts.put("r", stored_run("r", status="RUNNING", start_time=1.0))
    parts.put("r", stored_run("r", status="COMPLETED", start_time=1.0, end_time=2.0))
    eventually(lambda: "pyoco_run_duration_seconds" in families(local), what="a run that has ended")
    text = local.get("/metrics").text
    found = families(local)
    assert INHERITED < set(found)
    # Those of a worker are held against it in another test.
    of_gateways = DOCUMENT.read_text().partition("## Of each worker")[0]
    documented = re.findall(r"^\| `(pyoco_\w+)` \| (\w+) ", of_gateways, re.MULTILINE)
    assert dict(documented) == {name: family.type for name, family in found.items()}
    assert set(criticised(found.values())) == {f"{name} is no counter and ends in _total" for name in INHERITED}
    for name, family in found.items():
        assert name.startswith("pyoco_") and family.documentation.endswith(".")
        assert f"# HELP {name} " in text and f"# TYPE {name} {family.type}" in text
        assert not any(sample.name.endswith("_created") for sample in family.samples)
    assert value(local, "pyoco_build_info", **found["pyoco_build_info"].samples[0].labels) == 1


@pytest.mark.long
def test_ten_thousand_runs_are_answered_fast(serve: Callable[..., LocalGateway], parts: Parts) -> None:
    statuses = ("PENDING", "COMPLETED", "FAILED", "RUNNING")
    documents = [stored_run(f"r{n}", status=statuses[n % 4], tag=f"t{n % 5}") for n in range(10_000)]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda number: parts.put_many(documents[number::16]), range(16)))
    gateway = serve()
    gateway.wait_until_complete()
    families(gateway)
    took = []
    for _ in range(5):
        began_at = time.monotonic()
        assert gateway.get("/metrics").status_code == 200
        took.append(time.monotonic() - began_at)
    assert min(took) < 0.1
    assert value(gateway, "pyoco_queue_depth", tag="t0") == 500


def test_metrics_are_refused_while_nats_is_away(local: LocalGateway, nats: NatsServer) -> None:
    nats.stop()
    assert problem(local.get("/metrics"), 503)["err_id"] == "ERR-PYOCO-0003"


def test_two_gateways_in_one_process_measure_apart(serve: Callable[..., LocalGateway]) -> None:
    first, second = serve(), serve()
    first.wait_until_complete()
    second.wait_until_complete()
    first.get("/nothing")
    labels = {"route": "(none)", "method": "GET", "status": "404"}
    assert value(first, "pyoco_http_request_duration_seconds_count", **labels) == 1
    assert value(second, "pyoco_http_request_duration_seconds_count", **labels) is None


def test_command_prints_what_the_gateway_answers(shared: LocalGateway, tmp_path: Path) -> None:
    done = run("pyoco-client", "--server", shared.url, "metrics", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "pyoco_runs_total" in {family.name for family in text_string_to_metric_families(done.stdout)}
    assert done.stdout.startswith("# HELP ") and not done.stdout.endswith("\n\n")
