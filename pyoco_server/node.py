"""A NATS node that this machine contributes: its configuration, its start in the foreground, and its end.

The process becomes nats-server itself, so whoever started it, a terminal or systemd, has to do with that alone. The
store's lock goes over to it and is free when it has ended.

Source: contract, section 5 (``pyoco-nats``); design, section 9.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import signal
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from pyoco_server.embedded import PID_FILE, find_nats_server
from pyoco_server.errors import InvalidCommand
from pyoco_server.ports import bracketed, nats_url
from pyoco_server.service import Deadline
from pyoco_server.store_folder import StoreLock, make_folder, write_whole

#: What `pyoco-nats permissions` writes for nodes: who may do what, and what they show each other.
PERMISSIONS_FILE = "permissions.conf"
ROUTES_FILE = "routes.conf"
#: Keeps the name of the cluster: nodes that start all at once could not ask each other for it.
_CLUSTER_FILE = "cluster"
_NAME_FILE = "server-name"
#: The one user of the system account.
SYSTEM_USER = "sys"
#: How long a node may take to answer another one that wants to join.
_SEED_SEC = 5.0
#: A server that ends first writes what it has and hands over what it leads.
_STOP_SEC = 60.0
_LOOK_SEC = 0.05


@dataclass(frozen=True)
class Node:
    """One nats-server with JetStream.

    :param name: what the others know it by; the same after a restart, and of no other node.
    :param host: where it listens for clients and for the other nodes.
    :param http_port: where it answers for monitoring, on this machine alone.
    :param cluster: ``None`` = it is alone.
    :param seeds: ``host:port`` where other nodes listen for nodes; empty = it is the first.
    :param permissions: folder that ``pyoco-nats permissions`` has written; ``None`` = everybody may do everything.
    :param sync: when it has the disk write what it has stored; ``always`` or a time such as ``10s``.
    """

    folder: Path
    name: str
    host: str
    client_port: int
    http_port: int
    cluster: str | None
    cluster_port: int
    seeds: tuple[str, ...]
    sync: str
    permissions: Path | None = None

    def settings(self, password: str) -> str:
        """Give its configuration.

        :param password: of the user ``sys`` of the system account, which this machine alone knows.
        :raises OSError: the permissions cannot be read.
        """
        store = str(self.folder.resolve())
        lines = [
            f"server_name: {_quoted(self.name)}",
            f"host: {_quoted(self.host)}",
            f"port: {self.client_port}",
            f'http: "127.0.0.1:{self.http_port}"',
            "jetstream {",
            f"  store_dir: {_quoted(store)}",
            # The default of two minutes loses what was acknowledged when the power fails.
            f"  sync_interval: {self.sync}",
            "}",
            # With no users but this one everybody else may do without.
            f"accounts {{ $SYS {{ users: [{{ user: {SYSTEM_USER}, password: {_quoted(password)} }}] }} }}",
        ]
        signed = ""
        if self.permissions is not None:
            lines.append((self.permissions / PERMISSIONS_FILE).read_text(encoding="utf-8"))
            signed = (self.permissions / ROUTES_FILE).read_text(encoding="utf-8")
        if self.cluster is not None:
            # JetStream wants a route even of the first node; the others come to it.
            routes = self.seeds or (f"{_reachable(self.host)}:{self.cluster_port}",)
            if signed:
                routes = tuple(f"{_route_user(signed)}@{route}" for route in routes)
            lines += [
                "cluster {",
                *([f"  authorization {{\n{signed}  }}"] if signed else []),
                f"  name: {_quoted(self.cluster)}",
                f"  listen: {_quoted(f'{bracketed(self.host)}:{self.cluster_port}')}",
                f"  routes: [{', '.join(_quoted(f'nats://{route}') for route in routes)}]",
                "}",
            ]
        return "\n".join(lines) + "\n"

    def run(self, extra: Sequence[str] = ()) -> NoReturn:
        """Become this node.

        :param extra: flags of nats-server, which win over the configuration.
        :raises InvalidCommand: the store is in use or cannot be written, or there is no nats-server.
        """
        server = find_nats_server()
        make_folder(self.folder)
        lock = StoreLock(self.folder)
        lock.take("Stop that one (pyoco-nats down), or give another --datafolder.")
        try:
            # That of an earlier node may be the number of any process by now.
            (self.folder / PID_FILE).unlink(missing_ok=True)
            path = self.folder / "nats-server.conf"
            write_whole(path, self.settings(_password(self.folder)))
            (self.folder / _NAME_FILE).write_text(self.name)
            (self.folder / PID_FILE).write_text(str(os.getpid()))
            (self.folder / _CLUSTER_FILE).write_text(self.cluster or "")
            lock.note(nats_url(self.host, self.client_port))
            os.set_inheritable(lock.fd, True)
            os.execv(server, [server, "-c", str(path.resolve()), *extra])
        except OSError as exc:
            raise InvalidCommand(f"NATS cannot be started with its data in {self.folder}: {exc}.") from exc
        finally:
            lock.release()


@dataclass(frozen=True)
class RunningNode:
    """A node of this machine, as its folder tells of it.

    :param url: where it answers.
    :param system_url: the same, for the system account.
    :param cluster: empty = it is alone.
    """

    name: str
    cluster: str
    url: str
    system_url: str


def running_node(folder: Path) -> RunningNode:
    """Find the node that runs in a folder.

    :raises InvalidCommand: none does.
    """
    url = StoreLock(folder).holder()
    if url is None or _pid_of(folder) is None:
        raise _none_in(folder)
    name, cluster = ((folder / file).read_text() for file in (_NAME_FILE, _CLUSTER_FILE))
    return RunningNode(name, cluster, url, url.replace("//", f"//{SYSTEM_USER}:{_password(folder)}@", 1))


def stop_node(folder: Path) -> int:
    """Have the node of this folder end, and wait for that.

    :return: the process that has ended.
    :raises InvalidCommand: no node runs there, or it does not end.
    """
    lock = StoreLock(folder)
    # First the lock: who takes it removes what an earlier node has left.
    pid = None if lock.is_free() else _pid_of(folder)
    if pid is None:
        raise _none_in(folder)
    try:
        os.kill(pid, signal.SIGTERM)
    except OSError as exc:
        raise InvalidCommand(f"Process {pid}, the NATS node in {folder}, cannot be stopped: {exc.strerror}.") from exc
    deadline = Deadline(_STOP_SEC)
    while not lock.is_free():
        if deadline.has_passed:
            raise InvalidCommand(f"Process {pid}, the NATS node in {folder}, has not ended in {_STOP_SEC:.0f} s.")
        time.sleep(_LOOK_SEC)
    return pid


def cluster_of(seeds: Sequence[str], folder: Path) -> str:
    """Give the name of the cluster to which a node has belonged, or ask others for it.

    :param seeds: ``host:port`` of each of the others.
    :param folder: that of the node.
    :raises InvalidCommand: none of them answers, or what answers belongs to no cluster.
    """
    with contextlib.suppress(OSError):
        if known := (folder / _CLUSTER_FILE).read_text():
            return known
    for seed in seeds:
        with contextlib.suppress(OSError, ValueError, AttributeError):
            host, _, port = seed.rpartition(":")
            with socket.create_connection((host.strip("[]"), int(port)), _SEED_SEC) as connection:
                with connection.makefile("rb") as lines:
                    greeting = lines.readline().removeprefix(b"INFO ")
            name = json.loads(greeting).get("cluster")
            if name:
                return str(name)
    raise InvalidCommand(
        f"No node of a cluster answers at {', '.join(seeds)}. Name the port at which nodes listen for each other, not "
        "that for clients, or give --cluster to start before they are there."
    )


def _none_in(folder: Path) -> InvalidCommand:
    return InvalidCommand(
        f"No NATS node of pyoco-nats runs in {folder}. Name its folder with --datafolder. What something else has "
        "started that has to stop, too; on a node of pyoco-nats leave --lost then takes it out of the cluster."
    )


def _password(folder: Path) -> str:
    """Give the password of the system account, which is made once."""
    path = folder / "system-password"
    with contextlib.suppress(FileNotFoundError):
        if known := path.read_text():
            return known
    made = secrets.token_urlsafe(24)
    write_whole(path, made)
    return made


def _pid_of(folder: Path) -> int | None:
    with contextlib.suppress(OSError, ValueError):
        return int((folder / PID_FILE).read_text())
    return None


def _route_user(text: str) -> str:
    """Give user and password from :data:`ROUTES_FILE`, as they stand in the address of a node."""
    found = re.findall(r'^(?:user|password): "?([\w-]+)"?$', text, re.MULTILINE)
    if len(found) != 2:
        raise InvalidCommand(f"{ROUTES_FILE} is none that pyoco-nats permissions has written.")
    return ":".join(found)


def _reachable(host: str) -> str:
    """Give the address at which this machine finds itself."""
    return bracketed({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host))


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
