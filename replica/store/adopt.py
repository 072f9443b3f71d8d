"""Adoption: existing tables of a database that nobody here made become replicated, unchanged.

Rows get a base stamp: ms 0, counter 1, node = 8 bytes of the hash of the row's content. So machines that adopt copies of
one file hold identical records; where rows differ, one wins whole; any later write wins over both. SPEC section 8.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import NamedTuple

from protocol.errors import ValueRefused
from protocol.hlc import base_stamp
from protocol.keys import content_hash
from protocol.record import fold
from protocol.values import pack_any, pack_values
from replica.errors import TableRefused
from replica.store import catalog, ddl, index, put
from replica.store.absorb import note_local_row
from replica.store.catalog import Shape, Table
from replica.store.changes import Change
from replica.store.core import Core
from replica.store.fresh import fresh_row
from replica.store.leap import leap
from replica.store.refit import show_all, take
from replica.store.shadow import SHOWN, load_shadows, write
from replica.store.show import engine_writes, settle_anew
from replica.store.state import State, check, key_of, light, load, new, row_id, save, trim

ROWS = 4_096


class Adopted(NamedTuple):
    """What came of one table: rows taken, or why it was refused."""

    table: str
    rows: int
    refused: str | None


Progress = Callable[[str, int, int], None]
"""(what, done, of all)"""


def adopt(core: Core, names: Sequence[str], natural: Sequence[str], progress: Progress | None = None) -> list[Adopted]:
    """Adopt these tables (all, if `names` is empty), in the caller's transaction. Raises TableRefused for a named one that
    cannot be; others that cannot be are reported and left alone."""
    results, asked = [], {fold(name): name for name in (*names, *natural)}
    numbered = set(map(fold, natural))
    others = () if names else (name for name in catalog.user_tables(core.db) if fold(name) not in asked)
    for name in (*asked.values(), *others):
        actual = catalog.find(core.db, name) or name
        try:
            shape = catalog.shape(core.db, actual)
            _check_writable(core, shape)
        except TableRefused as error:
            if fold(name) in asked:
                raise
            results.append(Adopted(actual, 0, str(error)))
            continue
        if catalog.called(core.tables.values(), actual) is not None:
            results.append(Adopted(actual, 0, "already adopted"))
            continue
        known = core.by_name.get(fold(actual))
        if known is not None and known.shape is not None:
            taken = (
                f"the group knows the records of table {known.label!r}, which was renamed, by this name: choose another"
            )
            results.append(Adopted(actual, 0, taken))
            continue
        results.append(Adopted(actual, _adopt(core, shape, fold(actual) in numbered, progress), None))
    return results


def _check_writable(core: Core, shape: Shape) -> None:
    columns = [*shape.key, *shape.columns]
    names, nulls = ", ".join(catalog.quote(c.name) for c in columns), ", ".join(["NULL"] * len(columns))
    try:
        core.db.execute(f"INSERT INTO {catalog.quote(shape.name)}({names}) SELECT {nulls} WHERE 0")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorname != "SQLITE_ERROR":
            raise
        raise TableRefused(
            f"only the program that made table {shape.name!r} can write it ({error}): copy what you need into another"
        ) from error


def _adopt(core: Core, shape: Shape, natural: bool, progress: Progress | None) -> int:
    table = core.table(fold(shape.name))
    core.toggled.lose()  # Copies adopt the same rows: to none of them are they news.
    agreed = ddl.described_table(core, table.collection)
    table.surrogate = agreed["natural"] == 0 if "natural" in agreed else not natural
    take(core, table, shape)
    ddl.publish(core, table)
    total = core.db.execute(f"SELECT count(*) FROM {table.sql}").fetchone()[0]
    done = 0
    merged: list[bytes] = []
    with engine_writes(core, [table]):
        for rows in core.stream(table.select, ROWS):
            merged += _take_rows(core, table, rows)
            done += len(rows)
            if progress:
                progress(f"adopting {shape.name}", done, total)
            if len(core.dirty) > put.FLUSH_AT:
                index.catch_up(core)
        # Only now that every row is known: they may stand in each other's way.
        for start in range(0, len(merged), ROWS):
            settle_anew(core, list(load(core, merged[start : start + ROWS]).values()))
    show_all(core, table.collection)
    if shape.autoincrement and not core.meta("founder"):
        leap(core, table)
    return done


def _take_rows(core: Core, table: Table, rows: Sequence[tuple[object, ...]]) -> list[bytes]:
    """Take rows in. Returns the keys of those that the group knows: they may have to show something else."""
    assert table.shape is not None
    width = len(table.shape.key)
    found: dict[bytes, tuple[bytes, tuple[object, ...], list[object]]] = {}
    for row in rows:
        pk, values = row[:width], list(row[width:])
        try:
            id_ = row_id(pk)
        except ValueRefused as error:
            note_local_row(core, table, pk, str(error))
            continue
        found[key_of(core, table, id_)] = (id_, pk, values)
    known = load_shadows(core, list(found)) if found else {}
    fresh, states = [], []
    for key, (id_, _, values) in found.items():
        packed = pack_values(values)  # type: ignore[arg-type]
        stamp = base_stamp(content_hash(table.packed_name + table.tail + pack_any(id_) + b"".join(packed)))
        if table.plain and key not in known and light(values):
            fresh.append(fresh_row(core, table, key, id_, stamp, values))  # type: ignore[arg-type]
            core.dirty.touch(key, 1)
        else:
            states.append(_merge(core, table, key, id_, stamp, packed))
    write(core, fresh)
    save(core, states)
    core.changes.extend(Change(table.collection, id_, "insert", False) for id_, _, _ in found.values())
    if table.shape.rowid_alias:
        pairs = [(table.tbl, pk[0], key) for key, (_, pk, _) in found.items()]
        core.db.executemany("INSERT OR REPLACE INTO _replica_row VALUES (?, ?, ?)", pairs)
    return list(known)


def _merge(core: Core, table: Table, key: bytes, id_: bytes, stamp: bytes, packed: list[bytes]) -> State:
    """The row is one more version of what the group knows of the record, older than any write."""
    state = load(core, [key]).get(key) or new(table, key, id_)
    record = state.record
    record.born = max(record.born, stamp)
    for name, pos, value in zip(table.names, table.at, packed, strict=True):
        if stamp > record.floor and (stamp, value) > record.registers.get(name, (b"", b"")):
            record.registers[name] = stamp, value
        if record.registers.get(name) != (stamp, value):
            state.checks[pos] = check(value)
    state.flags |= SHOWN
    trim(core, state, stamp)
    return state
