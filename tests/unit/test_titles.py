"""What errors are called: in English by their classes, in Japanese by a table; by commands where the locale asks."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pyoco_server import errors
from pyoco_server.titles import JAPANESE, title, title_of
from tests.support.commands import run


def test_each_error_with_an_id_of_its_own_has_a_japanese_title() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and "err_id" in vars(kind)]
    assert len(kinds) > 20
    assert [kind for kind in kinds if kind not in JAPANESE] == []
    for text in JAPANESE.values():
        assert re.search("[\u3040-\u30ff\u4e00-\u9fff]", text) and text.endswith("。")


def test_an_error_without_a_title_is_called_as_what_it_derives_from() -> None:
    assert title(errors.KeyMissing, "ja") == JAPANESE[errors.BusError]
    assert title(errors.KeyMissing, "en") == "There is no such key."


@pytest.mark.parametrize(
    ("problem", "kind"),
    [
        ({"err_id": "ERR-PYOCO-0005"}, errors.RunNotFound),
        ({"err_id": "ERR-PYOCO-9999"}, errors.GatewayRefused),
        ({}, errors.GatewayRefused),
    ],
)
def test_what_a_gateway_refused_is_called_as_there(
    problem: dict[str, str], kind: type[errors.PyocoServerError]
) -> None:
    refused = errors.GatewayRefused(404, "GET", "/runs/x", "There is no run x.", problem)
    assert title_of(refused, "ja") == JAPANESE[kind]


@pytest.mark.parametrize("locale", [{"LANG": "ja_JP.UTF-8"}, {"LC_ALL": "C.UTF-8", "LANGUAGE": ""}])
def test_a_command_adds_the_title_where_the_locale_is_japanese(tmp_path: Path, locale: dict[str, str]) -> None:
    unset = {"LC_ALL": "", "LANGUAGE": "", "LC_MESSAGES": "", "LANG": ""}
    done = run("pyoco-client", "--server", "http://127.0.0.1:1", "list", cwd=tmp_path, **{**unset, **locale})
    assert done.returncode == 1 and done.stdout == ""
    first, *rest = done.stderr.splitlines()
    assert first.startswith("ERR-PYOCO-HTTP ") and first.isascii()
    assert ("  ゲートウェイに接続できません。" in rest) == ("LANG" in locale)
