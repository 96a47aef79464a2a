"""``pyoco-server-admin`` as an operator runs it: a real process, a real nats-server."""

from __future__ import annotations

import json
import time
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from tests.support.commands import reason, run
from tests.support.nats import NatsServer, free_port

#: Nobody listens there.
NOWHERE = "nats://127.0.0.1:1"


class Admin:
    """The command with its settings; each run is to end by itself."""

    def __init__(self, nats_url: str, folder: Path) -> None:
        self._nats_url = nats_url
        self._folder = folder

    def run(self, *args: str) -> CompletedProcess[str]:
        return run("pyoco-server-admin", *args, cwd=self._folder, PYOCO_NATS_URL=self._nats_url)

    def answer(self, *args: str) -> Any:
        """Give the one JSON line of a run that does what it is asked."""
        return answer_of(self.run(*args))


def answer_of(done: CompletedProcess[str]) -> Any:
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("\n") == 1
    return json.loads(done.stdout)


@pytest.fixture
def admin(nats: NatsServer, tmp_path: Path) -> Admin:
    return Admin(nats.url, tmp_path)


def test_a_created_key_is_shown_once_and_listed_without_its_secret(admin: Admin) -> None:
    before = time.time()
    created = admin.answer("api-key", "create", "--tenant", "acme")
    assert list(created) == ["key_id", "tenant_id", "api_key", "created_at"]
    assert created["tenant_id"] == "acme"
    assert created["api_key"].startswith(f"pyoco_{created['key_id']}.")
    assert before <= created["created_at"] <= time.time()
    (listed,) = admin.answer("api-key", "list")
    assert listed == {
        "key_id": created["key_id"],
        "tenant_id": "acme",
        "created_at": created["created_at"],
        "revoked_at": None,
    }


def test_a_limited_key_shows_its_limits_when_it_is_made_and_in_the_list(admin: Admin) -> None:
    before = time.time()
    created = admin.answer("api-key", "create", "--tenant", "acme", "--read-only", "--expires", "30d")
    month_sec = 30 * 86_400
    assert before + month_sec <= created["expires_at"] <= time.time() + month_sec
    assert created["read_only"] is True
    (listed,) = admin.answer("api-key", "list")
    assert listed == {**{name: created[name] for name in created if name != "api_key"}, "revoked_at": None}


def test_keys_are_listed_newest_first(admin: Admin) -> None:
    created = [admin.answer("api-key", "create", "--tenant", tenant)["key_id"] for tenant in ("a", "b", "c")]
    assert [key["key_id"] for key in admin.answer("api-key", "list")] == created[::-1]


def test_the_list_is_empty_where_no_key_was_ever_made(admin: Admin) -> None:
    assert admin.answer("api-key", "list") == []


def test_a_key_that_is_revoked_twice_keeps_the_first_time(admin: Admin) -> None:
    key_id = admin.answer("api-key", "create", "--tenant", "acme")["key_id"]
    first = admin.answer("api-key", "revoke", "--key-id", key_id)
    assert list(first) == ["key_id", "revoked_at"]
    assert first["key_id"] == key_id
    assert admin.answer("api-key", "revoke", "--key-id", key_id) == first
    assert admin.answer("api-key", "list")[0]["revoked_at"] == first["revoked_at"]


@pytest.mark.parametrize("has_bucket", [False, True])
def test_a_key_that_does_not_exist_is_not_found(admin: Admin, has_bucket: bool) -> None:
    if has_bucket:
        admin.answer("api-key", "create", "--tenant", "acme")
    done = admin.run("api-key", "revoke", "--key-id", "nosuchkey")
    assert (done.returncode, done.stderr) == (2, "")
    assert json.loads(done.stdout) == {"error": "not_found", "key_id": "nosuchkey"}


