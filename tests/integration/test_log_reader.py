"""Reading the log of a run on and on, while NATS goes and comes back."""

from __future__ import annotations

import json

import pytest

from pyoco_server.bridge.messages import Write
from pyoco_server.contract import names
from pyoco_server.errors import BusUnavailable
from pyoco_server.stores.logs import LogStore
from tests.support.nats import NatsServer
from tests.support.parts import Parts
from tests.support.printed import entry
from tests.support.waiting import eventually

RUN = "r"


def test_entries_that_were_read_before_nats_went_are_given(parts: Parts, nats: NatsServer) -> None:
    # One more than are asked for at a time.
    count = 1_001
    payloads = [json.dumps({"attempt": 1, "entries": [entry(number)]}).encode() for number in range(count)]
    parts.bus.write(*(Write(names.logs_subject(RUN), payload) for payload in payloads))
    reader = LogStore(parts.bus).reader(RUN, budget_sec=30)
    pieces = reader.more()
    seqs = [found.fields["seq"] for found in next(pieces)]
    nats.stop()
    with pytest.raises(BusUnavailable):
        for piece in pieces:
            seqs += [found.fields["seq"] for found in piece]
    assert 0 < len(seqs) < count
    nats.start()
    eventually(lambda: parts.bus.is_connected, what="the connection", timeout_sec=60)
    seqs += [found.fields["seq"] for piece in reader.more() for found in piece]
    assert seqs == list(range(count))
