"""The settings: one record each, and the only reader of the environment.

A setting is a field of :class:`Config`, named as its variable, whose metadata holds that variable, parser and help
text; flags, error messages and ``docs/config.md`` derive from these records. The environment wins over the ``.env``
file of the working directory, and a flag wins over both.

Source: contract, section 7.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from pyoco_server import setting
from pyoco_server.errors import InvalidSetting
from pyoco_server.sign_in import SignIn, public

#: These two say where the settings stand, so they cannot stand in the file themselves.
LOAD_DOTENV = "PYOCO_LOAD_DOTENV"
ENV_FILE = "PYOCO_ENV_FILE"

#: Where a locale may be named, the one that counts first (contract 5, ``--dashboard-lang``).
_LOCALE_VARIABLES = ("LC_ALL", "LANGUAGE", "LC_MESSAGES", "LANG")


@dataclass(frozen=True)
class Config:
    """The settings of one process; immutable.

    Names ending in ``_sec`` are seconds, in ``_bytes`` bytes.
    """

    nats_url: str = setting.make(
        "PYOCO_NATS_URL",
        "nats://127.0.0.1:4222",
        setting.parse_nats_urls,
        "addresses such as nats://host:4222, separated by commas",
        "NATS servers of one cluster, separated by commas; user and password may stand in them",
    )
    nats_user: str = setting.optional("PYOCO_NATS_USER", "user of NATS that this process signs in as")
    nats_password: str = setting.secret("PYOCO_NATS_PASSWORD", "", "its password")
    nats_token: str = setting.secret("PYOCO_NATS_TOKEN", "", "token that NATS asks for")
    nats_creds: str = setting.optional(
        "PYOCO_NATS_CREDS", "file of credentials for NATS: a JWT with its seed, or the seed of an NKey"
    )
    nats_tls_ca: str = setting.optional(
        "PYOCO_NATS_TLS_CA", "file with the certificates by which NATS is known; nothing goes out without TLS then"
    )
    nats_tls_cert: str = setting.optional("PYOCO_NATS_TLS_CERT", "file with the certificate that is shown to NATS")
    nats_tls_key: str = setting.optional("PYOCO_NATS_TLS_KEY", "file with its key, without a passphrase")
    nats_replicas: int = setting.make(
        "PYOCO_NATS_REPLICAS",
        0,
        setting.parse_replicas,
        "auto, 1, 3 or 5",
        "copies of new streams and buckets; auto takes 3 in a cluster, else 1",
        default_text="auto",
    )
    nats_sync: str = setting.make(
        "PYOCO_NATS_SYNC",
        "always",
        setting.parse_sync,
        "always or whole seconds",
        "when the embedded NATS writes to disk: before each answer (always), or every so many seconds",
    )
    work_subject_prefix: str = setting.subject("PYOCO_WORK_SUBJECT_PREFIX", "pyoco.work", "subjects of the work queue")
    default_tag: str = setting.make(
        "PYOCO_DEFAULT_TAG",
        "default",
        setting.matches(r"[\w-]{1,128}"),
        "a tag: letters, digits, '_' and '-', 128 at most",
        "the tag of runs that name none",
    )
    runs_kv_bucket: str = setting.bucket("PYOCO_RUNS_KV_BUCKET", "pyoco_runs", "bucket of the run snapshots")
    workers_kv_bucket: str = setting.bucket("PYOCO_WORKERS_KV_BUCKET", "pyoco_workers", "bucket of the worker registry")
    http_auth_mode: str = setting.make(
        "PYOCO_HTTP_AUTH_MODE",
        "none",
        setting.choice("none", "api_key"),
        "none or api_key",
        "whether the gateway asks for API keys",
    )
    http_api_key_header: str = setting.make(
        "PYOCO_HTTP_API_KEY_HEADER",
        "X-API-Key",
        setting.matches(r"[A-Za-z0-9-]{1,64}"),
        "the name of a header: letters, digits and '-'",
        "the header that carries the API key",
    )
    auth_kv_bucket: str = setting.bucket("PYOCO_AUTH_KV_BUCKET", "pyoco_auth", "bucket of the API keys")
    auth_pepper: str = setting.secret(
        "PYOCO_AUTH_PEPPER", "", "goes into the hash of each API key; the same wherever keys are made and checked"
    )
    run_heartbeat_interval_sec: float = setting.seconds(
        "PYOCO_RUN_HEARTBEAT_INTERVAL_SEC", 1.0, "how often a worker writes the snapshot of a run that goes on"
    )
    worker_heartbeat_interval_sec: float = setting.seconds(
        "PYOCO_WORKER_HEARTBEAT_INTERVAL_SEC", 5.0, "how often a worker writes its record in the worker registry"
    )
    worker_disconnect_timeout_sec: float = setting.seconds(
        "PYOCO_WORKER_DISCONNECT_TIMEOUT_SEC", 20.0, "silence after which a worker counts as gone"
    )
    run_retention_sec: float = setting.make(
        "PYOCO_RUN_RETENTION_SEC",
        2592000.0,
        setting.parse_retention,
        "0, or seconds from 3600 to 1e9",
        "how long runs are kept that have ended; 0 = for ever",
    )
    worker_retention_sec: float = setting.seconds(
        "PYOCO_WORKER_RETENTION_SEC", 604800.0, "how long the record of a worker that is gone is kept"
    )
    cancel_grace_period_sec: float = setting.seconds(
        "PYOCO_CANCEL_GRACE_PERIOD_SEC",
        30.0,
        "how long a cancelled run may go on before its processes are ended",
        low=0,
    )
    run_timeout_sec: float = setting.seconds(
        "PYOCO_RUN_TIMEOUT_SEC",
        0.0,
        "how long an attempt of a run may take that was submitted without timeout_sec; 0 = as long as it likes",
        low=0,
    )
    run_memory_bytes: int = setting.size(
        "PYOCO_RUN_MEMORY_BYTES", 0, "address space of each process of a run; 0 = no limit", low=0
    )
    worker_allow: str = setting.make(
        "PYOCO_WORKER_ALLOW",
        "",
        setting.parse_patterns,
        "modules, packages as in mypkg.*, or callables as in mypkg.tasks:load, separated by commas",
        "what a worker may execute, callables and plug-ins; empty = everything",
    )
    drain_sec: float = setting.seconds(
        "PYOCO_DRAIN_SEC", 30.0, "how long a worker that is told to stop lets its runs go on", low=0
    )
    health_listen: str = setting.make(
        "PYOCO_HEALTH_LISTEN",
        "",
        setting.parse_listen,
        "HOST:PORT, or nothing",
        "where a worker answers /health, /ready and /metrics; empty = nowhere",
    )
    consumer_ack_wait_sec: float = setting.seconds(
        "PYOCO_CONSUMER_ACK_WAIT_SEC", 30.0, "the queue gives a job to another worker after this silence"
    )
    consumer_max_deliver: int = setting.count("PYOCO_CONSUMER_MAX_DELIVER", 20, "how often a job is handed out at most")
    poll_lease_sec: float = setting.seconds(
        "PYOCO_POLL_LEASE_SEC", 3600.0, "a run that pyoco's own worker took comes back after this silence of the worker"
    )
    consumer_max_ack_pending: int = setting.count(
        "PYOCO_CONSUMER_MAX_ACK_PENDING", 200, "jobs of one tag at workers at the same time"
    )
    ack_progress_interval_sec: float = setting.seconds(
        "PYOCO_ACK_PROGRESS_INTERVAL_SEC", 10.0, "how often a worker tells the queue that it is still at work"
    )
    dlq_stream: str = setting.bucket("PYOCO_DLQ_STREAM", "PYOCO_DLQ", "stream of the dead letters")
    dlq_subject_prefix: str = setting.subject("PYOCO_DLQ_SUBJECT_PREFIX", "pyoco.dlq", "subjects of the dead letters")
    dlq_publish_execution_error: bool = setting.flag(
        "PYOCO_DLQ_PUBLISH_EXECUTION_ERROR", True, "whether a task that raised makes a dead letter"
    )
    dlq_max_age_sec: float = setting.seconds("PYOCO_DLQ_MAX_AGE_SEC", 604800.0, "how long dead letters are kept")
    dlq_max_msgs: int = setting.count("PYOCO_DLQ_MAX_MSGS", 100_000, "how many dead letters are kept")
    dlq_max_bytes: int = setting.size("PYOCO_DLQ_MAX_BYTES", 536_870_912, "how large all dead letters may be")
    max_run_snapshot_bytes: int = setting.size(
        "PYOCO_MAX_RUN_SNAPSHOT_BYTES", 262_144, "the largest snapshot of a run", low=4096
    )
    workflow_yaml_max_bytes: int = setting.size(
        "PYOCO_WORKFLOW_YAML_MAX_BYTES", 262_144, "the largest flow.yaml", low=64
    )
    logs_max_age_sec: float = setting.seconds("PYOCO_LOGS_MAX_AGE_SEC", 604800.0, "how long is kept what runs print")
    logs_max_bytes: int = setting.size(
        "PYOCO_LOGS_MAX_BYTES", 536_870_912, "how large all that is kept of it may be; the oldest goes first"
    )
    logs_task_max_bytes: int = setting.size(
        "PYOCO_LOGS_TASK_MAX_BYTES",
        1_048_576,
        "what is kept of a task's output, and the end of what exceeds it; each line counts a hundred bytes more",
    )
    logs_run_max_bytes: int = setting.size(
        "PYOCO_LOGS_RUN_MAX_BYTES", 16_777_216, "the same for all tasks of an attempt together"
    )
    task_log_level: str = setting.make(
        "PYOCO_TASK_LOG_LEVEL",
        "INFO",
        setting.parse_log_level,
        "DEBUG, INFO, WARNING, ERROR or CRITICAL",
        "the least level of what tasks log that is kept with what they print",
    )
    read_model_path: str = setting.text(
        "PYOCO_READ_MODEL_PATH", ":memory:", "file of the gateway's list of runs; :memory: rebuilds it at each start"
    )
    dashboard_lang: str = setting.make(
        "PYOCO_DASHBOARD_LANG", "auto", setting.choice("auto", "ja", "en"), "auto, ja or en", "language of the pages"
    )
    max_watches: int = setting.count(
        "PYOCO_MAX_WATCHES", 512, "watches of runs that a gateway serves at the same time", low=0
    )
    wheel_object_store_bucket: str = setting.bucket(
        "PYOCO_WHEEL_OBJECT_STORE_BUCKET", "pyoco_wheels", "object store of the wheels"
    )
    wheel_max_bytes: int = setting.size("PYOCO_WHEEL_MAX_BYTES", 536_870_912, "the largest wheel", low=1024)
    wheel_sync_enabled: bool = setting.flag(
        "PYOCO_WHEEL_SYNC_ENABLED", False, "whether a worker installs the wheels that the wheel registry has for it"
    )
    wheel_sync_dir: str = setting.text(
        "PYOCO_WHEEL_SYNC_DIR", ".pyoco/wheels", "folder in which a worker keeps them; workers may share it"
    )
    wheel_sync_interval_sec: float = setting.seconds(
        "PYOCO_WHEEL_SYNC_INTERVAL_SEC",
        10.0,
        "how often an idle worker looks for wheels; failed ones are tried again after this, then later and later",
    )
    wheel_install_timeout_sec: float = setting.seconds(
        "PYOCO_WHEEL_INSTALL_TIMEOUT_SEC", 180.0, "how long fetching and unpacking one wheel may take"
    )
    wheel_history_kv_bucket: str = setting.bucket(
        "PYOCO_WHEEL_HISTORY_KV_BUCKET", "pyoco_wheel_history", "bucket of the history of the wheels"
    )
    wheel_history_ttl_sec: float = setting.seconds(
        "PYOCO_WHEEL_HISTORY_TTL_SEC", 7_776_000.0, "how long an event of that history is kept"
    )
    artifacts_max_age_sec: float = setting.seconds(
        "PYOCO_ARTIFACTS_MAX_AGE_SEC", 604800.0, "how long the files are kept that tasks save"
    )
    artifacts_max_bytes: int = setting.size(
        "PYOCO_ARTIFACTS_MAX_BYTES", 1_073_741_824, "how large all of them may be; the oldest go first"
    )
    artifact_max_bytes: int = setting.size("PYOCO_ARTIFACT_MAX_BYTES", 104_857_600, "the largest file that is kept")
    run_artifacts_max_bytes: int = setting.size(
        "PYOCO_RUN_ARTIFACTS_MAX_BYTES", 268_435_456, "how large all files of one attempt of a run may be"
    )
    log_level: str = setting.make(
        "PYOCO_LOG_LEVEL",
        "INFO",
        setting.parse_log_level,
        "DEBUG, INFO, WARNING, ERROR or CRITICAL",
        "the least level to log",
    )
    log_format: str = setting.make(
        "PYOCO_LOG_FORMAT", "json", setting.choice("json", "text"), "json or text", "log lines for programs or for eyes"
    )
    log_utc: bool = setting.flag("PYOCO_LOG_UTC", True, "whether log times are UTC or local")
    log_include_traceback: bool = setting.flag(
        "PYOCO_LOG_INCLUDE_TRACEBACK", True, "whether the log of an error carries its traceback"
    )
    #: No setting of ours: the language of the process's locale, ``en`` or ``ja``.
    locale_lang: str = "en"

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, **flags: Any) -> Config:
        """Read the settings.

        :param environ: the environment; the process's own and its ``.env`` file when it is ``None``.
        :param flags: values that win over the environment, as text or as the field has them; ``None`` means that the
            flag was not given.
        :raises InvalidSetting: a value does not parse, or ways to sign in to NATS contradict each other; the message
            names variable, value and what is expected.
        """
        source = read_environment() if environ is None else environ
        values: dict[str, Any] = {"locale_lang": locale_lang(source)}
        for name, record in settings().items():
            text = record.text_in(source)
            if text is not None:
                values[name] = record.read(text, record.env)
        for name, value in flags.items():
            if value is not None:
                is_text = isinstance(value, str)
                values[name] = settings()[name].read(value, f"--{name.replace('_', '-')}") if is_text else value
        config = cls(**values)
        config.sign_in.check(config.nats_url)
        return config

    @property
    def asks_for_keys(self) -> bool:
        return self.http_auth_mode == "api_key"

    @property
    def sign_in(self) -> SignIn:
        """How this process signs in to NATS."""
        return SignIn(
            user=self.nats_user,
            password=self.nats_password,
            token=self.nats_token,
            creds=self.nats_creds,
            tls_ca=self.nats_tls_ca,
            tls_cert=self.nats_tls_cert,
            tls_key=self.nats_tls_key,
        )

    @property
    def allowed_patterns(self) -> list[str]:
        """What a worker may execute; empty = everything."""
        return [pattern for pattern in self.worker_allow.split(",") if pattern]

    def time_limit_sec(self, timeout_sec: float | None) -> float:
        """Give how long an attempt of a run may take; 0 = as long as it likes.

        :param timeout_sec: what it was submitted with; ``None`` = nothing.
        """
        return self.run_timeout_sec if timeout_sec is None else timeout_sec

    def with_nats_url(self, url: str) -> Config:
        """Give the same settings for another NATS server."""
        return replace(self, nats_url=url)

    def check_worker(self) -> None:
        """Refuse settings of a worker that contradict each other.

        :raises InvalidSetting: with both variables named.
        """
        if self.ack_progress_interval_sec >= self.consumer_ack_wait_sec:
            raise InvalidSetting(
                f"PYOCO_ACK_PROGRESS_INTERVAL_SEC ({self.ack_progress_interval_sec:g}) must be less than "
                f"PYOCO_CONSUMER_ACK_WAIT_SEC ({self.consumer_ack_wait_sec:g}), or the queue gives running jobs away."
            )
        if self.run_heartbeat_interval_sec >= self.worker_disconnect_timeout_sec:
            raise InvalidSetting(
                f"PYOCO_RUN_HEARTBEAT_INTERVAL_SEC ({self.run_heartbeat_interval_sec:g}) must be less than "
                f"PYOCO_WORKER_DISCONNECT_TIMEOUT_SEC ({self.worker_disconnect_timeout_sec:g}), or live runs look lost."
            )


def settings() -> dict[str, setting.Setting]:
    """Give the record of every setting by its field name, in the order of the documents."""
    return {item.name: item.metadata["setting"] for item in fields(Config) if "setting" in item.metadata}


def environment_for_runs() -> dict[str, str]:
    """Give the environment of this process without secrets: what a process may see that executes what others wrote."""
    hidden = {name for record in settings().values() if record.is_secret for name in (record.env, record.file_env)}
    # Settings that name a user and not its password are refused.
    hidden.add(settings()["nats_user"].env)
    kept = {name: value for name, value in os.environ.items() if name not in hidden}
    url = "PYOCO_NATS_URL"
    return {**kept, url: public(kept[url])} if url in kept else kept


def locale_lang(environ: Mapping[str, str] | None = None) -> str:
    """Give the language that the locale names, ``en`` or ``ja``: of the first variable that is set, as the C library
    reads them.

    :param environ: the environment; the process's own when it is ``None``.
    """
    environ = os.environ if environ is None else environ
    named = next((environ[name] for name in _LOCALE_VARIABLES if environ.get(name)), "")
    # LANGUAGE is a list.
    languages = [entry[:2].lower() for entry in named.split(":") if re.fullmatch(r"(en|ja)([_.@-].*)?", entry, re.I)]
    return languages[0] if languages else "en"


def read_environment() -> dict[str, str]:
    """Lay the process's environment over the ``.env`` file, which may be switched off or named.

    :raises InvalidSetting: the file cannot be read, or one that was named does not exist.
    """
    is_wanted = setting.Setting(LOAD_DOTENV, setting.parse_boolean, "true or false", "")
    if not is_wanted.read(os.environ.get(LOAD_DOTENV, "1"), LOAD_DOTENV):
        return dict(os.environ)
    named = os.environ.get(ENV_FILE)
    path = Path(named or ".env")
    if named and not path.is_file():
        raise InvalidSetting(f"{ENV_FILE}={named!r}: there is no such file. Name an existing file or unset it.")
    if not path.is_file():
        return dict(os.environ)
    from dotenv import dotenv_values

    try:
        # Editors on Windows begin a file with a mark, which else became part of the first name.
        stored = dotenv_values(path, interpolate=False, encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as exc:
        raise InvalidSetting(f"{path} cannot be read as a file of settings: {exc}") from exc
    return {**{key: value for key, value in stored.items() if value is not None}, **os.environ}
