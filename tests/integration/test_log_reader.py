"""The log of a run, while NATS goes and comes back: what was read is given, and what is sent again is there once."""

from __future__ import annotations

import json

import pytest

from pyoco_server.bridge.messages import Write
from pyoco_server.contract import names
from pyoco_server.errors import BusUnavailable
from pyoco_server.stores.logs import LogStore, pack
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


def test_a_long_line_of_which_the_first_piece_alone_was_confirmed_is_one_line_when_it_is_sent_again(
    parts: Parts,
) -> None:
    entries = [entry(0), entry(1, "x" * 150_000), entry(2)]
    subject, logs = names.logs_subject(RUN), LogStore(parts.bus)
    first, piece, *_ = pack(1, entries, "b")
    parts.bus.write(Write(subject, first, msg_id="b.0"), Write(subject, piece, msg_id="b.1"))
    logs.append(RUN, 1, entries, batch_id="b")
    assert [found.fields for found in logs.read(RUN).entries] == entries
