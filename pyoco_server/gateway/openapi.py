"""``GET /openapi.json``: what the routes say of themselves, as one document.

Source: OpenAPI 3.1.1; contract, section 3.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from flask import Blueprint, Flask, current_app
from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode
from werkzeug.routing import Rule

import pyoco_server
from pyoco_server.config import Config
from pyoco_server.contract.names import MAX_NAME_CHARS
from pyoco_server.errors import ApiKeyInvalid, ApiKeyMissing, PyocoServerError, RunNotFound, TooLarge, Unavailable
from pyoco_server.gateway.admission import is_open
from pyoco_server.gateway.context import gateway
from pyoco_server.gateway.description import Description, Form, described, description_of
from pyoco_server.gateway.inputs import Input
from pyoco_server.gateway.outputs import Problem
from pyoco_server.gateway.problems import CONTENT_TYPE

blueprint = Blueprint("openapi", __name__)

_REF = "#/components/schemas/{model}"
_EXTENSION = "pyoco_openapi"
_PLACES = {"query": "query", "headers": "header"}
#: What the parts of a path may be, by their converters.
_IN_PATH: dict[str | None, dict[str, Any]] = {
    None: {"type": "string", "minLength": 1, "maxLength": MAX_NAME_CHARS},
    "path": {"type": "string", "minLength": 1},
    "int": {"type": "integer", "minimum": 0},
}
_PATH_PART = re.compile(r"<(?:(\w+):)?(\w+)>")

Schema = dict[str, Any]


@blueprint.get("/openapi.json")
@described()
def openapi() -> dict[str, Any]:
    """Read this document."""
    found: dict[str, Any] | None = current_app.extensions.get(_EXTENSION)
    if found is None:
        found = current_app.extensions[_EXTENSION] = document(current_app, gateway().config)
    return found


def document(app: Flask, config: Config) -> dict[str, Any]:
    """Make the OpenAPI document of an application's routes."""
    routes = [
        (rule, method.lower(), description)
        for rule in app.url_map.iter_rules()
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"})
        if (description := description_of(app.view_functions[rule.endpoint])) is not None
    ]
    schemas = _Schemas([description for _, _, description in routes])
    paths: dict[str, dict[str, Any]] = {}
    for rule, method, description in routes:
        operation = _operation(rule, description, schemas, asks_for_keys=config.asks_for_keys)
        paths.setdefault(_PATH_PART.sub(r"{\2}", rule.rule), {})[method] = operation
    components: dict[str, Any] = {"schemas": schemas.definitions}
    made: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "pyoco-server", "version": pyoco_server.__version__},
        "paths": paths,
        "components": components,
    }
    if config.asks_for_keys:
        key = {"type": "apiKey", "in": "header", "name": config.http_api_key_header}
        components["securitySchemes"] = {"apiKey": key}
        made["security"] = [{"apiKey": []}]
    return made


class _Untitled(GenerateJsonSchema):
    """Leaves out titles that say no more than the names do."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


class _Schemas:
    """The schemas of all that goes in and out, each model once."""

    def __init__(self, descriptions: Sequence[Description]) -> None:
        self._wanted: dict[tuple[str, JsonSchemaMode], TypeAdapter[Any]] = {}
        self._want(Problem, "serialization")
        # Models whose fields are described one by one.
        parted: list[type[Input]] = []
        for description in descriptions:
            parted += [description.models[name] for name in _PLACES if name in description.models]
            parted += [description.form.fields] if description.form is not None else []
            if "body" in description.models:
                self._want(description.models["body"], "validation")
            for answer in (description.answer, *description.also_as.values()):
                self._want(answer, "serialization")
        for model in parted:
            self._want(model, "validation")
        inputs = [(key, mode, adapter) for (key, mode), adapter in self._wanted.items()]
        self._found, rest = TypeAdapter.json_schemas(inputs, ref_template=_REF, schema_generator=_Untitled)
        self.definitions: dict[str, Schema] = rest["$defs"]
        self._parted = {model: self.definitions.pop(model.__name__) for model in set(parted)}

    def _want(self, kind: Any, mode: JsonSchemaMode) -> None:
        self._wanted[repr(kind), mode] = TypeAdapter(kind)

    def of(self, kind: Any, mode: JsonSchemaMode = "serialization") -> Schema:
        return self._found[repr(kind), mode]

    def fields(self, model: type[Input]) -> tuple[Mapping[str, Schema], list[str]]:
        """Give the schemas of a model's fields by their names, and which of them must be there."""
        whole = self._parted[model]
        return whole.get("properties", {}), whole.get("required", [])


