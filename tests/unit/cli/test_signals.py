"""How a command hears of signals."""

from __future__ import annotations

import subprocess
import sys

_SCRIPT = """
import signal, threading
from pyoco_server.cli.signals import StopSignals
signals = StopSignals()
threading.Thread(target=threading.Event().wait, args=(20,), daemon=True).start()
other = threading.enumerate()[-1]
threading.Timer(0.3, lambda: signal.pthread_kill(other.ident, signal.SIGTERM)).start()
signals.wait()
print(signals.was_signalled)
"""


def test_signal_that_came_to_another_thread_ends_the_wait() -> None:
    """The kernel does that now and then; an endless wait of the main thread slept on, and SIGTERM was lost."""
    done = subprocess.run([sys.executable, "-c", _SCRIPT], capture_output=True, text=True, timeout=10)
    assert (done.stdout, done.stderr) == ("True\n", "")
