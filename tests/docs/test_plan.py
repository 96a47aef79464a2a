"""docs/plan.md says of Python and pyoco what the package asks for, and names files that there are."""

from __future__ import annotations

import re
from importlib.metadata import metadata

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from pyoco_server.operations.stream_checks import OLDEST_VERSION
from tests.support.documents import DOCS, table

TEXT = (DOCS / "plan.md").read_text()
STANDS_ON = {row["what"]: row["which"] for row in table(TEXT, "what")}


def test_it_stands_on_what_the_package_asks_for() -> None:
    asked = metadata("pyoco-server")
    needed = [Requirement(text) for text in asked.get_all("Requires-Dist") or []]
    (pyoco,) = [each.specifier for each in needed if each.name == "pyoco"]
    assert SpecifierSet(STANDS_ON["Python"]) == SpecifierSet(asked["Requires-Python"])
    assert SpecifierSet(STANDS_ON["pyoco"]) == pyoco
    assert STANDS_ON["nats-server"].startswith(".".join(map(str, OLDEST_VERSION)))


def test_the_tests_that_it_names_are_there() -> None:
    named = re.findall(r"`(tests/\S+\.py)`", TEXT)
    assert named and all((DOCS.parent / name).is_file() for name in named)
