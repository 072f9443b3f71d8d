"""All records of a file, of which only those are made anew that nobody has read before as they stand.

The machines of a world hold the same records, and all of a file is read again and again. What a record says follows from
its table, its shadow, its extra values and its row; so what was made of these once need not be made again. One test each:

1. A look at all is what `look` says, whatever was written, damaged or defined in between.
2. What stands as it stood, here or in another file, is not made anew.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Any

from protocol.record import Record, pack_id, unpack_id
from replica.store.catalog import Table
from replica.store.core import Core
from replica.store.shadow import SHOWN
from replica.store.state import fetch_rows
from sim.truth import Look, Rid, read

_Parts = tuple[Hashable, ...]
_ByKey = dict[bytes, _Parts]


class Whole:
    """See above. For all machines of a world."""

    def __init__(self) -> None:
        self._made: dict[_Parts, Record] = {}
        """Only what fits to its digest."""
        self._kinds: dict[_Parts, int] = {}
        """Tables that are alike, as far as records depend on them, have one number."""

    def look(self, core: Core, known: dict[bytes, Record]) -> Look:
        """All records, in the caller's snapshot; `known` as for sim.truth.look."""
        found, fresh, made = Look({}, {}, {}), dict[Rid, tuple[bytes, _Parts]](), self._made
        extras = _extras(core)
        for collection, kind, shadows, rows in self._tables(core):
            for shadow in shadows:
                id_, key, digest = shadow[:3]
                rid = collection, id_
                # All that makes it: the kind of its table, its extra values, its row, its shadow but for the table's number.
                parts = kind, extras.get(key), rows.get(id_), shadow
                record = made.get(parts)
                if record is None:
                    fresh[rid] = key, parts
                else:
                    found.records[rid], found.digests[rid] = record, digest
        new = read(core, [key for key, _ in fresh.values()], known)
        for rid, record in new.records.items():
            made[fresh[rid][1]] = found.records[rid] = record
        return Look(found.records, found.digests | new.digests, new.odd)

    def _tables(self, core: Core) -> Iterator[tuple[str, int, list[tuple[Any, ...]], _ByKey]]:
        """Of each table: what it is called, its kind, the shadows of its records, and their rows."""
        sql = "SELECT tbl, id, key, digest, flags, floor, born, stamps, which, checks FROM _replica_record ORDER BY key"
        shadows: dict[int, list[Any]] = {}
        for row in core.db.execute(sql).fetchall():
            shadows.setdefault(row[0], []).append(row[1:])
        for tbl, some in shadows.items():
            table = core.tables[tbl]
            rows = _rows(core, table, [shadow[0] for shadow in some if shadow[3] & SHOWN])
            yield table.collection, self._kind(table), some, rows

    def _kind(self, table: Table) -> int:
        shown = table.shape is not None, table.surrogate, table.plain, table.at, table.names
        return self._kinds.setdefault((table.collection, *shown, *table.fields), len(self._kinds))


def _extras(core: Core) -> _ByKey:
    """What stands beside the shadow of a record, by key."""
    extras: _ByKey = {}
    for key, *extra in core.db.execute("SELECT key, pos, value FROM _replica_extra ORDER BY key, pos").fetchall():
        extras[key] = (*extras.get(key, ()), *extra)
    return extras


def _rows(core: Core, table: Table, ids: list[bytes]) -> _ByKey:
    """Of these records, by id, the rows: values and their types, since 1 is 1.0."""
    if table.shape is None or not ids:
        return {}
    pks = [unpack_id(id_)[0] for id_ in ids]
    # By their keys, as the engine finds them: an index may be damaged.
    rows: _ByKey = {key: (*row, *map(type, row)) for key, row in fetch_rows(core, table, pks).items()}
    if not table.surrogate:
        return rows
    return {id_: rows[key] for id_, key in zip(ids, map(pack_id, pks), strict=True) if key in rows}
