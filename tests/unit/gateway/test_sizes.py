"""Sizes as pages show them."""

from __future__ import annotations

import pytest

from pyoco_server.gateway.pages.i18n import words
from pyoco_server.gateway.pages.sizes import size


@pytest.mark.parametrize(
    ("size_bytes", "english", "japanese"),
    [
        (0, "0 bytes", "0 バイト"),
        (1, "one byte", "1 バイト"),
        (999, "999 bytes", "999 バイト"),
        (2000, "2.0 kB", "2.0 kB"),
    ],
)
def test_a_size_has_a_unit_of_the_pages_language(size_bytes: int, english: str, japanese: str) -> None:
    assert (size(words("en"), size_bytes), size(words("ja"), size_bytes)) == (english, japanese)


def test_a_limit_is_told_as_it_is_set() -> None:
    assert size(words("ja"), 1000, binary=True) == "1000 バイト"
    assert size(words("ja"), 512 * 2**20, binary=True) == "512.0 MiB"
