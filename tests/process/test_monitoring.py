"""What lies under deploy/ for Prometheus and Grafana asks for what is really told."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import requests
import yaml
from prometheus_client.parser import text_string_to_metric_families

from pyoco_server.client.http import PyocoHttpClient
from tests.support.commands import Daemon, check_understood
from tests.support.nats import free_port
from tests.support.tools import need
from tests.support.waiting import eventually

ROOT = Path(__file__).parents[2]
ALERTS = ROOT / "deploy" / "prometheus" / "alerts.yaml"
DASHBOARD = ROOT / "deploy" / "grafana" / "pyoco-dashboard.json"
#: What Prometheus itself adds.
ITS_METRICS = {"up": {"job", "instance"}}
ITS_LABELS = {"job", "instance"}


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    return found


def selectors(node: Any) -> Iterator[Any]:
    """Give the selectors of an expression that was read."""
    if isinstance(node, promql_parser.VectorSelector):
        yield node
    for name in ("expr", "lhs", "rhs", "vector_selector", "param"):
        inner = getattr(node, name, None)
        if inner is not None:
            yield from selectors(inner)
    for inner in getattr(node, "args", None) or []:
        yield from selectors(inner)


def labels_named(text: str) -> set[str]:
    """Give the labels that an expression groups, joins or selects by, or that a text shows."""
    lists = re.findall(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)", text)
    named = {label.strip() for found in lists for label in found.split(",")}
    return (named | set(re.findall(r"[{,]\s*(\w+)\s*=", text)) | set(re.findall(r"\$labels\.(\w+)", text))) - {""}


@pytest.fixture
def told(
    client: PyocoHttpClient, gateway: Any, start_worker: Callable[..., Daemon], tmp_path: Path
) -> dict[str, set[str]]:
    """The labels of each series that a gateway and a worker tell after a run, by the name of the sample."""
    health = f"127.0.0.1:{free_port()}"
    start_worker("--tags", "t", "--health-listen", health)
    run_id = client.submit_run("nobody_knows_it", {}, tag="t")["run_id"]
    eventually(lambda: client.get_run(run_id)["status"] == "FAILED", what="the end of the run", timeout_sec=60)
    found: dict[str, set[str]] = {}

    def look() -> bool:
        for url in (f"{gateway.url}/metrics", f"http://{health}/metrics"):
            for family in text_string_to_metric_families(requests.get(url, timeout=30).text):
                for sample in family.samples:
                    found.setdefault(sample.name, set()).update(sample.labels)
        return "pyoco_run_duration_seconds_count" in found

    eventually(look, what="the duration of the run", timeout_sec=60)
    return found


def test_every_metric_and_label_that_is_asked_for_is_told(told: dict[str, set[str]]) -> None:
    known = {**told, **ITS_METRICS}
    asked = [(rule["expr"], str(rule["annotations"])) for rule in rules()]
    asked += [(target["expr"], "") for panel in panels() for target in panel["targets"]]
    for text, words in asked:
        names = {selector.name for selector in selectors(promql_parser.parse(text))}
        assert names and names <= known.keys(), text
        labels = set().union(ITS_LABELS, *(known[name] for name in names))
        assert labels_named(text) | labels_named(words) <= labels, text
    drawn = set()
    for panel in panels():
        for target in panel["targets"]:
            shown = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
            names = {selector.name for selector in selectors(promql_parser.parse(target["expr"]))}
            assert shown <= set().union(ITS_LABELS, *(known[name] for name in names)), target
            drawn |= names
    # The other way round: whatever is told is in a panel, as docs/metrics.md says.
    families = {re.sub(r"_(bucket|count|sum)$", "", name) for name in told}
    assert families == {re.sub(r"_(bucket|count|sum)$", "", name) for name in drawn}


def test_the_alerts_come_when_they_should_and_not_else(tmp_path: Path) -> None:
    need("promtool", "prometheus")
    shutil.copy(ALERTS, tmp_path)
    shutil.copy(ROOT / "tests" / "deploy" / "alerts_test.yaml", tmp_path)
    words = (["check", "rules", "alerts.yaml"], ["test", "rules", "alerts_test.yaml"])
    for arguments in words:
        done = subprocess.run(["promtool", *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
    tried = (tmp_path / "alerts_test.yaml").read_text()
    for rule in rules():
        assert f"alertname: {rule['alert']}}}" in tried
    # All of them were seen firing.
    assert f"value: {len(rules())}" in tried


def test_the_part_of_prometheus_yml_is_one_that_prometheus_takes(tmp_path: Path) -> None:
    need("promtool", "prometheus")
    for path in ALERTS.parent.iterdir():
        shutil.copy(path, tmp_path)
    done = subprocess.run(
        ["promtool", "check", "config", "scrape.yaml"], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    jobs = {job["job_name"] for job in yaml.safe_load((tmp_path / "scrape.yaml").read_text())["scrape_configs"]}
    assert set(re.findall(r'job="([^"]+)"', ALERTS.read_text())) == jobs


def test_each_alert_says_how_bad_it_is_and_the_command_to_begin_with(tmp_path: Path) -> None:
    for rule in rules():
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert rule["annotations"].keys() == {"summary", "command", "description"}
        program, *words = shlex.split(re.sub(r"{{.*?}}", "x", rule["annotations"]["command"]))
        if program == "systemctl":
            assert (ROOT / "deploy" / "systemd" / f"{words[-1]}.service").exists()
            continue
        check_understood(program, *words, cwd=tmp_path)


def test_the_dashboard_is_one_that_grafana_takes_as_far_as_that_can_be_seen_here() -> None:
    document = json.loads(DASHBOARD.read_text())
    assert document["title"] and document["uid"] and isinstance(document["schemaVersion"], int)
    assert [variable["type"] for variable in document["templating"]["list"]] == ["datasource"]
    ids = [panel["id"] for panel in panels()]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        place = panel["gridPos"]
        assert panel["title"] and panel["type"] in ("stat", "timeseries")
        # Grafana lays panels on 24 columns; two on one place are moved apart in an order of its own.
        cells = {
            (column, row)
            for column in range(place["x"], place["x"] + place["w"])
            for row in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24 and not cells & taken
        taken |= cells
        assert all(target["datasource"]["uid"] == "${datasource}" for target in panel["targets"])
        letters = [target["refId"] for target in panel["targets"]]
        assert len(set(letters)) == len(letters)
