"""pyoco-server: runs Pyoco workflows on a team's machines.

The names below are loaded when they are first used: a runner, which imports this package too, must not pay for
NATS, Flask or requests.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyoco_server.client.http import PyocoHttpClient as PyocoHttpClient
    from pyoco_server.config import Config as NatsBackendConfig
    from pyoco_server.library.connection import ensure_resources as ensure_resources
    from pyoco_server.library.nats_client import PyocoNatsClient as PyocoNatsClient
    from pyoco_server.library.nats_worker import PyocoNatsWorker as PyocoNatsWorker
    from pyoco_server.logs import configure_logging as configure_logging

__version__ = "0.6.0"

#: Name -> module, and name there.
_EXPORTS = {
    "NatsBackendConfig": ("pyoco_server.config", "Config"),
    "PyocoHttpClient": ("pyoco_server.client.http", "PyocoHttpClient"),
    "PyocoNatsClient": ("pyoco_server.library.nats_client", "PyocoNatsClient"),
    "PyocoNatsWorker": ("pyoco_server.library.nats_worker", "PyocoNatsWorker"),
    "configure_logging": ("pyoco_server.logs", "configure_logging"),
    "ensure_resources": ("pyoco_server.library.connection", "ensure_resources"),
}

__all__ = [
    "NatsBackendConfig",
    "PyocoHttpClient",
    "PyocoNatsClient",
    "PyocoNatsWorker",
    "__version__",
    "configure_logging",
    "ensure_resources",
]


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _EXPORTS[name]
    return getattr(importlib.import_module(module), attribute)
