"""Tables whose definitions people may change, and how an ORM rebuilds one. See sim.draw, which chooses.

One test each:

1. A rebuild leaves the rows and indexes that there were.
2. A table is not rebuilt where views or triggers stand in the way.
3. Two nodes may add one column with other defaults.
"""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from random import Random
from typing import NamedTuple

from replica.store.catalog import quote, user_tables
from sim.scenario import Scenario
from sim.theirs import theirs

MAKING = re.compile(r'\s*CREATE\s+TABLE\s+("(?:[^"]|"")*"|`[^`]*`|\[[^]]*\]|\w+)', re.IGNORECASE)


DEFAULTS = ("", "", " DEFAULT 'usual'", " DEFAULT '{}''s'", " NOT NULL DEFAULT ''")
"""What a new column shows in the rows that there are: nothing, or what everybody, only this node, or a form says."""


class Alterable(NamedTuple):
    """A table that may change. `key`: its columns, and whether they are numbers. `rebuild`: a transaction that makes it
    anew; none where views or triggers stand in the way."""

    name: str
    columns: list[str]
    key: list[tuple[str, bool]]
    rebuild: list[str]


def alterable(world: Scenario) -> list[Alterable]:
    """The tables of a world with a primary key, as it begins."""
    found = []
    with closing(theirs(world.db) if world.db else sqlite3.connect(":memory:")) as db:
        db.executescript(world.schema)
        hangs = db.execute("SELECT count(*) FROM sqlite_master WHERE type IN ('view', 'trigger')").fetchone()[0]
        for name in user_tables(db):
            info = db.execute("SELECT name, type, pk FROM pragma_table_xinfo(?) WHERE hidden = 0", (name,)).fetchall()
            (sql,) = db.execute("SELECT sql FROM sqlite_master WHERE type = 'table' AND name = ?", (name,)).fetchone()
            key = [(n, "INT" in kind.upper()) for n, kind, pk in sorted(info, key=lambda i: i[2]) if pk]
            if not key:
                continue
            indexes = (
                "SELECT sql FROM sqlite_master WHERE type = 'index' AND tbl_name = ? AND sql NOT NULL ORDER BY rowid"
            )
            after = [index for (index,) in db.execute(indexes, (name,)).fetchall()]
            making, done = MAKING.subn('CREATE TABLE "extra_new"', sql, count=1)
            listed = ", ".join(quote(n) for n, _, _ in info)
            old = quote(name)
            copying = f'INSERT INTO "extra_new"({listed}) SELECT {listed} FROM {old}'
            rebuild = [making, copying, f"DROP TABLE {old}", f'ALTER TABLE "extra_new" RENAME TO {old}', *after]
            found.append(Alterable(name, [n for n, _, _ in info], key, rebuild if done and not hangs else []))
    return found


def adding(table: str, column: str, node: str, random: Random) -> str:
    """The statement by which this node adds a column."""
    return f"ALTER TABLE {quote(table)} ADD COLUMN {column} TEXT{random.choice(DEFAULTS).format(node)}"