def _operation(rule: Rule, description: Description, schemas: _Schemas, *, asks_for_keys: bool) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "summary": description.summary,
        "operationId": rule.endpoint.rpartition(".")[2],
        "tags": [rule.endpoint.partition(".")[0]],
    }
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": _IN_PATH[converter or None]}
        for converter, name in _PATH_PART.findall(rule.rule)
    ]
    for name, place in _PLACES.items():
        if name in description.models:
            parameters += _parameters(place, *schemas.fields(description.models[name]))
    if description.form is not None and description.form.alone_as is not None:
        parameters += _parameters("query", schemas.fields(description.form.fields)[0], [])
    if parameters:
        operation["parameters"] = parameters
    body = _body(description, schemas)
    if body is not None:
        operation["requestBody"] = body
    if asks_for_keys and is_open(rule.rule):
        operation["security"] = []
    operation["responses"] = _responses(description, schemas, _refusals(rule, description, asks_for_keys))
    return operation


def _parameters(place: str, fields: Mapping[str, Schema], required: Iterable[str]) -> list[dict[str, Any]]:
    found = []
    for name, schema in fields.items():
        parameter: dict[str, Any] = {"name": name, "in": place}
        if name in required:
            parameter["required"] = True
        schema = _without_null(schema)
        if schema.get("type") == "object":
            # In one parameter, not one for each of its members.
            parameter["content"] = {"application/json": {"schema": schema}}
        else:
            parameter["schema"] = schema
        found.append(parameter)
    return found


def _without_null(schema: Schema) -> Schema:
    """Leave out the null that stands for a parameter which is not there: none can be sent."""
    kept = [each for each in schema.get("anyOf", []) if each != {"type": "null"}]
    rest = {name: value for name, value in schema.items() if (name, value) != ("default", None)}
    if len(kept) != 1:
        return rest
    return {**{name: value for name, value in rest.items() if name != "anyOf"}, **kept[0]}


def _body(description: Description, schemas: _Schemas) -> dict[str, Any] | None:
    model = description.models.get("body")
    if model is not None:
        content = {"application/json": {"schema": schemas.of(model, "validation")}}
        return {"required": not model.may_be_missing, "content": content}
    if description.form is None:
        return None
    return {"required": True, "content": _form(description.form, schemas)}


def _form(form: Form, schemas: _Schemas) -> dict[str, Any]:
    fields, required = schemas.fields(form.fields)
    file = {"type": "string", "contentMediaType": "application/octet-stream"}
    properties = {form.file: file, **{name: _without_null(schema) for name, schema in fields.items()}}
    schema = {"type": "object", "required": [form.file, *required], "properties": properties}
    content: dict[str, Any] = {"multipart/form-data": {"schema": schema}}
    if form.alone_as is not None:
        content[form.alone_as] = {"schema": {"type": "string"}}
    return content


def _refusals(rule: Rule, description: Description, asks_for_keys: bool) -> list[type[PyocoServerError]]:
    """Give the errors that a route may answer: those that it names, and those that follow from what it takes."""
    refusals = list(description.refuses)
    refusals += [model.refusal for model in description.models.values()]
    if "run_id" in rule.arguments:
        refusals.append(RunNotFound)
    if description.form is not None:
        refusals.append(description.form.fields.refusal)
    if description.form is not None or "body" in description.models:
        refusals.append(TooLarge)
    if not is_open(rule.rule):
        refusals.append(Unavailable)
        refusals += [ApiKeyMissing, ApiKeyInvalid] if asks_for_keys else []
    return refusals


def _responses(
    description: Description, schemas: _Schemas, refusals: Iterable[type[PyocoServerError]]
) -> dict[str, Any]:
    answers = {description.media_type: description.answer, **description.also_as}
    content = {media_type: {"schema": schemas.of(kind)} for media_type, kind in answers.items()}
    answer = {"description": description.summary, "content": content}
    responses: dict[str, Any] = {str(status): answer for status in (200, *description.also)}
    if 304 in description.also:
        responses["304"] = {"description": "The client has it already (`If-None-Match`)."}
    for error in sorted(dict.fromkeys(refusals), key=lambda error: error.http_status):
        problem = responses.setdefault(str(error.http_status), {"description": error.title()})
        if error.title() not in problem["description"]:
            problem["description"] += f" {error.title()}"
        problem["content"] = {CONTENT_TYPE: {"schema": schemas.of(Problem)}}
        if error.http_status == Unavailable.http_status:
            problem["headers"] = {"Retry-After": {"schema": {"type": "integer"}}}
    return responses
