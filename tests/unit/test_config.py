"""Settings: their names and defaults are the contract's, the environment wins over the file, bad values are refused."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from pyoco_server.config import Config, environment_for_runs, settings
from pyoco_server.errors import InvalidSetting

#: Section 7 of the contract, without the variable that only 0.5.1 reads.
CONTRACT: dict[str, Any] = {
    "PYOCO_NATS_URL": "nats://127.0.0.1:4222",
    "PYOCO_WORK_SUBJECT_PREFIX": "pyoco.work",
    "PYOCO_DEFAULT_TAG": "default",
    "PYOCO_RUNS_KV_BUCKET": "pyoco_runs",
    "PYOCO_WORKERS_KV_BUCKET": "pyoco_workers",
    "PYOCO_HTTP_AUTH_MODE": "none",
    "PYOCO_HTTP_API_KEY_HEADER": "X-API-Key",
    "PYOCO_AUTH_KV_BUCKET": "pyoco_auth",
    "PYOCO_AUTH_PEPPER": "",
    "PYOCO_RUN_HEARTBEAT_INTERVAL_SEC": 1,
    "PYOCO_WORKER_HEARTBEAT_INTERVAL_SEC": 5,
    "PYOCO_WORKER_DISCONNECT_TIMEOUT_SEC": 20,
    "PYOCO_CANCEL_GRACE_PERIOD_SEC": 30,
    "PYOCO_CONSUMER_ACK_WAIT_SEC": 30,
    "PYOCO_CONSUMER_MAX_DELIVER": 20,
    "PYOCO_CONSUMER_MAX_ACK_PENDING": 200,
    "PYOCO_ACK_PROGRESS_INTERVAL_SEC": 10,
    "PYOCO_DLQ_STREAM": "PYOCO_DLQ",
    "PYOCO_DLQ_SUBJECT_PREFIX": "pyoco.dlq",
    "PYOCO_DLQ_PUBLISH_EXECUTION_ERROR": True,
    "PYOCO_DLQ_MAX_AGE_SEC": 604_800,
    "PYOCO_DLQ_MAX_MSGS": 100_000,
    "PYOCO_DLQ_MAX_BYTES": 536_870_912,
    "PYOCO_MAX_RUN_SNAPSHOT_BYTES": 262_144,
    "PYOCO_WORKFLOW_YAML_MAX_BYTES": 262_144,
    "PYOCO_WHEEL_OBJECT_STORE_BUCKET": "pyoco_wheels",
    "PYOCO_WHEEL_MAX_BYTES": 536_870_912,
    "PYOCO_WHEEL_SYNC_ENABLED": False,
    "PYOCO_WHEEL_SYNC_DIR": ".pyoco/wheels",
    "PYOCO_WHEEL_SYNC_INTERVAL_SEC": 10,
    "PYOCO_WHEEL_INSTALL_TIMEOUT_SEC": 180,
    "PYOCO_WHEEL_HISTORY_KV_BUCKET": "pyoco_wheel_history",
    "PYOCO_WHEEL_HISTORY_TTL_SEC": 7_776_000,
    "PYOCO_DASHBOARD_LANG": "auto",
    "PYOCO_LOG_LEVEL": "INFO",
    "PYOCO_LOG_FORMAT": "json",
    "PYOCO_LOG_UTC": True,
    "PYOCO_LOG_INCLUDE_TRACEBACK": True,
}
DEFAULTS = {item.name: item.default for item in fields(Config)}
VARIABLES = {record.env: name for name, record in settings().items()}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory without any setting in the environment."""
    monkeypatch.chdir(tmp_path)
    for variable in (*VARIABLES, "PYOCO_LOAD_DOTENV", "PYOCO_ENV_FILE"):
        monkeypatch.delenv(variable, raising=False)
    return tmp_path


@pytest.mark.parametrize("variable", CONTRACT)
def test_a_setting_has_the_name_and_the_default_of_the_contract(variable: str) -> None:
    assert DEFAULTS[VARIABLES[variable]] == CONTRACT[variable]


@pytest.mark.parametrize("variable", VARIABLES)
def test_each_setting_refuses_what_it_is_not_and_says_what_it_is(variable: str) -> None:
    record = settings()[VARIABLES[variable]]
    bad = {"a text that is not empty": "", "a text in UTF-8": "s\udcff"}.get(record.expected, "\u00e9 \u2713")
    with pytest.raises(InvalidSetting) as caught:
        Config.from_env({variable: bad})
    shown = "…" if record.is_secret else repr(bad)
    assert str(caught.value) == f"{variable}={shown} is not valid: expected {record.expected}."


