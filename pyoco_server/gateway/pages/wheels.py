"""The wheel registry: what workers import, who of them has it, and what was done with it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, Response, redirect, request
from packaging.version import Version
from werkzeug.wrappers import Response as AnyResponse

from pyoco_server.contract.wheels import WheelName, serves
from pyoco_server.errors import Fault, InvalidInput, PyocoServerError, Unavailable
from pyoco_server.gateway.context import gateway
from pyoco_server.gateway.pages.frame import render
from pyoco_server.gateway.pages.pieces import piece
from pyoco_server.gateway.pages.rows import first_line, name_of
from pyoco_server.gateway.paths import WHEELS_PAGE
from pyoco_server.gateway.wheels import receive_wheel, remove_wheel
from pyoco_server.operations.attention import WorkerView, worker_views
from pyoco_server.stores.wheels import StoredWheel

blueprint = Blueprint("wheels_page", __name__)

#: Rows on a page.
_PAGE_ROWS, _MAX_EVENTS = 40, 10
#: Workers named of those that do not have a wheel yet.
_MAX_MISSING = 5


@dataclass(frozen=True)
class WheelRow:
    """One wheel in the list.

    :param version: ``None`` of an object that another program has put there and whose name is no wheel's.
    :param fits: interpreters, ABIs and platforms, as the file name says them.
    :param is_newest: whether it is the version that workers take.
    :param having_count: live workers that have it, of ``meant_count`` that should have it.
    :param missing: those that do not have it.
    :param unsaid_count: those whose record has no room for all their wheels and does not name this one.
    """

    name: str
    package: str
    version: Version | None
    fits: str
    tags: list[str]
    size_bytes: int
    sha256_hex: str
    uploaded_at: Any
    is_newest: bool
    having_count: int
    meant_count: int
    missing: list[str]
    unsaid_count: int


@blueprint.get(WHEELS_PAGE)
def wheels() -> Response:
    """Show the wheels, by package, the newest version of each first."""
    return _page()


@blueprint.post(WHEELS_PAGE)
def upload() -> AnyResponse:
    """Take a wheel in; a refusal shows the page with what is wrong."""
    try:
        receive_wheel()
    except Unavailable:
        raise
    except InvalidInput as exc:
        return _page(refusal=exc, faults=exc.faults)
    except PyocoServerError as exc:
        return _page(refusal=exc, faults=[Fault("", exc.detail)])
    return redirect(WHEELS_PAGE, 303)


@blueprint.post(f"{WHEELS_PAGE}/delete")
def delete() -> AnyResponse:
    """Delete a wheel."""
    remove_wheel(request.form.get("name", ""))
    return redirect(WHEELS_PAGE, 303)


def _page(*, refusal: PyocoServerError | None = None, faults: Sequence[Fault] = ()) -> Response:
    config = gateway().config
    timeout_sec = config.worker_disconnect_timeout_sec
    workers = worker_views(gateway().model.workers(), now=time.time(), timeout_sec=timeout_sec)
    rows = _rows(gateway().wheels.list(), [worker for worker in workers if worker.is_alive and worker.syncs_wheels])
    return render(
        "wheels.html",
        status=200 if refusal is None else refusal.http_status,
        piece=piece(rows, _PAGE_ROWS),
        wheel_count=len(rows),
        size_bytes=sum(row.size_bytes for row in rows),
        events=[_event(document) for document in gateway().wheels.events(_MAX_EVENTS, None, None)],
        max_bytes=config.wheel_max_bytes,
        refusal=refusal,
        faults=faults,
        max_missing=_MAX_MISSING,
    )


def _rows(stored: Sequence[StoredWheel], workers: Sequence[WorkerView]) -> list[WheelRow]:
    named = [(wheel, _name(wheel)) for wheel in stored]
    newest: dict[str, Version] = {}
    for _, name in named:
        if name is not None:
            newest[name.package] = max(name.version, newest.get(name.package, name.version))
    rows = [_row(wheel, name, newest, workers) for wheel, name in named]
    rows.sort(key=lambda row: row.version or Version("0"), reverse=True)
    return sorted(rows, key=lambda row: row.package)


def _row(
    wheel: StoredWheel, name: WheelName | None, newest: dict[str, Version], workers: Sequence[WorkerView]
) -> WheelRow:
    is_newest = name is not None and newest[name.package] == name.version
    file_name = wheel.info.name
    meant = [
        worker
        for worker in workers
        if is_newest and serves(wheel.tags, worker.tags) and file_name not in worker.skipped_names
    ]
    others = [worker for worker in meant if file_name not in worker.wheel_names]
    missing = [worker.record.worker_id for worker in others if worker.lists_all_wheels]
    return WheelRow(
        name=file_name,
        package=name.package if name is not None else name_of(file_name),
        version=name.version if name is not None else None,
        fits="-".join(file_name.removesuffix(".whl").split("-")[-3:]) if name is not None else "",
        tags=wheel.tags,
        size_bytes=wheel.info.size,
        sha256_hex=wheel.info.sha256_hex or "",
        uploaded_at=wheel.info.modified_at,
        is_newest=is_newest,
        having_count=len(meant) - len(others),
        meant_count=len(meant),
        missing=missing,
        unsaid_count=len(others) - len(missing),
    )


def _name(wheel: StoredWheel) -> WheelName | None:
    try:
        return WheelName.parse(wheel.info.name)
    except InvalidInput:
        return None


def _event(document: dict[str, Any]) -> dict[str, Any]:
    """Give what a row shows of an event; other programs may have stored anything."""
    actor, source = (value if isinstance(value := document.get(key), dict) else {} for key in ("actor", "source"))
    return {
        "at": document.get("occurred_at"),
        "action": document.get("action"),
        "name": name_of(document.get("wheel_name")),
        "key": name_of(actor.get("api_key_id")),
        "address": name_of(source.get("remote_addr")),
        "agent": first_line(source.get("user_agent")),
    }
