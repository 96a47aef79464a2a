"""Whoever asks why a worker died finds what its run had printed, with each of the tools that there are."""

from __future__ import annotations

import re
import subprocess
import time

import pytest
import requests

from tests.support.fleet import flow
from tests.support.plant import Plant
from tests.support.tools import need

pytestmark = pytest.mark.long

#: What is printed so shortly before its worker dies may be lost.
_LOSS_SEC = 2.0


def _last_time(text: str) -> float:
    return max((float(found) for found in re.findall(r"at (\d+\.\d{3})", text)), default=0.0)


@pytest.fixture(scope="module")
def killed(plant: Plant) -> tuple[str, float]:
    """A run whose worker was killed while it printed, and when; nobody else takes it over."""
    worker = plant.hire()
    run_id = plant.submit(flow("print_times"))
    plant.fleet.running(run_id, "print_times")
    # As long as it takes to be certain that it is not all from the first batch.
    plant.fleet.wait_until(lambda: len(plant.fleet.log(run_id)) > 500, "hundreds of lines", timeout_sec=60)
    killed_at = time.time()
    worker.process.kill()
    worker.process.wait(10)
    return run_id, killed_at


def test_curl_reads_it(plant: Plant, killed: tuple[str, float]) -> None:
    need("curl", "curl")
    run_id, killed_at = killed
    command = ["curl", "-sS", "-H", "Accept: text/plain", f"{plant.url}/runs/{run_id}/logs"]
    text = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    assert killed_at - _LOSS_SEC < _last_time(text)
    assert re.search(r"Z print_times stdout \| at [0-9.]+\n", text)


def test_the_command_reads_it(plant: Plant, killed: tuple[str, float]) -> None:
    run_id, killed_at = killed
    assert killed_at - _LOSS_SEC < _last_time(plant.command("logs", run_id, "--tail", "10").stdout)


def test_the_page_of_the_run_shows_it(plant: Plant, killed: tuple[str, float]) -> None:
    run_id, killed_at = killed
    assert killed_at - _LOSS_SEC < _last_time(requests.get(f"{plant.url}/ui/runs/{run_id}", timeout=30).text)
