"""What the routes of one gateway share."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from flask import Flask, current_app, g

from pyoco_server.bridge.client import Bus
from pyoco_server.config import Config
from pyoco_server.gateway.instruments import Instruments
from pyoco_server.gateway.room import Room
from pyoco_server.logs import RateLimit
from pyoco_server.operations.authenticate import Authentication
from pyoco_server.operations.cancel import Cancellation
from pyoco_server.operations.dead_letters import DeadLetters
from pyoco_server.operations.heartbeats import Heartbeats
from pyoco_server.operations.polling import Polling
from pyoco_server.operations.submit import Submission
from pyoco_server.operations.wheels import WheelRegistry
from pyoco_server.readmodel.model import ReadModel
from pyoco_server.stores.artifacts import ArtifactStore
from pyoco_server.stores.logs import LogStore
from pyoco_server.stores.runs import RunStore
from pyoco_server.stores.storage import StorageLook
from pyoco_server.stores.workers import WorkerStore
from pyoco_server.stores.workflows import WorkflowStore

_EXTENSION = "pyoco_server"


@dataclass(frozen=True)
class Gateway:
    """The parts behind the routes; the server owns them, requests only use them.

    :param watch_places: one for each watch that may be open at the same time.
    :param room: for bodies and answers that are in work.
    :param stopping: set when streams must end.
    """

    config: Config
    bus: Bus
    runs: RunStore
    workers: WorkerStore
    model: ReadModel
    instruments: Instruments
    workflows: WorkflowStore
    submission: Submission
    cancellation: Cancellation
    dead_letters: DeadLetters
    polling: Polling
    heartbeats: Heartbeats
    logs: LogStore
    artifacts: ArtifactStore
    storage: StorageLook
    authentication: Authentication
    wheels: WheelRegistry
    watch_places: threading.Semaphore
    room: Room
    stopping: threading.Event = field(default_factory=threading.Event)
    #: For what clients can bring about as often as they like.
    log_limit: RateLimit = field(default_factory=RateLimit)


def attach(app: Flask, gateway: Gateway) -> None:
    """Give the app its gateway."""
    app.extensions[_EXTENSION] = gateway


def gateway() -> Gateway:
    """Give the gateway of the request that is being answered."""
    found: Gateway = current_app.extensions[_EXTENSION]
    return found


def take_room(size_bytes: int) -> None:
    """Take room for what is in work from now on, until the request is over; what it had before is given back.

    :raises TooMuchInWork: there is none in time.
    """
    release_room()
    g.room_bytes = gateway().room.take(size_bytes)


def release_room(error: BaseException | None = None) -> None:
    """Give back what the request has taken."""
    gateway().room.release(g.pop("room_bytes", 0))
