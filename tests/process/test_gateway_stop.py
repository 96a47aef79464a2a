"""A signal to a gateway: what has begun is answered in whole, and nothing more is taken."""

from __future__ import annotations

import os
import signal
from urllib.parse import urlsplit

import pytest
import requests

from pyoco_server.client.http import PyocoHttpClient
from tests.conftest import Gateway
from tests.support.sse import EventStream
from tests.support.waiting import eventually
from tests.support.wheels import file_name, wheel

#: More than waits anywhere on the way to a client who does not read.
LARGE_BYTES = 20_000_000


def refuses(gateway: Gateway) -> bool:
    """Say whether a gateway takes no connection."""
    try:
        requests.get(f"{gateway.url}/health", timeout=5)
    except requests.ConnectionError:
        return True
    return False


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stopping_gateway_ends_answers_and_streams_that_have_begun(gateway: Gateway, number: int) -> None:
    data = wheel(files={"demo/blob": os.urandom(LARGE_BYTES)})
    with PyocoHttpClient(gateway.url) as client:
        client.upload_wheel(filename=file_name(), data=data)
        run_id = client.submit_run("f")["run_id"]
    answer = requests.get(f"{gateway.url}/wheels/{file_name()}", stream=True, timeout=60)
    with EventStream(urlsplit(gateway.url).port or 0, f"/runs/{run_id}/watch", timeout_sec=60) as stream:
        pieces = stream.pieces()
        assert next(pieces).data["snapshot"]["status"] == "PENDING"
        gateway.daemon.process.send_signal(number)
        # One that was cut off would raise IncompleteRead.
        assert [piece for piece in pieces if piece.name != "comment"] == []
    # Its streams end first.
    eventually(lambda: refuses(gateway), what="the gateway taking no connection any more")
    assert answer.content == data
    assert gateway.daemon.process.wait(30) == 0
    assert '"level": "ERROR"' not in gateway.daemon.log
