"""The tutorial, carried out; its pictures are taken on the way by ``python -m tests.support.tutorial FOLDER``."""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.support.browser import Browser
from tests.support.commands import Daemons
from tests.support.documents import DOCS, code_blocks
from tests.support.reader import Reader, steps

TUTORIAL = DOCS.parent / "tutorial"
#: The text of each language.
TEXTS = {"en": TUTORIAL / "README.md", "ja": TUTORIAL / "README_ja.md"}
#: What each picture shows: a command that prints the path of its page, and how much of it, in pixels.
_PAGES = {"failed": ("echo /ui/runs/$failed", 980), "waiting": ("echo /", 580)}
_WIDTH = 1000


def follow(home: Path, look: Callable[[Reader, str], None] | None = None) -> list[str]:
    """Carry out the tutorial from its first block to its last.

    :param look: called with the name of each picture where it stands in the text.
    :return: processes that are left.
    """
    daemons = Daemons(home / "site", PYOCO_LOAD_DOTENV="1")
    reader = Reader(home, DOCS.parent, daemons.start)
    try:
        for part in re.split(r"^!\[", TEXTS["en"].read_text(), flags=re.MULTILINE):
            picture = re.match(r"[^]]*\]\(images/(\w+)-en\.png\)", part)
            if picture and look:
                look(reader, picture[1])
            for step in steps(code_blocks(part)):
                if step.commands.startswith("rm "):
                    reader.press_ctrl_c()
                reader.carry_out(step)
        return [member.command for member in daemons.family.members()]
    finally:
        reader.close()
        daemons.close()


def take(folder: Path) -> None:
    """Write ``<picture>-<en|ja>.png`` for each picture of the tutorial."""

    def look(reader: Reader, name: str) -> None:
        command, height = _PAGES[name]
        path = reader.ask(command)
        for lang in TEXTS:
            browser = Browser(reader, lang)
            try:
                browser.show(path, width=_WIDTH, height=height)
                for traceback in browser.all("details[open] > summary"):
                    # It names folders of this machine.
                    traceback.click()
                browser.driver.save_screenshot(str(folder / f"{name}-{lang}.png"))
            finally:
                browser.driver.quit()

    with tempfile.TemporaryDirectory() as home:
        follow(Path(home), look)


if __name__ == "__main__":
    take(Path(sys.argv[1]))
