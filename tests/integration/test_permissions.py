"""What nobody may do on NATS under ``pyoco-nats permissions`` is refused: to each role, and to whoever is none."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pyoco_server.bridge.client import Bus
from pyoco_server.bridge.messages import Write
from pyoco_server.bridge.resources import ensure_consumer, ensure_resources
from pyoco_server.config import Config
from pyoco_server.contract import names
from pyoco_server.errors import BusDenied, KeyMissing, SignInRefused
from pyoco_server.operations.permissions import streams_of
from pyoco_server.operations.permissions_folder import server_text
from pyoco_server.service import Deadline
from tests.support import roles
from tests.support.nats import NatsServer
from tests.support.waiting import eventually

#: Of every stream: what changes it, or takes all that it has out at once.
DANGEROUS = ["STREAM.DELETE", "STREAM.UPDATE", "STREAM.SNAPSHOT", "STREAM.RESTORE"]
CLUSTER = ["SERVER.REMOVE", "META.LEADER.STEPDOWN", "ACCOUNT.PURGE.$G", "ACCOUNT.STREAM.MOVE.$G.PYOCO_WORK"]
STREAMS = streams_of(Config.from_env({}), names.GATEWAY_ROLE)
AUTH = "KV_pyoco_auth"
REFUSED: dict[str, list[str]] = {
    names.GATEWAY_ROLE: [
        *(f"{request}.{stream}" for request in DANGEROUS for stream in STREAMS),
        "STREAM.CREATE.OTHER",
        "STREAM.PURGE.PYOCO_WORK",
        "STREAM.PURGE.PYOCO_DLQ",
        f"STREAM.PURGE.{AUTH}",
        f"STREAM.MSG.DELETE.{AUTH}",
        "STREAM.PURGE.OBJ_pyoco_artifacts",
        "CONSUMER.DELETE.PYOCO_WORK.pyoco_workers_t",
        # Whoever made another one would get jobs before the workers.
        "CONSUMER.CREATE.PYOCO_WORK",
        "CONSUMER.CREATE.PYOCO_WORK.mine.>",
        "STREAM.INFO.OTHER",
        *CLUSTER,
    ],
    names.WORKER_ROLE: [
        *(f"{request}.{stream}" for request in (*DANGEROUS, "STREAM.CREATE") for stream in STREAMS),
        *(f"{request}.{AUTH}" for request in ("STREAM.INFO", "STREAM.MSG.GET", "DIRECT.GET", "CONSUMER.CREATE")),
        *(f"STREAM.MSG.GET.KV_pyoco_{bucket}" for bucket in ("idempotency", "workflows", "wheel_history")),
        "STREAM.INFO.KV_pyoco_idempotency",
        # Only what is handed to it, and none of what others print or could not do.
        *(f"STREAM.MSG.GET.{stream}" for stream in ("PYOCO_WORK", "PYOCO_LOGS", "PYOCO_DLQ")),
        "DIRECT.GET.PYOCO_LOGS",
        *(f"STREAM.MSG.DELETE.{stream}" for stream in ("PYOCO_WORK", "PYOCO_DLQ", "PYOCO_LOGS", "KV_pyoco_runs")),
        *(f"STREAM.PURGE.{stream}" for stream in STREAMS if stream != "OBJ_pyoco_artifacts"),
        *(f"CONSUMER.CREATE.{stream}" for stream in STREAMS),
        "CONSUMER.CREATE.PYOCO_WORK.mine.>",
        "CONSUMER.DELETE.PYOCO_WORK.pyoco_workers_t",
        "CONSUMER.LIST.PYOCO_WORK",
        "INFO",
        "STREAM.LIST",
        "STREAM.NAMES",
        *CLUSTER,
    ],
    names.ADMIN_ROLE: [
        "STREAM.PURGE.PYOCO_WORK",
        "STREAM.MSG.DELETE.PYOCO_WORK",
        "CONSUMER.DELETE.KV_pyoco_runs.mine",
        "CONSUMER.MSG.NEXT.PYOCO_WORK.pyoco_workers_t",
        *CLUSTER,
    ],
}
UNWRITABLE: dict[str, list[str]] = {
    names.GATEWAY_ROLE: ["$KV.pyoco_auth.api_keys.k", "$O.pyoco_artifacts.M.x", "$O.pyoco_artifacts.C.x", "other"],
    names.WORKER_ROLE: [
        "$KV.pyoco_auth.api_keys.k",
        "$KV.pyoco_workflows.x",
        "$KV.pyoco_idempotency.x",
        "$KV.pyoco_wheel_history.x",
        "$O.pyoco_wheels.M.x",
        "$O.pyoco_wheels.C.x",
        "other",
    ],
    names.ADMIN_ROLE: ["pyoco.work.t", "$KV.pyoco_runs.r", "$KV.pyoco_workers.w", "$O.pyoco_wheels.M.x", "pyoco.dlq.t"],
}
UNHEARD: dict[str, list[str]] = {
    names.GATEWAY_ROLE: ["_INBOX.pyoco_admin.>", "_INBOX.>", "$SYS.>", "$KV.pyoco_auth.>", ">"],
    names.WORKER_ROLE: [
        "_INBOX.pyoco_gateway.>",
        "_INBOX.>",
        "$SYS.>",
        "$KV.pyoco_auth.>",
        "$JS.API.>",
        "pyoco.logs.>",
        ">",
    ],
    names.ADMIN_ROLE: ["_INBOX.pyoco_gateway.>", "$SYS.>", "$KV.pyoco_runs.>", "pyoco.work.>", ">"],
}
Connect = Callable[[str], Bus]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    """A NATS on which nobody is known but the roles."""
    server = NatsServer(tmp_path_factory.mktemp("permissions") / "nats", roles.ROLES_CONF).start()
    yield server
    server.stop()


def config_of(server: NatsServer, role: str) -> Config:
    return Config.from_env({**roles.sign_in(role), "PYOCO_NATS_URL": server.url, "PYOCO_HTTP_AUTH_MODE": "api_key"})


def bus_of(server: NatsServer, role: str) -> Bus:
    return Bus.of(config_of(server, role), role, name=role, budget_sec=4)


@pytest.fixture(scope="module")
def connect(server: NatsServer) -> Iterator[Connect]:
    connected: dict[str, Bus] = {}

    def once(role: str) -> Bus:
        if role not in connected:
            connected[role] = bus_of(server, role)
            connected[role].connect(30)
        return connected[role]

    ensure_resources(once(names.GATEWAY_ROLE), config_of(server, names.GATEWAY_ROLE))
    ensure_consumer(once(names.GATEWAY_ROLE), config_of(server, names.GATEWAY_ROLE), "t")
    yield once
    for bus in connected.values():
        bus.close(Deadline(5))


def refuses(attempt: Callable[..., Any], *args: Any, **options: Any) -> bool:
    try:
        attempt(*args, **options)
    except BusDenied:
        return True
    except Exception as exc:
        # It got as far as to be asked.
        assert not isinstance(exc, AssertionError)
    return False


@pytest.mark.parametrize("role", names.ROLES)
def test_requests_that_a_role_does_not_need_are_refused(connect: Connect, role: str) -> None:
    bus = connect(role)
    assert [request for request in REFUSED[role] if not refuses(bus.api, request, {}, budget_sec=0)] == []


@pytest.mark.parametrize("role", names.ROLES)
def test_subjects_that_a_role_does_not_write_are_refused(connect: Connect, role: str) -> None:
    bus = connect(role)
    assert [subject for subject in UNWRITABLE[role] if not refuses(bus.write, Write(subject, b"x"))] == []
    assert not refuses(connect(names.GATEWAY_ROLE).write, Write("$KV.pyoco_runs.r", b"x"))
    with pytest.raises(KeyMissing):
        connect(names.GATEWAY_ROLE).last(AUTH, "$KV.pyoco_auth.>")


@pytest.mark.parametrize("role", names.ROLES)
def test_subjects_that_a_role_does_not_hear_are_refused(connect: Connect, server: NatsServer, role: str) -> None:
    bus = connect(role)
    for subject in UNHEARD[role]:
        bus.call(bus.subscribe(subject, lambda message: None), timeout_sec=10)
    logged = re.compile(rf'user:pyoco_{role}" - Subscription Violation - Subject "([^"]+)"')

    def refused() -> set[str]:
        return {found[1] for line in server.violations() if (found := logged.search(line))}

    eventually(lambda: refused() == set(UNHEARD[role]), what="all of them refused", timeout_sec=30)


def test_what_is_refused_is_told_at_once_with_what_to_do(connect: Connect) -> None:
    with pytest.raises(
        BusDenied, match=r"does not permit this user \$JS\.API\.STREAM\.DELETE\.PYOCO_WORK\. Give its role"
    ):
        connect(names.WORKER_ROLE).api("STREAM.DELETE.PYOCO_WORK", budget_sec=60, try_sec=60)


def test_many_subjects_that_are_refused_are_one_line_in_the_log(
    server: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Runs, and what they print, have a subject each."""
    bus = bus_of(server, names.WORKER_ROLE)
    bus.connect(30)
    for number in range(5):
        with pytest.raises(BusDenied, match=f"other.{number}"):
            bus.write(Write(f"other.{number}", b""))
    bus.close(Deadline(5))
    lines = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(lines) == 1 and "other.0" in lines[0]


