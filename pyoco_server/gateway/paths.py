"""Which paths are pages for people."""

from __future__ import annotations

#: Where somebody signs in; open, as is the first page as long as nobody writes to it.
SIGN_IN_PATH = "/ui/sign-in"
FIRST_PAGE = "/"
#: Where wheels are looked at, and sent by a form: as large ones as the API takes.
WHEELS_PAGE = "/ui/wheels"


def is_page(path: str) -> bool:
    """Say whether people read what is at a path; every other one answers programs, and never with HTML."""
    return path in (FIRST_PAGE, "/ui") or path.startswith("/ui/")
