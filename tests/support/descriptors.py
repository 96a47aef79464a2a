"""A server that has no descriptors left for its clients."""

from __future__ import annotations

import resource
import socket

import pytest

from tests.support.processes import busy_sec
from tests.support.waiting import PATIENCE_SEC


def check_that_it_waits_without_descriptors(pid: int, port: int) -> None:
    """Check that a process which may open nothing more keeps no processor busy, and serves who has waited when it may.

    :param port: where it answers HTTP.
    """
    limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, limits[1]))
    began = busy_sec(pid)
    with socket.create_connection(("127.0.0.1", port), timeout=3) as waiting:
        waiting.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        with pytest.raises(TimeoutError):
            waiting.recv(100)
        assert busy_sec(pid) - began < 1
        resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
        waiting.settimeout(PATIENCE_SEC)
        assert waiting.recv(100).startswith(b"HTTP/1.1 200 ")
