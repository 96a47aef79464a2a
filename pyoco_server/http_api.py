"""The gateway as a WSGI application, for whoever brings an HTTP server of their own.

Source: contract, section 5, "Python API".
"""

from __future__ import annotations

import atexit
import functools
from typing import TYPE_CHECKING

from pyoco_server.config import Config
from pyoco_server.errors import ThreadDied
from pyoco_server.gateway.app import create_app as _create_app
from pyoco_server.gateway.serve import GatewayServer
from pyoco_server.service import Deadline, Service

if TYPE_CHECKING:
    from flask import Flask

#: Seconds that the threads get to end with their process.
_STOP_SEC = 5.0


def create_app(config: Config | None = None) -> Flask:
    """Connect to NATS, start a gateway's threads and give its WSGI application.

    The threads stop with this process: a server that forks calls this in each of its processes, after the fork. The
    server gives each request a thread, and each watch one for as long as it is open (``PYOCO_MAX_WATCHES``); it reads
    bodies before it calls, since large ones take turns; and it notices clients that leave. Log lines go where the
    program says (:func:`configure_logging`). When one of the threads dies every request is answered with 503,
    ``/health`` too, so that who looks after the process starts another one.

    :param config: the settings; read from the environment when ``None``.
    :raises BusUnavailable: NATS does not answer; nothing is left running.
    :raises BusError: NATS refuses, as without JetStream.
    :raises InvalidSetting: a setting does not parse, or the file of the read model cannot be used.
    """
    dead: list[Service] = []
    server = GatewayServer(config or Config.from_env(), None, dead.append)
    server.start()
    atexit.register(_stop, server)
    app = _create_app(server.parts)
    # Before all others: whoever asks, this gateway has no answer any more.
    app.before_request_funcs.setdefault(None, []).insert(0, functools.partial(_refuse, dead))
    return app


def _refuse(dead: list[Service]) -> None:
    if dead:
        raise ThreadDied(dead[0].name) from dead[0].failure


def _stop(server: GatewayServer) -> None:
    server.stop(Deadline(_STOP_SEC))
