"""One storm over one site, and the verdict: ``python -m tests.chaos.storm --minutes 10 --seed 7``."""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from pathlib import Path

from tests.chaos.clients import Clients
from tests.chaos.site import Site
from tests.chaos.verdict import faults, read_ledger, settle, summary
from tests.support.parts import Parts


def weather(folder: Path, *, seed: int, duration_sec: float, nodes: int = 1) -> list[str]:
    """Have a storm; give what it has brought about that must not be."""
    print(f"chaos: seed {seed}, {duration_sec:g} s, {nodes} of NATS, in {folder}", flush=True)
    site = Site(folder, random.Random(seed), nodes)
    try:
        site.open()
        clients = Clients(site.urls, seed)
        try:
            site.torment(duration_sec)
        finally:
            clients.stop()
        found = list(clients.faults)
        with Parts(site.nats.url) as parts:
            runs = settle(parts, clients.accepted)
            ledger = read_ledger(folder / "ledger")
            found += faults(runs, ledger, site.hits, parts, clients.accepted)
        print(f"chaos: {summary(runs, site.hits)}", flush=True)
    finally:
        left = site.close()
    return found + left


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    parser.add_argument("--cluster", action="store_true", help="three nodes of NATS, of which one is hit at a time")
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="pyoco-chaos-"))
    found = weather(folder, seed=args.seed, duration_sec=args.minutes * 60, nodes=3 if args.cluster else 1)
    for fault in found:
        print(f"chaos: {fault}", flush=True)
    print(f"chaos: seed {args.seed}: {len(found)} faults" + (f", see {folder}" if found else ""), flush=True)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
