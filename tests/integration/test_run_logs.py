"""``GET /runs/{id}/logs``: what heartbeats brought, kept as it was sent."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.gateway import LocalGateway, fault_places
from tests.support.polling import beat, poll


def entry(seq: int, task: str = "a", text: str = "hello\n", **more: Any) -> dict[str, Any]:
    return {"seq": seq, "task": task, "stream": "stdout", "text": text, "timestamp": 100.5 + seq, **more}


def begun(local: LocalGateway, tag: str) -> str:
    run_id = local.submit("f", tag=tag)
    assert poll(local, tag)["run_id"] == run_id
    return run_id


def logs(local: LocalGateway, run_id: str, query: str = "") -> dict[str, Any]:
    answer = local.get(f"/runs/{run_id}/logs{query}")
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


def test_entries_are_kept_as_they_were_sent_and_given_in_the_order_of_seq(shared: LocalGateway) -> None:
    run_id = begun(shared, "order")
    assert logs(shared, run_id) == {"run_status": "RUNNING", "logs": [], "is_cut": False}
    late, early = [entry(2, "b", "é\x00\n", level="warn"), entry(3)], [entry(0), entry(1)]
    beat(shared, run_id, logs=late)
    beat(shared, run_id, logs=early)
    assert logs(shared, run_id)["logs"] == early + late
    beat(shared, run_id, "COMPLETED", logs=[entry(4)])
    assert logs(shared, run_id) == {"run_status": "COMPLETED", "logs": [*early, *late, entry(4)], "is_cut": False}


def test_tail_counts_after_the_filter(shared: LocalGateway) -> None:
    run_id = begun(shared, "tail")
    beat(shared, run_id, logs=[entry(seq, "ab"[seq % 2]) for seq in range(10)])
    found = logs(shared, run_id, "?task=a&tail=2")["logs"]
    assert [(item["seq"], item["task"]) for item in found] == [(6, "a"), (8, "a")]
    assert [item["seq"] for item in logs(shared, run_id, "?tail=3")["logs"]] == [7, 8, 9]
    assert len(logs(shared, run_id, "?tail=1000")["logs"]) == 10
    assert logs(shared, run_id, "?task=none")["logs"] == []


@pytest.mark.parametrize("value", ["0", "-1", "x", "1.5", ""])
def test_a_tail_that_is_no_number_from_1_on_is_refused(shared: LocalGateway, value: str) -> None:
    run_id = shared.submit("f", tag="refused")
    assert fault_places(shared.get(f"/runs/{run_id}/logs?tail={value}"), "ERR-PYOCO-0002") == ["query.tail"]


def test_a_run_of_another_kind_of_worker_has_no_entries_yet(shared: LocalGateway) -> None:
    assert logs(shared, shared.submit("f", tag="none"))["logs"] == []


@pytest.mark.parametrize("character", ["x", "é", "\U0001f600", "\x01"])
def test_what_nats_cannot_carry_in_one_message_is_kept_whole(shared: LocalGateway, character: str) -> None:
    run_id = begun(shared, f"huge-{ord(character)}")
    sent = [
        *(entry(seq, text=character * 1_000) for seq in range(200)),
        entry(200, text=character * 300_001),
        entry(201),
        # Their order by seq is not that of their coming.
        entry(-1, text=character * 70_000),
    ]
    beat(shared, run_id, logs=sent)
    found = logs(shared, run_id)["logs"]
    assert found == [sent[-1], *sent[:-1]]


def test_of_an_entry_that_is_too_large_only_the_fields_that_are_known_are_kept(shared: LocalGateway) -> None:
    run_id = begun(shared, "large")
    beat(shared, run_id, logs=[entry(0, blob="x" * 2_000_000), entry(1, blob="x")])
    assert logs(shared, run_id)["logs"] == [entry(0), entry(1, blob="x")]


def test_of_more_than_is_read_at_once_the_newest_is_given(shared: LocalGateway) -> None:
    run_id = begun(shared, "bound")
    for number in range(14):
        beat(shared, run_id, logs=[entry(number * 12 + each, text="." * 110_000) for each in range(12)])
    document = logs(shared, run_id)
    assert document["is_cut"] is True
    assert document["logs"][0]["seq"] > 0
    assert document["logs"][-1]["seq"] == 14 * 12 - 1
