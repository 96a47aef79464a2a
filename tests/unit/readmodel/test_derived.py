"""What is kept beside the rows of the runs."""

from __future__ import annotations

import re
from contextlib import closing

from pyoco_server.readmodel import derived
from pyoco_server.readmodel.schema import open_database


def test_every_upsert_names_its_key_as_sqlite_before_3_35_asks_for() -> None:
    with closing(open_database(":memory:", has_tenants=False)) as database:
        statements = " ".join(statement for piece in derived.missing(database) for statement in piece)
    followed_by = re.findall(r"on conflict\s+(\S)", statements)
    assert followed_by and set(followed_by) == {"("}
