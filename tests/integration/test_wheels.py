"""``/wheels``: what is taken in, and how everything else is refused."""

from __future__ import annotations

import hashlib
import re
import time
from typing import Any

import pytest
import requests

from pyoco_server.bridge.messages import Write
from pyoco_server.contract import names
from tests.integration.conftest import Guarded
from tests.support.gateway import LocalGateway, fault_places, problem
from tests.support.hostile_wheels import HOSTILE
from tests.support.keys import key_id_of
from tests.support.nats import NatsServer
from tests.support.parts import Parts
from tests.support.wheels import chunk_subjects, file_name, wheel


def upload(
    gateway: LocalGateway, package: str, version: str = "1.0", data: bytes | None = None, **fields: str
) -> requests.Response:
    """Send a wheel; its package tells the tests of the file apart."""
    return send(gateway, file_name(package, version), wheel(package, version) if data is None else data, **fields)


def send(gateway: LocalGateway, name: str, data: bytes, **fields: str) -> requests.Response:
    # A session is not for several threads.
    return requests.post(f"{gateway.url}/wheels", files={"wheel": (name, data)}, data=fields, timeout=30)


def listed(gateway: LocalGateway, package: str) -> list[dict[str, Any]]:
    return [entry for entry in gateway.get("/wheels").json() if entry["name"].startswith(f"{package}-")]


def history(gateway: LocalGateway, name: str, **query: str) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = gateway.get("/wheels/history", params={"wheel_name": name, **query}).json()
    return events


