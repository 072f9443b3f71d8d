"""A local table and the shape it has now: triggers, positions of fields, checks, and what new columns show.

`take` makes a table of the file the local table of a collection; `refit` follows it to another shape, and `reveal` shows
what the new shape can show. What a row holds when its definition changed, and nobody stamped, is a local edit: a test
changes rows before and after every change. Where nothing can have been written unseen, and a new column shows nothing, rows
need not be looked at: a shadow only learns that one more field is absent. A test holds both ways equal.
"""

from __future__ import annotations

import json
import sqlite3
from array import array
from collections.abc import Callable, Collection, Sequence
from typing import Any

from protocol.record import pack_id
from protocol.values import pack_value, pack_values
from replica.store import capture
from replica.store.catalog import Column, Shape, Table, quote
from replica.store.changes import Change
from replica.store.core import Core
from replica.store.leap import leap
from replica.store.shadow import ABSENT, SHOWN
from replica.store.show import engine_writes, settle, settle_anew, stored
from replica.store.state import NIL, State, check, fetch_rows, load, save, speak, trim

AT_ONCE = 4_096
"""Records that are looked at together."""


def take(core: Core, table: Table, shape: Shape) -> None:
    """Make this the local table of a collection: triggers, fields, signature. Its records are not touched."""
    table.shape, table.state = shape, ""
    for name in (c.folded for c in shape.columns):
        if name not in table.positions:
            core.field(table, name)
    table.refresh()
    have = core.db.execute("SELECT count(*) FROM pragma_table_info('_replica_outbox')").fetchone()[0] - 4
    for number in range(have, len(shape.key)):
        core.db.execute(f"ALTER TABLE _replica_outbox ADD COLUMN k{number}")
    for name in triggers_of(core, table):
        core.db.execute(f"DROP TRIGGER {quote(name)}")
    for sql in capture.triggers(table.tbl, shape).values():
        core.db.execute(sql)
    core.db.execute(
        "UPDATE _replica_table SET local = ?, state = '', signature = ?, surrogate = ? WHERE tbl = ?",
        (shape.name, shape.signature, int(table.surrogate and shape.rowid_alias), table.tbl),
    )
    table.surrogate = table.surrogate and shape.rowid_alias
    core.schema_followed()


def triggers_of(core: Core, table: Table) -> dict[str, tuple[str, str]]:
    """Our triggers for a collection, wherever they are now: name -> (table, SQL)."""
    prefix = f"_replica_{table.tbl}_"
    sql = "SELECT name, tbl_name, sql FROM sqlite_master WHERE type = 'trigger' AND substr(name, 1, ?) = ?"
    return {name: (on, text) for name, on, text in core.db.execute(sql, (len(prefix), prefix)).fetchall()}


def widened(signature: str, shape: Shape) -> bool:
    """Whether this is the shape of the signature, with or without more columns."""
    key, columns, *others = json.loads(signature)
    now_key, now_columns, *now_others = json.loads(shape.signature)
    return bool((now_key, now_others) == (key, others)) and all(column in now_columns for column in columns)


def refit(core: Core, table: Table, shape: Shape, *, seen: bool) -> Collection[str]:
    """The local table has other columns than before: forget what a dropped column held (the values are gone; peers
    send them back, and then they are held), and know the defaults that a new column shows. Returns the new columns. `seen`:
    it only has more columns, and whatever was written to it is known or waits in the outbox."""
    before = set(table.names)
    take(core, table, shape)
    fresh = {n: check_of_default(core, c) for n, c in zip(table.names, shape.columns, strict=True) if n not in before}
    dropped = sorted(before - set(table.names))
    if dropped:
        known = set(json.loads(core.meta(f"dropped {table.tbl}") or "[]"))
        core.set_meta(f"dropped {table.tbl}", json.dumps(sorted((known | set(dropped)) - set(table.names))))
        noted = [(table.tbl, table.positions[n]) for n in dropped]
        core.db.executemany("DELETE FROM _replica_local WHERE tbl = ? AND pos = ?", noted)
    spots = sorted(table.positions[n] for n in fresh)
    ends = seen and set(fresh.values()) == {check(NIL)} and spots == list(range(spots[0], spots[0] + len(spots)))
    where = f"flags & {SHOWN} AND length(checks) <> {4 * spots[0]}" if ends else f"flags & {SHOWN}"
    _each(core, table, where, lambda states: _recheck(core, table, fresh, states))
    if ends:
        _append_absent(core, table, spots)
    return fresh.keys()


