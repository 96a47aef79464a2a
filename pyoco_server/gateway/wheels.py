"""Routes of the wheel registry: list, upload, download, delete, history.

Source: contract, section 3, rows ``/wheels``.
"""

from __future__ import annotations

import os

from flask import Blueprint, Response, request

from pyoco_server.contract.wheels import CONTENT_TYPE, Actor, Source, WheelEntry, WheelName, parse_tags
from pyoco_server.errors import Fault, InvalidInput, WheelConflict, WheelNotFound
from pyoco_server.gateway.admission import caller
from pyoco_server.gateway.context import gateway
from pyoco_server.gateway.description import Form, described
from pyoco_server.gateway.downloads import download
from pyoco_server.gateway.inputs import read_model
from pyoco_server.gateway.outputs import Deleted, EventDocument
from pyoco_server.gateway.queries import UploadFields, WheelEventQuery
from pyoco_server.operations.wheels import Upload
from pyoco_server.stores.wheels import StoredWheel

blueprint = Blueprint("wheels", __name__)


@blueprint.get("/wheels")
@described()
def list_wheels() -> list[WheelEntry]:
    """List the wheels, by name."""
    return [wheel.to_document() for wheel in gateway().wheels.list()]


@blueprint.post("/wheels")
@described(form=Form(UploadFields, "wheel"), refuses=(WheelConflict,))
def upload_wheel() -> WheelEntry:
    """Take a wheel in."""
    return receive_wheel().to_document()


def receive_wheel() -> StoredWheel:
    """Take the wheel in that the request's form holds.

    :raises InvalidInput: the form is not as it should be, or the wheel is none (:class:`WheelInvalid`).
    :raises PyocoServerError: as :meth:`WheelRegistry.upload`.
    """
    file = request.files.get("wheel")
    if file is None:
        raise InvalidInput(faults=[Fault("form.wheel", "is missing: send the wheel as a file in this field")])
    name = WheelName.parse(file.filename or "")
    sent = {"tags": ",".join(request.form.getlist("tags")), "replace": request.form.get("replace") or "true"}
    fields = read_model(UploadFields, sent, "form")
    # werkzeug has put it in a temporary file where it is large.
    size_bytes = file.stream.seek(0, os.SEEK_END)
    upload = Upload(name, file.stream, size_bytes, parse_tags(fields.tags), fields.replace, _actor(), _source())
    return gateway().wheels.upload(upload)


@blueprint.get("/wheels/<path:name>")
@described(media_type=CONTENT_TYPE, answer=bytes, also=(304,), refuses=(WheelNotFound,))
def download_wheel(name: str) -> Response:
    """Give the bytes of a wheel."""
    wheel, chunks = gateway().wheels.open(name)
    return download(wheel.info, chunks, CONTENT_TYPE, name)


@blueprint.delete("/wheels/<path:name>")
@described(refuses=(WheelNotFound,))
def delete_wheel(name: str) -> Deleted:
    """Delete a wheel."""
    remove_wheel(name)
    return {"name": name, "deleted": True}


def remove_wheel(name: str) -> None:
    """Delete a wheel, in the name of who makes the request.

    :raises WheelNotFound: there is none.
    :raises BusUnavailable: not confirmed; safe to repeat.
    """
    gateway().wheels.delete(name, _actor(), _source())


@blueprint.get("/wheels/history")
@described()
def list_events(query: WheelEventQuery) -> list[EventDocument]:
    """List what was done with wheels, newest first."""
    return list(gateway().wheels.events(query.limit, query.wheel_name or None, query.action))


def _actor() -> Actor:
    return Actor(caller().tenant_id, caller().api_key_id)


def _source() -> Source:
    headers = request.headers
    return Source(
        remote_addr=request.remote_addr,
        x_forwarded_for=headers.get("X-Forwarded-For"),
        x_real_ip=headers.get("X-Real-IP"),
        user_agent=headers.get("User-Agent"),
        host=headers.get("Host"),
        scheme=request.scheme,
    )
