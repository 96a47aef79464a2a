"""The permissions know every stream and request of the code, follow renamed ones, and hold no password unasked."""

from __future__ import annotations

import ast
import re
from dataclasses import fields
from pathlib import Path

import pytest

import pyoco_server
from pyoco_server.bridge.resources import stream_settings
from pyoco_server.config import Config, settings
from pyoco_server.contract import names
from pyoco_server.errors import InvalidCommand
from pyoco_server.operations.permissions import permissions, stream_uses
from pyoco_server.operations.permissions_folder import server_text, variables, write_folder

CONFIG = Config.from_env({"PYOCO_HTTP_AUTH_MODE": "api_key"})
PACKAGE = Path(pyoco_server.__file__).parent
#: What the system account alone may ask, which is a user of each node and of no role.
SYSTEM_REQUESTS = {"ACCOUNT.STREAM.MOVE", "META.LEADER.STEPDOWN", "SERVER.REMOVE"}
REQUEST = re.compile(r"^(?:\$JS\.API\.)?((?:INFO|STREAM|CONSUMER|DIRECT|ACCOUNT|META|SERVER)(?:\.[A-Z]+)*)\.?$")
#: Settings whose values stand in the permissions.
NAMED = [item.name for item in fields(Config) if re.search(r"_bucket$|_stream$|_subject_prefix$", item.name)]


def requests_in_code() -> set[str]:
    """Give the requests to JetStream that are written down anywhere in the code, without what they are about."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        if path.parts[-2:] == ("operations", "permissions.py"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            texts = [node] if isinstance(node, ast.Constant) else []
            if isinstance(node, ast.JoinedStr):
                texts = [part for part in node.values[:1] if isinstance(part, ast.Constant)]
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "api":
                texts += [part for part in node.args[:1] if isinstance(part, ast.Constant)]
            for text in texts:
                match = REQUEST.match(text.value) if isinstance(text.value, str) else None
                if match and ("." in match[1] or isinstance(node, ast.Call)):
                    found.add(match[1])
    return found


def permitted_requests() -> set[str]:
    allowed = " ".join(subject for role in names.ROLES for subject in permissions(CONFIG, role).publish)
    # The first word with another sign or a small letter in it names a stream.
    return set(re.findall(r"\$JS\.API\.([A-Z]+(?:\.[A-Z]+)*)(?![A-Z_])", allowed))


def test_each_stream_that_the_code_makes_has_its_uses_and_no_other() -> None:
    assert set(stream_uses(CONFIG)) == {settings["name"] for settings in stream_settings(CONFIG)}


def test_each_request_that_the_code_makes_is_one_that_some_role_may_make() -> None:
    written = requests_in_code()
    assert {"STREAM.INFO", "STREAM.MSG.GET", "CONSUMER.MSG.NEXT", "STREAM.RESTORE", "INFO"} <= written
    assert written - SYSTEM_REQUESTS == permitted_requests()


def test_names_that_an_installation_has_changed_are_followed_everywhere() -> None:
    environ = {settings()[name].env: f"other-{number}" for number, name in enumerate(NAMED)}
    assert len(environ) == 8
    text = server_text(Config.from_env(environ), variables())
    defaults = [item.default for item in fields(Config) if item.name in NAMED]
    assert [name for name in environ.values() if not re.search(rf"\b{name}\b", text)] == []
    assert [name for name in defaults if re.search(rf"\b{re.escape(name)}\b", text)] == []


def test_workers_of_some_tags_may_take_jobs_of_these_alone() -> None:
    allowed = permissions(CONFIG, names.WORKER_ROLE, ["gpu", "cpu"])
    about_jobs = [subject for subject in (*allowed.publish, *allowed.subscribe) if "pyoco.work" in subject]
    assert len(about_jobs) == 2 * 5
    assert all(re.search(r"pyoco\.work\.(gpu|cpu)$", subject) for subject in about_jobs)
    for request in ("INFO", "MSG.NEXT"):
        subjects = [subject for subject in allowed.publish if f"CONSUMER.{request}" in subject]
        assert subjects == [f"$JS.API.CONSUMER.{request}.PYOCO_WORK.pyoco_workers_{tag}" for tag in ("gpu", "cpu")]


def test_roles_do_not_hear_what_others_are_answered() -> None:
    inboxes = {role: {s for s in permissions(CONFIG, role).subscribe if "INBOX" in s} for role in names.ROLES}
    assert all(len(inbox) == 1 for inbox in inboxes.values())
    assert len(set.union(*inboxes.values())) == len(names.ROLES)
    assert all("*" not in inbox and inbox.endswith(".>") for inbox in set.union(*inboxes.values()))


def test_files_are_for_their_owner_and_keep_their_passwords(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "nats"
    files = write_folder(CONFIG, folder, ["*"])
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600} and folder.stat().st_mode & 0o777 == 0o700
    assert {path.name for path in folder.iterdir()} == {path.name for path in files}
    before = {path.name: path.read_text() for path in files}
    passwords = {name: text.split("PASSWORD=")[1].strip() for name, text in before.items() if name.endswith(".env")}
    assert set(passwords) == {"gateway.env", "worker.env", "admin.env"}
    assert len(set(passwords.values())) == 3 and min(map(len, passwords.values())) >= 24
    assert all(password in before["permissions.conf"] for password in passwords.values())
    write_folder(CONFIG, folder, ["gpu"])
    after = {path.name: path.read_text() for path in files}
    assert {name for name in before if before[name] != after[name]} == {"permissions.conf"}
    # Whose file is removed gets a new password, and nobody else does.
    (folder / "worker.env").unlink()
    write_folder(CONFIG, folder, ["gpu"])
    assert {path.name for path in files if path.read_text() != after[path.name]} == {"permissions.conf", "worker.env"}


def test_a_draft_that_was_left_or_laid_there_gives_nobody_else_a_password(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("mine")
    folder = tmp_path / "keys"
    folder.mkdir()
    for draft in (folder / "worker.env.new", folder / ".worker.env.new"):
        draft.symlink_to(elsewhere)
    for draft in (folder / "gateway.env.new", folder / ".gateway.env.new"):
        draft.touch(mode=0o644)
    files = write_folder(CONFIG, folder, ["*"])
    assert {path.lstat().st_mode for path in files} == {0o100600}
    assert elsewhere.read_text() == "mine"


def test_a_file_that_is_another_s_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "gateway.env").write_text("PYOCO_LOG_LEVEL=debug\n")
    with pytest.raises(InvalidCommand, match=r"gateway\.env is there, and holds no password"):
        write_folder(CONFIG, tmp_path, ["*"])
    assert [path.name for path in tmp_path.iterdir()] == ["gateway.env"]
