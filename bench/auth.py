"""What it costs to ask for an API key."""

from __future__ import annotations

import json

from bench.figures import OURS, Figure
from bench.load import load, request
from bench.site import Bench, Station

_WITH = Figure("auth", "GET /runs?limit=50 with a key, 8 clients", "requests/s")
_WITHOUT = Figure("no-auth", "GET /runs?limit=50 without auth, 8 clients", "requests/s")


def measure(bench: Bench) -> None:
    """Ask a gateway that wants a key, and one that does not, in turn."""
    with (
        bench.stations((OURS,), PYOCO_HTTP_AUTH_MODE="api_key") as (guarded,),
        bench.stations((OURS,)) as (free,),
    ):
        guarded.start_gateway()
        free.start_gateway()
        message = request(guarded.url, "/runs?limit=50", method="GET", X_API_Key=_key(guarded))
        for _ in range(bench.rounds):
            bench.book.note(_WITH, OURS, load(guarded.url, message, clients=8, seconds=bench.seconds).per_sec)
            plain = request(free.url, "/runs?limit=50", method="GET")
            bench.book.note(_WITHOUT, OURS, load(free.url, plain, clients=8, seconds=bench.seconds).per_sec)


def _key(station: Station) -> str:
    done = station.run("pyoco-server-admin", "--nats-url", station.nats.url, "api-key", "create", "--tenant", "t")
    return str(json.loads(done)["api_key"])
