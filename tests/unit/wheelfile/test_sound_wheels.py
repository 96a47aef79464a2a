"""Wheels that are accepted: what is read from them, and what is unpacked where."""

from __future__ import annotations

import io
import stat
import zipfile
from pathlib import Path

import pytest

from pyoco_server.contract.wheels import WheelName
from pyoco_server.wheelfile.check import Wheel, check_wheel
from pyoco_server.wheelfile.unpack import unpack
from tests.support.wheels import PLUGIN, USAGE, file_name, wheel


def checked(data: bytes, name: str = file_name()) -> Wheel:
    return check_wheel(io.BytesIO(data), WheelName.parse(name))


def test_what_a_wheel_says_of_itself_is_read() -> None:
    metadata = "Requires-Python: >=3.8\nRequires-Dist: pyyaml>=6\nProject-URL: Documentation, https://example.org\n"
    found = checked(wheel(metadata=metadata, entry_points=PLUGIN.format(package="demo")))
    assert found.plugins == ("demo",)
    assert found.requires == ("pyyaml>=6",)
    assert found.requires_python.contains("3.11")
    assert found.project_urls == ("Documentation, https://example.org",)
    assert (found.summary, found.description) == ("a test", USAGE)


def test_names_compare_as_packages_do() -> None:
    data = wheel("My.Demo", "1.0", named=("my-demo", "1.0.0"))
    assert checked(data, "my_demo-1.0-py3-none-any.whl").name.package == "my-demo"


def test_a_local_version_is_that_of_the_file_name() -> None:
    assert str(checked(wheel(version="1.0+gpu"), file_name(version="1.0+gpu")).name.version) == "1.0+gpu"


def test_the_files_of_the_path_are_unpacked_and_nothing_else_is(tmp_path: Path) -> None:
    files = {
        "demo/__init__.py": b"",
        "demo-1.0.data/purelib/demo/pure.py": b"1",
        "demo-1.0.data/platlib/demo/plat.py": b"22",
        "demo-1.0.data/scripts/run-me": b"#!python",
        "demo-1.0.data/data/share/x": b"x",
    }
    data = wheel(files=files)
    sizes = unpack(io.BytesIO(data), checked(data), tmp_path, lambda: None)
    found = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    info = {f"demo-1.0.dist-info/{name}" for name in ("METADATA", "WHEEL", "RECORD")}
    assert found == {"demo/__init__.py", "demo/pure.py", "demo/plat.py", *info} == sizes.keys()
    assert sizes["demo/plat.py"] == 2


def test_a_program_in_a_package_can_be_executed_and_nothing_is_writable_by_others(tmp_path: Path) -> None:
    data = wheel(files={"demo/tool": b"#!/bin/sh\n", "demo/__init__.py": b""})
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(buffer, "w") as target:
        for member in source.infolist():
            content = source.read(member)
            member.external_attr = (stat.S_IFREG | (0o777 if member.filename == "demo/tool" else 0o666)) << 16
            target.writestr(member, content)
    unpack(buffer, checked(buffer.getvalue()), tmp_path, lambda: None)
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("demo/tool", "demo/__init__.py")]
    assert modes == [0o755, 0o644]


def test_a_check_and_an_unpacking_end_when_they_are_told_to(tmp_path: Path) -> None:
    data = wheel()

    def too_late() -> None:
        raise TimeoutError

    with pytest.raises(TimeoutError):
        check_wheel(io.BytesIO(data), WheelName.parse(file_name()), too_late)
    with pytest.raises(TimeoutError):
        unpack(io.BytesIO(data), checked(data), tmp_path, too_late)
