"""What the user's tables look like: read from SQLite's own catalog, never from anybody's DDL text.

`Shape` is a table as it stands in the file; `Table` is a collection: its number, the positions of its fields, and the
shape of the local table if there is one. Names compare by ASCII letters without case, as SQLite compares them, and
travel folded. Local columns are kept in the order of their folded names, which is the canonical order of registers.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

from protocol import limits
from protocol.record import array_header, fold
from protocol.values import IllFormedText, pack_any
from replica.errors import StoreError, TableRefused, hopeless
from replica.store.schema import PREFIX


class Column(NamedTuple):
    """One column. `default` is SQL text or None; `key` its 1-based place in the primary key, else 0; `position` its place
    in the table."""

    name: str
    folded: str
    affinity: str
    collation: str
    notnull: bool
    default: str | None
    key: int
    position: int


class Unique(NamedTuple):
    """A unique index: (column name or None for an expression, collation) of each part."""

    name: str
    parts: tuple[tuple[str | None, str], ...]
    primary: bool
    partial: bool


@dataclass(frozen=True)
class Shape:
    """A table as it stands in the file. `columns`: the replicated ones, by folded name; `key`: in key order."""

    name: str
    key: tuple[Column, ...]
    columns: tuple[Column, ...]
    uniques: tuple[Unique, ...]
    references: tuple[tuple[str, str, str], ...]
    rowid_alias: bool
    autoincrement: bool
    strict: bool

    @property
    def signature(self) -> str:
        """Changes when something that matters here changes."""
        return json.dumps([self.key, self.columns, self.uniques, self.rowid_alias, self.strict])

    @property
    def needs_count(self) -> bool:
        """A unique index over expressions alone: REPLACE may delete rows that no trigger can name."""
        return any(all(name is None for name, _ in unique.parts) for unique in self.uniques)


KEY_COLUMNS_MAX = 100
"""Columns of a key or of a UNIQUE: SQLite's expressions in our triggers have at most 1,000 terms."""

_NOT_THEIRS = (PREFIX.rstrip("_"), "sqlite_")
_NO_CODE = re.compile(r"""--[^\n]*|/\*.*?\*/|'(?:[^']|'')*'|"(?:[^"]|"")*"|\[[^]]*\]|`(?:[^`]|``)*`""", re.DOTALL)
"""Comments, strings and quoted names in SQL."""
_NAME = re.compile(r'"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^]]*\]|[^\W\d][\w$]*')
_WORDS = frozenset({"NULL", "CURRENT_TIME", "CURRENT_DATE", "CURRENT_TIMESTAMP"})


def quote(name: str) -> str:
    """An identifier in SQL."""
    return '"' + name.replace('"', '""') + '"'


def marks(values: Sequence[object]) -> str:
    """Placeholders; ill-formed text goes in as bytes and is cast, since Python cannot bind it."""
    return ", ".join("CAST(? AS TEXT)" if type(v) is IllFormedText else "?" for v in values)


def affinity(declared: str, strict: bool) -> str:
    """Affinity of a declared type: sqlite.org/datatype3.html, section 3.1."""
    kind = declared.upper()
    if strict and kind == "ANY":
        return "BLOB"
    if "INT" in kind:
        return "INTEGER"
    if any(word in kind for word in ("CHAR", "CLOB", "TEXT")):
        return "TEXT"
    if "BLOB" in kind or not kind:
        return "BLOB"
    return "REAL" if any(word in kind for word in ("REAL", "FLOA", "DOUB")) else "NUMERIC"


def user_tables(db: sqlite3.Connection) -> list[str]:
    """Names of the tables that are not ours and not SQLite's own."""
    shadow = "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'shadow'"  # Parts of a virtual table.
    names = f"SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT IN ({shadow}) ORDER BY rowid"
    return [n for (n,) in db.execute(names).fetchall() if not fold(n).startswith(_NOT_THEIRS)]


def find(db: sqlite3.Connection, name: str) -> str | None:
    """The table's name as written, or None if there is no such table."""
    rows = db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    return next((n for (n,) in rows if fold(n) == fold(name)), None)


