"""What a nats-server tells only on its monitoring port: how it writes to disk, and how much it may keep.

Source: nats-server, ``/jsz``; nats-facts, G.
"""

from __future__ import annotations

import contextlib
import json
import urllib.request
from dataclasses import dataclass

#: It is on this machine or a near one, or not there at all.
_TIMEOUT_SEC = 2.0
_NANOSECONDS = 1_000_000_000


@dataclass(frozen=True)
class NodeFacts:
    """A nats-server as its monitoring port shows it.

    :param cluster: name of its cluster; ``None`` where it is alone.
    :param cluster_size: how many servers keep the JetStream of the cluster together, those that are away with them.
    :param sync_sec: how often it has the disk write what it has stored; 0 = before each answer.
    :param storage_limit_bytes: what all streams on it may take; 0 = it does not say.
    """

    url: str
    server_id: str
    cluster: str | None
    cluster_size: int
    sync_sec: float
    storage_bytes: int
    storage_limit_bytes: int


def read_node(url: str) -> NodeFacts | None:
    """Ask a monitoring port, ``http://host:8222``; ``None`` when no JetStream answers there."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        with urllib.request.urlopen(f"{url.rstrip('/')}/jsz", timeout=_TIMEOUT_SEC) as answer:
            told = json.loads(answer.read())
        settings, cluster = told["config"], told.get("meta_cluster") or {}
        return NodeFacts(
            url=url,
            server_id=str(told["server_id"]),
            cluster=cluster.get("name"),
            cluster_size=int(cluster.get("cluster_size", 1)),
            sync_sec=0.0 if settings.get("sync_always") else settings.get("sync_interval", 0) / _NANOSECONDS,
            storage_bytes=int(told.get("storage", 0)),
            storage_limit_bytes=int(settings.get("max_storage", 0)),
        )
    return None
