"""The decoder of event streams, fed in pieces of any size."""

from __future__ import annotations

import pytest

from pyoco_server.client.event_stream import EventDecoder


def test_an_event_cut_at_every_byte_is_the_same_event() -> None:
    text = '\ufeff: hello\r\nid: 7\r\nevent: snapshot\r\ndata: {"k": "あ"}\r\n\r\n'.encode()
    decoder = EventDecoder()
    events = [event for index in range(len(text)) for event in decoder.feed(text[index : index + 1])]
    assert events == [{"event": "snapshot", "data": {"k": "あ"}, "id": "7"}]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_each_line_end_of_the_standard_ends_a_line(end: str) -> None:
    text = end.join(['data: {"x":', "data: 1}", "", "data: {}", "", ""])
    assert [event["data"] for event in EventDecoder().feed(text.encode())] == [{"x": 1}, {}]


def test_line_ends_that_only_python_knows_stay_in_the_data() -> None:
    events = list(EventDecoder().feed('data: {"x": "a\u2028b\x85c"}\n\n'.encode()))
    assert events[0]["data"] == {"x": "a\u2028b\x85c"}


def test_comments_empty_events_and_unknown_fields_are_ignored() -> None:
    text = b": tick\n\nevent: lonely\n\nretry: 10\nwhat: else\ndata: {}\n\n"
    assert list(EventDecoder().feed(text)) == [{"event": "message", "data": {}}]


def test_an_id_holds_for_the_events_after_it() -> None:
    events = list(EventDecoder().feed(b"id: 3\ndata: {}\n\ndata: {}\n\nid: 4\ndata: {}\n\n"))
    assert [event["id"] for event in events] == ["3", "3", "4"]


def test_an_event_that_the_end_cut_off_is_not_given() -> None:
    assert list(EventDecoder().feed(b"data: {}\n")) == []


@pytest.mark.parametrize("data", [b"{", b"[1]", b"nonsense"])
def test_data_that_is_no_json_object_is_an_error(data: bytes) -> None:
    with pytest.raises(ValueError):
        list(EventDecoder().feed(b"data: " + data + b"\n\n"))
