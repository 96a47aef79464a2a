"""Each way to sign in to NATS, through the installed commands: a run, a restart of NATS, a worker that is killed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import requests

from pyoco_server.client.http import PyocoHttpClient
from tests.support.certificates import Certificates
from tests.support.commands import Daemon, Daemons, is_ready, reason, run
from tests.support.nats import NatsServer, free_port
from tests.support.nats_jwt import new_user, operator_setup
from tests.support.processes import MARK, Family
from tests.support.waiting import PATIENCE_SEC, eventually

SECRET = "a/Secret@word"
IN_URL = "a%2FSecret%40word"
TASKS = '''\
import os
import time


def look() -> dict:
    """Give what a task can read of its environment."""
    return dict(os.environ)


def hold(mark: str) -> int:
    open(mark, "a").write("x")
    while not os.path.exists(f"{mark}.end"):
        time.sleep(0.05)
    return 1
'''
FLOW = "version: 1\nflow:\n  graph: {0}\n  defaults: {{mark: {1}}}\ntasks:\n  {0}:\n    callable: site_tasks:{0}\n"


@dataclass
class Way:
    """A way to sign in.

    :param conf: what the server has to know for it.
    :param env: what our programs have to know.
    :param userinfo: what stands in the address.
    :param secrets: what must be seen nowhere.
    """

    conf: str
    env: dict[str, str] = field(default_factory=dict)
    userinfo: str = ""
    secrets: list[str] = field(default_factory=lambda: [SECRET, IN_URL])


def in_the_url(folder: Path) -> Way:
    return Way(f'authorization {{ user: u, password: "{SECRET}" }}', userinfo=f"u:{IN_URL}@")


def by_user_and_password(folder: Path) -> Way:
    conf = f'authorization {{ user: u, password: "{SECRET}" }}'
    return Way(conf, {"PYOCO_NATS_USER": "u", "PYOCO_NATS_PASSWORD": SECRET})


def by_token_from_a_file(folder: Path) -> Way:
    (folder / "token").write_text(f"{SECRET}\n")
    return Way(f'authorization {{ token: "{SECRET}" }}', {"PYOCO_NATS_TOKEN_FILE": str(folder / "token")})


def by_credentials(folder: Path) -> Way:
    conf, credentials = operator_setup()
    (folder / "user.creds").write_text(credentials)
    seed = next(line for line in credentials.splitlines() if line.startswith("SU"))
    return Way(conf, {"PYOCO_NATS_CREDS": str(folder / "user.creds")}, secrets=[seed])


def by_nkey(folder: Path) -> Way:
    seed, public = new_user()
    (folder / "user.nk").write_text(f"{seed}\n")
    conf = f"authorization {{ users: [{{ nkey: {public} }}] }}"
    return Way(conf, {"PYOCO_NATS_CREDS": str(folder / "user.nk")}, secrets=[seed])


def tls_conf(made: Certificates) -> str:
    files = f'cert_file: "{made.server}", key_file: "{made.server_key}", ca_file: "{made.ca}"'
    return f'tls {{ {files}, verify: true, timeout: 10 }}\nauthorization {{ user: u, password: "{SECRET}" }}'


def tls_env(made: Certificates) -> dict[str, str]:
    return {
        "PYOCO_NATS_TLS_CA": str(made.ca),
        "PYOCO_NATS_TLS_CERT": str(made.client),
        "PYOCO_NATS_TLS_KEY": str(made.client_key),
    }


def by_certificate_and_password(folder: Path) -> Way:
    made = Certificates(folder / "certificates")
    return Way(tls_conf(made), {**tls_env(made), "PYOCO_NATS_USER": "u", "PYOCO_NATS_PASSWORD": SECRET})


WAYS = [in_the_url, by_user_and_password, by_token_from_a_file, by_credentials, by_nkey, by_certificate_and_password]


class Site:
    """Gateway, workers and commands of an installation that signs in in one way."""

    def __init__(self, folder: Path, way: Way) -> None:
        self.folder, self.way, self.family = folder, way, Family()
        #: What commands have printed.
        self.said: list[str] = []
        (folder / "site_tasks.py").write_text(TASKS)
        self.nats = NatsServer(folder / "nats", way.conf).start()
        address = f"nats://{way.userinfo}127.0.0.1:{self.nats.port}"
        self.env = {**way.env, "PYOCO_NATS_URL": address, "PYOCO_AUTH_PEPPER": SECRET, MARK: self.family.mark}
        self.env["PYOCO_CONSUMER_ACK_WAIT_SEC"] = "600"
        self.daemons = Daemons(folder)
        self._port = free_port()
        self.gateway = self.daemons.start("pyoco-server", "up", "--port", str(self._port), **self.env)
        self.url = f"http://127.0.0.1:{self._port}"
        eventually(lambda: is_ready(self.url), what="the gateway", timeout_sec=PATIENCE_SEC)
        self.client = PyocoHttpClient(self.url)

    def work(self, worker_id: str) -> Daemon:
        daemon = self.daemons.start("pyoco-worker", "--tags", "t", "--worker-id", worker_id, **self.env)
        daemon.wait_for_log("the worker serves", timeout_sec=PATIENCE_SEC)
        return daemon

    def submit(self, task: str, mark: str = "m") -> str:
        return str(self.client.submit_run_yaml(FLOW.format(task, mark), flow_name="main", tag="t")["run_id"])

    def end_of(self, run_id: str) -> dict[str, object]:
        def ended() -> bool:
            return self.client.get_run(run_id)["status"] in ("COMPLETED", "FAILED", "CANCELLED")

        eventually(ended, what="the end of the run", timeout_sec=PATIENCE_SEC)
        return self.client.get_run_with_records(run_id)

    def ask(self, *command: str) -> str:
        done = run(*command, cwd=self.folder, timeout_sec=120, **self.env)
        assert done.returncode == 0, done
        self.said += [done.stdout, done.stderr]
        return done.stdout

    def close(self) -> None:
        self.client.close()
        self.family.end()
        self.daemons.close()
        self.nats.stop()


@pytest.fixture
def site_of(tmp_path: Path) -> Iterator[Callable[[Callable[[Path], Way]], Site]]:
    """Builds a site in the test's folder."""
    made: list[Site] = []

    def build(way: Callable[[Path], Way]) -> Site:
        made.append(Site(tmp_path, way(tmp_path)))
        return made[-1]

    yield build
    for site in made:
        site.close()


