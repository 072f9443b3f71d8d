"""Histories from a seed: statements that other programs run, over a schema with every kind of key and constraint, and
steps of several machines. Drawn from `Random` and not by Hypothesis, whose histories are too short to meet conflicts."""

from __future__ import annotations

from random import Random
from typing import NamedTuple

SCHEMA = """
CREATE TABLE account(
    id TEXT PRIMARY KEY NOT NULL, name TEXT NOT NULL DEFAULT 'n/a', email TEXT COLLATE NOCASE UNIQUE, rating REAL,
    size NUMERIC, since DATE, anything, slug TEXT AS (lower(name)) STORED, CHECK(rating IS NULL OR rating < 100)
);
CREATE TABLE contact(
    org TEXT NOT NULL COLLATE NOCASE, code INTEGER NOT NULL, label TEXT,
    boss TEXT REFERENCES account(id) ON DELETE CASCADE ON UPDATE CASCADE, PRIMARY KEY(org, code)
);
CREATE TABLE person(id INTEGER PRIMARY KEY, name TEXT, phone UNIQUE);
CREATE TABLE ticket(
    id INTEGER PRIMARY KEY AUTOINCREMENT, title TEXT, person INTEGER REFERENCES person(id) ON DELETE SET NULL
);
CREATE TABLE tag(a BLOB NOT NULL, b NOT NULL, c TEXT, n INTEGER NOT NULL, PRIMARY KEY(a, b)) WITHOUT ROWID;
CREATE TABLE file(hash BLOB PRIMARY KEY NOT NULL, name TEXT, size INTEGER, state TEXT);
CREATE UNIQUE INDEX file_name ON file(lower(name));
CREATE UNIQUE INDEX file_open ON file(size) WHERE state = 'a';
CREATE TABLE mark(k NUMERIC PRIMARY KEY NOT NULL);
"""

COLUMNS = {
    "account": ["id", "name", "email", "rating", "size", "since", "anything"],
    "contact": ["org", "code", "label", "boss"],
    "person": ["id", "name", "phone"],
    "ticket": ["id", "title", "person"],
    "tag": ["a", "b", "c", "n"],
    "file": ["hash", "name", "size", "state"],
    "mark": ["k"],
}
KEYS = {
    "account": ["id"], "contact": ["org", "code"], "person": ["id"], "ticket": ["id"], "tag": ["a", "b"],
    "file": ["hash"], "mark": ["k"],
}  # fmt: skip
NUMBERED = {"person", "ticket"}

FEW = ["'a'", "'A'", "'b'", "1", "2", "3"]
ODD = [
    "NULL", "0", "1.0", "-0.0", "0.5", "'1'", "'1.0'", "9007199254740993", "9223372036854775807", "-9223372036854775808",
    "1e300", "9e999", "x''", "x'61'", "x'00ff'", "''", "'é'", "'x' || char(0) || 'y'", "CAST(x'61ff' AS TEXT)",
    "'2024-02-29'", "100.5", "'0x10'", "' 1'", "1e15", "'1e3'", "date('2020-01-01')",
]  # fmt: skip
LOCAL_ONLY = {"NULL", "CAST(x'61ff' AS TEXT)"}
"""What a key cannot be: such a row stays where it is."""


class Write(NamedTuple):
    """Another program's transaction on one machine. `end`: COMMIT or ROLLBACK; `undone`: statements in a savepoint
    that is rolled back before the rest; `pragmas`: foreign_keys, recursive_triggers; `look`: it is absorbed at once."""

    machine: int
    undone: list[str]
    statements: list[str]
    end: str
    pragmas: tuple[bool, bool]
    look: bool


class Meet(NamedTuple):
    """Two machines meet, until `cut` frames went over the wire."""

    one: int
    two: int
    cut: int | None


class Wait(NamedTuple):
    """A machine's clock moves."""

    machine: int
    ms: int


class Put(NamedTuple):
    """Rows are put through the store."""

    machine: int
    table: str
    rows: list[dict[str, object]]


class Decide(NamedTuple):
    """An administrator decides about one of what is held: edit, delete or rekey it; or ends the process and starts it."""

    machine: int
    what: str
    number: int
    field: int
    value: object


Step = Write | Meet | Wait | Put | Decide
OBJECTS: list[object] = [None, 1, 2, 3, 0.5, 1.0, "a", "A", "b", "1", b"a", 1 << 60]


