"""What is said in Japanese uses one word for one thing, wherever it stands, and one way of writing it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
import yaml

from pyoco_server.titles import JAPANESE
from tests.support.documents import DOCS, without_code

ROOT = DOCS.parent
_CHARS = "ぁ-んァ-ヶー一-龠々"
#: What is not written, and why not.
FAULTS = {
    r"(?<!デッド)レター": "デッドレター",
    "検査": "検証",
    "(?<!最新)版": "バージョン",
    "(?:サーバ|ワーカ|フォルダ|パラメータ|ブラウザ|ヘッダ|ドライバ|コンピュータ|ユーザ)(?!ー)": "with ー at the end",
    r"[\uff10-\uff19\uff21-\uff3a\uff41-\uff5a]": "narrow digits and letters",
    r"\d %": "a number and % stand together",
    f"[A-Za-z`][{_CHARS}]|[{_CHARS}][A-Za-z`]": "a space between Latin letters and Japanese ones",
    f"[{_CHARS}][,.:;!?()]": "wide punctuation",
}


def texts() -> Iterator[tuple[str, str]]:
    """Give each text with its place, a number for what is put in, and without what only marks it up."""
    found: list[tuple[str, str]] = [(kind.__name__, text) for kind, text in JAPANESE.items()]
    for path in sorted((ROOT / "web" / "locales" / "ja").glob("*.yaml")):
        found += [(f"{path.stem}.{key}", str(text)) for key, text in yaml.safe_load(path.read_text()).items()]
    for path in (ROOT / "README_ja.md", ROOT / "tutorial" / "README_ja.md"):
        prose = without_code(path.read_text())
        found += [(str(path.relative_to(ROOT)), re.sub(r"\]\([^)]*\)", "]", line)) for line in prose.splitlines()]
    for place, text in found:
        yield place, re.sub(r"<[^>]*>|\*\*", "", re.sub(r"\{\w+\}", "0", text))


@pytest.mark.parametrize("fault", FAULTS, ids=FAULTS.values())
def test_no_japanese_text_has_this_fault(fault: str) -> None:
    assert [(place, text) for place, text in texts() if re.search(fault, text)] == []
