"""pyoco-server: runs Pyoco workflows on a team's machines.

The names below are loaded when they are first used: a runner, which imports this package too, must not pay for
NATS, Flask or requests.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyoco_server.client.http import PyocoHttpClient as PyocoHttpClient
    from pyoco_server.logs import configure_logging as configure_logging

__version__ = "0.6.0"

_EXPORTS = {
    "PyocoHttpClient": "pyoco_server.client.http",
    "configure_logging": "pyoco_server.logs",
}

__all__ = ["PyocoHttpClient", "__version__", "configure_logging"]


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_EXPORTS[name]), name)
