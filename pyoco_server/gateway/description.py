"""What a route takes and answers, said once, by the annotations of its function.

A function that is :func:`described` gets ``query``, ``headers`` and ``body`` read by the models with which it annotates
them, and what they refuse is refused before it is called. What it returns is annotated with what it answers. The
OpenAPI document is made of the same annotations (:mod:`pyoco_server.gateway.openapi`).
"""

from __future__ import annotations

import functools
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from flask import request

from pyoco_server.errors import Fault, InvalidInput, PyocoServerError
from pyoco_server.gateway.inputs import Input, read_json_object, read_model
from pyoco_server.gateway.queries import read_headers, read_query

View = Callable[..., Any]

JSON = "application/json"


@dataclass(frozen=True)
class Form:
    """A body with a file in it, as a multipart form.

    :param fields: model of the fields beside the file.
    :param file: name of the file's field.
    :param alone_as: media type under which the file may also be the whole body, with the fields in the query; ``None``
        where it may not.
    """

    fields: type[Input]
    file: str
    alone_as: str | None = None


@dataclass(frozen=True)
class Description:
    """One route as it is described.

    :param summary: the first line of its docstring.
    :param models: of ``query``, ``headers`` and ``body``, those that it takes.
    :param answer: type of what it answers with 200; of a stream of events, the type of one.
    :param media_type: of the answer.
    :param also_as: what it answers instead where that is asked for, by media type.
    :param refuses: errors that it may answer beside those that follow from what it takes.
    :param also: further statuses with the same answer.
    """

    summary: str
    models: Mapping[str, type[Input]]
    answer: Any
    media_type: str = JSON
    also_as: Mapping[str, Any] = field(default_factory=dict)
    refuses: tuple[type[PyocoServerError], ...] = ()
    form: Form | None = None
    also: tuple[int, ...] = ()


_DESCRIPTIONS: dict[View, Description] = {}


def described(
    *,
    refuses: tuple[type[PyocoServerError], ...] = (),
    media_type: str = JSON,
    answer: Any = None,
    also_as: Mapping[str, Any] | None = None,
    form: Form | None = None,
    also: tuple[int, ...] = (),
) -> Callable[[View], View]:
    """Describe a route by its annotations, and call it with what they name.

    The parameters are those of :class:`Description`.

    :param answer: where the function returns a response, and that is no text.
    """

    def describe(view: View) -> View:
        hints = typing.get_type_hints(view, include_extras=True)
        models = {name: hints[name] for name in _READERS if name in hints}

        @functools.wraps(view)
        def read_and_call(**path: Any) -> Any:
            return view(**path, **_read(models))

        returned = hints["return"]
        # Its status and headers may stand beside it.
        json_type = typing.get_args(returned)[0] if typing.get_origin(returned) is tuple else returned
        _DESCRIPTIONS[read_and_call] = Description(
            summary=(view.__doc__ or "").partition("\n")[0].rstrip("."),
            models=models,
            answer=answer or (json_type if media_type == JSON else str),
            media_type=media_type,
            also_as=also_as or {},
            refuses=refuses,
            form=form,
            also=also,
        )
        return read_and_call

    return describe


def description_of(view: View) -> Description | None:
    """Give what a route says of itself; ``None`` where it says nothing."""
    return _DESCRIPTIONS.get(view)


def _read(models: Mapping[str, type[Input]]) -> dict[str, Input]:
    """Read what the request brings.

    :raises InvalidInput: with the faults of all its parts.
    """
    read: dict[str, Input] = {}
    faults: list[Fault] = []
    for name, kind in models.items():
        try:
            read[name] = _READERS[name](kind)
        except InvalidInput as exc:
            faults.extend(exc.faults)
    if faults:
        raise next(iter(models.values())).refusal(faults=faults)
    return read


def _body(kind: type[Input]) -> Input:
    payload = request.get_data(cache=False)
    values = {} if kind.may_be_missing and not payload else read_json_object(payload, "body")
    return read_model(kind, values, "body")


_READERS: dict[str, Callable[[type[Input]], Input]] = {
    "query": lambda kind: read_query(kind, request.args),
    "headers": lambda kind: read_headers(kind, request.headers),
    "body": _body,
}
