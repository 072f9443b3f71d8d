"""Which rows and columns an export has, in which order: one SELECT that gives the same rows on every node.

A collection has the columns in the order and the spelling that the group agreed on, whatever the table looks like here,
and its rows in the order of their primary key. One that was imported has the columns of the file it came from, in the
file's order, then those added since; its rows stand in the order of the external key, and the record id that the import
made up is left out. A column that holds record ids of another collection shows that record's external key. A SELECT has
its own columns; without an ORDER BY of its own its rows are ordered by all columns, from the left. (Rows that an ORDER BY
of its own does not tell apart come as SQLite finds them.) One test each:

1. What was imported comes out with the same columns in the same order; columns added since follow.
2. The order of rows and columns depends on nothing but what the group agreed on.
3. A relation comes out as external key; one whose record is not here stays the id, and is told.
4. A SELECT without ORDER BY is ordered; one with ORDER BY is left alone; columns of one name are told apart.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from protocol.record import fold
from replica.errors import UsageError
from replica.exchange.exporting import since
from replica.exchange.exporting.snapshot import guarded, table_of
from replica.exchange.importing.runs import Known
from replica.exchange.rows import DELETED
from replica.store.catalog import Table, quote
from replica.store.core import Core
from replica.store.ddl import described

KnownOf = Callable[[str], "Known | None"]
"""Collection -> what its last import said."""
KnownIn = Callable[[Core, str], "Known | None"]
"""The same, of the moment that is read: `runs.known_in`."""

_LAST = 1 << 30
_SKIPPED = re.compile(
    r"""--[^\n]*|/\*.*?(?:\*/|\Z)|'(?:[^']|'')*'|"(?:[^"]|"")*"|\[[^]]*\]|`(?:[^`]|``)*`""", re.DOTALL
)
_SELECT = re.compile(r"\s*(?:SELECT|WITH|VALUES)\b", re.IGNORECASE)
_ORDER = re.compile(r"[()]|\bORDER\s+BY\b", re.IGNORECASE)


@dataclass(slots=True)
class Plan:
    """Queries to run one after the other, for rows of these `fields`. `total`: rows, if known; `deletes`: how many of them
    are deletes, which the last query gives."""

    fields: list[str]
    queries: list[Query]
    total: int | None = None
    deletes: int = 0
    notes: list[str] = field(default_factory=list)
    guard: bool = False
    """The SQL is a user's."""


class Query(NamedTuple):
    """SQL, and where its columns stand among the plan's fields (None: one for one); the other fields are MISSING."""

    sql: str
    places: tuple[int, ...] | None = None


class _Column(NamedTuple):
    """A column of the export: the name that it gets, its SQL, its name in the table."""

    name: str
    sql: str
    local: str


def is_select(text: str) -> bool:
    """Whether this is SQL rather than the name of a collection."""
    return bool(_SELECT.match(_SKIPPED.sub(" ", text))) and bool(re.search(r"\s|\(", text.strip()))


def _agreed(core: Core, table: Table) -> list[tuple[str, str]]:
    """(local name, agreed spelling) of each column, in the agreed order."""
    assert table.shape is not None
    said = described(core).get(table.collection, ({}, {}))[1]

    def place(name: str) -> tuple[int, str]:
        position = said.get(fold(name), {}).get("position")
        return (position if isinstance(position, int) else _LAST, fold(name))

    def spelling(name: str) -> str:
        agreed = said.get(fold(name), {}).get("name")
        return agreed if isinstance(agreed, str) and fold(agreed) == fold(name) else name

    names = sorted((c.name for c in (*table.shape.key, *table.shape.columns)), key=place)
    return [(name, spelling(name)) for name in names]


def of_select(core: Core, sql: str) -> Plan:
    """The plan of a user's SELECT. Raises UsageError for SQL that writes, or that does not run."""
    sql = sql.strip().rstrip(";").strip()
    with guarded(core):
        # The inner newline ends a comment of the user's; a subquery tells columns of one name apart.
        cursor = core.db.execute(f"SELECT * FROM (\n{sql}\n) LIMIT 0")
        fields = [d[0] for d in cursor.description]
        cursor.close()
    if not _ordered(sql):
        everything = ", ".join(f"{i} COLLATE BINARY" for i in range(1, len(fields) + 1))
        sql = f"SELECT * FROM (\n{sql}\n) ORDER BY {everything}"
    return Plan(fields, [Query(sql)], guard=True)


def _ordered(sql: str) -> bool:
    """Whether it ends in an ORDER BY of its own, outside of all parentheses."""
    depth = 0
    for match in _ORDER.finditer(_SKIPPED.sub(" '' ", sql)):
        depth += {"(": 1, ")": -1}.get(match[0], 0)
        if depth == 0 and match[0] not in "()":
            return True
    return False


