"""Which requirements of a wheel a worker's environment meets.

Some of this fails with older packaging alone (22 to 25), which raises where 26 gives an answer.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from pyoco_server.worker.wheel_choice import missing_requirements


@pytest.mark.parametrize("version", ["1.1build1", "3.13.0a1+"])
def test_an_installed_version_that_is_none_meets_what_takes_any_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    about = tmp_path / "of_debian-1.1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: of-debian\nVersion: {version}\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert missing_requirements(["of-debian", "of-debian>=1", "of-debian<9"], {}) == ["of-debian>=1", "of-debian<9"]


def test_a_marker_that_compares_what_is_no_version_does_not_hold() -> None:
    # It begins with "#" on Linux, and with "Darwin" on macOS.
    assert missing_requirements(['surely-not-there; platform_version >= "1"'], {}) == []
