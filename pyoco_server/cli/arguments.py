"""Types of command-line values that more than one command takes; a bad value is refused by flag, value and reason."""

from __future__ import annotations

import math
from argparse import ArgumentTypeError

#: Where the nodes of a NATS cluster listen for each other.
CLUSTER_PORT = 6222


def port(text: str) -> int:
    """Read a port; 0 stands for any free one."""
    if not (text.isascii() and text.isdigit() and int(text) <= 65535):
        raise ArgumentTypeError(f"{text!r} is not a port: a number from 0 to 65535")
    return int(text)


def fixed_port(text: str) -> int:
    """Read a port that others have to know beforehand."""
    number = port(text)
    if number == 0:
        raise ArgumentTypeError("0 is no port at which others could find it")
    return number


def count(text: str) -> int:
    """Read a whole number of at least 1."""
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 1_000_000):
        raise ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def seconds(text: str) -> float:
    """Read a time that is more than 0 and has an end."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < 1e9:
        raise ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return value


def tags(text: str) -> list[str]:
    """Read routing tags separated by commas, each once, in the order given."""
    from pyoco_server.contract.names import is_tag

    found = [tag.strip() for tag in text.split(",") if tag.strip()]
    if not found:
        raise ArgumentTypeError(f"{text!r} names no tag")
    for tag in found:
        if not is_tag(tag):
            raise ArgumentTypeError(f"{tag!r} is not a tag: letters, digits, '_' and '-', 128 at most")
    return list(dict.fromkeys(found))


def worker_id(text: str) -> str:
    """Read the name of a worker, which is a key of the worker registry."""
    from pyoco_server.contract.names import is_key

    if not is_key(text):
        raise ArgumentTypeError(f"{text!r} is not a worker id: letters, digits and _ = / . -, 256 at most")
    return text


def word(text: str) -> str:
    """Read the name of a server, a cluster or a service."""
    if not (text.isascii() and text.replace("-", "").replace("_", "").replace(".", "").isalnum() and text[0] != "-"):
        raise ArgumentTypeError(f"{text!r} is not a name: letters, digits and - _ .")
    return text


def address(text: str) -> str:
    """Read ``HOST[:PORT]``; it comes with a port, that for the nodes of a cluster where none is given."""
    place = text.strip().removeprefix("nats://")
    host, separator, number = place.rpartition(":")
    if not separator or number.endswith("]"):
        host, number = place, str(CLUSTER_PORT)
    if not host or any(char.isspace() for char in host):
        raise ArgumentTypeError(f"{text!r} is not an address: HOST or HOST:PORT")
    return f"{host}:{fixed_port(number)}"


def addresses(text: str) -> list[str]:
    """Read addresses separated by commas; see :func:`address`."""
    return [address(part) for part in text.split(",")]
