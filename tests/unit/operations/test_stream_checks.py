"""What the doctor says of servers and streams in states that take long to bring about."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pyoco_server.bridge.overview import Replica, ServerFacts, StreamFacts
from pyoco_server.bridge.resources import stream_settings
from pyoco_server.config import Config
from pyoco_server.operations.findings import Finding, Severity
from pyoco_server.operations.monitoring import NodeFacts
from pyoco_server.operations.stream_checks import check_servers, check_streams
from pyoco_server.operations.survey import Survey
from pyoco_server.stores.storage import ACCOUNT, Storage, nearly_full_of

CONFIG = Config()
SERVER = ServerFacts("id", "n1", "2.15.1", "team", True)
NODE = NodeFacts("http://n1:8222", "id", "team", 3, 0.0, 10, 100)


def stream(settings: dict[str, Any], **facts: Any) -> StreamFacts:
    """A stream as we make it on three servers."""
    copies = tuple(Replica(name, True, False, 0.5, 0) for name in ("n2", "n3"))
    found = StreamFacts(
        name=settings["name"],
        settings={"num_replicas": 3, **settings},
        message_count=0,
        byte_count=0,
        consumer_count=0,
        leader="n1",
        replicas=copies,
        is_moving=False,
        oldest_sec=0.0,
    )
    return replace(found, **facts)


STREAMS = [stream(settings) for settings in stream_settings(CONFIG)]
SOUND = Survey(SERVER, [], [], [], STREAMS, [], [], [], {}, set(), [], [], 0.0)


def found(**facts: Any) -> set[tuple[str, str]]:
    survey = replace(SOUND, **facts)
    return {(finding.id, finding.subject) for finding in (*check_servers(survey), *check_streams(survey, CONFIG))}


def limit_findings(stream: StreamFacts) -> list[Finding]:
    others = [each for each in STREAMS if each.name != stream.name]
    survey = replace(SOUND, streams=[*others, stream])
    return [finding for finding in check_streams(survey, CONFIG) if finding.id == "no-limit"]


def test_nothing_is_said_of_what_is_in_order() -> None:
    assert found() == set()


def test_a_server_that_cannot_have_messages_expire_is_a_fault() -> None:
    assert found(server=replace(SERVER, version="2.10.29")) == {("server-old", "n1")}
    assert found(server=replace(SERVER, version="2.11.0-preview")) == set()
    assert found(server=replace(SERVER, version="unknown")) == set()


def test_a_copy_that_its_leader_does_not_hear_of_is_a_server_that_is_away() -> None:
    silent = [replace(each, replicas=(Replica("n2", True, False, 11.0, 0), each.replicas[1])) for each in STREAMS]
    assert found(streams=silent) == {("server-away", "n2")}
    offline = [replace(each, replicas=(each.replicas[0], Replica("n3", False, True, 0.0, 9))) for each in STREAMS]
    assert found(streams=offline) == {("server-away", "n3")}


def test_a_copy_that_is_not_whole_and_one_that_is_being_made_are_told() -> None:
    first, *others = STREAMS
    behind = replace(first, replicas=(Replica("n2", False, False, 0.1, 9), first.replicas[1]))
    assert found(streams=[behind, *others]) == {("server-behind", "n2")}
    assert found(streams=[replace(first, is_moving=True), *others]) == {("moving", first.name)}


def test_streams_without_a_leader_and_those_of_which_nobody_tells_are_faults() -> None:
    first, second, *others = STREAMS
    survey = replace(SOUND, streams=[replace(first, leader=None), *others], silent_streams=[second.name])
    faults = [*check_servers(survey), *check_streams(survey, CONFIG)]
    assert [(each.id, each.subject) for each in faults] == [("no-leader", first.name), ("stream-silent", second.name)]
    assert {each.severity for each in faults} == {Severity.FAULT}


def test_two_servers_are_not_asked_for_three_copies() -> None:
    single = [replace(each, settings={**each.settings, "num_replicas": 1}) for each in STREAMS]
    single_of_three = {("replicas", each.name) for each in STREAMS}
    assert found(streams=single, nodes=[replace(NODE, cluster_size=2)]) == set()
    assert found(streams=single, nodes=[NODE]) == single_of_three
    assert found(streams=single, server=replace(SERVER, cluster=None)) == set()
    # Where no monitoring port tells how many they are, they count as three: --fix then hears of it.
    assert found(streams=single) == found(streams=single, nodes=[replace(NODE, cluster="b", cluster_size=2)])
    assert found(streams=single) == single_of_three


@pytest.mark.parametrize(
    ("limit", "fact", "beyond", "flag"),
    [
        ("max_age", "oldest_sec", 604_801.0, "--max-age 604800s"),
        ("max_bytes", "byte_count", 536_870_913, "--max-bytes 536870912"),
        ("max_msgs", "message_count", 100_001, "--max-msgs 100000"),
    ],
)
def test_a_limit_is_set_only_where_nothing_is_stored_beyond_it(limit: str, fact: str, beyond: Any, flag: str) -> None:
    letters = next(each for each in STREAMS if each.name == "PYOCO_DLQ")
    endless = replace(letters, settings={**letters.settings, limit: 0})
    (within,) = limit_findings(replace(endless, **{fact: beyond - 1}))
    assert within.change is not None and list(within.change.settings) == [limit]
    (over,) = limit_findings(replace(endless, **{fact: beyond}))
    assert (over.change, over.remedy) == (None, f"nats stream edit PYOCO_DLQ {flag}")


def test_of_several_limits_those_are_set_that_remove_nothing() -> None:
    logs = next(each for each in STREAMS if each.name == "PYOCO_LOGS")
    limits = dict.fromkeys(("max_age", "max_bytes", "max_msgs_per_subject"), -1)
    # As many may be those of one subject.
    harmless, harmful = limit_findings(replace(logs, settings={**logs.settings, **limits}, message_count=40_001))
    assert harmless.change is not None and sorted(harmless.change.settings) == ["max_age", "max_bytes"]
    assert (harmful.change, harmful.remedy) == (None, "nats stream edit PYOCO_LOGS --max-msgs-per-subject 40000")


def test_what_is_nearly_full_is_told_with_what_comes_of_it() -> None:
    names = (ACCOUNT, "KV_pyoco_runs", "PYOCO_DLQ")
    full = [Storage(name, 95, 100) for name in names]
    assert found(full=full) == {("storage-full", name) for name in names}
    texts = {finding.subject: finding.text for finding in check_streams(replace(SOUND, full=full), CONFIG)}
    assert "nothing more is stored" in texts[ACCOUNT] and "nothing more is stored" in texts["KV_pyoco_runs"]
    assert "the oldest in it is removed" in texts["PYOCO_DLQ"]
    assert found(nodes=[NODE, replace(NODE, url="http://n2:8222", storage_bytes=95)]) == {
        ("storage-full", "http://n2:8222")
    }


def test_what_keeps_the_newest_of_all_that_comes_is_full_without_a_word() -> None:
    names = ("PYOCO_LOGS", "OBJ_pyoco_artifacts", "PYOCO_DLQ")
    streams = [replace(SOUND.streams[0], name=name, byte_count=95, settings={"max_bytes": 100}) for name in names]
    account = {"storage": 5, "limits": {"max_storage": 0}}
    assert [storage.name for storage in nearly_full_of(account, streams, CONFIG)] == ["PYOCO_DLQ"]


def test_consumers_that_lists_of_older_clients_left_behind_are_told() -> None:
    first, *others = STREAMS
    assert found(streams=[replace(first, consumer_count=900), *others]) == {("many-consumers", first.name)}
