"""Wheels that must not be installed: each is refused before anything is written, and the refusal says why."""

from __future__ import annotations

import io

import pytest

from pyoco_server.contract.wheels import WheelName
from pyoco_server.errors import WheelInvalid
from pyoco_server.wheelfile.check import check_wheel
from tests.support.hostile_wheels import HOSTILE
from tests.support.wheels import file_name, wheel


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_wheel_is_refused_with_what_is_wrong(kind: str) -> None:
    data, reason = HOSTILE[kind]
    with pytest.raises(WheelInvalid, match=reason) as refused:
        check_wheel(io.BytesIO(data), WheelName.parse(file_name()))
    assert [fault.loc for fault in refused.value.faults] == ["form.wheel"]


def test_an_archive_of_too_many_members_is_refused() -> None:
    data = wheel(files={f"demo/{number}": b"" for number in range(20_001)})
    with pytest.raises(WheelInvalid, match="members, and 20000 are allowed"):
        check_wheel(io.BytesIO(data), WheelName.parse(file_name()))


def test_a_list_of_members_that_would_fill_the_memory_is_refused_unread() -> None:
    data = bytearray(wheel())
    end = data.rindex(b"PK\x05\x06")
    data[end + 12 : end + 16] = (200_000_000).to_bytes(4, "little")
    with pytest.raises(WheelInvalid, match="list of members takes 200000000 bytes"):
        check_wheel(io.BytesIO(bytes(data)), WheelName.parse(file_name()))
