"""The schema travels as ordinary records, so that tables and columns appear where they are missing.

Collections `_replica.table` (id [table]) and `_replica.column` (id [table, column]); their values live in `extra`, since
no user's table shows them. A peer's DDL text is never executed: what is made here is built from a fixed list of types
and collations, quoted names, and defaults that are literals. CHECKs, expressions and generated columns stay local.
SPEC section 8.
"""

from __future__ import annotations

import json
import re
import sqlite3

from protocol import limits
from protocol.hlc import base_stamp
from protocol.keys import content_hash
from protocol.record import fold, pack_id, unpack_id
from protocol.values import Value, pack_value, unpack_value
from replica.errors import TableRefused
from replica.store import catalog
from replica.store.catalog import Column, Shape, Table, quote
from replica.store.core import Core
from replica.store.refit import refit, reveal, show_all, take
from replica.store.state import State, key_of, load, new, save
from replica.words import clean

TABLES, COLUMNS, NODES = "_replica.table", "_replica.column", "_replica.node"
SCHEMA = frozenset({TABLES, COLUMNS})
SYSTEM = SCHEMA | {NODES}
_CONSTANT = r"""(?:[+-]?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|'(?:[^'\0]|'')*'|[xX]'[0-9a-fA-F]*'|TRUE|FALSE)"""
_LITERAL = re.compile(
    rf"\s*(?:{_CONSTANT}|\(\s*{_CONSTANT}\s*\)|CURRENT_TIMESTAMP|CURRENT_DATE|CURRENT_TIME)\s*\Z",
    re.IGNORECASE | re.ASCII,
)
_AFFINITIES = frozenset({"TEXT", "NUMERIC", "INTEGER", "REAL", "BLOB"})
_COLLATIONS = frozenset({"BINARY", "NOCASE", "RTRIM"})

UNIQUES_MAX = 100
"""UNIQUE constraints of a table made here: each costs every insert a look-up."""

Fields = dict[str, Value]


# --- out: what a local table says about itself ----------------------------------------------------------------------


def publish(core: Core, table: Table) -> None:
    """Make the schema records of a local table say what it is. New ones get a base stamp, so that machines that adopt
    copies of one file say the same; a later change gets a real one."""
    shape = table.shape
    assert shape is not None
    wanted: list[tuple[str, list[Value], Fields]] = [
        (
            TABLES,
            [table.collection],
            {
                "name": shape.name,
                "natural": int(not table.surrogate),
                "rowid": int(shape.rowid_alias),
                "autoincrement": int(shape.autoincrement),
                "keys": len(shape.key),
            },
        )
    ]
    for column in (*shape.key, *shape.columns):
        wanted.append((COLUMNS, [table.collection, column.folded], _describe(shape, column)))  # noqa: PERF401
    states = []
    for collection, key_values, fields in wanted:
        system = core.table(collection)
        id_ = pack_id(key_values)
        key = key_of(core, system, id_)
        state = load(core, [key]).get(key) or new(system, key, id_)
        known = state.record.registers.get("references")
        if known is not None and fields.get("references", "") is None:
            target = _target({"references": unpack_value(known[1])})
            if target and not _referable(core, target):
                del fields["references"]  # It is not here because the other table is not: nobody took it away.
        if _declare(core, state, fields):
            states.append(state)
    save(core, states)


def introduce(core: Core, node: bytes = b"", name: str = "") -> None:
    """Tell the group the name of a node (this one, if none is given), so that `why` can say it on machines that never met
    it."""
    system = core.table(NODES)
    id_ = pack_id([node or core.clock.node])
    key = key_of(core, system, id_)
    state = load(core, [key]).get(key) or new(system, key, id_)
    if _declare(core, state, {"name": name or core.name}):
        save(core, [state])


def node_name(core: Core, node: bytes) -> str:
    """The name of a node that the group knows, else its id."""
    system = core.by_name.get(NODES)
    if system is not None:
        key = key_of(core, system, pack_id([node]))
        state = load(core, [key]).get(key)
        name = state.record.registers.get("name") if state else None
        if name is not None:
            return clean(str(unpack_value(name[1]))[: limits.NODE_NAME_CHARS_MAX])
    return f"node {node.hex()}"


