"""Log lines as programs read them: JSON, one line each, with what is known of the moment."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from pyoco_server.config import Config
from pyoco_server.logs import configure_logging

#: What every line has.
FIELDS = {"ts", "service", "level", "logger", "message", "pathname", "lineno", "func", "process", "thread"}
OF_ERRORS = {"exc_type", "exc_message", "exc_traceback", "exc_origin"}

logger = logging.getLogger("pyoco_server.test")


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    logging.captureWarnings(False)


def opened(context: dict[str, str] | None = None, **env: str) -> io.StringIO:
    """Have the log written into a text."""
    stream = io.StringIO()
    config = Config.from_env({f"PYOCO_LOG_{name.upper()}": value for name, value in env.items()})
    configure_logging("pyoco-server:http", config, stream, **context or {})
    return stream


def written(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_has_exactly_these_fields() -> None:
    stream = opened()
    logger.info("%d runs\nin two lines", 3)
    (line,) = written(stream)
    assert line.keys() == FIELDS
    assert (line["service"], line["level"], line["message"]) == ("pyoco-server:http", "INFO", "3 runs\nin two lines")
    assert line["ts"].endswith("+00:00") and line["pathname"] == __file__
    assert line["func"] == "test_a_line_has_exactly_these_fields"


def test_context_stands_where_it_is_known_and_that_of_the_process_in_every_line() -> None:
    stream = opened({"worker_id": "w1"})
    context = {"run_id": "r", "flow_name": "f", "tag": "t", "err_id": "ERR-PYOCO-0007", "msg_id": "m", "reason": "x"}
    logger.warning("one", extra={**context, "nonsense": 1})
    logger.info("two")
    logger.info("three", extra={"worker_id": "other"})
    one, two, three = written(stream)
    assert one.keys() - FIELDS == {*context, "worker_id"}
    assert [line["worker_id"] for line in (one, two, three)] == ["w1", "w1", "other"]


def test_an_error_always_says_what_was_raised_and_where() -> None:
    stream = opened()
    try:
        raise ValueError("no")
    except ValueError:
        logger.exception("one")
    logger.error("two")
    one, two = written(stream)
    assert one.keys() == two.keys() == FIELDS | OF_ERRORS
    assert (one["exc_type"], one["exc_message"]) == ("ValueError", "no")
    assert one["exc_origin"]["file"] == __file__ and one["exc_origin"].keys() == {"file", "line", "func"}
    assert one["exc_traceback"].startswith("Traceback ")
    assert {two[name] for name in OF_ERRORS} == {None}


def test_tracebacks_local_times_and_levels_are_settings() -> None:
    stream = opened(include_traceback="false", utc="false", level="ERROR")
    logger.warning("not this")
    try:
        raise ValueError("no")
    except ValueError:
        logger.exception("this")
    (line,) = written(stream)
    assert (line["message"], line["exc_type"], line["exc_traceback"]) == ("this", "ValueError", None)
    assert line["ts"][-6] in "+-"


def test_the_text_form_says_the_same_for_eyes() -> None:
    stream = opened(format="text")
    logger.warning("a run failed", extra={"run_id": "r", "err_id": "ERR-PYOCO-0007"})
    text = stream.getvalue()
    assert text.count("\n") == 1
    assert text.endswith(" WARNING a run failed (run_id=r err_id=ERR-PYOCO-0007)\n")


def test_what_no_text_is_made_for_and_what_is_no_unicode_leave_the_line_whole() -> None:
    stream = opened()
    logger.info("%s", "half \ud800 a pair", extra={"run_id": object()})
    (line,) = written(stream)
    assert line["message"] == "half \ud800 a pair"