def test_an_uploaded_wheel_is_listed_with_what_was_answered_and_comes_back_as_it_was(shared: LocalGateway) -> None:
    data = wheel("first")
    answer = upload(shared, "first", data=data, tags=" gpu, cpu,,gpu ")
    assert answer.status_code == 200, answer.text
    entry = answer.json()
    assert (entry["name"], entry["size_bytes"], entry["bucket"]) == (file_name("first"), len(data), "pyoco_wheels")
    assert entry["sha256_hex"] == hashlib.sha256(data).hexdigest()
    assert entry["digest"] == f"SHA-256={entry['sha256_b64']}"
    assert entry["tags"] == ["gpu", "cpu"]
    assert abs(entry["modified"] - time.time()) < 60
    assert entry["mtime"] and entry["nuid"]
    assert listed(shared, "first") == [entry]

    download = shared.get(f"/wheels/{file_name('first')}")
    assert download.content == data
    assert download.headers["Content-Type"] == "application/octet-stream"
    assert download.headers["Content-Disposition"] == f'attachment; filename="{file_name("first")}"'
    assert download.headers["Content-Length"] == str(len(data))
    assert download.headers["ETag"] == f'"{entry["sha256_hex"]}"'
    again = shared.get(f"/wheels/{file_name('first')}", headers={"If-None-Match": download.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_a_deleted_wheel_is_gone_and_cannot_be_deleted_again(shared: LocalGateway) -> None:
    upload(shared, "gone")
    name = file_name("gone")
    answer = shared.ask("DELETE", f"/wheels/{name}")
    assert (answer.status_code, answer.json()) == (200, {"name": name, "deleted": True})
    assert listed(shared, "gone") == []
    for method in ("GET", "DELETE"):
        assert problem(shared.ask(method, f"/wheels/{name}"), 404)["err_id"] == "ERR-PYOCO-0023"


def test_the_history_tells_who_did_what_from_where_newest_first(shared: LocalGateway) -> None:
    data, name = wheel("told"), file_name("told")
    headers = {"X-Forwarded-For": "10.1.2.3", "X-Real-IP": "10.1.2.4", "User-Agent": "ci/1"}
    files = {"wheel": (name, data)}
    shared.ask("POST", "/wheels", files=files, data={"tags": "a,b", "replace": "false"}, headers=headers)
    shared.ask("DELETE", f"/wheels/{name}", headers={"User-Agent": "curl"})
    deleted, uploaded = history(shared, name)
    same = {"wheel_name": name, "tags": ["a", "b"], "size_bytes": len(data)}
    for event in (deleted, uploaded):
        assert {field: event[field] for field in same} == same
        assert event["sha256_hex"] == hashlib.sha256(data).hexdigest()
        assert event["actor"] == {"tenant_id": None, "api_key_id": None}
        assert abs(event["occurred_at"] - time.time()) < 60
    assert (uploaded["action"], uploaded["replace"]) == ("upload", False)
    assert (deleted["action"], deleted["replace"]) == ("delete", None)
    assert uploaded["event_id"] != deleted["event_id"]
    assert uploaded["source"] == {
        "remote_addr": "127.0.0.1",
        "x_forwarded_for": "10.1.2.3",
        "x_real_ip": "10.1.2.4",
        "user_agent": "ci/1",
        "host": f"127.0.0.1:{shared.port}",
        "scheme": "http",
    }
    assert [event["action"] for event in history(shared, name, action="delete")] == ["delete"]
    assert [event["action"] for event in history(shared, name, limit="1")] == ["delete"]


def test_the_history_names_the_key_of_who_did_it(guarded: Guarded) -> None:
    key = guarded.keys.make("acme")
    guarded.gateway.wait_until_known(key)
    files = {"wheel": (file_name("signed"), wheel("signed"))}
    assert guarded.gateway.ask("POST", "/wheels", files=files).status_code == 401
    assert guarded.gateway.with_key(key, "POST", "/wheels", files=files).status_code == 200
    (event,) = guarded.gateway.with_key(key, "GET", "/wheels/history").json()
    assert event["actor"] == {"tenant_id": "acme", "api_key_id": key_id_of(key)}


@pytest.mark.parametrize(
    ("query", "place"),
    [
        ("limit=0", "query.limit"),
        ("limit=501", "query.limit"),
        ("limit=many", "query.limit"),
        ("action=change", "query.action"),
    ],
)
def test_a_query_of_the_history_out_of_range_is_refused(shared: LocalGateway, query: str, place: str) -> None:
    assert fault_places(shared.get(f"/wheels/history?{query}"), "ERR-PYOCO-0017") == [place]


@pytest.mark.parametrize("version", ["1.5", "1.4", "1.5.0", "1.5rc1"])
def test_a_version_that_is_not_the_newest_is_refused(shared: LocalGateway, version: str) -> None:
    package = f"rising_{version.replace('.', '')}"
    assert upload(shared, package, "1.5").status_code == 200
    refused = problem(upload(shared, package.upper(), version), 409)
    assert refused["err_id"] == "ERR-PYOCO-0022"
    assert "1.5" in refused["detail"]
    assert upload(shared, package, "1.10").status_code == 200
    assert [entry["name"] for entry in listed(shared, package)] == [
        file_name(package, number) for number in ("1.10", "1.5")
    ]


@pytest.mark.parametrize(
    ("name", "data", "fields", "places"),
    [
        ("no name.whl", b"", {}, ["form.wheel"]),
        ("demo-1.0-py3-none-any.zip", b"", {}, ["form.wheel"]),
        (file_name("bad"), wheel("bad"), {"tags": "a b"}, ["form.tags"]),
        (file_name("bad"), wheel("bad"), {"replace": "perhaps"}, ["form.replace"]),
        (file_name("bad"), wheel("other"), {}, ["form.wheel"]),
        (file_name("bad"), b"no wheel", {}, ["form.wheel"]),
        (file_name("bad"), b"", {}, ["form.wheel"]),
    ],
)
def test_what_is_no_wheel_or_no_tag_is_refused_and_nothing_of_it_stored(
    shared: LocalGateway, name: str, data: bytes, fields: dict[str, str], places: list[str]
) -> None:
    assert fault_places(send(shared, name, data, **fields), "ERR-PYOCO-0002") == places
    assert listed(shared, "bad") == []


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_wheel_is_refused_with_what_is_wrong_and_nothing_of_it_stored(
    shared: LocalGateway, shared_parts: Parts, kind: str
) -> None:
    data, reason = HOSTILE[kind]
    before = chunk_subjects(shared_parts)
    answer = send(shared, file_name(), data)
    assert fault_places(answer, "ERR-PYOCO-0002") == ["form.wheel"]
    assert re.search(reason, answer.json()["detail"])
    assert listed(shared, "demo") == [] and chunk_subjects(shared_parts) == before


def test_a_request_without_a_wheel_is_refused(shared: LocalGateway) -> None:
    for body in ({"json": {}}, {"data": b"PK"}, {"data": {"wheel": "text"}}, {"files": {"other": ("x", b"x")}}):
        assert fault_places(shared.ask("POST", "/wheels", **body), "ERR-PYOCO-0002") == ["form.wheel"]


def test_the_first_thing_that_is_wrong_is_told_in_the_order_of_the_contract(serve: Any) -> None:
    gateway = serve(PYOCO_WHEEL_MAX_BYTES="2048")
    gateway.wait_until_complete()
    large = wheel("demo", files={"demo/noise": bytes(hashlib.sha256(b"x").digest() * 8) + bytes(range(256)) * 12})
    large += b"x" * max(0, 3000 - len(large))
    assert upload(gateway, "demo").status_code == 200
    steps = [
        (send(gateway, "bad name.whl", large, tags="a b"), 422, "form.wheel"),
        (send(gateway, file_name(), large, tags="a b"), 422, "form.tags"),
        (send(gateway, file_name(), large), 413, "PYOCO_WHEEL_MAX_BYTES"),
        (send(gateway, file_name(), b"no wheel"), 409, "1.0"),
        (send(gateway, file_name("demo", "2.0"), b"no wheel"), 422, "zip"),
    ]
    for answer, status, word in steps:
        assert word in problem(answer, status)["detail"]


def test_a_body_far_above_the_limit_is_refused_unread(serve: Any) -> None:
    gateway = serve(PYOCO_WHEEL_MAX_BYTES="2048")
    head = "POST /wheels HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n"
    answer = gateway.raw((head + "Content-Length: 900000\r\nConnection: close\r\n\r\n").encode())
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"ERR-PYOCO-0002" in answer


def test_an_object_that_nobody_checked_is_listed_and_can_be_deleted(shared: LocalGateway, shared_parts: Parts) -> None:
    name = 'some/"odd" thing'
    document = (
        f'{{"name": "some/\\"odd\\" thing", "bucket": "pyoco_wheels", "nuid": "x", "size": 0, "digest": "{EMPTY}"}}'
    )
    shared_parts.bus.write(Write(names.object_subject("pyoco_wheels", name), document.encode()))
    assert name in [entry["name"] for entry in shared.get("/wheels").json()]
    download = shared.get("/wheels/some/%22odd%22%20thing")
    assert (download.status_code, download.content) == (200, b"")
    assert download.headers["Content-Disposition"].startswith('attachment; filename="some/_odd_ thing"; filename*=')
    assert shared.ask("DELETE", "/wheels/some/%22odd%22%20thing").status_code == 200
    assert name not in [entry["name"] for entry in shared.get("/wheels").json()]


EMPTY = "SHA-256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU="


def test_without_nats_every_route_of_wheels_answers_503_and_input_errors_stay(
    local: LocalGateway, nats: NatsServer
) -> None:
    upload(local, "demo")
    nats.stop()
    name = file_name()
    for method, path in (("GET", "/wheels"), ("GET", "/wheels/history"), ("GET", f"/wheels/{name}")):
        assert "Retry-After" in local.ask(method, path).headers
        problem(local.ask(method, path), 503)
    problem(local.ask("DELETE", f"/wheels/{name}"), 503)
    problem(upload(local, "demo", "2.0"), 503)
    problem(send(local, "bad name.whl", b""), 422)
    problem(local.get("/wheels/history?limit=0"), 422)


def test_a_full_registry_says_so(local: LocalGateway, parts: Parts) -> None:
    parts.configure("OBJ_pyoco_wheels", max_bytes=2_000)
    noise = b"".join(hashlib.sha256(bytes([number])).digest() for number in range(256))
    answer = upload(local, "demo", data=wheel(files={"demo/noise.bin": noise}))
    assert "no room" in problem(answer, 413)["detail"]
    assert listed(local, "demo") == []