def _append_absent(core: Core, table: Table, spots: Sequence[int]) -> None:
    """The shadows that end before these positions, the next ones, learn that no value is there."""
    first, after = spots[0], b""
    nothing, absent = (array(kind, [value] * len(spots)).tobytes() for kind, value in (("I", check(NIL)), ("H", ABSENT)))
    sql = (
        f"SELECT key, stamps, which, checks FROM _replica_record WHERE tbl = ? AND flags & {SHOWN} "
        "AND length(checks) = ? AND key > ? ORDER BY key LIMIT ?"
    )
    one = array("H", [0] * first).tobytes()
    while rows := core.db.execute(sql, (table.tbl, 4 * first, after, AT_ONCE)).fetchall():
        after = rows[-1][0]
        core.db.executemany(
            "UPDATE _replica_record SET which = ?, checks = ? WHERE key = ?",
            [((which or one) + absent if stamps else b"", checks + nothing, key) for key, stamps, which, checks in rows],
        )


def reveal(core: Core, table: Table, fresh: Collection[str]) -> None:
    """Show what is known of these new columns, and the records that can be shown now. Only when no row waits to be looked
    at: a row may be another record's than the one that is known by its number."""
    if fresh:
        spots = ",".join(str(table.positions[n]) for n in fresh)
        where = f"flags & {SHOWN} AND key IN (SELECT key FROM _replica_extra WHERE pos IN ({spots}))"
        _each(core, table, where, lambda states: _surface(core, table, states))
    show_all(core, table.collection)


def _recheck(core: Core, table: Table, fresh: dict[str, int | None], states: list[State]) -> None:
    """Take each row as it stands: what differs from what was last seen of it was written by somebody before or after the
    definition changed, and is a local edit like any other."""
    rows = fetch_rows(core, table, [state.pk for state in states])
    now = core.now_ms()
    for state in states:
        seen = state.shadow.checks if state.shadow else []
        stamp, packed = b"", pack_values(rows[pack_id(state.pk)])
        for name, pos, value in zip(table.names, table.at, packed, strict=True):
            default = fresh.get(name)
            last = default if name in fresh else seen[pos] if pos < len(seen) else check(value)
            if default is not None:
                state.checks[pos] = default
            if last != check(value):
                stamp = stamp or core.clock.tick(now)
                state.checks.pop(pos, None)
                state.record.registers[name] = (stamp, value)
        speak(core, state, packed)
        if stamp:
            trim(core, state, stamp)
            core.note(Change(table.collection, state.record.id, "update", False))
    save(core, states)


def _surface(core: Core, table: Table, states: list[State]) -> None:
    with engine_writes(core, [table]):
        settle_anew(core, states)


def _each(core: Core, table: Table, where: str, action: Callable[[list[State]], None]) -> None:
    sql = f"SELECT key FROM _replica_record WHERE tbl = ? AND {where}"
    keys: list[Any] = core.db.execute(sql, (table.tbl,)).fetchall()
    for start in range(0, len(keys), AT_ONCE):
        action(list(load(core, [k for (k,) in keys[start : start + AT_ONCE]]).values()))


def check_of_default(core: Core, column: Column) -> int | None:
    """Check of what a row shows in a column that it has no value of its own for; None if only its program knows."""
    if column.default is None:
        return check(pack_value(None))
    try:
        return check(pack_value(stored(core, column.affinity, f"({column.default})")))
    except sqlite3.OperationalError as error:
        if error.sqlite_errorname != "SQLITE_ERROR":
            raise
        return None  # It calls a function of the program: whatever the rows show is a value of theirs.


def show_all(core: Core, collection: str) -> None:
    """Give every live record of a collection that is not shown a chance to be."""
    table = core.by_name[collection]

    def place(states: list[State]) -> None:
        with engine_writes(core, [table]):
            settle(core, states)

    _each(core, table, f"NOT flags & {SHOWN} AND born > floor", place)
    if table.shape is not None and table.shape.autoincrement and not core.meta("founder"):
        leap(core, table)
