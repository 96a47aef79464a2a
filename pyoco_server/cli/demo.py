"""``pyoco-server demo``: everything on one machine, a sample flow, and its tasks as they change state."""

from __future__ import annotations

import argparse
import sys

from pyoco_server.cli.exits import EXIT_DONE, EXIT_INTERRUPTED, EXIT_MENDABLE
from pyoco_server.cli.progress import print_results, show_run
from pyoco_server.cli.signals import StopSignals
from pyoco_server.cli.stack import HTTP_PORT, Stack
from pyoco_server.client.http import PyocoHttpClient
from pyoco_server.config import Config, read_environment
from pyoco_server.embedded import STORE
from pyoco_server.errors import InvalidSetting
from pyoco_server.logs import configure_logging
from pyoco_server.states import RunStatus
from pyoco_server.store_folder import make_folder

#: Two tasks in the middle do not know of each other, so they run side by side.
DEMO_FLOW = """\
version: 1
flow:
  graph: |
    load >> total
    load >> largest
    (total & largest) >> report
  defaults:
    count: 10
tasks:
  load:
    callable: pyoco_server._demo_tasks:load
  total:
    callable: pyoco_server._demo_tasks:total
  largest:
    callable: pyoco_server._demo_tasks:largest
  report:
    callable: pyoco_server._demo_tasks:report
"""
DEMO_TAG = "demo"
#: Whoever waits longer for a flow of two seconds waits for something that is broken.
_SAMPLE_SEC = 120


def run_demo(args: argparse.Namespace) -> int:
    """Start everything, show one run, and serve until Ctrl-C or, with ``--exit``, stop at once."""
    environ = read_environment()
    # What the parts log stays out of the display; a warning belongs to it.
    config = Config.from_env(environ, nats_url=args.nats_url, log_level=args.log_level or "WARNING", log_format="text")
    if config.asks_for_keys:
        raise InvalidSetting("PYOCO_HTTP_AUTH_MODE=api_key: the demo has no API key. Unset it, or use pyoco-server up.")
    configure_logging("pyoco-server:http", config, sys.stderr)
    log_path = STORE.parent / "demo-worker.log"
    make_folder(log_path.parent)
    signals = StopSignals()
    say("Starting NATS, gateway and worker …")
    is_nats_named = args.nats_url is not None or "PYOCO_NATS_URL" in environ
    # Of this demo alone; those before it are over.
    log_path.write_bytes(b"")
    stack = Stack(
        args,
        config,
        signals,
        is_nats_named=is_nats_named,
        is_demo=True,
        worker_command=["--tags", DEMO_TAG],
        worker_output=log_path,
    )
    try:
        status = _serve(args, stack, signals)
    finally:
        stack.stop()
    signals.raise_failure()
    return status


def _serve(args: argparse.Namespace, stack: Stack, signals: StopSignals) -> int:
    """Start, and show the sample flow; then serve, unless that was all that was asked for."""
    try:
        with signals.interrupting():
            stack.start()
            if args.port is None and not stack.url.endswith(f":{HTTP_PORT}"):
                say(f"Port {HTTP_PORT} is in use, so the gateway of this demo is at {stack.url}.")
            status = _show_sample(stack.url)
    except KeyboardInterrupt:
        say("Stopping …")
        return EXIT_INTERRUPTED
    if not args.exit:
        say(f"Open {stack.url}/ in a browser, or submit a flow.yaml of your own:")
        submit = f"submit-yaml --workflow-file flow.yaml --flow-name main --tag {DEMO_TAG}"
        say(f"  pyoco-client --server {stack.url} {submit}")
        say("Ctrl-C stops everything.")
        signals.wait()
    say("Stopping …")
    return status


def _show_sample(url: str) -> int:
    with PyocoHttpClient(url) as client:
        run_id = client.submit_run_yaml(DEMO_FLOW, flow_name="demo", tag=DEMO_TAG)["run_id"]
        say(f"Submitted the sample flow: run {run_id}")
        snapshot = show_run(client, run_id, timeout_sec=_SAMPLE_SEC)
    print_results(snapshot, sys.stdout)
    return EXIT_DONE if snapshot["status"] == RunStatus.COMPLETED.value else EXIT_MENDABLE


def say(text: str) -> None:
    """Print a line at once, so that it stands before what the next step takes."""
    print(text, flush=True)
