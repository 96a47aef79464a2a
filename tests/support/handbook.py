"""A document of commands for several machines: what stands there is carried out, block by block.

The first line of a block says where: ``# on n1, n2`` is each of these machines, ``# in the clone`` a folder with the
source of the project.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tests.support import documents
from tests.support.documents import DOCS, section
from tests.support.machines import Site


@dataclass(frozen=True)
class Block:
    """Lines that are carried out together.

    :param machines: on which ones, one after the other; empty = in the clone.
    """

    machines: tuple[str, ...]
    text: str


class Handbook:
    """What ``docs/operations.md`` says, carried out on machines.

    :param clone: the folder that is the clone.
    :param office: the machine at which somebody works in the clone.
    """

    def __init__(self, site: Site, clone: Path, office: str) -> None:
        self._site = site
        self._clone = clone
        self._office = office
        self._text = (DOCS / "operations.md").read_text()

    def blocks(self, heading: str) -> list[Block]:
        """Give the blocks under a heading."""
        return blocks(section(self._text, heading))

    def play(self, heading: str, number: int | None = None, *, only: str | None = None, **words: str) -> list[str]:
        """Carry out what stands under a heading; all of it, or one block.

        :param only: a machine: what stands there for others is left out.
        :param words: what is put in for words in capitals, such as the id of a run.
        :return: what was printed, by each machine of each block.
        """
        found = self.blocks(heading)
        chosen = found if number is None else [found[number]]
        places = [(block, machine) for block in chosen for machine in block.machines or (None,)]
        return [self.carry_out(block, place, **words) for block, place in places if only in (None, place)]

    def carry_out(self, block: Block, machine: str | None, *, status: int = 0, **words: str) -> str:
        """Carry out a block on one machine; ``None`` = in the clone."""
        text = block.text
        for word, value in words.items():
            text = re.sub(rf"\b{word}\b", value, text)
        if machine is None:
            return self._site[self._office].run(text, cwd=self._clone, status=status)
        return self._site[machine].run(text, status=status)


def blocks(text: str) -> list[Block]:
    """Give the blocks of a text that say where they belong."""
    found = []
    for code in documents.blocks(text, "sh"):
        first, _, lines = code.partition("\n")
        place = re.fullmatch(r"# (on|in) (.*)", first)
        if place:
            found.append(Block(tuple(re.split(r", | and ", place[2])) if place[1] == "on" else (), lines))
    return found
