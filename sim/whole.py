"""All records of a file, of which only those are made anew that nobody has read before as they stand.

The machines of a world hold the same records, and all of a file is read again and again. What a record says follows from
its table, its shadow, its extra values and its row; so what was made of these once need not be made again. One test each:

1. A look at all is what `look` says, whatever was written, damaged or defined in between.
2. What stands as it stood, here or in another file, is not made anew.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import NamedTuple

from protocol.record import Record, pack_id, unpack_id
from replica.store.catalog import Table
from replica.store.core import Core
from replica.store.shadow import SHOWN
from replica.store.state import fetch_rows
from sim.truth import Look, Rid, read

_Parts = tuple[Hashable, ...]


class _Raw(NamedTuple):
    """A record as it stands. `parts` is all that makes it: the kind of its table, its extra values, its row, its shadow but
    for the table's number."""

    rid: Rid
    key: bytes
    digest: bytes
    parts: _Parts


class Whole:
    """See above. For all machines of a world."""

    def __init__(self) -> None:
        self._made: dict[_Parts, Record] = {}
        """Only what fits to its digest."""
        self._kinds: dict[_Parts, int] = {}
        """Tables that are alike, as far as records depend on them, have one number."""

    def look(self, core: Core, known: dict[bytes, Record]) -> Look:
        """All records, in the caller's snapshot; `known` as for sim.truth.look."""
        found, fresh = Look({}, {}, {}), dict[Rid, _Raw]()
        for raw in self._raws(core):
            record = self._made.get(raw.parts)
            if record is None:
                fresh[raw.rid] = raw
            else:
                found.records[raw.rid], found.digests[raw.rid] = record, raw.digest
        new = read(core, [raw.key for raw in fresh.values()], known)
        for rid, record in new.records.items():
            self._made[fresh[rid].parts] = found.records[rid] = record
        return Look(found.records, found.digests | new.digests, new.odd)

    def _raws(self, core: Core) -> list[_Raw]:
        sql = "SELECT tbl, id, key, digest, flags, floor, born, stamps, which, checks FROM _replica_record ORDER BY key"
        shadows = core.db.execute(sql).fetchall()
        extras: dict[bytes, _Parts] = {}
        for key, *extra in core.db.execute("SELECT key, pos, value FROM _replica_extra ORDER BY key, pos").fetchall():
            extras[key] = (*extras.get(key, ()), *extra)
        ids: dict[int, list[bytes]] = {}
        for shadow in shadows:
            some = ids.setdefault(shadow[0], [])
            if shadow[4] & SHOWN:
                some.append(shadow[1])
        tables = {tbl: core.tables[tbl] for tbl in ids}
        known = {
            tbl: (self._kind(table), table.collection, _rows(core, table, ids[tbl])) for tbl, table in tables.items()
        }
        found = []
        for shadow in shadows:
            kind, collection, rows = known[shadow[0]]
            _, id_, key, digest, *_ = shadow
            parts = kind, extras.get(key), rows.get(id_), *shadow[1:]
            found.append(_Raw((collection, id_), key, digest, parts))
        return found

    def _kind(self, table: Table) -> int:
        shown = table.shape is not None, table.surrogate, table.plain, table.at, table.names
        return self._kinds.setdefault((table.collection, *shown, *table.fields), len(self._kinds))


def _rows(core: Core, table: Table, ids: list[bytes]) -> dict[bytes, _Parts]:
    """Of these records, by id, the rows: values and their types, since 1 is 1.0."""
    if table.shape is None or not ids:
        return {}
    pks = [unpack_id(id_)[0] for id_ in ids]
    # By their keys, as the engine finds them: an index may be damaged.
    rows = {key: (len(row), *row, *map(type, row)) for key, row in fetch_rows(core, table, pks).items()}
    if not table.surrogate:
        return rows
    return {id_: rows[key] for id_, key in zip(ids, map(pack_id, pks), strict=True) if key in rows}
