"""A side of a comparison, or what a profile is of: a collection of a store, or any file that can be read.

It is named FILE:COLLECTION, or FILE alone. Values come as the table or the file holds them; what SQLite cannot hold
(whole numbers over 64 bits, halves of surrogate pairs) comes as text. One test each:

1. A store and a file of the same content give the same fields and the same rows.
2. Rows that cannot be read are counted and told, and stop nothing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from protocol.values import INT_MAX, INT_MIN, IllFormedText
from replica.errors import FileRefused, UsageError
from replica.exchange.exporting.plan import KnownIn, of_collection
from replica.exchange.exporting.snapshot import snapshot, stream, table_of
from replica.exchange.rows import MISSING, Reader, Row
from replica.store.store import Store

OpenReader = Callable[[str], Reader]

_HEADER = b"SQLite format 3\x00"
_PLAIN = frozenset({str, float, bytes, type(None)})


@dataclass(slots=True)
class Side:
    """`key`: the fields that tell its records apart, as far as it says so itself; `parts`: its rows from the beginning, in
    the order of `fields`; `notes` grow while they are read."""

    name: str
    fields: list[str]
    is_store: bool
    parts: Callable[[], Iterator[list[Row]]]
    key: tuple[str, ...] = ()
    total: int | None = None
    notes: list[str] = field(default_factory=list)


def place(text: str, collection: str | None) -> tuple[str, str | None]:
    """(path, collection or None) of what a user named. Raises UsageError for a store without a collection."""
    if not Path(text).exists() and ":" in text:
        head, _, tail = text.rpartition(":")
        if tail and is_database(head):
            return head, tail
    if is_database(text):
        if collection is None:
            raise UsageError(f"{text} is a database: say which of its tables, as {text}:TABLE")
        return text, collection
    return text, None


def is_database(path: str) -> bool:
    """Whether this is an SQLite file."""
    with suppress(OSError, ValueError), open(path, "rb") as file:
        return file.read(len(_HEADER)) == _HEADER
    return False


@contextmanager
def open_side(text: str, collection: str | None, known_in: KnownIn, open_reader: OpenReader) -> Iterator[Side]:
    """Open a side. A store stands still while it is open. Raises UsageError, FileRefused, Unsure, StoreError."""
    path, table = place(text, collection)
    if table is None:
        with closing(open_reader(path)) as reader:
            yield of_reader(path, reader)
        return
    with Store(path) as store, snapshot(store) as core:
        plan = of_collection(core, table, partial(known_in, core))
        adopted = table_of(core, table)
        known = known_in(core, adopted.collection)
        assert adopted.shape is not None
        key = known.key if known is not None else tuple(c.name for c in adopted.shape.key)

        def parts() -> Iterator[list[Row]]:
            for query in plan.queries:
                for part in stream(core.db, query.sql):
                    yield [_fit(row) for row in part]

        yield Side(f"{path}:{table}", plan.fields, True, parts, key, plan.total, plan.notes)


def of_reader(name: str, reader: Reader) -> Side:
    """An open file as a side."""
    notes: list[str] = []

    def parts() -> Iterator[list[Row]]:
        broken = 0
        for batch in reader.batches():
            broken += len(batch.broken)
            yield [_fit(row) for row in batch.rows]
        if broken:
            notes.append(f"{name}: {broken} rows cannot be read and are left out")

    return Side(name, list(reader.fields), False, parts, notes=notes)


def _fit(row: Row) -> Row:
    if _PLAIN.issuperset(map(type, row)):
        return row
    return tuple(_value(v) for v in row)


def _value(value: Any) -> Any:
    if value is None or value is MISSING:
        return None
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int):
        return value if INT_MIN <= value <= INT_MAX else str(value)
    if isinstance(value, IllFormedText):
        return bytes(value).decode("utf-8", "replace")
    return value


def text_of(row: Row) -> Row:
    """A row whose text SQLite refuses, with U+FFFD instead of halves of surrogate pairs."""
    return tuple(
        v.encode("utf-16", "surrogatepass").decode("utf-16", "replace") if isinstance(v, str) else v for v in row
    )


class Scratch:
    """A database on the disk for the time of a comparison: what is sorted and joined there needs no memory."""

    COLUMNS_MAX = 900
    """SQLite's own limit is 2,000 columns, and two sides stand beside each other."""

    def __init__(self) -> None:
        self.db = sqlite3.connect("", isolation_level=None)  # A nameless file, deleted when it is closed.
        for setting in ("temp_store = FILE", "cache_size = -8192", "journal_mode = OFF", "synchronous = OFF"):
            self.db.execute(f"PRAGMA {setting}")

    def __enter__(self) -> Scratch:
        return self

    def __exit__(self, *_: object) -> None:
        self.db.close()

    def table(self, name: str, columns: list[str], fields: int) -> None:
        """Make a table without types. Raises FileRefused for too many columns."""
        if fields > self.COLUMNS_MAX:
            raise FileRefused(
                f"{fields} fields are too many to look at: at most {self.COLUMNS_MAX}; name some with --fields"
            )
        self.db.execute(f"CREATE TABLE {name}({', '.join(columns)})")

    def fill(self, name: str, rows: list[Row]) -> None:
        """Add rows."""
        if not rows:
            return
        sql = f"INSERT INTO {name} VALUES ({', '.join('?' * len(rows[0]))})"
        before = self.db.total_changes
        self.db.execute("BEGIN")
        try:
            self.db.executemany(sql, rows)
        except UnicodeEncodeError:
            done = self.db.total_changes - before
            self.db.executemany(sql, map(text_of, rows[done:]))
        finally:
            self.db.execute("COMMIT")
