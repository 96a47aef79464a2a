"""Sizes as a person reads them, in the page's language."""

from __future__ import annotations

from jinja2.filters import do_filesizeformat

from pyoco_server.gateway.pages.i18n import Words


def size(words: Words, size_bytes: int, *, binary: bool = False) -> str:
    """Say how large something is, with one unit.

    :param binary: by powers of 1024 (MiB), as limits are set; else of 1000 (MB).
    """
    if size_bytes < (1024 if binary else 1000):
        return words("size.bytes", count=size_bytes)
    return do_filesizeformat(size_bytes, binary)
