"""The gateway as a WSGI application under somebody else's HTTP server."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pyoco_server import NatsBackendConfig
from pyoco_server.errors import BusUnavailable
from pyoco_server.gateway import serve
from pyoco_server.http_api import create_app
from tests.support.commands import clean_env
from tests.support.nats import NatsServer, free_port

#: Serves the application by the server that Python brings, asks it over HTTP, and breaks it at the end.
PROGRAM = """
import atexit, threading, time
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
import requests
from pyoco_server.gateway.canceller import Canceller
from pyoco_server.http_api import create_app

class Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

class Quiet(WSGIRequestHandler):
    def log_message(self, *args):
        pass

# What is registered first is called last.
atexit.register(lambda: print([each.name for each in threading.enumerate() if each.name.startswith("pyoco-")]))
app = create_app()
server = make_server("127.0.0.1", 0, app, Server, Quiet)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_port}"
while requests.get(url + "/ready").status_code != 200:
    time.sleep(0.05)
run_id = requests.post(url + "/runs", json={"flow_name": "f"}).json()["run_id"]
found = [run["run_id"] for run in requests.get(url + "/runs").json()]
print(found == [run_id], requests.post(url + "/runs", data="x").status_code)
with requests.get(f"{url}/runs/{run_id}/watch?timeout_sec=60", stream=True) as watch:
    print(next(line for line in watch.iter_lines() if line.startswith(b"event")))
print(requests.get(url + "/").headers["content-type"])

def fail(*args):
    raise RuntimeError("a fault of ours")

Canceller.pause = fail
while requests.get(url + "/health").status_code == 200:
    time.sleep(0.05)
refused = requests.get(url + "/runs")
print(refused.status_code, refused.headers["content-type"], "pyoco-canceller" in refused.json()["detail"])
"""


def test_the_application_connects_by_itself_serves_all_routes_and_ends_with_its_process(
    nats: NatsServer, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM],
        cwd=tmp_path,
        env=clean_env(PYOCO_NATS_URL=nats.url),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout.splitlines() == [
        "True 422",
        "b'event: snapshot'",
        "text/html; charset=utf-8",
        "503 application/problem+json True",
        "[]",
    ], done.stderr
    assert done.returncode == 0
    # The one that the program caused itself.
    assert done.stderr.count("Traceback") == 1, done.stderr


def test_without_nats_no_application_is_made_and_nothing_is_left_running(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "CONNECT_TIMEOUT_SEC", 0.5)
    before = set(threading.enumerate())
    with pytest.raises(BusUnavailable):
        create_app(NatsBackendConfig.from_env({}, nats_url=f"nats://127.0.0.1:{free_port()}"))
    assert not set(threading.enumerate()) - before