@pytest.mark.parametrize(
    "sign_in", [{}, {"user": "pyoco_worker", "password": "wrong"}, {"token": "password-of-worker"}]
)
def test_who_is_not_known_gets_nowhere(server: NatsServer, sign_in: dict[str, str]) -> None:
    environ = {f"PYOCO_NATS_{name.upper()}": value for name, value in sign_in.items()}
    bus = Bus.of(Config.from_env(environ, nats_url=server.url), names.WORKER_ROLE, name="stranger", budget_sec=4)
    with pytest.raises(
        SignInRefused, match=rf"NATS at {server.url} does not let this process in: Authorization viol"
    ) as caught:
        bus.connect(30)
    assert "password-of" not in str(caught.value) and "wrong" not in str(caught.value)


def test_a_worker_of_some_tags_gets_no_jobs_of_others(tmp_path_factory: pytest.TempPathFactory) -> None:
    text = server_text(Config.from_env({}), roles.PASSWORDS, ["gpu"])
    server = NatsServer(tmp_path_factory.mktemp("tags") / "nats", text).start()
    gateway, worker = bus_of(server, names.GATEWAY_ROLE), bus_of(server, names.WORKER_ROLE)
    try:
        gateway.connect(30)
        worker.connect(30)
        ensure_resources(gateway, config_of(server, names.GATEWAY_ROLE))
        ensure_consumer(worker, config_of(server, names.WORKER_ROLE), "gpu")
        for attempt in (
            lambda: ensure_consumer(worker, config_of(server, names.WORKER_ROLE), "cpu"),
            lambda: worker.api("CONSUMER.MSG.NEXT.PYOCO_WORK.pyoco_workers_cpu"),
            lambda: worker.write(Write("pyoco.work.cpu", b"x")),
            # By the name of its own queue, the jobs of another tag.
            lambda: worker.api("CONSUMER.CREATE.PYOCO_WORK.pyoco_workers_gpu.pyoco.work.cpu"),
        ):
            assert refuses(attempt)
        assert not refuses(lambda: worker.write(Write("pyoco.work.gpu", b"x")))
    finally:
        worker.close(Deadline(5))
        gateway.close(Deadline(5))
        server.stop()


def test_a_password_that_is_changed_on_the_server_first_is_waited_for(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("changed") / "nats"
    server = NatsServer(folder, roles.ROLES_CONF).start()
    bus = bus_of(server, names.GATEWAY_ROLE)
    try:
        bus.connect(30)
        conf = folder / "nats.conf"
        known = conf.read_text()
        server.stop()
        conf.write_text(known.replace(roles.PASSWORDS[names.GATEWAY_ROLE], "another"))
        server.start()
        eventually(lambda: "Authorization violation" in (bus.last_error or ""), what="the refusal", timeout_sec=60)
        server.stop()
        conf.write_text(known)
        server.start()
        eventually(lambda: bus.is_connected, what="the connection", timeout_sec=60)
        assert not bus.has_ended
    finally:
        bus.close(Deadline(5))
        server.stop()