@pytest.mark.parametrize(
    "way",
    [
        by_user_and_password,
        *(pytest.param(way, marks=pytest.mark.long) for way in WAYS if way is not by_user_and_password),
    ],
)
def test_everything_works_in_each_way_to_sign_in_and_the_secret_is_seen_nowhere(
    site_of: Callable[..., Site], way: Callable[[Path], Way]
) -> None:
    site = site_of(way)
    first = site.work("first")
    seen = site.end_of(site.submit("look"))
    assert seen["status"] == "COMPLETED", seen["error"]
    site.nats.stop()
    site.nats.start()
    # By whoever is connected again: the gateway takes it, the worker fetches it.
    eventually(lambda: is_ready(site.url), what="the gateway again", timeout_sec=PATIENCE_SEC)
    mark = site.folder / "held"
    held = site.submit("hold", str(mark))
    eventually(mark.exists, what="the task", timeout_sec=PATIENCE_SEC)
    first.kill()
    site.work("second")
    # Only the sentinel of the first one can have handed it back: the lease is one of ten minutes.
    eventually(lambda: mark.read_text() == "xx", what="the task again", timeout_sec=PATIENCE_SEC)
    Path(f"{mark}.end").touch()
    ended = site.end_of(held)
    assert (ended["status"], ended["attempt"], ended["worker_id"]) == ("COMPLETED", 2, "second")
    key = json.loads(site.ask("pyoco-server-admin", "api-key", "create", "--tenant", "acme"))
    listed = json.loads(site.ask("pyoco-server-admin", "api-key", "list"))
    assert [each["key_id"] for each in listed] == [key["key_id"]]
    site.ask("pyoco-server-admin", "status", "--json")
    site.ask("pyoco-nats", "backup", "saved")
    # asyncio would complain there of how nats-py makes TLS.
    assert not [text for text in site.said if "eof_received" in text]
    shown = [*site.said, json.dumps(seen), *(member.command for member in site.family.members())]
    shown += [path.read_text(errors="replace") for path in site.folder.rglob("*.log")]
    shown += [page.text for page in (requests.get(site.url + path, timeout=30) for path in ("/", "/ready"))]
    assert len(site.family.members()) >= 4
    assert [text for text in shown for secret in site.way.secrets if secret in text] == []
    assert f"127.0.0.1:{site.nats.port}" in json.dumps(seen)


