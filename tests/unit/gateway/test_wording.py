"""What is refused is told in words for whoever sent it: what the value must be, and nothing of how it is checked."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from werkzeug.datastructures import Headers, MultiDict

from pyoco_server.errors import InvalidInput
from pyoco_server.gateway import inputs, queries
from pyoco_server.gateway.inputs import read_json_object, read_model


def refused(read: Callable[..., Any], *values: Any) -> str:
    """Give the one message of what is refused."""
    with pytest.raises(InvalidInput) as caught:
        read(*values)
    (fault,) = caught.value.faults
    return fault.msg


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"flow_name": None}, "must be a text"),
        ({"flow_name": ""}, "must not be empty"),
        ({"flow_name": "x" * 257}, "must have at most 256 characters"),
        ({"flow_name": "a\n"}, "must not hold control characters"),
        ({"flow_name": "\ud800"}, "must not hold halves of surrogate pairs"),
        ({"params": []}, "must be a JSON object"),
        ({"tag": "a b"}, "must consist of letters, digits, '_' and '-'"),
        ({"tags": "a"}, "must be a list"),
        ({"tags": [1]}, "must be a text"),
        ({"max_attempts": 1.5}, "must be a whole number"),
        ({"max_attempts": 0}, "must be 1 or more"),
        ({"retry_delay_sec": 1e9}, "must be 86400 or less"),
        ({"timeout_sec": 2e9}, "must be 1000000000 or less"),
        ({"timeout_sec": "1"}, "must be a number"),
        ({"resume": 1}, "must be true or false"),
    ],
    ids=lambda value: json.dumps(value)[:40] if isinstance(value, dict) else "",
)
def test_a_field_says_what_it_must_be(changes: dict[str, Any], message: str) -> None:
    assert refused(read_model, inputs.RunInput, {"flow_name": "main", **changes}, "body") == message


def test_what_is_no_field_but_a_whole_says_so_too() -> None:
    assert refused(read_model, inputs.RunInput, {}, "body") == "is missing"
    assert refused(read_model, inputs.RunInput, 7, "body.runs.0") == "must be a JSON object"
    assert refused(read_model, inputs.RerunInput, {"from": "x"}, "body") == "must be all or failed"
    assert refused(read_model, inputs.BatchInput, {"runs": [{}] * 1001}, "body") == "must have at most 1000 items"


@pytest.mark.parametrize(
    ("kind", "name", "value", "message"),
    [
        (queries.RunListQuery, "limit", "201", "must be 200 or less"),
        (queries.RunListQuery, "limit", "many", "must be a whole number, such as 50"),
        (
            queries.RunListQuery,
            "status",
            "DONE",
            "must be PENDING, RUNNING, CANCELLING, COMPLETED, FAILED or CANCELLED",
        ),
        (queries.RunListQuery, "updated_after", "1e999", "must be a time in unix seconds, such as 1767225600.5"),
        (queries.RunListQuery, "tag", "x" * 129, "must have at most 128 characters"),
        (queries.RunReadQuery, "wait", "soon", "must be a number, such as 2.5"),
        (queries.RunReadQuery, "wait", "61", "must be 60 or less"),
        (queries.WorkerListQuery, "scope", "some", "must be active or all"),
        (queries.LetterListQuery, "tag", "a b", "must consist of letters, digits, '_' and '-', 128 at most"),
    ],
)
def test_a_parameter_says_what_it_must_be(kind: type[inputs.Input], name: str, value: str, message: str) -> None:
    assert refused(queries.read_query, kind, MultiDict({name: value})) == message


def test_a_header_says_what_it_must_be() -> None:
    headers = Headers({"Idempotency-Key": "\u00e9"})
    assert refused(queries.read_headers, queries.SubmitHeaders, headers) == "must consist of printable ASCII characters"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("NaN", "is not JSON: NaN is no number of JSON"),
        ("1e999", "holds the number 1e999, which is too large"),
        ("9" * 5_000, "holds a whole number of more than 4300 digits"),
    ],
    ids=["nan", "infinite", "long"],
)
def test_a_number_that_json_does_not_carry_is_told_without_pythons_words(text: str, message: str) -> None:
    assert refused(read_json_object, b'{"x": %s}' % text.encode(), "body") == message
