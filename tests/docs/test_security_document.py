"""What docs/security.md shows is carried out, or held against what the code says."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import requests

from pyoco_server.cli import nats, worker
from pyoco_server.config import ENV_FILE, Config, settings
from pyoco_server.contract import names
from pyoco_server.embedded import find_nats_server
from pyoco_server.gateway.admission import SESSION_COOKIE
from tests.conftest import Gateway
from tests.support.command_reference import commands
from tests.support.commands import clean_env
from tests.support.documents import DOCS, blocks, table
from tests.support.nats import NatsServer

#: Contract, section 3.
LONGEST_WATCH_SEC = 600
TEXT = (DOCS / "security.md").read_text()
RECORDS = settings().values()
VARIABLES = {record.env for record in RECORDS} | {record.file_env for record in RECORDS if record.is_secret}


def directives(text: str) -> dict[str, str]:
    """Give the directives of an nginx configuration; of those that stand there several times, by their first word."""
    found = [line.strip().rstrip(";").split(maxsplit=1) for line in text.splitlines() if line.strip().endswith(";")]
    several = "proxy_set_header"
    return {f"{name} {value.split()[0]}" if name == several else name: value for name, value in found}


def test_commands_are_carried_out_as_they_stand_there(nats: NatsServer, tmp_path: Path) -> None:
    env = clean_env(PYOCO_NATS_URL=nats.url)
    commands = [text for text in blocks(TEXT, "sh") if not text.startswith(("PYOCO_NATS_TLS", "pyoco-worker"))]
    assert len(commands) == 2
    said = []
    for text in commands:
        done = subprocess.run(["sh", "-ec", text], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=100)
        assert done.returncode == 0, (text, done.stderr)
        said.append(json.loads(done.stdout))
    assert said[0]["tenant_id"] == "acme" and said[0]["expires_at"] > said[0]["created_at"]
    written = {Path(path).name for path in said[1]["files"]}
    told = " ".join(row["file"] for row in table(TEXT, "file")).replace("`", "").replace(",", "")
    assert written == set(told.split()) == {path.name for path in (tmp_path / "keys").iterdir()}


def test_roles_are_those_of_the_code() -> None:
    assert tuple(row["role"] for row in table(TEXT, "role")) == names.ROLES


def test_the_worker_and_its_patterns_are_taken_as_they_stand_there() -> None:
    (line,) = [text for text in blocks(TEXT, "sh") if text.startswith("pyoco-worker")]
    args = worker.get_parser().parse_args(shlex.split(line)[1:])
    assert Config.from_env({}, worker_allow=",".join(args.allow)).allowed_patterns == ["mypkg.*", "other.tasks:load"]


def test_settings_are_those_of_the_code() -> None:
    mentioned = set(re.findall(r"\bPYOCO_[A-Z_]+[A-Z]\b", TEXT)) - {ENV_FILE, "PYOCO_WORKER_PASSWORD"}
    assert mentioned <= VARIABLES | {"PYOCO_DISCOVERY_MODULES"}
    assert {record.env for record in RECORDS if record.is_secret} <= mentioned
    (unit,) = blocks(TEXT, "ini")
    assert "PYOCO_NATS_PASSWORD_FILE=%d/nats-password" in unit and "LoadCredential=nats-password:" in unit
    tls = next(text for text in blocks(TEXT, "sh") if text.startswith("PYOCO_NATS_TLS"))
    assert {line.partition("=")[0] for line in tls.split()} == {name for name in VARIABLES if "_TLS_" in name}


def test_the_flags_that_take_a_secret_are_those_that_it_names() -> None:
    named = re.compile(r"--[\w-]*(?:api-key|password|token|pepper|secret)$")
    groups = [
        group for each in commands() for command in (each, *each.subcommands) for group in command.arguments.values()
    ]
    flags = {name for group in groups for argument in group for name in argument.names.split(", ") if named.match(name)}
    assert flags == {"--api-key"}
    assert "Two flags take one:\n`--nats-url` with a password in it, and `pyoco-client --api-key`." in TEXT


def test_flags_of_nats_server_are_those_that_it_has(tmp_path: Path) -> None:
    (flags,) = re.findall(r"`pyoco-nats up -- (.*?)`", TEXT)
    has = subprocess.run([find_nats_server(), "--help"], env=clean_env(), capture_output=True, text=True, timeout=60)
    known = set(re.findall(r"--\w+", has.stdout + has.stderr))
    assert set(re.findall(r"--\w+", flags)) <= known
    parser = nats.get_parser()
    assert parser.parse_args(["up", "--permissions", "keys"]).permissions == Path("keys")


def test_the_proxy_passes_on_what_the_gateway_needs() -> None:
    (text,) = blocks(TEXT, "nginx")
    assert text.count("{") == text.count("}") == 2
    found = directives(text)
    defaults = Config()
    # The name with the port, as the browser has it in Origin.
    assert found["proxy_set_header Host"] == "Host $http_host"
    assert found["proxy_buffering"] == "off"
    assert int(found["proxy_read_timeout"].rstrip("s")) > LONGEST_WATCH_SEC
    assert int(found["client_max_body_size"].rstrip("m")) * 1024**2 >= defaults.wheel_max_bytes
    assert found["proxy_cookie_flags"] == f"{SESSION_COOKIE} secure"
    (caddy,) = blocks(TEXT, "caddyfile")
    (pattern,) = re.findall(r'Set-Cookie "(.*?)"', caddy)
    assert re.match(pattern, f"{SESSION_COOKIE}=x; HttpOnly")


@pytest.mark.parametrize(("host", "status"), [("pyoco.example.com", 303), ("127.0.0.1:8000", 403)])
def test_forms_behind_a_proxy_need_the_host_that_the_browser_has_sent(gateway: Gateway, host: str, status: int) -> None:
    headers = {"Host": host, "Origin": "https://pyoco.example.com"}
    answer = requests.post(f"{gateway.url}/ui/sign-out", headers=headers, allow_redirects=False, timeout=30)
    assert answer.status_code == status
