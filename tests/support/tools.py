"""What some tests need of the machine. CONTRIBUTING.md says how one gets it; CI has it."""

from __future__ import annotations

import shutil

import pytest


def need(tool: str, package: str) -> None:
    """Fail a test on a machine without a tool.

    :param package: Debian's, which brings the tool.
    """
    need_that(shutil.which(tool) is not None, f"there is no {tool}: apt-get install {package}")


def need_that(is_so: bool, otherwise: str) -> None:
    """Fail a test on a machine where something is not so.

    :param otherwise: says what is missing.
    """
    if not is_so:
        pytest.fail(otherwise)