def _describe(shape: Shape, column: Column) -> Fields:
    uniques = [
        [fold(name) for name, _ in unique.parts if name is not None]
        for unique in shape.uniques
        if not unique.primary and not unique.partial and all(name is not None for name, _ in unique.parts)
    ]
    mine = sorted(parts for parts in uniques if column.folded in parts)
    target = next(
        (f"{fold(t)}.{fold(c)}" for name, t, c in shape.references if fold(name) == column.folded and c), None
    )
    default = column.default if column.default is not None and _LITERAL.match(column.default) else None
    return {
        "name": column.name,
        "affinity": column.affinity,
        "collation": column.collation,
        "key": column.key,
        "notnull": int(column.notnull),
        "default": default,
        "unique": json.dumps(mine, ensure_ascii=False) if mine else None,
        "references": target,
        "position": column.position,
    }


def _declare(core: Core, state: State, fields: Fields) -> bool:
    record = state.record
    packed = {name: pack_value(value) for name, value in fields.items()}
    if not record.live:
        content = b"".join(name.encode() + value for name, value in sorted(packed.items()))
        stamp = base_stamp(content_hash(record.id + content)) if not record.floor else core.clock.tick(core.now_ms())
        record.born = stamp
        record.registers = {name: (stamp, value) for name, value in packed.items()}
        return True
    changed = [n for n, value in packed.items() if record.registers.get(n, (b"", b""))[1] != value]
    if changed:
        stamp = core.clock.tick(core.now_ms())
        record.registers.update({n: (stamp, packed[n]) for n in changed})
    return bool(changed)


# --- in: what peers' tables look like ---------------------------------------------------------------------------------


def described_table(core: Core, collection: str) -> Fields:
    """The fields of one collection's schema record, if it is live."""
    system = core.by_name.get(TABLES)
    if system is None or not _is_name(collection):
        return {}
    states = load(core, [key_of(core, system, pack_id([collection]))]).values()
    return next((_fields(state) for state in states if state.record.live), {})


def _fields(state: State) -> Fields:
    return {name: unpack_value(value) for name, (_, value) in state.record.registers.items()}


def described(core: Core) -> dict[str, tuple[Fields, dict[str, Fields]]]:
    """Collection -> (its fields, its columns' fields), of all schema records that are live."""
    found: dict[str, tuple[Fields, dict[str, Fields]]] = {}
    for collection in (TABLES, COLUMNS):
        system = core.by_name.get(collection)
        if system is None:
            continue
        keys = [
            k for (k,) in core.db.execute("SELECT key FROM _replica_record WHERE tbl = ?", (system.tbl,)).fetchall()
        ]
        for state in load(core, keys).values():
            fields = _fields(state)
            names = unpack_id(state.record.id)[0]
            right = len(names) == (1 if collection == TABLES else 2)
            if not state.record.live or not right or not all(_is_name(n) for n in names):
                continue
            table = found.setdefault(str(names[0]), ({}, {}))
            if collection == TABLES:
                table[0].update(fields)
            else:
                table[1][str(names[1])] = fields
    return found


def _is_name(value: Value) -> bool:
    """Whether an id may hold it: an unfolded name is another record for the name of a table that is there already."""
    return (
        isinstance(value, str)
        and bool(value)
        and "\0" not in value
        and fold(value) == value
        and len(value.encode()) <= limits.NAME_BYTES_MAX
    )


