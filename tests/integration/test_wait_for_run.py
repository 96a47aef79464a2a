"""``GET /runs/{run_id}?wait=SEC``: the answer is held back until the run has ended or the time is over."""

from __future__ import annotations

import concurrent.futures
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from pyoco_server.client.http import PyocoHttpClient
from pyoco_server.states import RunStatus
from tests.support.gateway import LocalGateway, fault_places, problem
from tests.support.nats import NatsServer
from tests.support.parts import Parts
from tests.support.waiting import eventually


def wait_until_waiting(gateway: LocalGateway, count: int = 1) -> None:
    eventually(lambda: gateway.free_places == gateway.config.max_watches - count, what="the requests that wait")


def test_answer_comes_when_the_run_ends_and_not_before(local: LocalGateway, parts: Parts) -> None:
    run_id = local.submit()
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(local.get, f"/runs/{run_id}?wait=30")
        wait_until_waiting(local)
        parts.change(run_id, status=RunStatus.RUNNING)
        eventually(lambda: local.knows(run_id, "RUNNING"), what="the change in the model")
        assert not asked.done()
        ended_at = parts.end(run_id)
        answer = asked.result()
        assert time.monotonic() - ended_at < 1
    assert (answer.status_code, answer.json()["status"]) == (200, "COMPLETED")
    assert local.free_places == local.config.max_watches


def test_run_that_does_not_end_is_answered_as_it_is_when_the_time_is_over(local: LocalGateway) -> None:
    run_id = local.submit()
    began_at = time.monotonic()
    answer = local.get(f"/runs/{run_id}?wait=0.7&include=records")
    assert 0.7 <= time.monotonic() - began_at < 3
    assert (answer.json()["status"], answer.json()["task_records"]) == ("PENDING", {})


def test_run_that_has_ended_and_no_time_to_wait_are_answered_at_once(local: LocalGateway, parts: Parts) -> None:
    ended, waiting = local.submit(), local.submit()
    parts.end(ended)
    began_at = time.monotonic()
    assert local.get(f"/runs/{ended}?wait=60").json()["status"] == "COMPLETED"
    assert local.get(f"/runs/{waiting}?wait=0").json()["status"] == "PENDING"
    assert time.monotonic() - began_at < 2
    assert problem(local.get("/runs/nope?wait=60"), 404)


@pytest.mark.parametrize("wait", ["-1", "60.1", "x", "", "nan", "1e9", "inf", " 1"])
def test_time_that_is_out_of_range_is_refused(local: LocalGateway, wait: str) -> None:
    assert fault_places(local.get("/runs/x", params={"wait": wait}), "ERR-PYOCO-0002") == ["query.wait"]


def test_requests_that_wait_take_the_places_of_watches(serve: Callable[..., LocalGateway], parts: Parts) -> None:
    gateway = serve(PYOCO_MAX_WATCHES="1")
    gateway.wait_until_complete()
    run_id = gateway.submit()
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(gateway.get, f"/runs/{run_id}?wait=30")
        eventually(lambda: gateway.free_places == 0, what="the request that waits")
        refused = gateway.get(f"/runs/{run_id}?wait=30")
        assert problem(refused, 503)["err_id"] == "ERR-PYOCO-0003"
        assert refused.headers["Retry-After"]
        assert problem(gateway.get(f"/runs/{run_id}/watch"), 503)
        assert gateway.get(f"/runs/{run_id}").status_code == 200
        parts.end(run_id)
        assert asked.result().json()["status"] == "COMPLETED"
    assert gateway.free_places == 1


def test_client_that_leaves_gives_its_place_back(local: LocalGateway) -> None:
    run_id = local.submit()
    with socket.create_connection(("127.0.0.1", local.port)) as connection:
        connection.sendall(f"GET /runs/{run_id}?wait=60 HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        wait_until_waiting(local)
    eventually(lambda: local.free_places == local.config.max_watches, what="the free place", timeout_sec=6)


def test_run_whose_snapshot_is_large_is_waited_for_too(local: LocalGateway, parts: Parts) -> None:
    run_id = local.submit(params={"text": "x" * 50_000})
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(local.get, f"/runs/{run_id}?wait=30")
        wait_until_waiting(local)
        parts.end(run_id)
        assert asked.result().json()["status"] == "COMPLETED"


def test_wait_goes_on_over_an_absence_of_nats(local: LocalGateway, parts: Parts, nats: NatsServer) -> None:
    run_id = local.submit()
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(local.get, f"/runs/{run_id}?wait=30")
        wait_until_waiting(local)
        nats.stop()
        nats.start()
        local.wait_until_complete()
        eventually(lambda: parts.bus.is_connected, what="the connection of the other program")
        parts.end(run_id)
        assert asked.result().json()["status"] == "COMPLETED"


def test_gateway_that_stops_answers_those_who_wait(serve: Callable[..., LocalGateway]) -> None:
    gateway = serve()
    gateway.wait_until_complete()
    run_id = gateway.submit()
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(gateway.get, f"/runs/{run_id}?wait=60")
        wait_until_waiting(gateway)
        gateway.server._gateway.stopping.set()
        gateway.parts.model.wake_watches()
        assert asked.result().json()["status"] == "PENDING"


def test_client_library_waits(local: LocalGateway, parts: Parts) -> None:
    run_id = local.submit()
    with PyocoHttpClient(local.url, timeout_sec=0.5) as client, ThreadPoolExecutor(1) as pool:
        asked = pool.submit(client.get_run, run_id, wait_sec=20)
        wait_until_waiting(local)
        # Longer than the client waits for other answers.
        with pytest.raises(concurrent.futures.TimeoutError):
            asked.result(1.0)
        parts.end(run_id)
        assert asked.result()["status"] == "COMPLETED"
