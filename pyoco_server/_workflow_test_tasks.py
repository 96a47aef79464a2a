"""The sample tasks of the documents and the tests.

Source: contract, section 4.
"""

from __future__ import annotations


def add_one(x: int = 0) -> int:
    """Add one to the parameter ``x``."""
    return x + 1


def to_text(add_one: int) -> str:
    """Write the result of ``add_one`` as text."""
    return f"v={add_one}"
