"""The package stays light: a runner imports it, too."""

from __future__ import annotations

import subprocess
import sys


def test_importing_the_package_loads_neither_nats_nor_flask_nor_requests() -> None:
    code = "import sys, pyoco_server; print(sorted({'nats', 'flask', 'requests'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
