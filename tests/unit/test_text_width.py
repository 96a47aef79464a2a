"""How much room a text takes, and how it is cut to what there is."""

from __future__ import annotations

import pytest

from pyoco_server.text_width import shortened, shortened_in_middle, width


@pytest.mark.parametrize(
    ("name", "places"),
    [("夜間バッチ", 10), ("ﾊﾞｯﾁ", 4), ("か\u3099", 2), ("วันนี้", 3), ("日報-2026", 9), ("…", 1)],
    ids=["kanji", "half-width kana", "decomposed kana", "thai", "mixed", "ellipsis"],
)
def test_a_name_takes_as_many_places_as_in_a_terminal(name: str, places: int) -> None:
    assert width(name) == places


@pytest.mark.parametrize(("places", "cut"), [(4, "abcd"), (3, "ab…"), (1, "…")])
def test_a_text_is_cut_to_the_places_there_are(places: int, cut: str) -> None:
    assert shortened("abcd", places) == cut


def test_a_wide_character_is_never_cut_in_half() -> None:
    assert shortened("流流流", 4) == "流…"


@pytest.mark.parametrize(
    ("name", "cut"),
    [
        ("load_orders_of_day", "load_orders_of_day"),
        ("load_orders_of_the_day", "load_orde…_the_day"),
        ("東京の売上を集計", "東京の売上を集計"),
        ("東京の売上データを取得する", "東京の売…取得する"),
        ("売上data_of_東京と大阪", "売上data_…京と大阪"),
    ],
)
def test_a_name_keeps_its_beginning_and_its_end(name: str, cut: str) -> None:
    assert shortened_in_middle(name, 18) == cut
    assert width(cut) <= 18
