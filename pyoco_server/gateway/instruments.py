"""What a gateway measures, for Prometheus.

Nothing here is global: each gateway has a registry of its own. The labels have bounds, for flow names and tags are
their users' choice: beyond them everything is counted as :data:`OTHERS`.

Source: Prometheus, "Metric and label naming" and "Exposition formats" (0.0.4); contract, section 3, row ``/metrics``.
"""

from __future__ import annotations

import platform
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any

from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

import pyoco_server
from pyoco_server.bridge.client import Bus
from pyoco_server.config import Config
from pyoco_server.contract.moments import is_moment
from pyoco_server.readmodel.counts import count_runs, count_waiting
from pyoco_server.readmodel.model import ReadModel
from pyoco_server.stores.standing import read_standing

#: Distinct flows and tags that have series of their own.
MAX_FLOWS = 100
MAX_TAGS = 200
#: Stands for what is beyond; it cannot be a tag.
OTHERS = "(others)"
#: Stands for the route of a request that no route answers.
NO_ROUTE = "(none)"

_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"})
_RUN_BUCKETS_SEC = (0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 14400, 86400)
_REQUEST_BUCKETS_SEC = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Instruments:
    """Measures requests and ended runs, and reads the rest when it is asked."""

    def __init__(self, bus: Bus, model: ReadModel, config: Config) -> None:
        self._requests = Histogram(
            "pyoco_http_request_duration_seconds",
            "Time from a request to the beginning of its answer, by route, method and status.",
            ("route", "method", "status"),
            buckets=_REQUEST_BUCKETS_SEC,
            registry=None,
        )
        self._durations = Histogram(
            "pyoco_run_duration_seconds",
            "Time from the beginning to the end of runs that ended since this gateway started, by flow and status.",
            ("flow", "status"),
            buckets=_RUN_BUCKETS_SEC,
            registry=None,
        )
        self._lock = threading.Lock()
        self._flows: set[str] = set()
        self._registry = CollectorRegistry()
        self._registry.register(_State(bus, model, config))
        for histogram in (self._durations, self._requests):
            self._registry.register(_WithoutCreated(histogram))
        model.on_ended(self.run_ended)

    def request_answered(self, route: str | None, method: str, status: int, duration_sec: float) -> None:
        """Note a request.

        :param route: the route's template; ``None`` where no route answers.
        """
        known = method if method in _METHODS else OTHERS
        self._requests.labels(route or NO_ROUTE, known, str(status)).observe(duration_sec)

    def run_ended(self, document: dict[str, Any]) -> None:
        """Note a run that has ended; one that never began has no duration."""
        began_at, ended_at = document.get("start_time"), document.get("end_time")
        # Other programs write snapshots, too, and what is raised here ends the gateway.
        if is_moment(began_at) and is_moment(ended_at):
            flow_name = document.get("flow_name")
            flow = self._flow_label(flow_name) if flow_name else OTHERS
            self._durations.labels(flow, document["status"]).observe(max(0.0, ended_at - began_at))

    def exposition(self) -> bytes:
        """Give everything in the text format.

        :raises Unavailable: NATS does not answer, or the read model is not complete.
        """
        return generate_latest(self._registry)

    def _flow_label(self, flow_name: str) -> str:
        with self._lock:
            if flow_name in self._flows or len(self._flows) < MAX_FLOWS:
                self._flows.add(flow_name)
                return flow_name
        return OTHERS


class _State(Collector):
    """Reads what is counted elsewhere at the moment it is asked."""

    def __init__(self, bus: Bus, model: ReadModel, config: Config) -> None:
        self._bus = bus
        self._model = model
        self._config = config

    def collect(self) -> Iterator[Metric]:
        now = time.time()
        yield from self._runs_by_status(now)
        timeout_sec = self._config.worker_disconnect_timeout_sec
        alive = sum(worker.is_live(now, timeout_sec) for worker in self._model.workers())
        yield GaugeMetricFamily("pyoco_workers_alive_total", "Workers that live.", value=alive)
        standing = read_standing(self._bus, self._config, self._model.applied_seq())
        yield GaugeMetricFamily("pyoco_dlq_messages_total", "Dead letters that are kept.", value=standing.letter_count)
        yield from self._queues(now)
        help = "Age of the oldest change of a run that is stored and not yet in this gateway's lists."
        yield GaugeMetricFamily("pyoco_read_model_lag_seconds", help, value=standing.lag_sec)
        build = GaugeMetricFamily("pyoco_build_info", "Version of this gateway.", labels=("version", "python"))
        build.add_metric((pyoco_server.__version__, platform.python_version()), 1)
        yield build

    def _runs_by_status(self, now: float) -> Iterator[Metric]:
        stored = GaugeMetricFamily("pyoco_runs_total", "Runs that are stored, by status.", labels=("status",))
        today = GaugeMetricFamily(
            "pyoco_runs_today_total", "Runs that changed last since midnight (UTC), by status.", labels=("status",)
        )
        for status, count in count_runs(self._model, now).items():
            stored.add_metric((status.value,), count.total)
            today.add_metric((status.value,), count.today)
        yield stored
        yield today

    def _queues(self, now: float) -> Iterator[Metric]:
        depth = GaugeMetricFamily("pyoco_queue_depth", "Runs that wait for a worker, by tag.", labels=("tag",))
        age = GaugeMetricFamily(
            "pyoco_queue_oldest_job_age_seconds",
            "Time since the submission of the run that has waited longest, by tag; 0 where none waits.",
            labels=("tag",),
        )
        retries = GaugeMetricFamily(
            "pyoco_queue_waiting_retries",
            "Runs that have failed and wait until they are tried again, by tag; the depth does not count them.",
            labels=("tag",),
        )
        waiting = list(count_waiting(self._model).items())
        for tag, queue in waiting[:MAX_TAGS]:
            depth.add_metric((tag,), queue.count)
            age.add_metric((tag,), _age_sec([queue.oldest_at], now))
            retries.add_metric((tag,), queue.retry_count)
        rest = [queue for _, queue in waiting[MAX_TAGS:]]
        if rest:
            depth.add_metric((OTHERS,), sum(queue.count for queue in rest))
            age.add_metric((OTHERS,), _age_sec((queue.oldest_at for queue in rest), now))
            retries.add_metric((OTHERS,), sum(queue.retry_count for queue in rest))
        yield depth
        yield age
        yield retries


class _WithoutCreated(Collector):
    """Leaves out the time when a series began, which the text format has no place for."""

    def __init__(self, histogram: Histogram) -> None:
        self._histogram = histogram

    def collect(self) -> Iterator[Metric]:
        for family in self._histogram.collect():
            family.samples = [sample for sample in family.samples if not sample.name.endswith("_created")]
            yield family


def _age_sec(moments: Iterable[float | None], now: float) -> float:
    return max((max(0.0, now - moment) for moment in moments if moment is not None), default=0.0)
