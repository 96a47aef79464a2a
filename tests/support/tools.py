"""Programs of the machine that some tests need."""

from __future__ import annotations

import os
import shutil

import pytest


def need(tool: str, package: str) -> None:
    """Leave a test out on a machine without a tool; CI has to have it.

    :param package: Debian's, which brings the tool.
    """
    if shutil.which(tool) is not None:
        return
    message = f"there is no {tool}: apt-get install {package}"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)
