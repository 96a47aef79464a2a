"""Log lines: JSON for programs, the same as text for eyes.

Source: contract, section 8.
"""

from __future__ import annotations

import contextlib
import json
import logging
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import IO, TYPE_CHECKING, Any

from pyoco_server.config import Config

#: What a line carries besides its message, where it is known: pass it as ``extra={…}``.
CONTEXT_FIELDS = ("run_id", "flow_name", "tag", "worker_id", "task", "err_id", "msg_id", "reason")


class LogId:
    """Ids of what stands in the log alone: pass one as ``err_id``. Those of errors stand in their classes."""

    CLEAN_UP_FAILED = "ERR-PYOCO-0004"
    RUN_FAILED = "ERR-PYOCO-0007"
    END_NOT_WRITTEN = "ERR-PYOCO-0008"
    LEASE_NOT_RENEWED = "ERR-PYOCO-0009"
    DEAD_LETTER_NOT_PUBLISHED = "ERR-PYOCO-0011"
    LOG_NOT_WRITTEN = "ERR-PYOCO-0013"
    CANCEL_OVERDUE = "ERR-PYOCO-0021"


class JsonFormatter(logging.Formatter):
    """One JSON object a line, with the fields of contract 8.

    :param context: context fields of every line that does not say otherwise.
    """

    def __init__(self, service: str, config: Config, context: Mapping[str, str]) -> None:
        super().__init__()
        self._service = service
        self._config = config
        self._context = context

    def fields(self, record: logging.LogRecord) -> dict[str, Any]:
        """Give the line as a mapping, in the order in which it is written."""
        line: dict[str, Any] = {
            "ts": _timestamp(record.created, utc=self._config.log_utc),
            "service": self._service,
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "pathname": record.pathname,
            "lineno": record.lineno,
            "func": record.funcName,
            "process": record.process,
            "thread": record.threadName,
        }
        for name in CONTEXT_FIELDS:
            value = getattr(record, name, self._context.get(name))
            if value is not None:
                line[name] = value
        if record.levelno >= logging.ERROR or record.exc_info:
            line.update(self._exception(record))
        return line

    def format(self, record: logging.LogRecord) -> str:
        return json.dumps(self.fields(record), default=str)

    def _exception(self, record: logging.LogRecord) -> dict[str, Any]:
        exc = record.exc_info[1] if record.exc_info else None
        if exc is None:
            return {"exc_type": None, "exc_message": None, "exc_traceback": None, "exc_origin": None}
        frames = traceback.extract_tb(exc.__traceback__)
        origin = frames[-1] if frames else None
        text = "".join(traceback.format_exception(type(exc), exc, exc.__traceback__))
        return {
            "exc_type": type(exc).__name__,
            "exc_message": str(exc),
            "exc_traceback": text if self._config.log_include_traceback else None,
            "exc_origin": origin and {"file": origin.filename, "line": origin.lineno, "func": origin.name},
        }


class TextFormatter(JsonFormatter):
    """The same for eyes: time, level, message, then the context."""

    def format(self, record: logging.LogRecord) -> str:
        line = self.fields(record)
        context = " ".join(f"{name}={line[name]}" for name in CONTEXT_FIELDS if name in line)
        text = f"{line['ts']} {line['level']:<7} {line['message']}"
        if context:
            text = f"{text} ({context})"
        if line.get("exc_traceback"):
            text = f"{text}\n{line['exc_traceback'].rstrip()}"
        return text


if TYPE_CHECKING:
    _StreamHandler = logging.StreamHandler[IO[str]]
else:
    # It cannot be subscripted in Python 3.10.
    _StreamHandler = logging.StreamHandler


class _Handler(_StreamHandler):
    """Says once that the log cannot be written (the disk is full, its reader is gone); the process goes on."""

    _has_failed = False

    def handleError(self, record: logging.LogRecord) -> None:
        if self._has_failed:
            return
        self._has_failed = True
        what = sys.exc_info()[1]
        with contextlib.suppress(OSError, AttributeError):
            text = f"{LogId.LOG_NOT_WRITTEN} The log cannot be written: {type(what).__name__}: {what} (said once)\n"
            sys.stderr.write(text)
            sys.stderr.flush()


def configure_logging(
    service: str, config: Config | None = None, stream: IO[str] | None = None, **context: str
) -> None:
    """Send the whole log of this process to ``stream``, other packages' too; nothing else in this package does that.

    The handlers that the root logger had, those of an earlier call too, are taken away from it.

    :param service: stands in every line: ``pyoco-server:worker``, for instance.
    :param config: level and form of the lines; read from the environment when ``None``.
    :param stream: stdout when ``None``.
    :param context: context fields of every line, such as ``worker_id``.
    :raises InvalidSetting: a setting does not parse.
    """
    config = config or Config.from_env()
    formatter = TextFormatter if config.log_format == "text" else JsonFormatter
    handler = _Handler(stream or sys.stdout or sys.stderr)
    handler.setFormatter(formatter(service, config, context))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(config.log_level)
    # These two report every request and every refused reconnect on their own; the bridge and the gateway do it
    # once, in our words.
    logging.getLogger("nats").setLevel(logging.CRITICAL)
    logging.getLogger("waitress").setLevel(logging.ERROR)
    logging.captureWarnings(True)


class RateLimit:
    """Lets one line a period pass, so that a lasting fault does not fill the disk."""

    def __init__(self, period_sec: float = 30.0) -> None:
        self._period_sec = period_sec
        self._lock = threading.Lock()
        self._last: dict[str, float] = {}

    def allows(self, key: str) -> bool:
        """Say whether a line about ``key`` may be written now."""
        now = time.monotonic()
        with self._lock:
            if now - self._last.get(key, -self._period_sec) < self._period_sec:
                return False
            self._last[key] = now
            return True


def _timestamp(seconds: float, *, utc: bool) -> str:
    moment = datetime.fromtimestamp(seconds, tz=timezone.utc)
    return (moment if utc else moment.astimezone()).isoformat(timespec="milliseconds")
