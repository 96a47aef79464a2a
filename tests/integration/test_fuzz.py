"""The gateway does what ``/openapi.json`` says, whatever it is sent: requests that a fuzzer makes from the document."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.strategies import SearchStrategy, just, sampled_from
from schemathesis import GenerationMode, checks

from pyoco_server.contract.deadletters import EXECUTION_ERROR, DeadLetter
from tests.conftest import HELLO_FLOW
from tests.integration.conftest import Guarded
from tests.support.gateway import REQUEST_TIMEOUT_SEC, LocalGateway
from tests.support.parts import Parts, stored_run
from tests.support.waiting import eventually

WORKER_ID = "w"
CHECKS = [
    checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]
#: Requests of each operation and kind.
_EXAMPLES = 100
#: Parameters by which a client asks that the answer lasts as long as a run does.
LASTING = {"wait", "timeout_sec"}


@dataclass
class Target:
    """A gateway with something of everything.

    :param headers: those of every request, with a key where the gateway asks for one.
    :param known: what can be put into a path, by the names there; all its runs have ended.
    :param live_id: a run that nobody begins.
    """

    gateway: LocalGateway
    headers: dict[str, str]
    known: dict[str, list[Any]]
    live_id: str

    def operations(self) -> list[Any]:
        """Give the operations of the document, those last that remove what others read."""
        document = self.gateway.get("/openapi.json", headers=self.headers).json()
        schema = schemathesis.openapi.from_dict(document)
        found = [schema[path][method] for path, methods in document["paths"].items() for method in methods]
        return sorted(found, key=lambda operation: operation.method == "delete")

    def path_values(self, operation: Any) -> SearchStrategy[dict[str, Any]]:
        """Give what is put into an operation's path in the place of what the fuzzer has made up, now and then."""
        names = {parameter.name for parameter in operation.query}
        values = dict(self.known)
        if operation.method == "post" or not names & LASTING:
            values["run_id"] = [*values["run_id"], self.live_id]
        in_path = [parameter.name for parameter in operation.path_parameters]
        return sampled_from([{}, *({name: value} for name in in_path for value in values.get(name, []))])


def target(gateway: LocalGateway, parts: Parts, tenant: str | None = None, key: str | None = None) -> Target:
    headers = {} if key is None else {"X-API-Key": key}
    form = {"flow_name": (None, "main"), "workflow": ("f", HELLO_FLOW)}
    live_id = gateway.ask("POST", "/runs/yaml", files=form, headers=headers).json()["run_id"]
    run_ids = [f"failed-{number}" for number in range(12)]
    letter_seqs = []
    for run_id in run_ids:
        parts.put(run_id, stored_run(run_id, status="FAILED", tenant_id=tenant, start_time=1.0, worker_id=WORKER_ID))
        letter = DeadLetter(EXECUTION_ERROR, "it broke", time.time(), run_id, "main", "default", tenant_id=tenant)
        parts.dead_letters.publish(letter, key=run_id)
        letter_seqs.append(parts.info("PYOCO_DLQ")["state"]["last_seq"])
    parts.put(WORKER_ID, {"worker_id": WORKER_ID, "tags": ["t"], "last_seen_at": time.time()}, bucket="pyoco_workers")
    eventually(lambda: gateway.get("/workers?scope=all", headers=headers).json(), what="the worker in the list")
    known = {"run_id": run_ids[:2], "worker_id": [WORKER_ID], "seq": letter_seqs}
    return Target(gateway, headers, known, live_id)


@pytest.fixture(scope="module")
def open_target(shared: LocalGateway, shared_parts: Parts) -> Target:
    return target(shared, shared_parts)


@pytest.fixture(scope="module")
def guarded_target(guarded: Guarded) -> Target:
    return target(guarded.gateway, guarded.parts, "acme", guarded.known_key("acme"))


def fuzz(target: Target, operation: Any, mode: GenerationMode) -> set[int]:
    """Send requests of one operation; gives the statuses that came back."""
    statuses: set[int] = set()
    cases = operation.as_strategy(generation_mode=mode)
    # A file that the fuzzer makes up is never a workflow.
    workflows = sampled_from([{}, {"workflow": HELLO_FLOW}]) if operation.path == "/runs/yaml" else just({})

    # The same at every run, and another choice for each operation.
    @seed(f"{mode.value} {operation.method} {operation.path}")
    @given(case=cases, in_path=target.path_values(operation), file=workflows)
    @settings(
        max_examples=_EXAMPLES,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        # Without the search for a shorter example, which asks the same again and again.
        phases=(Phase.generate,),
    )
    def ask(case: Any, in_path: dict[str, Any], file: dict[str, str]) -> None:
        case.path_parameters = {**(case.path_parameters or {}), **in_path}
        if isinstance(case.body, dict):
            case.body = {**case.body, **file}
        answer = case.call(base_url=target.gateway.url, headers=target.headers, timeout=REQUEST_TIMEOUT_SEC)
        statuses.add(answer.status_code)
        # Documented, but its NATS is there all the time.
        assert answer.status_code != 503, answer.text
        case.validate_response(answer, checks=CHECKS)

    ask()
    return statuses


def can_be_wrong(operation: Any) -> bool:
    """Say whether the document leaves something to send that it does not allow: a path alone takes any text."""
    return bool(operation.query or operation.body or operation.headers)


@pytest.mark.long
@pytest.mark.parametrize("mode", GenerationMode, ids=lambda mode: mode.value)
@pytest.mark.parametrize("kind", ["open", "guarded"])
def test_no_request_brings_an_answer_that_is_not_documented(
    request: pytest.FixtureRequest, kind: str, mode: GenerationMode
) -> None:
    asked: Target = request.getfixturevalue(f"{kind}_target")
    found = {
        f"{operation.method} {operation.path}": fuzz(asked, operation, mode)
        for operation in asked.operations()
        if mode is GenerationMode.POSITIVE or can_be_wrong(operation)
    }
    if mode is GenerationMode.POSITIVE:
        # Others want what is seldom made up, wheels above all.
        done = [name for name, statuses in found.items() if 200 in statuses]
        assert 3 * len(done) > 2 * len(found), found
    else:
        assert all(statuses & {401, 404, 422} for statuses in found.values()), found
