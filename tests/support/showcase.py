"""An installation as a team has it after some months, for pictures of the pages; all of it is invented."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from typing import Any

from pyoco_server.contract.deadletters import DeadLetter
from pyoco_server.stores.artifacts import ArtifactStore
from pyoco_server.stores.logs import LogStore
from pyoco_server.workflow.flow_yaml import parse_workflow
from tests.support.artifacts import put
from tests.support.gateway import LocalGateway
from tests.support.parts import Parts, stored_run
from tests.support.waiting import eventually
from tests.support.wheels import file_name, wheel

FLOW = """\
version: 1
flow:
  graph: |
    fetch_orders >> clean
    (clean & fetch_rates) >> convert_currency
    convert_currency >> load_warehouse
    convert_currency >> summarise
    (load_warehouse & summarise) >> notify
  defaults:
    day: "2026-11-17"
tasks:
  fetch_orders: {callable: "acme.etl:fetch_orders"}
  fetch_rates: {callable: "acme.etl:fetch_rates"}
  clean: {callable: "acme.etl:clean"}
  convert_currency: {callable: "acme.etl:convert_currency"}
  load_warehouse: {callable: "acme.etl:load_warehouse"}
  summarise: {callable: "acme.etl:summarise"}
  notify: {callable: "acme.etl:notify"}
"""
TASKS = ("fetch_orders", "fetch_rates", "clean", "convert_currency", "load_warehouse", "summarise", "notify")
#: Of a run of :data:`FLOW`: when each task began and ended, in seconds from the run's beginning.
_SPANS = dict(zip(TASKS, ((0.2, 41), (0.3, 7), (41, 66), (66, 118), (118, 171), (118, 133), (171, 173)), strict=True))
_TRACEBACK = """\
Traceback (most recent call last):
  File "acme/etl.py", line 88, in convert_currency
    rate = rates[order["currency"]]
           ~~~~~^^^^^^^^^^^^^^^^^^^
KeyError: 'THB'
"""
_HISTORY = (("nightly_orders", "etl", 173), ("sync_crm", "etl", 95), ("train_ranker", "gpu", 1500))
_BASE = ("acme-base", "0.4.0")
_WHEELS = ((*_BASE, ""), ("acme-etl", "1.8.1", ""), ("acme-etl", "1.8.2", ""), ("acme-ranker", "0.9.4", "gpu"))
_FILES = {"orders.csv": "fetch_orders", "rates/2026-11-17.json": "fetch_rates", "plot.png": None}
#: The runs of which there are pages worth a picture.
FAILED, RUNNING = "8f3c2a17-5d0e-4b7a-9c3e-2f1d6a7b8c90", "51e6ad90-7c1b-4e2f-8a9d-0b3c4d5e6f70"


#: Task, stream, text, and seconds after the beginning.
_LINES = (
    ("fetch_orders", "stdout", "reading orders of 2026-11-17 from warehouse-eu", 1),
    ("fetch_rates", "stdout", "24 currencies from rates.example.com", 6),
    ("fetch_orders", "stdout", "18204 orders", 41),
    ("clean", "stderr", "WARNING acme.etl: 12 orders without an address", 58),
    ("clean", "stdout", "18204 rows", 66),
    ("convert_currency", "stdout", "converting to EUR", 67),
    ("convert_currency", "stderr", "ERROR acme.etl: no rate for THB, order 4711", 118),
)


def fill(gateway: LocalGateway) -> None:
    """Put it into the gateway's NATS, and wait until the gateway knows it."""
    now = time.time()
    runs = [_failed(now), _running(now), *_before(now), *_waiting(now)]
    with Parts(gateway.config.nats_url) as parts:
        workflow = parse_workflow(FLOW)
        parts.workflows.keep(workflow.sha256, workflow.text)
        parts.put_many([{**run, "workflow_yaml_sha256": workflow.sha256} for run in runs])
        for worker in _workers(now):
            parts.put(worker["worker_id"], worker, bucket="pyoco_workers")
        for name, task in _FILES.items():
            put(ArtifactStore(parts.bus), FAILED, name, name.encode() * 1000, task=task)
        LogStore(parts.bus).append(FAILED, 2, list(_printed(now - 640)))
        failed = [run for run in runs if run["status"] == "FAILED"]
        for run in sorted(failed, key=lambda run: float(run["end_time"])):
            fields = {name: run[name] for name in ("run_id", "flow_name", "tag", "worker_id", "error")}
            letter = DeadLetter(reason="execution_error", timestamp=run["end_time"], **fields)
            parts.dead_letters.publish(letter, key=run["run_id"])
    for package, version, tags in _WHEELS:
        form = {"wheel": (file_name(package.replace("-", "_"), version), wheel(package.replace("-", "_"), version))}
        assert gateway.ask("POST", "/wheels", files=form, data={"tags": tags}).ok
    counts = gateway.reports.counts
    eventually(lambda: sum(counts().values()) == len(runs), what="all runs known", timeout_sec=60)
    eventually(lambda: len(gateway.parts.model.workers()) == len(_workers(now)), what="all workers known")


