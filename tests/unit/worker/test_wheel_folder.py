"""The folder of unpacked wheels, whatever it is asked for."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from pyoco_server.worker.wheel_folder import Manifest, WheelFolder

SHA256 = "0123456789abcdef" * 4


def manifest(**sizes: int) -> Manifest:
    return Manifest("demo-1.0-py3-none-any.whl", "", [], 1.5, sizes)


def filled(folder: Path) -> Manifest:
    (folder / "demo").write_text("print()")
    return manifest(demo=7)


@pytest.mark.parametrize("name", ["", ".", "..", "demo", f"{SHA256}0", SHA256.upper()])
@pytest.mark.parametrize("ask", [WheelFolder.find, lambda folder, name: folder.add(name, filled)], ids=["find", "add"])
def test_what_is_no_hash_is_refused_and_touches_nothing(
    tmp_path: Path, name: str, ask: Callable[[WheelFolder, str], object]
) -> None:
    folder = WheelFolder(tmp_path / "wheels")
    path = folder.add(SHA256, filled).path
    with pytest.raises(ValueError, match="is not a SHA-256"):
        ask(folder, name)
    assert list(path.parent.iterdir()) == [path]
    found = folder.find(SHA256)
    assert found is not None
    assert found.manifest == manifest(demo=7)


def test_a_place_that_cannot_be_taken_is_an_error(tmp_path: Path) -> None:
    # As long as it was tried again for any error, this was tried for ever.
    (tmp_path / SHA256).symlink_to("nowhere")
    with pytest.raises(NotADirectoryError):
        WheelFolder(tmp_path).add(SHA256, filled)
    assert [path.name for path in tmp_path.iterdir()] == [SHA256]


def test_half_a_wheel_goes_however_deep_it_is(tmp_path: Path) -> None:
    def fill(folder: Path) -> Manifest:
        subprocess.run(["mkdir", "-p", folder / "/".join("d" * 1500)], check=True)
        raise ValueError("no more")

    try:
        with pytest.raises(ValueError, match="no more"):
            WheelFolder(tmp_path).add(SHA256, fill)
        assert list(tmp_path.iterdir()) == []
    finally:
        # Nor could pytest remove what is left of it.
        subprocess.run(["rm", "-rf", tmp_path], check=True)
