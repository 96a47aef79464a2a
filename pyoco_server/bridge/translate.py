"""The seam where errors of nats-py and of the JetStream API become ours.

Nothing above ``bridge/`` sees an exception of nats-py.

Source: JetStream API error codes (nats-server ``server/errors.json``).
"""

from __future__ import annotations

import json
from typing import Any

import nats.errors

from pyoco_server.errors import (
    BusDenied,
    BusError,
    BusTimeout,
    BusUnavailable,
    KeyMissing,
    ResourceMissing,
    RevisionConflict,
    SignInRefused,
)

#: JetStream: the expected last sequence of the subject is another one.
WRONG_LAST_SEQUENCE = 10071
#: JetStream: no message found.
NO_MESSAGE_FOUND = 10037
#: JetStream: the message to be deleted is not there; nor is any of a later sequence.
SEQUENCE_NOT_FOUND = 10043
STREAM_END = 10057
#: JetStream: stream not found; consumer not found; bucket streams answer with the first.
STREAM_NOT_FOUND = 10059
CONSUMER_NOT_FOUND = 10014
#: JetStream: a stream or consumer of that name exists with other settings.
STREAM_NAME_IN_USE = 10058
CONSUMER_EXISTS = 10148
#: JetStream: an archive cannot be made a stream, because there is one of its name; for a reason that its text tells.
_RESTORE_NAME_IN_USE = 10130
_RESTORE_FAILED = 10062
#: JetStream: as many replicas are not to be had (a single server; too few nodes).
_REPLICAS_NOT_SUPPORTED = 10074
_NO_SUITABLE_PEERS = 10005
#: JetStream: the stream, or what its server may store, is full.
STREAM_FULL = 10077
STORAGE_FULL = 10047
#: The message is larger than the server takes.
PAYLOAD_TOO_LARGE = 10054
#: JetStream: the cluster has no leader or is not ready; passes by itself.
_PASSING = frozenset({10007, 10008, 10009, 10119, 10164})

#: What nats-py raises when the connection is gone or was never there: nothing was sent.
NOT_SENT = (
    nats.errors.ConnectionClosedError,
    nats.errors.ConnectionReconnectingError,
    nats.errors.OutboundBufferLimitError,
    nats.errors.StaleConnectionError,
    nats.errors.NoServersError,
)


def translate(exc: BaseException, what: str) -> BusError | BusUnavailable:
    """Give our error for one of nats-py.

    :param what: what was asked, for the message: a subject, mostly.
    """
    if isinstance(exc, nats.errors.NoRespondersError):
        return BusUnavailable(f"NATS has nobody that answers on {what}: JetStream is off, or its leader is away.")
    if isinstance(exc, nats.errors.TimeoutError):
        return BusTimeout(f"NATS did not answer in time on {what}.")
    if isinstance(exc, NOT_SENT):
        return BusUnavailable(f"There is no connection to NATS for {what}.")
    if isinstance(exc, nats.errors.MaxPayloadError):
        return BusError(f"NATS accepts no message of this size on {what}.", err_code=PAYLOAD_TOO_LARGE)
    # Nothing says that it was not sent.
    return BusTimeout(f"NATS failed on {what}: {str(exc) or type(exc).__name__}")


def is_retryable(exc: BaseException) -> bool:
    """Say whether the same request may succeed in a moment: a lost connection, a leader election, no answer."""
    if isinstance(exc, BusError):
        return exc.err_code in _PASSING
    return isinstance(exc, BusUnavailable) and not isinstance(exc, (BusDenied, SignInRefused))


def is_name_taken(exc: BusError) -> bool:
    """Say whether a stream could not be made because there is one of its name."""
    is_told_so = exc.err_code == _RESTORE_FAILED and "already in use" in str(exc)
    return is_told_so or exc.err_code in (STREAM_NAME_IN_USE, _RESTORE_NAME_IN_USE)


def lacks_servers(exc: BusError) -> bool:
    """Say whether there are too few servers for as many replicas."""
    return exc.err_code in (_NO_SUITABLE_PEERS, _REPLICAS_NOT_SUPPORTED)


def api_answer(payload: bytes, what: str) -> dict[str, Any]:
    """Decode an answer of the JetStream API.

    :raises BusError: the answer is an error; the subclass says which kind.
    """
    answer: dict[str, Any] = json.loads(payload)
    error = answer.get("error")
    if error is None:
        return answer
    code = int(error.get("err_code", 0))
    text = f"NATS refused {what}: {error.get('description', 'no reason given')} (error {code})."
    if code == WRONG_LAST_SEQUENCE:
        raise RevisionConflict(text, err_code=code)
    if code == NO_MESSAGE_FOUND:
        raise KeyMissing(text, err_code=code)
    if code in (STREAM_NOT_FOUND, CONSUMER_NOT_FOUND):
        raise ResourceMissing(text, err_code=code)
    raise BusError(text, err_code=code)
