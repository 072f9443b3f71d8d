"""Capture: triggers in plain SQL that note which rows any program touched.

The triggers only append to the outbox: an entry means "look at this row again" and never carries values. Rules that
were found by fuzzing, one test each:

1. Nothing but appends to a table without constraints: an outer OR IGNORE or UPSERT would override ours.
2. AFTER UPDATE on all columns with WHEN, never UPDATE OF: SET rowid = ... does not fire it.
3. "Differs" is IS NOT under COLLATE BINARY, or another type: 'ann' and 'ANN' are one key to NOCASE, not to us.
4. OR REPLACE deletes rows without firing delete triggers: BEFORE probes on every unique index name the victims.
5. The SQL parses on SQLite 3.7.17: one newer word would make old programs refuse the whole file.
6. A rolled-back statement leaves nothing.
"""

from __future__ import annotations

from replica.store.catalog import Column, Shape, Unique, quote
from replica.store.schema import PREFIX

INSERT, UPDATE, DELETE, LEFT, VICTIM = 1, 2, 3, 4, 5
"""What happened, in the outbox: LEFT is the old key of a changed key, VICTIM may have been replaced."""

_NOW = "CAST(round((julianday('now') - 2440587.5) * 86400000.0) AS INTEGER)"
_LOUD = f"NOT EXISTS (SELECT 1 FROM {PREFIX}mute)"


def triggers(tbl: int, shape: Shape) -> dict[str, str]:
    """Name -> SQL of the triggers that capture a table."""
    table = quote(shape.name)
    keys = [c.name for c in shape.key]
    made: dict[str, str] = {}

    def add(suffix: str, when: str, condition: str, body: str) -> None:
        name = f"{PREFIX}{tbl}_{suffix}"
        made[name] = f'CREATE TRIGGER "{name}" {when} ON {table} WHEN {condition} BEGIN {body}; END'

    add("ai", "AFTER INSERT", _LOUD, _note(tbl, INSERT, "NEW", keys))
    add("ad", "AFTER DELETE", _LOUD, _note(tbl, DELETE, "OLD", keys))
    add("au", "AFTER UPDATE", _LOUD, _note(tbl, UPDATE, "NEW", keys))
    moved = " OR ".join(_differs(f"OLD.{quote(k)}", f"NEW.{quote(k)}") for k in keys)
    add("ak", "AFTER UPDATE", f"{_LOUD} AND ({moved})", _note(tbl, LEFT, "OLD", keys))
    defaults = {c.name: c for c in (*shape.key, *shape.columns)}
    for number, unique in enumerate(_probed(shape)):
        match = " AND ".join(
            f"x.{quote(name)} = {_new(defaults.get(name), name)} COLLATE {quote(collation)}"
            for name, collation in unique.parts
            if name is not None
        )
        columns = ", ".join(f"x.{quote(k)}" for k in keys)
        probe = f"{_into(len(keys))} SELECT {tbl}, {VICTIM}, {_NOW}, {columns} FROM {table} AS x WHERE {match}"
        parts = [quote(name) for name, _ in unique.parts if name is not None]
        changed = f"{_LOUD} AND ({' OR '.join(_differs(f'OLD.{p}', f'NEW.{p}') for p in parts)})"
        if unique.partial or len(parts) < len(unique.parts):
            changed = _LOUD  # Any column may be what the condition or the expression reads.
        same = " AND ".join(f"x.{quote(k)} IS OLD.{quote(k)}" for k in keys)
        add(f"bi{number}", "BEFORE INSERT", _LOUD, probe)
        add(f"bu{number}", "BEFORE UPDATE", changed, f"{probe} AND NOT ({same})")
    return made


def inserting(tbl: int, shape: Shape) -> dict[str, str]:
    """Those of them that fire where a row is inserted, and replaces none."""
    return {name: sql for name, sql in triggers(tbl, shape).items() if sql.partition(" ON ")[0].endswith(" INSERT")}


def _into(width: int) -> str:
    return f"INSERT INTO {PREFIX}outbox(tbl, op, at, {', '.join(f'k{i}' for i in range(width))})"


def _note(tbl: int, op: int, row: str, keys: list[str]) -> str:
    values = ", ".join(f"{row}.{quote(k)}" for k in keys)
    return f"{_into(len(keys))} VALUES ({tbl}, {op}, {_NOW}, {values})"


def _differs(old: str, new: str) -> str:
    return f"{old} IS NOT {new} COLLATE BINARY OR typeof({old}) <> typeof({new})"


def _new(column: Column | None, name: str) -> str:
    """The value that a conflict is about: OR REPLACE turns NULL into the default of a NOT NULL column."""
    if column is not None and column.notnull and column.default is not None:
        return f"coalesce(NEW.{quote(name)}, {column.default})"
    return f"NEW.{quote(name)}"


def _probed(shape: Shape) -> list[Unique]:
    """Unique indexes whose victims have another key than the row that replaces them."""
    key = {c.name for c in shape.key}
    probed = []
    for unique in shape.uniques:
        names = {name for name, _ in unique.parts}
        exact = all(collation == "BINARY" for _, collation in unique.parts)
        if names != {None} and not (names == key and exact):
            probed.append(unique)
    return probed
