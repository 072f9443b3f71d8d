"""What Hypothesis draws for stores: statements that other programs run, over a schema with every kind of key and
constraint, and steps of several machines."""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

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

few = st.sampled_from(["'a'", "'A'", "'b'", "1", "2", "3"])
odd = st.sampled_from(
    ["NULL", "0", "1.0", "-0.0", "0.5", "'1'", "'1.0'", "9007199254740993", "9223372036854775807", "-9223372036854775808",
     "1e300", "9e999", "x''", "x'61'", "x'00ff'", "''", "'é'", "'x' || char(0) || 'y'", "CAST(x'61ff' AS TEXT)",
     "'2024-02-29'", "100.5", "'0x10'", "' 1'", "1e15", "'1e3'", "date('2020-01-01')"],
)  # fmt: skip
values = st.one_of(few, few, odd)
key_values = st.one_of(few, few, odd.filter(lambda v: v not in {"NULL", "CAST(x'61ff' AS TEXT)"}))
numbers = st.sampled_from(["1", "2", "3", "4", "NULL", "-5"])
"""For an INTEGER PRIMARY KEY, where NULL means that SQLite chooses."""


def value_of(table: str, column: str) -> SearchStrategy[str]:
    """SQL of a value for a column."""
    if column not in KEYS[table]:
        return values
    return numbers if table in NUMBERED else key_values


@st.composite
def statements(draw: st.DrawFn) -> str:
    """One statement of another program."""
    table = draw(st.sampled_from(sorted(COLUMNS)))
    keys, plain = KEYS[table], [c for c in COLUMNS[table] if c not in KEYS[table]]
    conflict = draw(st.sampled_from(["", "", "OR REPLACE ", "OR IGNORE ", "OR FAIL ", "OR ABORT "]))
    where = draw(conditions(table))
    match draw(st.sampled_from(["insert"] * 5 + ["upsert", "update", "update", "update", "key", "delete", "copy"])):
        case "insert" | "upsert" as kind:
            columns = keys + (draw(st.lists(st.sampled_from(plain), unique=True)) if plain else [])
            rows = draw(st.lists(st.tuples(*(value_of(table, c) for c in columns)), min_size=1, max_size=3))
            listed = ", ".join(f"({', '.join(row)})" for row in rows)
            sql = f"INTO {table}({', '.join(columns)}) VALUES {listed}"
            if kind == "insert":
                return f"INSERT {conflict}{sql}"
            sets = ", ".join(f"{c} = excluded.{c}" for c in columns if c in plain)
            action = f"({', '.join(keys)}) DO UPDATE SET {sets}" if sets else "DO NOTHING"
            return f"INSERT {sql} ON CONFLICT {action}"
        case "update":
            column = draw(st.sampled_from(plain or keys))
            return f"UPDATE {conflict}{table} SET {column} = {draw(value_of(table, column))}{where}"
        case "key":
            column = draw(st.sampled_from(keys))
            value = f"{column} + 1" if table in NUMBERED else draw(value_of(table, column))
            return f"UPDATE {conflict}{table} SET {column} = {value}{where}"
        case "copy":
            if table in NUMBERED:
                columns = plain[:1]
                return f"INSERT {conflict}INTO {table}({columns[0]}) SELECT {columns[0]} FROM {table}{where} LIMIT 5"
            listed = ", ".join(COLUMNS[table])
            return f"INSERT OR REPLACE INTO {table}({listed}) SELECT {listed} FROM {table}{where}"
        case _:
            return f"DELETE FROM {table}{where}"


@st.composite
def conditions(draw: st.DrawFn, table: str) -> str:
    """A WHERE clause, or none."""
    column = draw(st.sampled_from(COLUMNS[table]))
    return draw(
        st.sampled_from(["", f" WHERE {column} = {draw(value_of(table, column))}", f" WHERE {KEYS[table][0]} >= 2"])
    )


class Write(NamedTuple):
    """Another program's transaction on one machine. `end`: COMMIT or ROLLBACK; `undone`: statements in a savepoint
    that is rolled back before the rest."""

    machine: int
    undone: list[str]
    statements: list[str]
    end: str
    pragmas: tuple[bool, bool]


class Meet(NamedTuple):
    """Two machines meet, until `cut` frames went over the wire."""

    one: int
    two: int
    cut: int | None


class Wait(NamedTuple):
    """A machine's clock moves."""

    machine: int
    ms: int


Step = Write | Meet | Wait


def steps(machines: int) -> SearchStrategy[Step]:
    """One step in a world of so many machines."""
    which = st.integers(0, machines - 1)
    lines = st.lists(statements(), min_size=1, max_size=4)
    write = st.builds(
        Write,
        which,
        st.one_of(st.just([]), st.just([]), lines),
        lines,
        st.sampled_from(["COMMIT", "COMMIT", "COMMIT", "ROLLBACK"]),
        st.tuples(st.booleans(), st.booleans()),
    )
    meet = st.builds(Meet, which, which, st.one_of(st.none(), st.integers(0, 12)))
    wait = st.builds(Wait, which, st.integers(-200_000, 200_000))
    return st.one_of(write, write, meet, wait)
