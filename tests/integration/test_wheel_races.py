"""Uploads that come at the same time, through two gateways: versions rise, one wins, and the losers leave nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from tests.support.gateway import LocalGateway, problem
from tests.support.nats import NatsServer
from tests.support.parts import Parts
from tests.support.wheels import chunk_subjects, file_name, wheel


class Counter:
    """Where wheels are handed in: each client goes to the next of two gateways."""

    def __init__(self, gateways: list[LocalGateway]) -> None:
        self.gateways = gateways

    def upload_at_once(self, wheels: list[tuple[str, bytes]]) -> list[requests.Response]:
        with ThreadPoolExecutor(len(wheels)) as pool:
            return list(pool.map(self._upload, range(len(wheels)), *zip(*wheels, strict=True)))

    def _upload(self, number: int, name: str, data: bytes) -> requests.Response:
        url = self.gateways[number % len(self.gateways)].url
        return requests.post(f"{url}/wheels", files={"wheel": (name, data)}, timeout=60)

    def listed(self, package: str) -> list[dict[str, Any]]:
        """Give the entries of a package, which are the same on both gateways."""
        first, second = (gateway.get("/wheels").json() for gateway in self.gateways)
        assert first == second
        return [entry for entry in first if entry["name"].startswith(f"{package}-")]

    def history(self, **query: str) -> list[dict[str, Any]]:
        events: list[dict[str, Any]] = self.gateways[1].get("/wheels/history", params={"limit": "500", **query}).json()
        return events

    def nothing_is_left_over(self) -> bool:
        kept = {entry["nuid"] for entry in self.gateways[0].get("/wheels").json()}
        with Parts(self.gateways[0].config.nats_url) as parts:
            return chunk_subjects(parts) == kept


@pytest.fixture(scope="module")
def counter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Counter]:
    nats = NatsServer(tmp_path_factory.mktemp("races") / "nats").start()
    gateways = [LocalGateway(nats), LocalGateway(nats)]
    for gateway in gateways:
        gateway.wait_until_complete()
    yield Counter(gateways)
    for gateway in gateways:
        gateway.stop()
    nats.stop()


def raced(number: int) -> bytes:
    return wheel("raced", files={"raced/__init__.py": f"WHO = {number}\n".encode()})


def test_of_twenty_uploads_of_one_version_one_wins_and_the_others_are_refused(counter: Counter) -> None:
    answers = counter.upload_at_once([(file_name("raced"), raced(number)) for number in range(20)])
    winners = [answer for answer in answers if answer.status_code == 200]
    assert len(winners) == 1
    for answer in answers:
        if answer is not winners[0]:
            assert problem(answer, 409)["err_id"] == "ERR-PYOCO-0022"
    (entry,) = counter.listed("raced")
    assert entry == winners[0].json()
    content = counter.gateways[1].get(f"/wheels/{file_name('raced')}").content
    assert hashlib.sha256(content).hexdigest() == entry["sha256_hex"]
    assert content == raced(answers.index(winners[0]))
    assert len(counter.history(wheel_name=file_name("raced"))) == 1
    assert counter.nothing_is_left_over()


def test_of_twenty_uploads_of_rising_versions_the_winners_rise(counter: Counter) -> None:
    names = [file_name("racing", f"1.{number}") for number in range(20)]
    answers = counter.upload_at_once([(name, wheel("racing", f"1.{number}")) for number, name in enumerate(names)])
    assert {answer.status_code for answer in answers} <= {200, 409}
    assert answers[19].status_code == 200
    won = [name for name, answer in zip(names, answers, strict=True) if answer.status_code == 200]
    listed = {entry["name"]: entry["modified"] for entry in counter.listed("racing")}
    assert sorted(listed, key=lambda name: listed[name]) == won
    assert counter.nothing_is_left_over()


def test_twenty_uploads_of_different_packages_all_succeed(counter: Counter) -> None:
    wheels = [(file_name(f"many{number}"), wheel(f"many{number}")) for number in range(20)]
    assert [answer.status_code for answer in counter.upload_at_once(wheels)] == [200] * 20
