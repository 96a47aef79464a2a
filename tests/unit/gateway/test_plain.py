"""Characters that no page may hold."""

from __future__ import annotations

from pyoco_server.gateway.pages.plain import plain


def test_what_html_forbids_is_shown_as_a_character_that_can_be_seen() -> None:
    assert plain("\x1b[31mred\x00\x7f\x85\x9f") == "\u241b[31mred\u2400\u2421\ufffd\ufffd"
    assert plain("half \ud800, \ufdd0\ufffe\uffff") == "half \ufffd, \ufffd\ufffd\ufffd"


def test_every_other_text_stays_as_it_is() -> None:
    text = "\t<b>a</b>\r\n\f~\xa0é日本\ud7ff\ue000\ufdcf\ufffd\U0001f430\U0010fffd"
    assert plain(text) == text
