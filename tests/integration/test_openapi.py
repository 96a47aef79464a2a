"""``GET /openapi.json``: valid, complete, and true of what routes read."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask
from openapi_spec_validator import OpenAPIV31SpecValidator, validate

from pyoco_server.gateway.app import create_app
from pyoco_server.gateway.paths import is_page
from tests.integration.conftest import Guarded
from tests.support.gateway import LocalGateway, fault_places
from tests.support.spec_routes import path_of

#: Parameters in which every text means something.
FREE = {"include", "task", "workflow_yaml_sha256", "wheel_name", "all"}


@pytest.fixture(scope="module")
def document(shared: LocalGateway) -> dict[str, Any]:
    answer = shared.get("/openapi.json")
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


def operations(document: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {(path, method): found for path, methods in document["paths"].items() for method, found in methods.items()}


def test_the_document_is_valid_openapi(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1.")
    validate(document, cls=OpenAPIV31SpecValidator)


def routes(app: Flask) -> set[tuple[str, str]]:
    return {
        (path_of(rule), method.lower())
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
        if not is_page(rule.rule) and not rule.rule.startswith("/static/")
    }


def test_every_route_is_described_and_nothing_else(shared: LocalGateway, document: dict[str, Any]) -> None:
    assert set(operations(document)) == routes(create_app(shared.parts))


def test_every_route_says_what_it_is_for(document: dict[str, Any]) -> None:
    summaries = [operation["summary"] for operation in operations(document).values()]
    assert all(summaries) and len(set(summaries)) == len(summaries)


def test_a_value_that_the_document_does_not_allow_is_refused_by_the_place_of_its_parameter(
    shared: LocalGateway, document: dict[str, Any]
) -> None:
    #: No number, none of any words, no cursor, and too long for a text.
    wrong = "\xe9" * 257
    run_id = shared.submit()
    refused: list[str] = []
    for (path, method), operation in operations(document).items():
        for parameter in operation.get("parameters", []):
            name, place = parameter["name"], parameter["in"]
            if place == "path" or name in FREE or path == "/runs/yaml":
                continue
            sent = {"params" if place == "query" else "headers": {name: wrong}}
            answer = shared.ask(method, path.replace("{run_id}", run_id), **sent)
            assert f"{place}.{name}" in fault_places(answer, answer.json()["err_id"]), (path, name)
            refused.append(name)
    assert len(refused) > 20


def test_bodies_are_described_by_the_models_that_validate_them(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    assert schemas["RunInput"]["required"] == ["flow_name"]
    assert schemas["RunInput"]["properties"]["flow_name"]["maxLength"] == 256
    assert schemas["RerunInput"]["properties"]["from"]["enum"] == ["all", "failed"]
    assert document["paths"]["/runs/{run_id}/rerun"]["post"]["requestBody"]["required"] is False
    form = document["paths"]["/runs/yaml"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert form["required"] == ["workflow", "flow_name"]


def test_what_is_stored_is_described_by_what_it_is_stored_from(shared: LocalGateway, document: dict[str, Any]) -> None:
    run = document["components"]["schemas"]["Run"]
    stored = shared.get(f"/runs/{shared.submit()}").json()
    assert set(run["required"]) <= set(stored) <= set(run["properties"])
    assert set(document["components"]["schemas"]["RunSummary"]["properties"]) == set(shared.get("/runs").json()[0])


def test_keys_are_described_where_the_gateway_asks_for_them(guarded: Guarded, document: dict[str, Any]) -> None:
    key = guarded.known_key("acme")
    found = guarded.gateway.with_key(key, "GET", "/openapi.json").json()
    validate(found, cls=OpenAPIV31SpecValidator)
    assert found["components"]["securitySchemes"]["apiKey"]["name"] == "X-API-Key"
    for (path, method), operation in operations(found).items():
        refused = {
            guarded.gateway.ask(method, path, headers=headers).status_code for headers in ({}, {"X-API-Key": "x"})
        }
        assert (refused == {401, 403}) == ({"401", "403"} <= set(operation["responses"])), path
        assert (operation.get("security") == []) == (not refused & {401, 403}), path
    assert set(operations(found)) == set(operations(document))
    assert not {"security", "securitySchemes"} & {*document, *document["components"]}
