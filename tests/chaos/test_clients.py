"""The clients of a storm tell of what no gateway may answer."""

from __future__ import annotations

from tests.chaos.clients import Clients
from tests.support.fake_gateway import fake_gateway, json_answer, text_answer
from tests.support.waiting import PATIENCE_SEC, eventually


def test_a_submission_that_is_refused_is_a_fault_and_its_client_goes_on() -> None:
    with fake_gateway() as gateway:
        gateway.answers = [json_answer({"detail": "no such route"}, 404), json_answer({"run_id": "r1"})]
        clients = Clients([gateway.url], seed=1, count=1)
        try:
            eventually(lambda: clients.accepted, what="the next submission being accepted")
        finally:
            clients.stop()
    (fault,) = clients.faults
    assert "0-0: " in fault and "404" in fault and "no such route" in fault
    assert clients.accepted["0-1"] == "r1"


def test_a_submission_is_sent_once_more_where_the_gateway_says_so() -> None:
    with fake_gateway() as gateway:
        gateway.answers = [text_answer("", 503, **{"Retry-After": "1"}), json_answer({"run_id": "r1"})]
        clients = Clients([gateway.url], seed=1, count=1)
        try:
            eventually(lambda: clients.accepted, what="the submission being accepted", timeout_sec=PATIENCE_SEC)
        finally:
            clients.stop()
    assert clients.accepted["0-0"] == "r1" and clients.tried_again == {"503": 1}
    assert [request.headers["idempotency-key"] for request in gateway.requests[:2]] == ["0-0", "0-0"]
