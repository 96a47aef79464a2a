"""How a command hears of signals."""

from __future__ import annotations

import subprocess
import sys

import pytest

_SCRIPT = """
import signal, threading
from pyoco_server.cli.signals import StopSignals
signals = StopSignals()
threading.Thread(target=threading.Event().wait, args=(20,), daemon=True).start()
other = threading.enumerate()[-1]
threading.Timer(0.3, lambda: signal.pthread_kill(other.ident, signal.SIGTERM)).start()
signals.wait()
print(signals.was_asked)
"""


def test_signal_that_came_to_another_thread_ends_the_wait() -> None:
    """The kernel does that now and then; an endless wait of the main thread slept on, and SIGTERM was lost."""
    done = subprocess.run([sys.executable, "-c", _SCRIPT], capture_output=True, text=True, timeout=10)
    assert (done.stdout, done.stderr) == ("True\n", "")


_BUSY = """
import os, signal, threading
from pyoco_server.cli.signals import StopSignals
signals = StopSignals()
seconds = []
signals.on_second = lambda: seconds.append(threading.current_thread().name)
# As if the main thread were just about to wait: a handler that sets the event would wait for this for ever.
with signals.stopping._cond:
    os.kill(os.getpid(), signal.SIGTERM)
    print("went on")
signals.wait()
os.kill(os.getpid(), signal.SIGTERM)
while not seconds:
    pass
print(signals.was_asked, seconds)
"""


def test_signal_that_comes_while_the_main_thread_is_about_to_wait_does_not_hang() -> None:
    done = subprocess.run([sys.executable, "-c", _BUSY], capture_output=True, text=True, timeout=10)
    assert (done.stdout, done.stderr) == ("went on\nTrue ['pyoco-signals']\n", "")


_INTERRUPTED = """
import signal, threading, time
from pyoco_server.cli.signals import StopSignals
signals = StopSignals()
threading.Timer(0.3, {what}).start()
try:
    with signals.interrupting():
        threading.Event().wait(20)
except KeyboardInterrupt:
    print("interrupted")
signals.wait()
time.sleep(0.2)
print(signals.was_asked)
"""


@pytest.mark.parametrize(
    ("what", "was_asked"),
    [
        ("lambda: signal.pthread_kill(threading.get_ident(), signal.SIGTERM)", True),
        ("lambda: signals.fail('a part died')", False),
    ],
)
def test_wait_for_something_else_is_interrupted(what: str, was_asked: bool) -> None:
    script = _INTERRUPTED.format(what=what)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=10)
    assert (done.stdout, done.stderr) == (f"interrupted\n{was_asked}\n", "")