def materialize(core: Core) -> None:
    """Make the tables and columns that the schema records describe and that are missing here, and show their rows."""
    made: list[tuple[Table, str, Fields, dict[str, Fields]]] = []
    known: list[tuple[Table, dict[str, Fields]]] = []
    for collection, (fields, columns) in described(core).items():
        if not fields or collection.startswith("_replica"):
            continue
        table = core.table(collection)
        if table.shape is not None:
            known.append((table, columns))
        elif not table.state and (name := _create(core, table, fields, columns)):
            made.append((table, name, fields, columns))
    for one in made:  # Only now: tables may refer to each other in a circle.
        _check_references(core, *one)
    for table, name, _, _ in made:
        if not table.state:
            take(core, table, catalog.shape(core.db, name))
            show_all(core, table.collection)
    for table, columns in known:
        _extend(core, table, columns)


def _create(core: Core, table: Table, fields: Fields, columns: dict[str, Fields]) -> str:
    """Make a table. Returns its name, or nothing if it cannot be made (yet)."""
    name = fields.get("name")
    if not isinstance(name, str) or fold(name) != table.collection or "\0" in name:
        name = table.collection
    keys = sorted((c for c, f in columns.items() if f.get("key")), key=lambda c: (_number(columns[c], "key"), c))
    if not keys or len(keys) != fields.get("keys"):
        return ""  # The rest of the description has not arrived yet.
    if len(keys) > catalog.KEY_COLUMNS_MAX:
        _set_state(core, table, f"its key has {len(keys)} columns: at most {catalog.KEY_COLUMNS_MAX} can be followed")
        return ""
    surrogate = fields.get("natural") == 0
    core.db.execute("UPDATE _replica_table SET surrogate = ? WHERE tbl = ?", (int(surrogate), table.tbl))
    table.surrogate = surrogate
    if catalog.find(core.db, name) is not None:
        _set_state(core, table, f"there is a table {name!r} here that is not replicated: run `replica adopt`")
        return ""
    rowid = len(keys) == 1 and fields.get("rowid") == 1
    if rowid:
        columns[keys[0]]["affinity"] = "INTEGER"
    auto = " AUTOINCREMENT" if rowid and fields.get("autoincrement") == 1 else ""
    lines = []
    for column in sorted(columns, key=lambda c: (_number(columns[c], "position"), c)):
        line = _column_sql(column, columns[column], rowid)
        lines.append(f"{line} PRIMARY KEY{auto}" if rowid and column == keys[0] else line)
    if not rowid:
        lines.append(f"PRIMARY KEY({', '.join(quote(_spelled(k, columns)) for k in keys)})")
    uniques = {json.dumps(u) for f in columns.values() for u in _uniques(f)}
    for unique in sorted(uniques)[:UNIQUES_MAX]:
        parts = json.loads(unique)
        if all(part in columns for part in parts):
            lines.append(f"UNIQUE({', '.join(quote(_spelled(p, columns)) for p in parts)})")
    refused = _define(core, f"CREATE TABLE {quote(name)}({', '.join(lines)})")
    if refused:
        _set_state(core, table, f"SQLite refuses to make this table here: {refused}")
        return ""
    return name


def _check_references(core: Core, table: Table, name: str, fields: Fields, columns: dict[str, Fields]) -> None:
    """Make a new table again without its references to what is not here: a program that has SQLite enforce foreign keys
    could not write it."""
    lost = [f for f in columns.values() if (target := _target(f)) and not _referable(core, target)]
    if lost:
        for column in lost:
            column["references"] = None
        core.db.execute(f"DROP TABLE {quote(name)}")
        _create(core, table, fields, columns)


def _target(fields: Fields) -> str | None:
    target = fields.get("references")
    return target if isinstance(target, str) and target.count(".") == 1 and "\0" not in target else None


def _referable(core: Core, target: str) -> bool:
    """Whether SQLite lets a foreign key refer to this column: it is a key of a table that is here."""
    parent, _, column = target.partition(".")
    actual = catalog.find(core.db, parent)
    if actual is None:
        return False
    try:
        shape = catalog.shape(core.db, actual)
    except TableRefused:
        return False
    if shape.rowid_alias and shape.key[0].folded == fold(column):
        return True
    collations = {c.name: c.collation for c in (*shape.key, *shape.columns) if c.folded == fold(column)}
    singles = [unique.parts[0] for unique in shape.uniques if len(unique.parts) == 1 and not unique.partial]
    return any(name in collations and collations[name] == collation for name, collation in singles if name)