@pytest.mark.parametrize(
    "command",
    [
        pytest.param("pyoco-server up --port {port}", marks=pytest.mark.long),
        "pyoco-worker --tags t",
        pytest.param("pyoco-nats status", marks=pytest.mark.long),
    ],
)
def test_a_refused_sign_in_ends_each_command_with_what_to_do(tmp_path: Path, command: str) -> None:
    way = by_user_and_password(tmp_path)
    nats = NatsServer(tmp_path / "nats", way.conf).start()
    words = command.format(port=free_port()).split()
    try:
        env = {"PYOCO_NATS_URL": nats.url, "PYOCO_NATS_USER": "u", "PYOCO_NATS_PASSWORD": "another"}
        done = run(*words, cwd=tmp_path, timeout_sec=60, **env)
        assert done.returncode == 1
        told = f"ERR-PYOCO-0003 NATS at {nats.url} does not let this process in: Authorization violation. Set PYOCO_"
        assert reason(done.stderr).startswith(told)
        assert "another" not in done.stdout + done.stderr
    finally:
        nats.stop()
    # Which is not what is said where nobody is.
    if "worker" not in command:
        gone = run(*words, cwd=tmp_path, timeout_sec=60, **env)
        assert gone.returncode == 1 and f"No NATS server answered at {nats.url}" in gone.stderr


@pytest.mark.long
def test_a_password_stands_in_an_address_as_it_is(tmp_path: Path) -> None:
    nats = NatsServer(tmp_path / "nats", by_user_and_password(tmp_path).conf).start()
    place = f"127.0.0.1:{nats.port}"
    url = f"u:{SECRET}@{place}"
    try:
        done = run("pyoco-nats", "status", "--json", "--nats-url", url, cwd=tmp_path, timeout_sec=60)
        assert json.loads(done.stdout)["server"] and SECRET not in done.stdout + done.stderr
    finally:
        nats.stop()
    assert f"No NATS server answered at nats://{place}" in status_with(tmp_path, url)


def status_with(folder: Path, url: str, **env: str) -> str:
    done = run("pyoco-nats", "status", "--nats-url", url, cwd=folder, timeout_sec=60, **env)
    assert done.returncode == 1 and SECRET not in done.stdout + done.stderr
    return reason(done.stderr)


def test_what_is_wrong_with_tls_is_told(tmp_path: Path) -> None:
    made, others = Certificates(tmp_path / "certificates"), Certificates(tmp_path / "others")
    secret = {"PYOCO_NATS_USER": "u", "PYOCO_NATS_PASSWORD": SECRET}
    nats, plain = NatsServer(tmp_path / "nats", tls_conf(made)), NatsServer(tmp_path / "plain")
    nats.start()
    plain.start()
    try:
        assert "its certificate is not trusted" in status_with(tmp_path, nats.url, **secret)
        assert "its certificate is not trusted" in status_with(tmp_path, nats.url, **secret, **tls_env(others))
        said = status_with(tmp_path, nats.url, **secret, PYOCO_NATS_TLS_CA=str(made.ca))
        assert "TLS failed" in said and "PYOCO_NATS_TLS_CERT" in said
        # Nothing goes out to a server that has no TLS, or whose word for it somebody has taken away.
        for url in (plain.url, f"tls://127.0.0.1:{plain.port}"):
            env = {} if url.startswith("tls") else tls_env(made)
            assert "offers no TLS, and nothing is told to it" in status_with(tmp_path, url, **secret, **env)
    finally:
        nats.stop()
        plain.stop()
