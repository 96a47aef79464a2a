"""What is known of a setting, and the kinds of values that settings have.

Each function at the end makes a field of :class:`pyoco_server.config.Config`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pyoco_server.errors import InvalidSetting
from pyoco_server.sign_in import addresses

#: Thirty years: the servers count in nanoseconds, which overflow not much later.
_MAX_SEC = 1e9
_MAX_COUNT = 2**53

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})


@dataclass(frozen=True)
class Setting:
    """What is known of one setting.

    :param env: its environment variable.
    :param parse: turns the variable's text into the value; raises ``ValueError`` for a bad one.
    :param expected: what ``parse`` accepts, in words that complete "expected …".
    :param help: a sentence for ``--help`` and the documents.
    :param is_secret: whether its value is never shown, nor passed on to the processes of runs; it can be given in a
        file, too.
    :param default_text: how its default is written, where that is not the text of the value.
    """

    env: str
    parse: Callable[[str], Any]
    expected: str
    help: str
    is_secret: bool = False
    default_text: str | None = None

    @property
    def file_env(self) -> str:
        """The variable that names a file with the value, of a secret."""
        return f"{self.env}_FILE"

    def text_in(self, environ: Mapping[str, str]) -> str | None:
        """Find its text in an environment; ``None`` where it is not set.

        :raises InvalidSetting: it is given twice, or in a file that cannot be read.
        """
        path = environ.get(self.file_env) if self.is_secret else None
        if not path:
            return environ.get(self.env)
        if environ.get(self.env):
            raise InvalidSetting(f"{self.env} and {self.file_env} are both set. Keep one of them.")
        try:
            # Editors and `echo` end a file with a line break, which is none of the secret.
            return Path(path).read_text(encoding="utf-8").removesuffix("\n").removesuffix("\r")
        except (OSError, UnicodeDecodeError) as exc:
            reason = exc.strerror if isinstance(exc, OSError) else "it is no text in UTF-8"
            raise InvalidSetting(f"{self.file_env}={path!r} cannot be read: {reason}.") from exc

    def read(self, text: str, name: str) -> Any:
        """Turn text into the value.

        :param name: where the text comes from, the variable or a flag.
        :raises InvalidSetting: names it, the text and what is expected.
        """
        try:
            return self.parse(text)
        except ValueError:
            # There may be a password in an address.
            shown = "…" if self.is_secret else repr(re.sub(r"(?s).*@", "…@", text))
            raise InvalidSetting(f"{name}={shown} is not valid: expected {self.expected}.") from None


def parse_text(value: str) -> str:
    if not value:
        raise ValueError("empty")
    return value


def _parse_utf8(value: str) -> str:
    # Bytes of the environment that are no UTF-8 come as halves of surrogate pairs, which cannot be hashed.
    value.encode()
    return value


def parse_boolean(value: str) -> bool:
    word = value.strip().lower()
    if word not in _TRUE | _FALSE:
        raise ValueError(value)
    return word in _TRUE


def matches(pattern: str) -> Callable[[str], str]:
    def parse(value: str) -> str:
        if re.fullmatch(pattern, value, re.ASCII) is None:
            raise ValueError(value)
        return value

    return parse


def parse_nats_urls(value: str) -> str:
    for address in addresses(value):
        parts = urlsplit(address.url)
        is_host = bool(parts.hostname) and not re.search(r"\s", str(parts.hostname))
        # What is no scheme of NATS is still there. Reading the port judges it.
        if "//" in address.user + address.place or not is_host or parts.port == 0:
            raise ValueError(value)
    return value


def parse_listen(value: str) -> str:
    parts = urlsplit(f"//{value}")
    # Reading the port judges it.
    if value and not (parts.netloc == value and parts.hostname and parts.port):
        raise ValueError(value)
    return value


def _number(low: float, high: float, *, integer: bool = False) -> Callable[[str], float]:
    def parse(value: str) -> float:
        # int() and float() also take underscores and digits of other scripts.
        if "_" in value or not value.isascii():
            raise ValueError(value)
        number = int(value) if integer else float(value)
        # The comparison also refuses NaN.
        if not low <= number <= high:
            raise ValueError(value)
        return number

    return parse


def choice(*words: str) -> Callable[[str], str]:
    def parse(value: str) -> str:
        word = value.strip().lower()
        if word not in words:
            raise ValueError(value)
        return word

    return parse


def parse_log_level(value: str) -> str:
    return choice("debug", "info", "warning", "error", "critical")(value).upper()


def parse_sync(value: str) -> str:
    if value.strip().lower() == "always":
        return "always"
    return f"{_number(1, _MAX_SEC, integer=True)(value.strip().removesuffix('s')):.0f}s"


def parse_patterns(value: str) -> str:
    patterns = [pattern.strip() for pattern in value.split(",")]
    if value and not all(re.fullmatch(r"\w+(\.\w+)*(\.\*|:\w+(\.\w+)*)?", pattern) for pattern in patterns):
        raise ValueError(value)
    return ",".join(patterns)


def parse_retention(value: str) -> float:
    # A run that goes on gives signs of life; what has given none for so long counts as one that came back from
    # long ago, so this must be much longer than any silence.
    number = _number(0, _MAX_SEC)(value)
    if 0 < number < 3600:
        raise ValueError(value)
    return number


def parse_replicas(value: str) -> int:
    word = choice("auto", "1", "3", "5")(value)
    return 0 if word == "auto" else int(word)


def make(
    env: str, default: Any, parse: Callable[[str], Any], expected: str, help: str, default_text: str | None = None
) -> Any:
    record = Setting(env, parse, expected, help, default_text=default_text)
    return field(default=default, metadata={"setting": record})


def text(env: str, default: str, help: str) -> Any:
    return make(env, default, parse_text, "a text that is not empty", help)


def optional(env: str, help: str) -> Any:
    """A text that may be empty, which is its default and means that it is not used."""
    return make(env, "", _parse_utf8, "a text in UTF-8", help)


def bucket(env: str, default: str, help: str) -> Any:
    return make(env, default, matches(r"[\w-]+"), "letters, digits, '_' and '-'", help)


def subject(env: str, default: str, help: str) -> Any:
    return make(env, default, matches(r"[\w-]+(\.[\w-]+)*"), "words of letters, digits, '_' and '-', with dots", help)


def secret(env: str, default: str, help: str) -> Any:
    """A text that is never shown, as in the ``repr`` of the settings."""
    record = Setting(env, _parse_utf8, "a text in UTF-8", help, is_secret=True)
    return field(default=default, repr=False, metadata={"setting": record})


def seconds(env: str, default: float, help: str, *, low: float = 0.001) -> Any:
    return make(env, default, _number(low, _MAX_SEC), f"seconds, a decimal number from {low:g} to 1e9", help)


def count(env: str, default: int, help: str, *, low: int = 1) -> Any:
    return make(env, default, _number(low, _MAX_COUNT, integer=True), f"a whole number of at least {low}", help)


def size(env: str, default: int, help: str, *, low: int = 1) -> Any:
    expected = f"bytes, a whole number of at least {low}"
    return make(env, default, _number(low, _MAX_COUNT, integer=True), expected, help)


def flag(env: str, default: bool, help: str) -> Any:
    return make(env, default, parse_boolean, "true or false", help)