def _run(run_id: str, begun_at: float, tasks: dict[str, str], **fields: Any) -> dict[str, Any]:
    records = {}
    for name, state in tasks.items():
        if state == "PENDING":
            continue
        begin, end = (begun_at + sec for sec in _SPANS[name])
        ended = None if state == "RUNNING" else end
        records[name] = {"state": state, "started_at": begin, "ended_at": ended, "output": {"rows": 18_204}}
    base = {"flow_name": "nightly_orders", "tag": "etl", "tags": ["etl"], "params": {"day": "2026-11-17"}}
    times = {"start_time": begun_at, "submitted_at": begun_at - 3, "updated_at": begun_at}
    wheels = [{"name": "acme-etl", "version": "1.8.2", "sha256": "a7d3091e" * 8}]
    known = {"tasks": tasks, "task_records": records, "attempt": 1, "wheels": wheels, **base, **times}
    return stored_run(run_id, **{**known, **fields})


def _failed(now: float) -> dict[str, Any]:
    states = ("SUCCEEDED", "SUCCEEDED", "SUCCEEDED", "FAILED", "PENDING", "PENDING", "PENDING")
    run = _run(FAILED, now - 700, dict(zip(TASKS, states, strict=True)))
    error = "KeyError: 'THB'"
    run["task_records"]["convert_currency"].update(error=error, traceback=_TRACEBACK, output=None)
    first = {"attempt": 1, "error": "ConnectionError: rates.example.com:443 read timed out", "worker_id": "tokyo-1"}
    run["errors"] = [{**first, "ended_at": now - 900}]
    run.update(attempt=2, max_attempts=2, worker_id="tokyo-2", error=f"{error} in convert_currency")
    return {**run, "status": "FAILED", "end_time": now - 582, "updated_at": now - 582}


def _running(now: float) -> dict[str, Any]:
    states = ("SUCCEEDED", "SUCCEEDED", "SUCCEEDED", "SUCCEEDED", "RUNNING", "SUCCEEDED", "PENDING")
    run = _run(RUNNING, now - 140, dict(zip(TASKS, states, strict=True)))
    return {**run, "status": "RUNNING", "worker_id": "tokyo-2"}


def _before(now: float) -> list[dict[str, Any]]:
    """Give the runs of the last day; always the same ones."""
    chance = random.Random(11)
    runs = []
    for number in range(160):
        flow_name, tag, usual_sec = chance.choice(_HISTORY)
        end = now - chance.uniform(600, 86_000)
        took = usual_sec * chance.uniform(0.8, 1.3)
        run = _run(f"{chance.getrandbits(32):08x}-{number:04x}", end - took, {}, flow_name=flow_name, tag=tag)
        run.update(status="COMPLETED", end_time=end, updated_at=end, worker_id=chance.choice(("tokyo-1", "osaka-1")))
        if chance.random() < 0.05:
            run.update(status="FAILED", error="ConnectionError: crm.example.com:443 read timed out in push_contacts")
        runs.append(run)
    return runs


def _waiting(now: float) -> list[dict[str, Any]]:
    return [
        stored_run(f"b4d1{number:04x}-waits", flow_name="train_ranker", tag="gpu", submitted_at=now - 400 * number - 60)
        for number in range(6)
    ]


def _workers(now: float) -> list[dict[str, Any]]:
    newest, base = (_installed(package, version, now) for package, version in (("acme-etl", "1.8.2"), _BASE))
    skipped = {"wheel_name": "acme_ranker-0.9.4-cp312-cp312-any.whl", "reason": "is for CPython 3.12, this is 3.11"}
    missing = {"wheel_name": newest["wheel_name"], "requirement": "pandas>=2.2"}
    synced = {"last_success_at": now - 6, "installed_wheels": [newest, base], "skipped_incompatible": [skipped]}
    stale = {"last_success_at": now - 9000, "installed_wheels": [base]}
    error = "acme_etl-1.8.2-py3-none-any.whl: the disk of /srv/pyoco/wheels is full"
    failing = {**stale, "last_result": "error", "last_error": error, "missing_requirements": [missing]}
    common = {"instance_id": "i", "hidden": False, "updated_at": now, "version": "0.6.0", "concurrency": 4}
    alive = {"last_seen_at": now + 600, "pid": 4711}
    return [
        {"worker_id": worker_id, "host": worker_id, "tags": tags, "wheel_sync": sync, **common, **fields}
        for worker_id, tags, sync, fields in (
            ("tokyo-1", ["etl", "default"], _sync(now, **synced), {"state": "IDLE", **alive}),
            ("tokyo-2", ["etl"], _sync(now, **synced), {"state": "RUNNING", "current_run_ids": [RUNNING], **alive}),
            ("kyoto-1", ["report"], _sync(now, **failing), {"state": "IDLE", **alive}),
            ("osaka-1", ["gpu"], _sync(now, **synced), {"state": "RUNNING", "last_seen_at": now - 900}),
            ("osaka-2", ["gpu"], {"enabled": False}, {"state": "STOPPED_GRACEFUL", "last_seen_at": now - 7000}),
        )
    ]


def _installed(package: str, version: str, now: float) -> dict[str, Any]:
    name = file_name(package.replace("-", "_"), version)
    return {"wheel_name": name, "package_name": package, "package_version": version, "installed_at": now - 5000}


def _sync(now: float, **fields: Any) -> dict[str, Any]:
    count = len(fields["installed_wheels"])
    return {"enabled": True, "last_result": "ok", "last_attempt_at": now - 6, "selected_count": count, **fields}


def _printed(began_at: float) -> Iterator[dict[str, Any]]:
    for seq, (task, stream, text, after_sec) in enumerate(_LINES):
        yield {"seq": seq, "task": task, "stream": stream, "text": f"{text}\n", "timestamp": began_at + after_sec}
