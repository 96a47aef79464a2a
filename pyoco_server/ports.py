"""Addresses of this machine: which are free, and where a NATS server answers."""

from __future__ import annotations

import errno
import socket
from urllib.parse import urlsplit

from pyoco_server.errors import InvalidCommand


def nats_url(host: str, port: int) -> str:
    """Give the address for clients on this machine."""
    return f"nats://{bracketed({'0.0.0.0': '127.0.0.1', '::': '::1'}.get(host, host))}:{port}"


def answers(host: str, port: int) -> bool:
    """Say whether something greets like a NATS server there."""
    try:
        with socket.create_connection((host, port), 1.0) as connection:
            connection.settimeout(1.0)
            return connection.recv(5) == b"INFO "
    except OSError:
        return False


def answers_at(url: str) -> bool:
    """Say whether a NATS server answers at a URL of :func:`nats_url`; text that is none is nowhere."""
    parts = urlsplit(url)
    try:
        return parts.hostname is not None and answers(parts.hostname, parts.port or 4222)
    except ValueError:
        return False


def refuse_port_in_use(host: str, port: int) -> None:
    """Make sure that NATS can listen there.

    :raises InvalidCommand: it cannot; names the address.
    """
    try:
        _bind(host, port)
    except OSError as exc:
        advice = (
            "Stop what uses it, give --nats-url to use a NATS that runs there, or choose another with "
            "--nats-client-port or --nats-http-port."
        )
        if exc.errno == errno.EADDRINUSE:
            raise InvalidCommand(f"The port for NATS is already in use: {host}:{port}. {advice}") from exc
        raise InvalidCommand(f"NATS cannot listen on {host}:{port}: {exc.strerror or exc}.") from exc


def is_port_free(host: str, port: int) -> bool:
    """Say whether nobody listens there; true also where nobody can, which who tries to will report."""
    try:
        _bind(host, port)
    except OSError as exc:
        return exc.errno != errno.EADDRINUSE
    return True


def _bind(host: str, port: int) -> None:
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    socket.create_server(address[:2], family=family).close()


def bracketed(host: str) -> str:
    """Give a host as a URL has it."""
    return f"[{host}]" if ":" in host else host
