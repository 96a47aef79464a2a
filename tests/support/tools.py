"""What some tests need of the machine: CI has to have it, and a newcomer's laptop may do without."""

from __future__ import annotations

import os
import shutil

import pytest


def need(tool: str, package: str) -> None:
    """Leave a test out on a machine without a tool.

    :param package: Debian's, which brings the tool.
    """
    need_that(shutil.which(tool) is not None, f"there is no {tool}: apt-get install {package}")


def need_that(is_so: bool, otherwise: str) -> None:
    """Leave a test out on a machine where something is not so, which never is CI's.

    :param otherwise: says what is missing.
    """
    if not is_so:
        leave_out = pytest.fail if os.environ.get("CI") else pytest.skip
        leave_out(otherwise)