class Fate:
    """All chance of one history. It keeps to a few tables, so that people get in each other's way."""

    def __init__(self, random: Random, *, local_only: bool = False) -> None:
        """`local_only`: keys may be such that the row cannot travel."""
        self._random, self._local_only = random, local_only
        self._tables = random.sample(sorted(COLUMNS), random.randint(1, 3))
        self._odd = random.choice([0.0, 0.2, 0.5])

    def _chance(self, share: float) -> bool:
        return self._random.random() < share

    def value(self, table: str, column: str) -> str:
        """SQL of a value for a column."""
        key = column in KEYS[table]
        if key and table in NUMBERED:
            return self._random.choice(["1", "2", "3", "4", "NULL", "-5"])  # NULL: SQLite chooses.
        value = self._random.choice(ODD if self._chance(self._odd) else FEW)
        return "'a'" if key and not self._local_only and value in LOCAL_ONLY else value

    def where(self, table: str) -> str:
        """A WHERE clause, or none."""
        if self._chance(0.2):
            return ""
        column = self._random.choice(COLUMNS[table])
        return f" WHERE {column} {self._random.choice(['=', '=', '>='])} {self.value(table, column)}"

    def statement(self) -> str:
        """One statement of another program."""
        random, table = self._random, self._random.choice(self._tables)
        keys, plain = KEYS[table], [c for c in COLUMNS[table] if c not in KEYS[table]]
        conflict = random.choice(["", "", "OR REPLACE ", "OR IGNORE ", "OR FAIL ", "OR ABORT "])
        kind = random.choice(["insert"] * 6 + ["upsert", "update", "update", "update", "key", "delete", "copy"])
        if kind in {"insert", "upsert"}:
            columns = keys + random.sample(plain, random.randint(0, len(plain)))
            rows = [", ".join(self.value(table, c) for c in columns) for _ in range(random.randint(1, 3))]
            sql = f"INTO {table}({', '.join(columns)}) VALUES {', '.join(f'({row})' for row in rows)}"
            if kind == "insert":
                return f"INSERT {conflict}{sql}"
            sets = ", ".join(f"{c} = excluded.{c}" for c in columns if c in plain)
            action = f"({', '.join(keys)}) DO UPDATE SET {sets}" if sets else "DO NOTHING"
            return f"INSERT {sql} ON CONFLICT {action}"
        if kind == "update" and plain:
            column = random.choice(plain)
            return f"UPDATE {conflict}{table} SET {column} = {self.value(table, column)}{self.where(table)}"
        if kind in {"update", "key"}:
            column = random.choice(keys)
            value = f"{column} + 1" if table in NUMBERED else self.value(table, column)
            return f"UPDATE {conflict}{table} SET {column} = {value}{self.where(table)}"
        if kind == "copy":
            listed = ", ".join(plain[:1] if table in NUMBERED else COLUMNS[table])
            return f"INSERT OR REPLACE INTO {table}({listed}) SELECT {listed} FROM {table}{self.where(table)} LIMIT 5"
        return f"DELETE FROM {table}{self.where(table)}"

    def statements(self) -> list[str]:
        """Some."""
        return [self.statement() for _ in range(self._random.randint(1, 4))]

    def step(self, machines: int) -> Step:
        """One step in a world of so many machines."""
        random = self._random
        which, other = random.sample(range(machines), 2)
        if self._chance(0.3):
            return Meet(which, other, random.randint(0, 12) if self._chance(0.5) else None)
        if self._chance(0.1):
            return Wait(which, random.randint(-200_000, 200_000))
        if self._chance(0.15):
            table = random.choice(self._tables)
            columns = COLUMNS[table] if self._chance(0.7) else KEYS[table]
            rows = [{c: self._object(table, c) for c in columns} for _ in range(random.randint(1, 5))]
            return Put(which, table, rows)
        if self._chance(0.15):
            what = random.choice(["edit", "edit", "delete", "rekey", "reopen"])
            return Decide(which, what, random.randrange(99), random.randrange(99), random.choice(OBJECTS))
        undone = self.statements() if self._chance(0.2) else []
        end = "ROLLBACK" if self._chance(0.2) else "COMMIT"
        pragmas = self._chance(0.5), self._chance(0.5)
        return Write(which, undone, self.statements(), end, pragmas, self._chance(0.5))

    def _object(self, table: str, column: str) -> object:
        if column not in KEYS[table]:
            return self._random.choice(OBJECTS)
        return self._random.choice([1, 2, 3, None] if table in NUMBERED else ["a", "A", "b", 1, b"a", 2.0])

    def history(self, machines: int, length: int) -> list[Step]:
        """So many steps."""
        return [self.step(machines) for _ in range(length)]
