"""A program that was written for the library of 0.5.1 can call ours in the same ways."""

from __future__ import annotations

import inspect
import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from pyoco_server import NatsBackendConfig, PyocoHttpClient
from tests.support.peer import Peer

#: Prints of each method, and of the class itself, its parameters: name, how it is given, whether it can be left out.
DESCRIBE = """
import inspect, json
from pyoco_server import PyocoHttpClient
print(json.dumps({
    name: [(p.name, p.kind.name, p.default is not p.empty) for p in inspect.signature(function).parameters.values()]
    for name, function in inspect.getmembers(PyocoHttpClient, inspect.isfunction)
    if name == "__init__" or not name.startswith("_")
}))
"""
BY_PLACE = "POSITIONAL_OR_KEYWORD"


@pytest.fixture(scope="module")
def published(peer: Peer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[tuple[str, str, bool]]]:
    done = peer.run("python", "-c", DESCRIBE, folder=tmp_path_factory.mktemp("published"))
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_every_call_of_the_published_client_is_a_call_of_ours(
    published: dict[str, list[tuple[str, str, bool]]],
) -> None:
    assert len(published) >= 18, published
    for method, theirs in published.items():
        ours = inspect.signature(getattr(PyocoHttpClient, method)).parameters
        places = [name for name, parameter in ours.items() if parameter.kind.name == BY_PLACE]
        for place, (name, kind, _) in enumerate(theirs):
            assert name in ours, (method, name)
            assert kind != BY_PLACE or places[place] == name, (method, name)
        may_be_left_out = {name for name, parameter in ours.items() if parameter.default is not parameter.empty}
        always_given = {name for name, _, is_optional in theirs if not is_optional}
        assert ours.keys() - may_be_left_out <= always_given, method


def test_every_setting_of_the_published_library_is_a_field_of_ours(peer: Peer, tmp_path: Path) -> None:
    script = "import json, pyoco_server as p; print(json.dumps(list(p.NatsBackendConfig.__dataclass_fields__)))"
    theirs = set(json.loads(peer.run("python", "-c", script, folder=tmp_path).stdout))
    # The first two are the same in every installation; the third would make lost workers invisible (contract 7).
    left_out = {"work_stream", "consumer_prefix", "workers_kv_ttl_sec"}
    assert theirs - {each.name for each in fields(NatsBackendConfig)} == left_out
