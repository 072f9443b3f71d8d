"""People at work: plain SQL of other programs, and rows through the node, drawn over any schema.

What is drawn is tried on a scratch copy in memory, which so becomes what all people together would have made: a
statement that a constraint refuses there is drawn again, and CHECKs need no reading. The user's triggers are left out:
chance never comes from SQL. One test each:

1. The same chance draws the same work.
2. Few statements are refused when they run on one database: our CRM, any other schema, a real database.
3. Every kind of write occurs, and most writes hit few rows.
4. Values say which event wrote them.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from random import Random
from zlib import crc32

from protocol.record import fold
from replica.errors import TableRefused, UsageError
from replica.store.catalog import Column, quote, shape, user_tables
from sim.drafts import Draft, Key, Row, Table, entries_of, insert_sql, literal, upsert_sql
from sim.scenario import Event
from sim.theirs import theirs

CRM = """
CREATE TABLE account(
    id TEXT PRIMARY KEY, name TEXT NOT NULL DEFAULT 'n/a', email TEXT UNIQUE, city TEXT, rating INTEGER CHECK(rating >= 0)
);
CREATE TABLE contact(
    id TEXT PRIMARY KEY, account TEXT REFERENCES account, name TEXT, phone TEXT, mail TEXT, stage TEXT DEFAULT 'new'
);
CREATE TABLE visit(id INTEGER PRIMARY KEY, contact TEXT REFERENCES contact, note TEXT, at TEXT);
CREATE TABLE price(product TEXT, country TEXT, amount REAL NOT NULL DEFAULT 0, PRIMARY KEY(product, country));
"""
"""Tables of a small CRM: text keys, a number that SQLite makes up, a key of two columns, a unique column."""

KINDS = {
    "update": 40, "several": 11, "insert": 13, "delete": 6, "again": 5, "rekey": 3, "upsert": 5, "replace": 4, "same": 3,
    "many": 3, "steal": 3, "free": 3,
}  # fmt: skip
"""Kinds of statement, and how often each is drawn. `same`: a unique value that another node gave. `free`: who has such a
value gets another. `again`: a key that was deleted. `steal`: OR REPLACE
of a row that has the same unique value. `many`: several rows at once."""
RENUMBERED, BOTH = 0.02, 0.03
"""How often a row is deleted, and another one gets its number at once; and how often two nodes insert one key."""
REFUSED = 0.15
"""Of the puts, how many hold a row that a constraint refuses."""
TRIES = 6
"""Draws of one statement."""
DATE, CHANCY = re.compile(r"\d{4}-\d\d-\d\d"), re.compile(r"\(|CURRENT", re.IGNORECASE)
"""Text that is a date; a default that may be another one each time."""


def opening(schema: str, rng: Random, rows: int = 0) -> list[str]:
    """INSERT statements for the first rows of a schema (20 to 60, if not told), none if its SQL makes rows itself."""
    with closing(People.of(schema, rng)) as people:
        return [] if any(table.keys for table in people.tables) else people.begin(rows)


class People:
    """Draws what people do over a database, in the order of time. `skipped`: tables that they leave alone, and why."""

    def __init__(self, source: sqlite3.Connection, rng: Random) -> None:
        self._rng = rng
        self._db = sqlite3.connect(":memory:", isolation_level=None)
        self._db.execute("PRAGMA journal_mode = MEMORY")
        self.tables: list[Table] = []
        self.skipped: dict[str, str] = {}
        self._n = self._part = 0
        self._tired = self._bold = False
        self._given: list[tuple[Table, str, object, str]] = []
        self._shared: list[tuple[Table, str, object]] = []
        for name in user_tables(source):
            try:
                self.tables.append(self._copy(source, name))
            except (TableRefused, sqlite3.Error) as error:
                self.skipped[name] = str(error)
        self._by_name = {fold(t.name): t for t in self.tables}
        if not self.tables:
            self.close()
            why = "; ".join(self.skipped.values()) or "there is none at all"
            raise UsageError(f"there is no table that can be replicated: {why}")

    @staticmethod
    def of(schema: str, rng: Random) -> People:
        """People over a schema with its rows, as SQL."""
        with closing(sqlite3.connect(":memory:")) as db:
            db.executescript(schema)
            return People(db, rng)

    @staticmethod
    def for_db(path: str | Path, rng: Random) -> People:
        """People over a database of anybody's. Raises UsageError if it cannot be read or has no fit table."""
        try:
            with closing(theirs(path)) as db:
                db.text_factory = lambda data: data.decode("utf-8", "replace")
                return People(db, rng)
        except (sqlite3.Error, OSError) as error:
            raise UsageError(f"{path}: cannot be read as a database: {error}") from None

    def _copy(self, source: sqlite3.Connection, name: str) -> Table:
        found = Table(source, shape(source, name))
        making = "SELECT sql FROM sqlite_master WHERE tbl_name = ? AND type IN ('table', 'index') AND sql NOT NULL"
        for (sql,) in source.execute(f"{making} ORDER BY type DESC, rowid", (name,)).fetchall():
            self._db.execute(sql)
        marks = ("?," * len(found.names))[:-1]
        self._db.executemany(f"INSERT OR IGNORE INTO {found.sql}({found.listed}) VALUES ({marks})", found.rows)
        self._rng.shuffle(found.keys)  # So that hot rows are anywhere.
        return found

    def event(self, at: float, node: str) -> Event:
        """What somebody does: mostly another program's transaction, at times rows through the node, rarely many."""
        draw = self._rng.random()
        if draw < 0.06:
            return self.put(at, node, self._rng.randint(20, 200) if draw < 0.004 else self._rng.randint(1, 5))
        return self.write(at, node)

    def events(self, at: float, node: str, others: Sequence[str]) -> list[Event]:
        """The same; or two transactions soon after each other: a row is deleted, and another one gets its number; or one
        of `others` inserts the same key, of which it cannot know."""
        luck = self._rng.random()
        numbered = [table for table in self.tables if table.made_up and table.keys]
        named = [table for table in self.tables if not table.made_up]
        if luck < RENUMBERED and numbered:
            table, who = self._rng.choice(numbered), node
            key = self._pick(table, node)
            first = self._tried(node, lambda: [(f"DELETE FROM {table.sql} WHERE {table.at(key)}", table, [key])])
            second = self._tried(node, lambda: [(insert_sql(table, self._row(table, node, key)), table, [key])])
        elif RENUMBERED <= luck < RENUMBERED + BOTH and named and others:
            table, who = self._rng.choice(named), self._rng.choice(others)
            key = self._new_key(table, node)
            first = self._tried(node, lambda: [(insert_sql(table, self._row(table, node, key)), table, [key])])
            again = "OR REPLACE "  # It is refused nowhere, also where the first one is known already.
            second = self._tried(who, lambda: [(insert_sql(table, self._row(table, who, key), again), table, [key])])
        else:
            return [self.event(at, node)]
        soon = at + self._rng.uniform(0.1, 1.5)
        return [
            Event(round(when, 3), "write", name, {"sql": [draft[0]], "rows": entries_of([draft])})
            for when, name, (draft,) in ((at, node, first), (soon, who, second))
        ]

    def write(self, at: float, node: str) -> Event:
        """A transaction of another program."""

        def draw() -> list[Draft]:
            luck = self._rng.random()
            return [self._draft(node) for _ in range(3 if luck < 0.03 else 2 if luck < 0.1 else 1)]

        drafts = self._tried(node, draw)
        return Event(round(at, 3), "write", node, {"sql": [d[0] for d in drafts], "rows": entries_of(drafts)})

    def put(self, at: float, node: str, count: int) -> Event:
        """So many rows through the node, new ones and old ones; a write, if no table is fit for it. At times the last one is
        refused, and so all are."""
        if not (fit := [t for t in self.tables if not t.made_up]):
            return self.write(at, node)
        table, rows = self._rng.choice(fit), dict[Key, Row]()

        def draw() -> list[Draft]:
            rows.clear()
            for _ in range(count):
                key = self._pick(table, node) if table.keys and self._rng.random() < 0.5 else self._new_key(table, node)
                row = self._row(table, node, key)
                if not any(isinstance(value, bytes) for value in row.values()):  # JSON has no bytes.
                    rows[key] = row
            return [(upsert_sql(table, row), table, [key]) for key, row in rows.items()]

        entries = entries_of(self._tried(node, draw))
        if not rows:
            return self.write(at, node)
        given = [*rows.values()]
        if self._rng.random() < REFUSED and (strict := [c.name for c in table.columns if c.notnull]):
            row = {**self._row(table, node, self._new_key(table, node)), strict[0]: None}
            given += [] if any(isinstance(value, bytes) for value in row.values()) else [row]
        with_ = {"table": table.name, "json": json.dumps(given, ensure_ascii=False), "rows": entries}
        return Event(round(at, 3), "put", node, with_)

    def begin(self, rows: int = 0) -> list[str]:
        """INSERT statements for the first rows, in each table in turn."""
        turns = [self.tables[n % len(self.tables)] for n in range(rows or self._rng.randint(20, 60))]
        return [self._tried("", lambda t=table: [self._insert(t, "")])[0][0] for table in turns]  # type: ignore[misc]

    def close(self) -> None:
        """Forget the scratch copy."""
        self._db.close()

    def _tried(self, node: str, draw: Callable[[], list[Draft]]) -> list[Draft]:
        """Draw until it can run. Takes note of what it made and deleted."""
        drafts: list[Draft] = []
        for attempt in range(TRIES):
            self._n += 1
            self._part, self._tired, self._bold = 0, attempt > 1, False
            drafts = draw()
            before = [(table, key, table.find(self._db, key)) for _, table, keys in drafts for key in keys]
            self._db.execute("BEGIN")
            try:
                for sql, _, _ in drafts:
                    self._db.execute(sql)
                self._db.execute("COMMIT")
            except sqlite3.Error:  # Drawn again, if it was not meant to be refused at times.
                self._db.execute("ROLLBACK")
                if not self._bold:
                    continue
            for table, key, row in before:
                after = table.find(self._db, key)
                if row is not None and after is None:
                    table.graves = [*table.graves[-50:], (node, row)]
                elif after is not None and key not in table.known:
                    table.learn(key, self._rng.randint(0, len(table.keys)))
            break
        return drafts

    def _draft(self, node: str) -> Draft:
        rng, table = self._rng, self._rng.choice(self.tables)
        kind = rng.choices(list(KINDS), list(KINDS.values()))[0]
        if kind == "same" and (shared := [g for g in self._given if g[3] != node]):
            self._bold = True
            table, column, value, _ = rng.choice(shared)
            key = self._pick(table, node)
            self._shared = [*self._shared[-8:], (table, column, value)]
            return f"UPDATE {table.sql} SET {quote(column)} = {literal(value)} WHERE {table.at(key)}", table, [key]
        if kind == "free" and self._shared:
            return self._free(node)
        if kind == "insert" or not table.keys:
            return self._insert(table, node)
        key = self._pick(table, node)
        if kind == "delete":
            return f"DELETE FROM {table.sql} WHERE {table.at(key)}", table, [key]
        if kind == "again" and table.graves:
            return self._again(table, node)
        if kind == "rekey" or not table.columns:
            return self._rekey(table, node, key)
        if kind in {"upsert", "replace"} and not table.made_up:
            row = self._row(table, node, key if rng.random() < 0.6 else self._new_key(table, node))
            sql = upsert_sql(table, row) if kind == "upsert" else insert_sql(table, row, "OR REPLACE ")
            return sql, table, [tuple(row[c.name] for c in table.key)]
        if kind == "many":
            return self._many(table, node)
        if kind == "steal" and (stealing := self._steal(node)) is not None:
            return stealing
        return self._update(table, node, key, rng.randint(2, 4) if kind == "several" else 1)

    def _update(self, table: Table, node: str, key: Key, count: int) -> Draft:
        some = self._rng.sample(table.columns, min(count, len(table.columns)))
        values = [(c, self._value(table, c, node)) for c in some]
        self._remember(table, node, values)
        sets = ", ".join(f"{quote(c.name)} = {literal(v)}" for c, v in values)
        if table.made_up and (number := quote(table.key[0].name)) and self._rng.random() < 0.3:
            return f"UPDATE {table.sql} SET {sets} WHERE {number} = (SELECT max({number}) FROM {table.sql})", table, []
        return f"UPDATE {table.sql} SET {sets} WHERE {table.at(key)}", table, [key]

    def _many(self, table: Table, node: str) -> Draft:
        column = self._rng.choice([c for c in table.columns if c.name not in table.unique] or list(table.columns))
        sets = f"UPDATE {table.sql} SET {quote(column.name)} = {literal(self._value(table, column, node))}"
        by = [c for c in table.columns if c.name in table.parents and c is not column]
        if by and (other := self._rng.choice(by)) and self._rng.random() < 0.5:
            return f"{sets} WHERE {quote(other.name)} = {literal(self._value(table, other, node))}", table, []
        keys = list(dict.fromkeys(self._pick(table, node) for _ in range(self._rng.randint(2, 6))))
        return f"{sets} WHERE {' OR '.join(f'({table.at(key)})' for key in keys)}", table, keys

    def _free(self, node: str) -> Draft:
        """A value that was given twice is given up: whoever was held from view because of it can be shown."""
        table, name, value = self._rng.choice(self._shared)
        column = next(c for c in table.columns if c.name == name)
        new = self._value(table, column, node)
        sql = f"UPDATE {table.sql} SET {quote(name)} = {literal(new)} WHERE {quote(name)} = {literal(value)}"
        return sql, table, []

    def _steal(self, node: str) -> Draft | None:
        """A row takes the unique value of another one, and its place."""
        rng = self._rng
        if not (fit := [t for t in self.tables if t.unique and t.keys]):
            return None
        table = rng.choice(fit)
        victim, name = self._pick(table, node), rng.choice(sorted(table.unique))
        value = (table.find(self._db, victim) or {}).get(name)
        if value is None or name not in {c.name for c in table.columns}:
            return None
        key = self._pick(table, node) if rng.random() < 0.5 else self._new_key(table, node)
        if key in table.known:
            sql = f"UPDATE OR REPLACE {table.sql} SET {quote(name)} = {literal(value)} WHERE {table.at(key)}"
        else:
            sql = insert_sql(table, self._row(table, node, key) | {name: value}, "OR REPLACE ")
        return sql, table, [key, victim]

    def _insert(self, table: Table, node: str) -> Draft:
        if table.made_up and (not table.columns or self._rng.random() < 0.9):
            return insert_sql(table, self._row(table, node, ())), table, []
        key = self._new_key(table, node)
        return insert_sql(table, self._row(table, node, key)), table, [key]

    def _again(self, table: Table, node: str) -> Draft:
        """Somebody else may not have seen that it was deleted, and says so."""
        who, old = self._rng.choice(table.graves)
        key = tuple(old[c.name] for c in table.key)
        row = old | {c.name: self._value(table, c, node) for c in table.columns if self._rng.random() < 0.5}
        conflict = "" if who == node else self._rng.choice(["OR REPLACE ", "OR IGNORE "])
        return insert_sql(table, row, conflict), table, [key]

    def _rekey(self, table: Table, node: str, key: Key) -> Draft:
        new = self._new_key(table, node)
        sets = ", ".join(f"{quote(c.name)} = {literal(v)}" for c, v in zip(table.key, new, strict=True))
        return f"UPDATE {table.sql} SET {sets} WHERE {table.at(key)}", table, [key, new]

    def _pick(self, table: Table, node: str) -> Key:
        """A row: one that is hot for everybody, or one of those that this node is busy with."""
        place = int(len(table.keys) * self._rng.random() ** 3)
        place += crc32(node.encode()) if self._rng.random() < 0.5 else 0
        return table.keys[place % len(table.keys)]

    def _row(self, table: Table, node: str, key: Key) -> Row:
        """A row under a key, in the likeness of another; columns that may be missing are missing at times."""
        row: Row = dict(zip((c.name for c in table.key), key, strict=False))  # No key: SQLite makes it up.
        model = table.find(self._db, self._pick(table, node)) if table.keys else None
        for c in table.columns:
            needed = c.notnull if c.default is None else CHANCY.search(c.default)
            if not needed and self._rng.random() < (0.5 if self._tired else 0.15):
                continue
            copied = model if c.name not in table.unique and self._rng.random() < 0.4 else None
            row[c.name] = copied[c.name] if copied else self._value(table, c, node)
        self._remember(table, node, [(c, row[c.name]) for c in table.columns if c.name in row])
        return row

    def _new_key(self, table: Table, node: str) -> Key:
        fresh = self._rng.randrange(len(table.key))  # Of several columns, the others may be shared.
        return tuple(self._part_of_key(table, c, node, fresh == i) for i, c in enumerate(table.key))

    def _part_of_key(self, table: Table, column: Column, node: str, fresh: bool) -> object:
        samples = table.samples[column.name]
        if len(table.key) > 1 and (parent := self._parent(table, column)) is not None:
            return self._pick(parent, node)[0]
        if samples and not fresh:
            return self._rng.choice(samples)
        self._part += 1
        if column.affinity in {"INTEGER", "NUMERIC", "REAL"} or (samples and isinstance(samples[0], int | float)):
            return table.base + self._n * 1_000 + self._part
        text = f"{table.name[:1].lower()}{self._n}" + (f".{self._part}" if self._part > 1 else "")
        return text.encode() if self._tired and column.affinity == "BLOB" else text

    def _parent(self, table: Table, column: Column) -> Table | None:
        parent = self._by_name.get(table.parents.get(column.name, ""))
        return parent if parent is not None and len(parent.key) == 1 and parent.keys else None

    def _value(self, table: Table, column: Column, node: str) -> object:
        """A value for a column, of the kind that it holds; tired of refusals, one that was seen there."""
        if (parent := self._parent(table, column)) is not None:
            return self._pick(parent, node)[0]
        self._part += 1
        samples, unique = table.samples[column.name], column.name in table.unique
        model = self._rng.choice(samples) if samples else None
        if self._tired and not unique:
            return self._rng.randint(0, 9) if model is None and column.notnull else model
        number, mark = (self._n * 300 + self._part, f"p{self._n}.{self._part}") if unique else (self._n, f"p{self._n}")
        if isinstance(model, str):
            return _like(model, mark, number)
        if isinstance(model, float):
            return int(model) + number % 100_000 / 100_000
        if isinstance(model, bytes):
            return mark.encode()
        if isinstance(model, int) or column.affinity == "INTEGER":
            return number
        return mark if column.affinity in {"TEXT", "BLOB"} else number + 0.25

    def _remember(self, table: Table, node: str, values: Sequence[tuple[Column, object]]) -> None:
        self._given += [(table, c.name, v, node) for c, v in values if c.name in table.unique and v is not None]
        del self._given[:-8]


def _like(model: str, mark: str, number: int) -> str:
    """Text that looks like the model, and is nobody else's."""
    if DATE.match(model):
        return f"{1990 + number // 336 % 100}-{number // 28 % 12 + 1:02}-{number % 28 + 1:02}{model[10:]}"
    if "@" in model:
        return f"{mark}@example.com"
    word = model.split(" ", maxsplit=1)[0][:12]
    return mark if re.fullmatch(r"(p\d+(\.\d+)?)?", word) else f"{word} {mark}"
