"""The folder of a download: nothing is written outside of it, through a link, or over another file."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest

from pyoco_server.cli.download_folder import DownloadFolder, DownloadRefused


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[DownloadFolder]:
    found = DownloadFolder(str(tmp_path / "down" / "load"))
    yield found
    found.close()


@pytest.fixture
def place(tmp_path: Path, folder: DownloadFolder) -> Path:
    return tmp_path / "down" / "load"


def filled(data: bytes) -> Callable[[IO[bytes]], object]:
    return lambda file: file.write(data)


def everything(place: Path) -> list[str]:
    return sorted(str(path.relative_to(place)) for path in place.rglob("*"))


def test_files_are_written_below_it_in_folders_of_their_own(folder: DownloadFolder, place: Path) -> None:
    folder.write("a/b/c.txt", filled(b"1"))
    folder.write("a/d.txt", filled(b"2"))
    assert everything(place) == ["a", "a/b", "a/b/c.txt", "a/d.txt"]
    assert (place / "a/b/c.txt").read_bytes() == b"1"
    assert folder.has("a/d.txt", hashlib.sha256(b"2").hexdigest())
    assert not folder.has("a/x.txt", "") and not folder.has("x/y/z", "")


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x", "..", ".", "", "a//b", "a/", "a\0b"])
def test_no_name_leads_out_of_it(folder: DownloadFolder, place: Path, name: str) -> None:
    with pytest.raises(DownloadRefused, match="leaves the folder"):
        folder.write(name, filled(b"x"))
    with pytest.raises(DownloadRefused):
        folder.has(name, "")
    assert [path.name for path in place.parent.iterdir()] == ["load"] and everything(place) == []


def test_no_link_is_followed(folder: DownloadFolder, place: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    os.symlink(elsewhere, place / "folder")
    os.symlink(elsewhere / "made", place / "file")
    with pytest.raises(OSError):
        folder.write("folder/x", filled(b"x"))
    with pytest.raises(DownloadRefused, match="another file is there"):
        folder.write("file", filled(b"x"))
    with pytest.raises(OSError):
        folder.has("file", "")
    assert list(elsewhere.iterdir()) == []


def test_another_file_is_left_as_it_is(folder: DownloadFolder, place: Path) -> None:
    (place / "x").write_bytes(b"mine")
    with pytest.raises(DownloadRefused, match="another file is there"):
        folder.has("x", hashlib.sha256(b"theirs").hexdigest())
    with pytest.raises(DownloadRefused, match="another file is there"):
        folder.write("x", filled(b"theirs"))
    assert (place / "x").read_bytes() == b"mine" and everything(place) == ["x"]


def test_what_is_no_file_is_in_the_way_and_nothing_stays_open(folder: DownloadFolder, place: Path) -> None:
    (place / "folder").mkdir()
    os.mkfifo(place / "pipe")
    before = os.listdir("/proc/self/fd")
    for name in ("folder", "pipe"):
        with pytest.raises(DownloadRefused, match="is there already, and is no file"):
            folder.has(name, "")
    assert os.listdir("/proc/self/fd") == before


def test_nothing_is_left_of_a_file_that_did_not_come_as_a_whole(folder: DownloadFolder, place: Path) -> None:
    def broken(file: IO[bytes]) -> None:
        file.write(b"half")
        raise ConnectionError

    with pytest.raises(ConnectionError):
        folder.write("x", broken)
    assert everything(place) == []