def shape(db: sqlite3.Connection, name: str) -> Shape:
    """The shape of a table. Raises TableRefused for one that cannot be replicated, with what to do about it."""
    row = db.execute(
        "SELECT m.type, sql, l.type, wr, strict FROM sqlite_master AS m LEFT JOIN pragma_table_list(m.name) AS l "
        "ON l.schema = 'main' AND l.name = m.name WHERE m.name = ? AND m.type IN ('table', 'view')",
        (name,),
    ).fetchone()
    if row is None:
        raise TableRefused(f"there is no table {name!r} in this database")
    made, sql, kind, without_rowid, strict = row[0], row[1] or "", row[2], bool(row[3]), bool(row[4])
    if made == "view":
        raise TableRefused(f"{name!r} is a view: adopt the tables that it reads")
    if fold(name).startswith(_NOT_THEIRS):
        raise TableRefused(f"{name!r} is no table of yours: names that begin so belong to the engine or to SQLite")
    if kind == "shadow":
        raise TableRefused(f"{name!r} belongs to a virtual table: adopt the table that feeds that one")
    if re.match(r"\s*CREATE\s+VIRTUAL\b", sql, re.IGNORECASE):
        raise TableRefused(f"{name!r} is a virtual table: adopt the table that feeds it")
    parts = db.execute(
        "SELECT l.name, origin, partial, x.name, coll FROM pragma_index_list(?, 'main') AS l "
        "JOIN pragma_index_xinfo(l.name, 'main') AS x WHERE \"unique\" AND key ORDER BY l.seq, seqno",
        (name,),
    ).fetchall()
    uniques = [
        Unique(index, tuple((column, collation) for *_, column, collation in some), origin == "pk", bool(partial))
        for (index, origin, partial), some in groupby(parts, itemgetter(0, 1, 2))
    ]
    columns: list[Column] = []
    key: list[Column] = []
    look = "SELECT name, type, \"notnull\", dflt_value, pk, hidden FROM pragma_table_xinfo(?, 'main')"
    info = db.execute(look, (name,)).fetchall()
    collations = _collations(sql, name, tuple(row[0] for row in info if not row[5]))
    for position, (column, declared, notnull, default, pk, hidden) in enumerate(info):
        if hidden:
            continue
        kind = affinity(declared, strict)
        collation = collations.get(column, "BINARY")
        item = Column(column, fold(column), kind, collation, bool(notnull), _default(default), pk, position)
        (key if pk else columns).append(item)
    if not key:
        raise TableRefused(
            f"table {name!r} has no primary key, so its rows cannot be told apart on another machine: make a copy of it "
            f"with one (for example: id TEXT PRIMARY KEY DEFAULT (lower(hex(randomblob(16))))) and adopt that"
        )
    if not all((name, *(c.name for c in (*key, *columns)))):
        raise TableRefused(f"table {name!r}, or a column of it, has an empty name, which cannot travel: rename it")
    long = [n for n in (name, *(c.name for c in (*key, *columns))) if len(n.encode()) > limits.NAME_BYTES_MAX]
    if long:
        raise TableRefused(
            f"the name {long[0][:40]!r}... cannot travel: a name has at most {limits.NAME_BYTES_MAX} bytes"
        )
    if len(key) > KEY_COLUMNS_MAX:
        raise TableRefused(
            f"the primary key of {name!r} has {len(key)} columns: at most {KEY_COLUMNS_MAX} can be followed"
        )
    key.sort(key=lambda c: c.key)
    alias = len(key) == 1 and not without_rowid and not any(u.primary for u in uniques)
    # Of several columns together, a single-column reference would be another constraint: only simple ones travel.
    links = (
        "SELECT \"from\", \"table\", coalesce(\"to\", '') FROM pragma_foreign_key_list(?, 'main') "
        "GROUP BY id HAVING count(*) = 1"
    )
    references = db.execute(links, (name,)).fetchall()
    return Shape(
        name,
        tuple(key),
        tuple(sorted(columns, key=lambda c: c.folded.encode())),
        tuple(uniques),
        tuple(references),
        alias,
        alias and bool(re.search(r"\bAUTOINCREMENT\b", _NO_CODE.sub(" ", sql), re.IGNORECASE)),
        strict,
    )


def _default(sql: str | None) -> str | None:
    """A default as an expression that means the same anywhere: `DEFAULT abc` and `DEFAULT "abc"` are text, which in a
    trigger would be the name of a column."""
    if sql is None or not _NAME.fullmatch(sql) or sql.upper() in _WORDS:
        return sql
    if sql.upper() in {"TRUE", "FALSE"}:
        return str(int(sql.upper() == "TRUE"))  # Words since SQLite 3.23 only.
    name = sql[1:-1].replace(sql[0] * 2, sql[0]) if sql[0] in '"`' else sql.strip("[]")
    return "'" + name.replace("'", "''") + "'"


@lru_cache(256)
def _collations(sql: str, table: str, columns: tuple[str, ...]) -> dict[str, str]:
    """Collation of each column. SQLite has no pragma for it, but an index inherits it: so this table is made, empty, in
    a database of its own, and an index on each column."""
    found = {}
    with (
        closing(sqlite3.connect(":memory:")) as db,
        suppress(sqlite3.Error),
    ):  # It may need another program's functions.
        db.execute(sql)
        for column in columns:
            with suppress(sqlite3.Error):
                db.execute(f"CREATE INDEX _replica_i ON {quote(table)}({quote(column)})")
                (found[column],) = db.execute("SELECT coll FROM pragma_index_xinfo('_replica_i') WHERE key").fetchone()
                db.execute("DROP INDEX _replica_i")
    return found