@pytest.mark.parametrize("text", ["1_0", "\u0663", "nan", "inf", "-1", "1e400", "0x10", "ten", "", "0"])
def test_seconds_are_decimal_numbers(text: str) -> None:
    with pytest.raises(InvalidSetting):
        Config.from_env({"PYOCO_CONSUMER_ACK_WAIT_SEC": text})


@pytest.mark.parametrize(("text", "seconds"), [("30", 30.0), ("0.5", 0.5), (".5", 0.5), (" 2 ", 2.0), ("1e3", 1000.0)])
def test_seconds_may_have_fractions(text: str, seconds: float) -> None:
    assert Config.from_env({"PYOCO_CONSUMER_ACK_WAIT_SEC": text}).consumer_ack_wait_sec == seconds


@pytest.mark.parametrize("text", ["1_0", "\u0663", "1.5", "1e3", "-1", ""])
def test_counts_are_whole_numbers(text: str) -> None:
    with pytest.raises(InvalidSetting):
        Config.from_env({"PYOCO_CONSUMER_MAX_DELIVER": text})


def test_a_secret_is_shown_nowhere() -> None:
    config = Config.from_env({"PYOCO_AUTH_PEPPER": "s3cret"})
    assert config.auth_pepper == "s3cret" and "s3cret" not in repr(config)
    with pytest.raises(InvalidSetting) as caught:
        Config.from_env({"PYOCO_AUTH_PEPPER": "s3cret\udcff"})
    assert "s3cret" not in str(caught.value)


def test_a_run_can_read_the_settings_of_its_worker_and_no_secret(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any program of ours was refused in a task, because the user was left to it without the password."""
    (folder / "pepper").write_text("s3cret\n")
    for name, value in (("USER", "worker"), ("PASSWORD", "s3cret")):
        monkeypatch.setenv(f"PYOCO_NATS_{name}", value)
    monkeypatch.setenv("PYOCO_AUTH_PEPPER_FILE", str(folder / "pepper"))
    monkeypatch.setenv("PYOCO_DEFAULT_TAG", "gpu")
    assert Config.from_env().sign_in.password == "s3cret"
    environ = environment_for_runs()
    config = Config.from_env(environ)
    assert (config.default_tag, config.nats_user, config.nats_password, config.auth_pepper) == ("gpu", "", "", "")
    assert "s3cret" not in str(environ)


def test_the_file_gives_what_the_environment_does_not_and_a_flag_wins_over_both(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / ".env").write_text("PYOCO_DEFAULT_TAG=file\nexport PYOCO_LOG_LEVEL=debug\nPYOCO_DLQ_STREAM='FILE'\n")
    monkeypatch.setenv("PYOCO_DLQ_STREAM", "REAL")
    config = Config.from_env()
    assert (config.default_tag, config.log_level, config.dlq_stream) == ("file", "DEBUG", "REAL")
    assert Config.from_env(log_level="error", default_tag=None).log_level == "ERROR"


def test_the_file_may_be_another_or_none(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / ".env").write_text("PYOCO_DEFAULT_TAG=file\n")
    (folder / "other").write_text("\ufeffPYOCO_DEFAULT_TAG=other # not this\n", encoding="utf-8")
    monkeypatch.setenv("PYOCO_ENV_FILE", "other")
    assert Config.from_env().default_tag == "other"
    monkeypatch.setenv("PYOCO_LOAD_DOTENV", "0")
    assert Config.from_env().default_tag == "default"


def test_no_file_is_looked_for_above_the_working_directory(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / ".env").write_text("PYOCO_DEFAULT_TAG=above\n")
    (folder / "below").mkdir()
    monkeypatch.chdir(folder / "below")
    assert Config.from_env().default_tag == "default"


@pytest.mark.parametrize(("name", "content"), [("absent", None), ("binary", b"PYOCO_DEFAULT_TAG=\xff\n")])
def test_a_file_that_cannot_be_read_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: bytes | None
) -> None:
    if content is not None:
        (folder / name).write_bytes(content)
    monkeypatch.setenv("PYOCO_ENV_FILE", name)
    with pytest.raises(InvalidSetting, match=name):
        Config.from_env()


def test_a_gateway_does_not_judge_what_a_worker_must_not_be_given() -> None:
    config = Config.from_env({"PYOCO_ACK_PROGRESS_INTERVAL_SEC": "60", "PYOCO_RUN_HEARTBEAT_INTERVAL_SEC": "60"})
    with pytest.raises(InvalidSetting, match="PYOCO_CONSUMER_ACK_WAIT_SEC"):
        config.check_worker()
