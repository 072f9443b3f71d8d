"""Tables of a stranger's database, and what the story may touch in them: text columns that nothing else depends on."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import NamedTuple

ROWS_TRIED_MAX = 200  # candidates looked at per table before it is passed over

Value = str | int | float | bytes | None


class Subject(NamedTuple):
    """A table that the story can be told about."""

    table: str
    key: str  # its one primary key column
    fields: tuple[str, ...]  # text columns that take free text
    rows: int
    assigned: bool  # AUTOINCREMENT: SQLite picks the key of a new row
    preferred: str = "1 = 1"  # an SQL condition: rows that satisfy it are used first


def quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def is_text(declared: str) -> bool:
    """SQLite's own rule for TEXT affinity."""
    folded = declared.upper()
    return "INT" not in folded and any(word in folded for word in ("CHAR", "CLOB", "TEXT"))


def unique_columns(connection: sqlite3.Connection, table: str) -> set[str]:
    indexes = connection.execute(f"PRAGMA index_list({quote(table)})").fetchall()
    return {
        str(name)
        for _, index, unique, *_ in indexes
        if unique
        for _, _, name in connection.execute(f"PRAGMA index_info({quote(index)})").fetchall()
        if name is not None
    }


def references(connection: sqlite3.Connection, table: str) -> set[str]:
    return {str(row[3]) for row in connection.execute(f"PRAGMA foreign_key_list({quote(table)})").fetchall()}


def candidates(connection: sqlite3.Connection, subject: Subject) -> Iterator[Value]:
    """Keys that can be typed on a command line: integers from 0 up, printable text without a leading dash."""
    key = quote(subject.key)
    rows = connection.execute(
        f"SELECT {key} FROM {quote(subject.table)} WHERE typeof({key}) IN ('integer', 'text') "
        f"ORDER BY {subject.preferred} DESC, {key} LIMIT ?",
        (ROWS_TRIED_MAX,),
    ).fetchall()
    for (value,) in rows:
        text = str(value)
        if text and text.isprintable() and not text.startswith("-"):
            yield value
