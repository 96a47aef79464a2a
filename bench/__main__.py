"""``bin/bench``: measure, print, write."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

from bench import auth, backlog, batch, cancel, ends, latency, lists, memory, start, submit, submit_yaml, watchers
from bench.figures import Book
from bench.report import document, print_table
from bench.site import Bench
from tests.support.peer import VERSION, Peer

#: What can be measured, by name; in the order of what a user feels.
MEASUREMENTS: dict[str, Callable[[Bench], None]] = {
    "latency": latency.measure,
    "submit": submit.measure,
    "submit-yaml": submit_yaml.measure,
    "batch": batch.measure,
    "backlog": backlog.measure,
    "lists": lists.measure,
    "watchers": watchers.measure,
    "cancel": cancel.measure,
    "ends": ends.measure,
    "auth": auth.measure,
    "start": start.measure,
    "memory": memory.measure,
}
#: The environment of the published package; made once.
_PEER_FOLDER = Path(__file__).parents[1] / "build" / "bench" / VERSION


def main() -> int:
    """Measure what is asked for."""
    options = _parser().parse_args()
    book = Book()
    rounds, seconds = (1, 0.5) if options.quick else (options.rounds, 3.0)
    bench = Bench(book, rounds, seconds, options.quick, _peer() if options.peer else None)
    for name in options.only or MEASUREMENTS:
        print(f"measuring {name} …", file=sys.stderr, flush=True)
        MEASUREMENTS[name](bench)
    print_table(book)
    if options.json is not None:
        options.json.write_text(json.dumps(document(book), indent=1) + "\n")
    return 0


def _peer() -> Peer:
    _PEER_FOLDER.parent.mkdir(parents=True, exist_ok=True)
    return Peer(_PEER_FOLDER)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bin/bench", description="Measure the whole system on this machine.")
    parser.add_argument("--only", action="append", choices=list(MEASUREMENTS), help="measure this alone; repeatable")
    parser.add_argument("--quick", action="store_true", help="one short round: shows that it works, proves nothing")
    parser.add_argument("--rounds", type=int, default=5, help="how often each side is measured (default 5)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything there, too")
    parser.add_argument(
        "--no-peer", dest="peer", action="store_false", help=f"leave out the published pyoco-server {VERSION}"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