def _set_state(core: Core, table: Table, state: str) -> None:
    core.db.execute("UPDATE _replica_table SET state = ? WHERE tbl = ?", (state, table.tbl))
    table.state = state


def _define(core: Core, sql: str) -> str:
    """Run a definition that was built from a peer's description. Returns why SQLite refuses it, or nothing: one table
    that cannot be made must not keep the rest of the group's data out."""
    try:
        with core.savepoint():
            core.db.execute(sql)
    except sqlite3.DataError as error:  # Longer than SQLite's limit.
        return str(error)
    except sqlite3.OperationalError as error:
        if error.sqlite_errorname != "SQLITE_ERROR":
            raise
        return str(error)
    return ""


def _number(fields: Fields, name: str) -> int:
    number = fields.get(name)
    return number if isinstance(number, int) else 1 << 16


def _spelled(column: str, columns: dict[str, Fields]) -> str:
    name = columns[column].get("name")
    return name if isinstance(name, str) and fold(name) == column and "\0" not in name else column


def _column_sql(column: str, fields: Fields, rowid: bool = False) -> str:
    kind, collation, default, target = (
        fields.get("affinity"),
        fields.get("collation"),
        _default(fields),
        _target(fields),
    )
    kind = str(kind) if kind in _AFFINITIES else "BLOB"
    if kind == "INTEGER" and not rowid:
        kind = "INT"  # As a key, a column of type INTEGER would be the rowid.
    parts = [quote(_spelled(column, {column: fields})), kind]
    if collation in _COLLATIONS - {"BINARY"}:
        parts.append(f"COLLATE {collation}")
    if fields.get("notnull") == 1:
        parts.append("NOT NULL")
    if default is not None:
        parts.append(f"DEFAULT {default}")
    if target:
        parent, _, name = target.partition(".")
        parts.append(f"REFERENCES {quote(parent)}({quote(name)})")
    return " ".join(parts)


def _default(fields: Fields) -> str | None:
    default = fields.get("default")
    return default if isinstance(default, str) and _LITERAL.match(default) else None


def _uniques(fields: Fields) -> list[list[str]]:
    text = fields.get("unique")
    try:
        lists = json.loads(text) if isinstance(text, str) else []
    except (ValueError, RecursionError):
        return []
    return [
        u
        for u in (lists if isinstance(lists, list) else [])
        if isinstance(u, list) and 0 < len(u) <= catalog.KEY_COLUMNS_MAX and all(isinstance(p, str) for p in u)
    ]


def _extend(core: Core, table: Table, columns: dict[str, Fields]) -> None:
    assert table.shape is not None
    here = {c.folded for c in (*table.shape.key, *table.shape.columns)}
    dropped = {fold(n) for n in json.loads(core.meta(f"dropped {table.tbl}") or "[]")}
    missing = sorted(c for c, f in columns.items() if c not in here and not f.get("key") and c not in dropped)
    generated = {
        fold(n)
        for (n,) in core.db.execute("SELECT name FROM pragma_table_xinfo(?) WHERE hidden > 0", (table.shape.name,))
    }
    added = False
    problems: list[str] = []
    for column in missing:
        if column in generated:
            continue
        fields = dict(columns[column])
        default, target = _default(fields), _target(fields)
        if default is None or default.strip(" (\t\r\n\f\v").upper().startswith("CURRENT"):
            fields["notnull"], fields["default"] = 0, None
        if target and not _referable(core, target):
            fields["references"] = None
        refused = _define(core, f"ALTER TABLE {table.sql} ADD COLUMN {_column_sql(column, fields)}")
        added |= not refused
        if refused:
            problems.append(f"SQLite refuses to add the column {column!r} here: {refused}")
    if added:
        reveal(core, table, refit(core, table, catalog.shape(core.db, table.shape.name), seen=True))
    if problems:
        _set_state(core, table, "; ".join(problems))