def test_the_flag_wins_over_the_environment_before_and_after_the_subcommand(
    admin: Admin, nats: NatsServer, tmp_path: Path
) -> None:
    key_id = admin.answer("api-key", "create", "--tenant", "acme")["key_id"]
    elsewhere = Admin(NOWHERE, tmp_path)
    assert elsewhere.answer("--nats-url", nats.url, "api-key", "list")[0]["key_id"] == key_id
    assert elsewhere.answer("api-key", "list", "--nats-url", nats.url)[0]["key_id"] == key_id


def test_the_keys_are_in_the_bucket_that_the_environment_names(admin: Admin, nats: NatsServer, tmp_path: Path) -> None:
    key_id = admin.answer("api-key", "create", "--tenant", "acme")["key_id"]
    command = ("pyoco-server-admin", "--nats-url", nats.url, "api-key", "list")
    assert answer_of(run(*command, cwd=tmp_path, PYOCO_AUTH_KV_BUCKET="others")) == []
    assert answer_of(run(*command, cwd=tmp_path, PYOCO_AUTH_KV_BUCKET="pyoco_auth"))[0]["key_id"] == key_id


def test_the_module_of_0_5_1_is_the_same_command(admin: Admin, nats: NatsServer, tmp_path: Path) -> None:
    key_id = admin.answer("api-key", "create", "--tenant", "acme")["key_id"]
    command = ("python", "-m", "pyoco_server.admin_cli", "--nats-url", nats.url, "api-key", "list")
    assert answer_of(run(*command, cwd=tmp_path))[0]["key_id"] == key_id


@pytest.mark.long
def test_without_nats_one_sentence_says_so_within_ten_seconds(tmp_path: Path) -> None:
    url = f"nats://127.0.0.1:{free_port()}"
    began = time.monotonic()
    done = Admin(url, tmp_path).run("api-key", "list")
    assert time.monotonic() - began < 10
    assert (done.returncode, done.stdout) == (1, "")
    assert reason(done.stderr).startswith("ERR-PYOCO-0003 ") and url in reason(done.stderr)


@pytest.mark.parametrize(
    ("args", "word"),
    [
        (("create", "--tenant", "a b"), "--tenant"),
        (("create", "--tenant", ""), "--tenant"),
        (("create",), "--tenant"),
        (("create", "--tenant", "a", "--expires", "tomorrow"), "--expires: 'tomorrow' is no time"),
        (("create", "--tenant", "a", "--expires", "2020-01-31"), "--expires: '2020-01-31' is not in the future"),
        (("revoke", "--key-id", "short"), "--key-id"),
        (("revoke",), "--key-id"),
        (("rename",), "rename"),
    ],
)
def test_a_bad_argument_is_refused_by_name_with_an_example(tmp_path: Path, args: tuple[str, ...], word: str) -> None:
    done = Admin(NOWHERE, tmp_path).run("api-key", *args)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("ERR-PYOCO-0018 ")
    assert word in done.stderr.splitlines()[0]
    assert "example: pyoco-server-admin api-key " in done.stderr


def test_a_pepper_that_is_no_text_is_refused_and_not_repeated(tmp_path: Path) -> None:
    pepper = b"s3cret\xff".decode(errors="surrogateescape")
    done = run("pyoco-server-admin", "api-key", "list", cwd=tmp_path, PYOCO_AUTH_PEPPER=pepper)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("ERR-PYOCO-0018 PYOCO_AUTH_PEPPER=… is not valid: expected a text in UTF-8.")
    assert "s3cret" not in done.stderr


def test_a_whole_key_in_place_of_its_id_is_not_repeated(tmp_path: Path) -> None:
    key = "pyoco_0123456789abcdef.s3cret-s3cret_s3cret"
    done = Admin(NOWHERE, tmp_path).run("api-key", "revoke", "--key-id", key)
    assert (done.returncode, done.stdout) == (1, "")
    assert "0123456789abcdef" in done.stderr
    assert "s3cret" not in done.stderr
