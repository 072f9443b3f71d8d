"""What people know of a table, and the SQL that they write about it. See sim.workload, which draws it.

One test each:

1. A literal is the value that it says.
2. What a table is like, its rows tell.
"""

from __future__ import annotations

import math
import sqlite3

from protocol.record import fold
from replica.store.catalog import Shape, quote

SAMPLE, SHORT = 300, 100
"""Rows looked at per table; characters or bytes of a value that is written again."""

Key = tuple[object, ...]
Row = dict[str, object]
Draft = tuple[str, "Table", list[Key]]
"""A statement, and the rows that it is about."""


def literal(value: object) -> str:
    """A value as SQL text."""
    if value is None:
        return "NULL"
    if isinstance(value, bytes):
        return f"x'{value.hex()}'"
    if isinstance(value, str):
        return f"CAST(x'{value.encode().hex()}' AS TEXT)" if "\0" in value else "'" + value.replace("'", "''") + "'"
    return repr(value).replace("inf", "9e999")


class Table:
    """What people know of a table. `keys`: of all rows ever, hot ones first; `graves`: (who, row) of those deleted."""

    def __init__(self, db: sqlite3.Connection, shape: Shape) -> None:
        self.name, self.sql, self.columns = shape.name, quote(shape.name), shape.columns
        self.key, self.made_up = shape.key, shape.rowid_alias
        self.names = [c.name for c in (*shape.key, *shape.columns)]
        self.unique = {n for u in shape.uniques if not u.primary for n, _ in u.parts if n is not None}
        self.parents = {column: fold(table) for column, table, _ in shape.references}
        self.where = " AND ".join(f"{quote(c.name)} = ?" for c in shape.key)
        self.listed = ", ".join(map(quote, self.names))
        order = ", ".join(quote(c.name) for c in shape.key)
        self.rows = found = db.execute(
            f"SELECT {self.listed} FROM {self.sql} ORDER BY {order} LIMIT {SAMPLE}"
        ).fetchall()
        self.keys: list[Key] = [key for row in found if None not in (key := row[: len(shape.key)])]
        self.known = set(self.keys)  # Asked only, never gone through.
        self.graves: list[tuple[str, Row]] = []
        self.samples = {name: samples_of([row[i] for row in found]) for i, name in enumerate(self.names)}
        self.base = min(max([1_000_000, *(n for k in self.keys for n in k if isinstance(n, int))]), 1 << 61)
        """Numbers above are free for new keys."""

    def learn(self, key: Key, place: int) -> None:
        """There is a row of this key now, and it is so hot."""
        self.known.add(key)
        self.keys.insert(place, key)
        for c, value in zip(self.key, key, strict=True):
            self.samples[c.name] = [*self.samples[c.name], value][-40:]

    def at(self, key: Key) -> str:
        """A WHERE clause for one row."""
        return " AND ".join(f"{quote(c.name)} = {literal(v)}" for c, v in zip(self.key, key, strict=True))

    def find(self, db: sqlite3.Connection, key: Key) -> Row | None:
        """The row of this key, if it is there."""
        row = db.execute(f"SELECT {self.listed} FROM {self.sql} WHERE {self.where}", key).fetchone()
        return None if row is None else dict(zip(self.names, map(short, row), strict=True))


def short(value: object) -> object:
    """What an event can carry; JSON has no infinity."""
    if isinstance(value, str | bytes):
        return value[:SHORT]
    return None if isinstance(value, float) and math.isinf(value) else value


def samples_of(values: list[object]) -> list[object]:
    """Those that every file and statement can carry."""
    return list({repr(v): v for v in values if v is not None and v == short(v)}.values())[:40]


def insert_sql(table: Table, row: Row, conflict: str = "") -> str:
    """INSERT, or INSERT with such a `conflict` clause."""
    if not row:
        return f"INSERT {conflict}INTO {table.sql} DEFAULT VALUES"
    columns, values = ", ".join(map(quote, row)), ", ".join(map(literal, row.values()))
    return f"INSERT {conflict}INTO {table.sql}({columns}) VALUES ({values})"


def upsert_sql(table: Table, row: Row) -> str:
    """INSERT, or an update of the row that has the key."""
    sets = ", ".join(f"{quote(c.name)} = excluded.{quote(c.name)}" for c in table.columns if c.name in row)
    key = ", ".join(quote(c.name) for c in table.key)
    return f"{insert_sql(table, row)} ON CONFLICT({key}) {f'DO UPDATE SET {sets}' if sets else 'DO NOTHING'}"


def entries_of(drafts: list[Draft]) -> list[list[object]]:
    """How an event names the rows, but for keys that TOML has no word for."""
    keys = dict.fromkeys((table.name, key) for _, table, keys in drafts for key in keys)
    return [[name, list(key)] for name, key in keys if all(isinstance(v, int | str) for v in key)]
