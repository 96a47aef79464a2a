"""``docs/library_api.md`` says what the code says, and all of it."""

from __future__ import annotations

import inspect
import re
from typing import Any

import pytest

import pyoco_server
from pyoco_server import PyocoHttpClient, errors
from tests.support.library_reference import DOCUMENT, MARK, public_functions, raised, reference

#: What the contract promises beside the HTTP client: parameters by name, in order.
PROMISED = {
    "NatsBackendConfig.from_env": [],
    "PyocoNatsClient.connect": ["config"],
    "PyocoNatsClient.submit_run": ["self", "flow_name", "params", "tag", "tags"],
    "PyocoNatsClient.get_run": ["self", "run_id"],
    "PyocoNatsClient.close": ["self"],
    "PyocoNatsWorker.connect": ["config", "flow_resolver", "worker_id", "tags"],
    "PyocoNatsWorker.run_once": ["self", "timeout"],
    "PyocoNatsWorker.close": ["self"],
    "ensure_resources": ["config"],
    "configure_logging": ["service"],
    "http_api.create_app": [],
}
HTTP_METHODS = """
    submit_run submit_run_yaml get_run get_run_with_records get_tasks list_runs list_runs_vnext watch_run cancel_run
    get_workers patch_worker_hidden list_wheels list_wheel_history upload_wheel delete_wheel get_metrics close
"""


def test_the_reference_is_made_from_the_code() -> None:
    stored = DOCUMENT.read_text().partition(MARK)[2]
    assert stored == reference(), "make documents"


@pytest.mark.parametrize("name", PROMISED)
def test_calls_that_the_contract_promises_can_be_made(name: str) -> None:
    parameters = inspect.signature(public_functions()[name]).parameters
    assert list(parameters)[: len(PROMISED[name])] == PROMISED[name]
    added = list(parameters.values())[len(PROMISED[name]) :]
    assert all(each.default is not each.empty or each.kind is each.VAR_KEYWORD for each in added)


def test_the_http_client_has_the_methods_of_the_contract() -> None:
    assert set(HTTP_METHODS.split()) <= {name for name in dir(PyocoHttpClient) if not name.startswith("_")}


@pytest.mark.parametrize("name", sorted(public_functions()))
def test_every_public_function_is_typed_and_every_parameter_and_error_of_it_is_told(name: str) -> None:
    function = public_functions()[name]
    signature, text = inspect.signature(function), inspect.getdoc(function) or ""
    told = set(re.findall(r":param (\w+):", text))
    parameters: dict[str, Any] = {key: each for key, each in signature.parameters.items() if key != "self"}
    assert text and signature.return_annotation is not signature.empty
    assert all(each.annotation is not each.empty for each in parameters.values())
    # The first line says which run, letter, worker or wheel it is about.
    assert parameters.keys() - told <= {"run_id", "seq", "worker_id", "hidden", "wheel_name"}
    assert told <= parameters.keys()
    assert ":return:" in text or not str(signature.return_annotation).strip("'").startswith(("dict", "list", "str"))
    for error in raised(function):
        assert issubclass(getattr(errors, error, None) or OSError, (errors.PyocoServerError, OSError)), error
        assert hasattr(errors, error) or error == "OSError"


def test_every_export_is_loaded_from_where_it_is_and_unknown_names_are_none() -> None:
    for name in pyoco_server.__all__:
        assert getattr(pyoco_server, name) is not None
    assert not hasattr(pyoco_server, "no_such_name")
