"""Loaded by Python at its start from PYTHONPATH: SIGUSR1 makes the thread that BLOCKED_THREAD names stand still."""

import os
import signal
import threading

_name = os.environ.get("BLOCKED_THREAD")
_is_blocked = threading.Event()
_never = threading.Event()


def _look(frame, event, argument):
    if _is_blocked.is_set() and threading.current_thread().name == _name:
        _never.wait()


if _name is not None:
    threading.setprofile(_look)
    signal.signal(signal.SIGUSR1, lambda number, frame: _is_blocked.set())
