"""What is wrong with a value, in words for whoever sent it: pydantic's are for whoever wrote the model."""

from __future__ import annotations

from typing import Any

from pydantic_core import ErrorDetails

TAG_PATTERN = "^[A-Za-z0-9_-]+$"
TAG_OR_NOTHING_PATTERN = "^[A-Za-z0-9_-]{0,128}$"
PRINTABLE_PATTERN = r"^[^\x00-\x1f\x7f-\x9f]*$"
PRINTABLE_ASCII_PATTERN = "^[ -~]*$"

#: What a text must be that does not match.
_OF_PATTERNS = {
    TAG_PATTERN: "must consist of letters, digits, '_' and '-'",
    TAG_OR_NOTHING_PATTERN: "must consist of letters, digits, '_' and '-', 128 at most",
    PRINTABLE_PATTERN: "must not hold control characters",
    PRINTABLE_ASCII_PATTERN: "must consist of printable ASCII characters",
}
_BY_KIND = {
    "missing": "is missing",
    "string_type": "must be a text",
    "string_unicode": "must not hold halves of surrogate pairs",
    "string_too_short": "must not be empty",
    "string_too_long": "must have at most {max_length} characters",
    "bool_type": "must be true or false",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "greater_than_equal": "must be {ge:.15g} or more",
    "less_than_equal": "must be {le:.15g} or less",
    "literal_error": "must be {expected}",
    "enum": "must be {expected}",
    "list_type": "must be a list",
    "too_long": "must have at most {max_length} items",
    "dict_type": "must be a JSON object",
    "model_type": "must be a JSON object",
}


def message_of(error: ErrorDetails) -> str:
    """Give the message of a fault that pydantic has found."""
    kind = error["type"]
    context: dict[str, Any] = error.get("ctx") or {}
    if kind == "value_error":
        return str(context["error"])
    if kind == "string_pattern_mismatch":
        return _OF_PATTERNS.get(context["pattern"], error["msg"])
    text = _BY_KIND.get(kind)
    return error["msg"] if text is None else text.format(**context).replace("'", "")