def of_collection(
    core: Core, collection: str, known_of: KnownOf, *, with_ids: bool = False, since_ms: int | None = None
) -> Plan:
    """The plan of a collection, or of what changed in it since a moment. Raises UsageError if there is none."""
    table = table_of(core, collection)
    assert table.shape is not None
    known = known_of(table.collection)
    plan = Plan([], [])
    columns, order = _columns(core, table, known, with_ids=with_ids or since_ms is not None, notes=plan.notes)
    columns, joins = _relations(core, table, known, columns, known_of, plan.notes)
    plan.fields = [c.name for c in columns]
    selected = ", ".join(f"{c.sql} AS {quote(c.name)}" for c in columns)
    by = ", ".join(f"t.{quote(name)} COLLATE BINARY" for name in order)
    if DELETED in map(fold, plan.fields):
        raise UsageError(f"{table.label} has a column {DELETED!r} of its own: name it otherwise")
    if held := core.db.execute("SELECT count(*) FROM _replica_held WHERE tbl = ?", (table.tbl,)).fetchone()[0]:
        plan.notes.append(f"{held} records are held from view and not in the file: replica held {core.path}")
    if since_ms is None:
        plan.total = core.db.execute(f"SELECT count(*) FROM {table.sql}").fetchone()[0]
        plan.queries.append(Query(f"SELECT {selected} FROM {table.sql} AS t{joins} ORDER BY {by}"))
        return plan
    _since(core, table, plan, columns, f"{selected}, 0", joins, by, since_ms)
    return plan


def _since(
    core: Core, table: Table, plan: Plan, columns: Sequence[_Column], selected: str, joins: str, by: str, since_ms: int
) -> None:
    assert table.shape is not None
    changes = since.collect(core, table, since_ms)
    plan.fields.append(DELETED)
    keys = [quote(c.name) for c in table.shape.key]
    match = " AND ".join(f"t.{k} = c.k{i} AND t.{k} IS c.k{i} COLLATE BINARY" for i, k in enumerate(keys))
    plan.queries.append(
        Query(
            f"SELECT {selected} FROM {since.CHANGED} AS c CROSS JOIN {table.sql} AS t ON {match}{joins} "
            f"WHERE NOT c.gone ORDER BY {by}"
        )
    )
    locals_ = [fold(c.local) for c in columns]
    places = [locals_.index(c.folded) for c in table.shape.key]
    gone = ", ".join(f"k{i}" for i in range(len(keys)))
    deleted = f"SELECT {gone}, 1 FROM {since.CHANGED} WHERE gone ORDER BY {gone}"
    plan.queries.append(Query(deleted, (*places, len(columns))))
    plan.total, plan.deletes = changes.shown + changes.deleted, changes.deleted


def _columns(
    core: Core, table: Table, known: Known | None, *, with_ids: bool, notes: list[str]
) -> tuple[list[_Column], list[str]]:
    """The columns, and the local names of those that order the rows."""
    assert table.shape is not None
    agreed = _agreed(core, table)
    locals_ = {fold(local): local for local, _ in agreed}
    primary = [c.name for c in table.shape.key]
    if known is None:
        return [_Column(name, f"t.{quote(local)}", local) for local, name in agreed], primary
    columns = []
    for name in known.fields:
        if (local := locals_.get(fold(name))) is None:
            notes.append(f"field {name!r} was imported, but the table has no such column any more")
        else:
            columns.append(_Column(name, f"t.{quote(local)}", local))
    there = {fold(c.local) for c in columns}
    made_up = fold(known.id) if known.id is not None else None
    columns += [
        _Column(name, f"t.{quote(local)}", local)
        for local, name in agreed
        if fold(local) not in there and fold(local) != made_up
    ]
    if with_ids and made_up in locals_ and made_up not in there:
        local = locals_[made_up]
        columns.insert(0, _Column(dict(agreed)[local], f"t.{quote(local)}", local))
    key = [locals_[fold(k)] for k in known.key if fold(k) in locals_]
    return columns, [*key, *(name for name in primary if name not in key)]


def _relations(
    core: Core, table: Table, known: Known | None, columns: list[_Column], known_of: KnownOf, notes: list[str]
) -> tuple[list[_Column], str]:
    """Columns that hold record ids, as external keys; and the joins that they need."""
    joins = ""
    refers = {fold(name): target for name, target in known.refers.items()} if known is not None else {}
    done = []
    for column in columns:
        target = refers.get(fold(column.name)) or refers.get(fold(column.local))
        other = known_of(target) if target is not None else None
        if target is None or other is None or other.id is None:  # Without made-up ids, the key itself stands there.
            done.append(column)
            continue
        there = core.by_name.get(fold(target))
        if there is None or there.shape is None:
            notes.append(f"{column.name}: collection {target!r} is not here, so its record ids stay as they are")
            done.append(column)
            continue
        if len(other.key) != 1:
            notes.append(f"{column.name}: {target!r} has a key of several fields: its record ids stay as they are")
            done.append(column)
            continue
        name = f"r{len(joins.split(' LEFT JOIN ')) - 1}"
        join = f" LEFT JOIN {there.sql} AS {name} ON {name}.{quote(other.id)} = {column.sql}"
        key = f"{name}.{quote(other.key[0])}"
        missing = core.db.execute(
            f"SELECT count(*) FROM {table.sql} AS t{join} WHERE {column.sql} IS NOT NULL AND {key} IS NULL"
        ).fetchone()[0]
        if missing:
            notes.append(
                f"{column.name}: {missing} records refer to one that is not in {target!r} here: they keep the id"
            )
        joins += join
        done.append(_Column(column.name, f"coalesce({key}, {column.sql})", column.local))
    return done, joins
