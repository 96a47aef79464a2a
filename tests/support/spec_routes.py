"""Asking every route of a gateway once, so that it answers 200, and noting which parameters it looks at."""

from __future__ import annotations

import io
import itertools
import re
from pathlib import Path
from typing import Any, ClassVar

from werkzeug.datastructures import ImmutableMultiDict
from werkzeug.routing import Rule
from werkzeug.test import TestResponse

from pyoco_server.gateway.app import create_app
from pyoco_server.gateway.description import Description, description_of
from pyoco_server.gateway.queries import MAX_ATTEMPT
from pyoco_server.gateway.uploads import UploadRequest
from pyoco_server.stores.artifacts import ArtifactStore
from pyoco_server.stores.logs import LogStore
from tests.support.artifacts import put
from tests.support.gateway import LocalGateway
from tests.support.nats import NatsServer
from tests.support.parts import Parts, stored_run
from tests.support.wheels import file_name, wheel

FLOW = "flow: {graph: a}\ntasks: {a: {callable: 'pyoco_server._workflow_test_tasks:add_one'}}\n"
#: What the routes are sent; those that are not here are sent nothing.
_SENT: dict[str, dict[str, Any]] = {
    "POST /runs": {"json": {"flow_name": "main"}},
    "POST /runs/yaml": {"data": FLOW, "query_string": {"flow_name": "main"}},
    "POST /runs/batch": {"json": {"runs": [{"flow_name": "main"}]}},
    "GET /runs": {"query_string": {"updated_after": "0"}},
    "POST /runs/{run_id}/rerun": {"json": {"from": "failed"}},
    "POST /runs/{run_id}/heartbeat": {"json": {"task_states": {}, "run_status": "RUNNING"}},
    "POST /workers/poll": {"json": {"worker_id": "w2"}},
    "PATCH /workers/{worker_id}": {"json": {"hidden": True}},
    "DELETE /dead-letters": {"query_string": {"all": "true"}},
    "POST /dead-letters/replay": {"query_string": {"all": "true"}},
}
#: What the run has printed.
PRINTED = [
    {"seq": 0, "task": "extract", "stream": "stdout", "text": "107490 rows", "timestamp": 1795307101.123},
    {"seq": 1, "task": None, "stream": "stderr", "text": "what no task is known for", "timestamp": 1795307101.31},
]
_OWN = {"Sec-Fetch-Site": "same-origin"}


def path_of(rule: Rule) -> str:
    """Give the path of a route as documents write it: ``/runs/{run_id}``."""
    return re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)


class Asked(ImmutableMultiDict[str, str]):
    """Parameters of a request; what is asked of them, is noted for all requests together."""

    names: ClassVar[set[str]] = set()

    def get(self, key: str, *args: Any, **kwargs: Any) -> Any:
        self.names.add(key)
        return super().get(key, *args, **kwargs)

    def getlist(self, key: str, *args: Any, **kwargs: Any) -> Any:
        self.names.add(key)
        return super().getlist(key, *args, **kwargs)

    def __getitem__(self, key: str) -> Any:
        self.names.add(key)
        return super().__getitem__(key)


class _Request(UploadRequest):
    parameter_storage_class = Asked


class SpecRoutes:
    """A gateway with a run that has failed, a worker, wheels and dead letters.

    :param folder: for its NATS.
    """

    def __init__(self, folder: Path) -> None:
        self._nats = NatsServer(folder / "nats").start()
        self._gateway = LocalGateway(self._nats)
        self._gateway.wait_until_complete()
        self._parts = Parts(self._nats.url)
        self._parts.__enter__()
        self._numbers = itertools.count(1)
        for attempt in (1, MAX_ATTEMPT):
            put(ArtifactStore(self._parts.bus), "run", "file.txt", b"saved", attempt=attempt, task="a")
        failed = {"status": "FAILED", "end_time": 2.0, "error": "no", "worker_id": "w1"}
        worker = {"worker_id": "w1", "instance_id": "i", "state": "IDLE", "last_seen_at": 9e9}
        self._parts.put("w1", worker, bucket="pyoco_workers")
        self._gateway.wait_until_applied(self._parts.put("run", stored_run("run", **failed)))
        LogStore(self._parts.bus).append("run", 1, PRINTED)
        self.app = create_app(self._gateway.parts)
        self.app.request_class = _Request
        self._client = self.app.test_client()

    def close(self) -> None:
        self._parts.__exit__(None, None, None)
        self._gateway.stop()
        self._nats.stop()

    def description(self, route: str) -> Description | None:
        """Give what a route says of itself; ``None`` where it says nothing."""
        method, path = route.split()
        for rule in self.app.url_map.iter_rules():
            if method in (rule.methods or set()) and path_of(rule) == path:
                return description_of(self.app.view_functions[rule.endpoint])
        raise LookupError(route)

    def ask(self, route: str, **options: Any) -> TestResponse:
        """Send a request that is right, with ``options`` in place of what it would have.

        :param route: as the document writes it, such as ``GET /runs/{run_id}``.
        """
        method, path = route.split()
        path = path.replace("{run_id}", "run").replace("{worker_id}", "w1").replace("{filename}", "style.css")
        if "dead-letters" in path:
            path = path.replace("{seq}", str(self._new_letter()))
        path = path.replace("/artifacts/{name}", "/artifacts/file.txt")
        if "/wheels" in path:
            name = file_name(f"demo{next(self._numbers)}")
            if route == "POST /wheels":
                options.setdefault("data", self._wheel(name))
            else:
                self._client.post("/wheels", data=self._wheel(name))
            path = path.replace("{name}", name)
        Asked.names.clear()
        sent = {**_SENT.get(route, {}), "headers": _OWN, **options}
        return self._client.open(path, method=method, **sent)

    def names_asked(self, route: str) -> set[str]:
        """Give the parameters, of query or form, that a route looks at."""
        answer = self.ask(route)
        assert answer.status_code in (200, 303), answer.text
        return set(Asked.names)

    @staticmethod
    def _wheel(name: str) -> dict[str, Any]:
        return {"wheel": (io.BytesIO(wheel(name.partition("-")[0])), name)}

    def _new_letter(self) -> int:
        letter = b'{"reason": "execution_error", "tag": "t", "timestamp": 1.0, "run_id": "run", "flow_name": "main"}'
        self._parts.bus.call(self._parts.bus.request("pyoco.dlq.t", letter), timeout_sec=5)
        last: int = self._parts.info("PYOCO_DLQ")["state"]["last_seq"]
        return last
