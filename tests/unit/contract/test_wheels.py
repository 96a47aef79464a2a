"""Names and tags of wheels."""

from __future__ import annotations

import pytest

from pyoco_server.contract.wheels import WheelName, parse_tags, serves, tags_of, wheel_headers
from pyoco_server.errors import InvalidInput


def test_a_name_gives_package_version_and_tags() -> None:
    name = WheelName.parse("My_Demo.x-1.2rc1-py3-none-any.whl")
    assert (name.package, str(name.version)) == ("my-demo-x", "1.2rc1")
    assert [str(tag) for tag in name.tags] == ["py3-none-any"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "demo.whl",
        "demo-1.0.tar.gz",
        "demo-one-py3-none-any.whl",
        "../demo-1.0-py3-none-any.whl",
        "dem o-1.0-py3-none-any.whl",
        "démo-1.0-py3-none-any.whl",
        "demo-1.0-py3-none-any.whl\n",
        "x" * 250 + "-1.0-py3-none-any.whl",
    ],
)
def test_what_is_no_name_of_a_wheel_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"form\.wheel"):
        WheelName.parse(text)


def test_tags_are_trimmed_and_empties_and_doubles_dropped_in_their_order() -> None:
    assert parse_tags(" b, a,,b ,a") == ["b", "a"]
    assert parse_tags(" , ") == []


@pytest.mark.parametrize("text", ["a b", "a,é", "x" * 129, ",".join(f"t{number}" for number in range(101))])
def test_what_is_no_tag_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"form\.tags"):
        parse_tags(text)


def test_tags_come_back_from_the_headers() -> None:
    assert tags_of(wheel_headers("ff", ["a", "b"])) == ["a", "b"]
    assert "x-pyoco-wheel-tags" not in wheel_headers("ff", [])


def test_an_untagged_wheel_is_for_everybody_and_a_tagged_one_for_workers_of_its_tags() -> None:
    assert serves([], ["x"])
    assert serves(["a", "b"], ["b", "c"])
    assert not serves(["a"], ["b"])
