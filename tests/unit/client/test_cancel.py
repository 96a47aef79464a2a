"""How the HTTP client waits for the end of a run that it has cancelled."""

from __future__ import annotations

import pytest

from pyoco_server.client.http import PyocoHttpClient
from pyoco_server.errors import CancelNotFinished
from tests.support.fake_gateway import FakeGateway, json_answer, snapshot_event, stream_answer

MARKED = {"run_id": "r1", "status": "CANCELLING"}


def test_without_wait_the_marked_run_is_given_at_once(gateway: FakeGateway, client: PyocoHttpClient) -> None:
    gateway.answers = [json_answer(MARKED)]
    assert client.cancel_run("r1") == client.cancel_run("r1", timeout_sec=1) == MARKED
    assert [(request.method, request.path) for request in gateway.requests] == [("POST", "/runs/r1/cancel")] * 2


def test_with_wait_the_ended_run_is_given(gateway: FakeGateway, client: PyocoHttpClient) -> None:
    events = snapshot_event("CANCELLING", 1.0) + snapshot_event("CANCELLED", 2.0)
    gateway.answers = [json_answer(MARKED), stream_answer(events)]
    assert client.cancel_run("r1", wait=True)["status"] == "CANCELLED"


def test_with_wait_a_run_that_had_ended_is_not_watched(gateway: FakeGateway, client: PyocoHttpClient) -> None:
    gateway.answers = [json_answer({"run_id": "r1", "status": "COMPLETED"})]
    assert client.cancel_run("r1", wait=True)["status"] == "COMPLETED"
    assert len(gateway.requests) == 1


def test_with_wait_a_restart_of_the_gateway_after_the_request_is_sat_out(
    gateway: FakeGateway, client: PyocoHttpClient
) -> None:
    away = json_answer({"detail": "NATS does not answer."}, 503)
    gateway.answers = [json_answer(MARKED), away, stream_answer(snapshot_event("CANCELLED", 2.0))]
    assert client.cancel_run("r1", wait=True)["status"] == "CANCELLED"


def test_a_wait_that_has_passed_is_a_timeout_error_as_in_0_5_1(gateway: FakeGateway, client: PyocoHttpClient) -> None:
    gateway.answers = [json_answer(MARKED), stream_answer(snapshot_event("CANCELLING", 1.0))]
    with pytest.raises(TimeoutError, match="Run r1 is still CANCELLING after 1 s") as caught:
        client.cancel_run("r1", wait=True, timeout_sec=1)
    assert isinstance(caught.value, CancelNotFinished)