@dataclass
class Table:
    """A collection. `fields` gives the position of every field ever seen, here or at a peer; `at` the positions of the
    local columns, in their order."""

    tbl: int
    collection: str
    surrogate: bool
    state: str
    leap: int
    fields: list[str]
    shape: Shape | None
    at: tuple[int, ...] = ()
    names: tuple[str, ...] = ()
    positions: dict[str, int] = field(default_factory=dict)
    plain: bool = False
    """Every field is a local column, and positions are in canonical order: the common case, which has fast paths."""

    def __post_init__(self) -> None:
        self.refresh()

    def refresh(self) -> None:
        """Derive what depends on fields and shape."""
        self.positions = {name: pos for pos, name in enumerate(self.fields)}
        everything = self.shape.columns if self.shape else ()
        columns = [c for c in everything if c.folded in self.positions]  # A column that is newer than our look at it.
        self.columns = columns
        self.names = tuple(c.folded for c in columns)
        self.at = tuple(self.positions[name] for name in self.names)
        self.plain = self.shape is not None and self.at == tuple(range(len(self.fields)))
        self.packed_name = pack_any(self.collection)
        self.head = b"\x98" + self.packed_name
        self.tail = pack_any(list(self.names))
        self.values_header = array_header(len(self.names))
        if self.shape:
            sql = quote(self.shape.name)
            self.sql = sql
            self.key_columns = [quote(c.name) for c in self.shape.key]
            self.value_columns = [quote(c.name) for c in columns]
            row = self.key_columns + self.value_columns
            self.select = f"SELECT {', '.join(row)} FROM {sql}"
            self.insert = f"INSERT OR FAIL INTO {sql}({', '.join(row)}) VALUES "
            self.marks = f"({', '.join('?' * len(row))})"
            self.where = " AND ".join(f"{c} IS ? COLLATE BINARY" for c in self.key_columns)
            self.seek = " AND ".join(f"{c} = ?" for c in self.key_columns) + f" AND {self.where}"

    def named(self, said: str) -> str:
        """Its name in the group: as it is said here, if that is it, else its first one."""
        return said if fold(said) == self.collection else self.collection

    @property
    def label(self) -> str:
        """Its name for people."""
        return self.shape.name if self.shape else self.collection


def load(db: sqlite3.Connection, shapes: dict[str, Shape | str]) -> dict[int, Table]:
    """All collections by number. `shapes`: of local tables, or why they are refused, as far as the caller knows them; the
    others are added. Raises StoreError for names that are none."""
    fields: dict[int, list[str]] = {}
    for tbl, pos, name in _stored(db, "SELECT tbl, pos, name FROM _replica_field ORDER BY tbl, pos"):
        if type(name) is not str or pos != len(fields.setdefault(tbl, [])):
            raise _damaged()
        fields[tbl].append(name)
    tables = {}
    for tbl, collection, local, surrogate, state, leap in _stored(
        db, "SELECT tbl, collection, local, surrogate, state, leap FROM _replica_table"
    ):
        if (*map(type, (collection, state, surrogate, leap)), type(local or "")) != (str, str, int, int, str):
            raise _damaged()
        if local and local not in shapes:
            try:
                shapes[local] = shape(db, local)
            except TableRefused as error:  # Changed by somebody; `mend` follows in the next write transaction.
                shapes[local] = str(error)
        here = shapes[local] if local else None
        if isinstance(here, str):
            here, state = None, here
        tables[tbl] = Table(tbl, collection, bool(surrogate), state, leap, fields.get(tbl, []), here)
    return tables


def _stored(db: sqlite3.Connection, sql: str) -> list[tuple[Any, ...]]:
    try:
        return db.execute(sql).fetchall()
    except sqlite3.OperationalError as error:
        if "decode" in str(error):
            raise _damaged() from error
        raise


def _damaged() -> StoreError:
    return hopeless("the file", "what is stored of the names of its tables and columns makes no sense")


def load_names(db: sqlite3.Connection, tbl: int) -> frozenset[str]:
    """Folded names of the local columns as they were when the table's signature was stored."""
    row = db.execute("SELECT signature FROM _replica_table WHERE tbl = ?", (tbl,)).fetchone()
    return frozenset(column[1] for column in json.loads(row[0])[1]) if row and row[0] else frozenset()


def key_of_signature(signature: str) -> list[object]:
    """The part of a signature that must not change: names of the key columns, and whether SQLite makes up the key."""
    parts = json.loads(signature)
    return [[column[1] for column in parts[0]], parts[3]]


def meant(db: sqlite3.Connection, tables: Iterable[Table], name: str) -> Table | None:
    """The one of these that a person means: which is called so in the file, or, if nothing is, which the group calls so."""
    there = list(tables)
    found = called(there, name)
    if found is None and find(db, name) is None:
        found = next((t for t in there if t.shape is not None and t.collection == fold(name)), None)
    return found


def called(tables: Iterable[Table], name: str) -> Table | None:
    """Of these, the one that is called so in the file. One that was renamed is known to the group by its first name, under
    which there may be another table here."""
    folded = fold(name)
    return next((t for t in tables if t.shape is not None and fold(t.shape.name) == folded), None)
