"""The short ways: records of a `plain` table that are shown and whole never become a `State`.

What `state` makes of a record one at a time, this makes of many at once, column by column, to the same bytes: most of
a first load, of absorption and of a first sync is such records. A test holds both ways equal.
"""

from __future__ import annotations

import zlib
from array import array
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import repeat, starmap
from struct import Struct
from typing import Any

from protocol import limits
from protocol.errors import ValueRefused
from protocol.record import Birth, Delta, Record, pack_id, pack_ids, unpack_id
from protocol.values import Value, pack_any, pack_plain, pack_values
from replica.store.catalog import Table
from replica.store.core import Core
from replica.store.encoder import Encoder
from replica.store.nursery import Born
from replica.store.shadow import ABSENT, SHOWN, ShadowRow
from replica.store.state import fetch_rows, load

BLOCK = 512
"""Records whose columns are made into bodies together: what is made of more does not fit into the processor's cache."""
_EMPTY_BIN = b"\xc4\x00"


def fresh_row(
    core: Core, table: Table, key: bytes, id_: bytes, stamp: bytes, values: Sequence[Value], floor: bytes = b""
) -> ShadowRow:
    """Shadow of a record that is shown, whole and written by one event. Only for a table that is `plain`."""
    packed = pack_values(values)
    return shadow_row(core, table, key, id_, floor, stamp, stamp, b"", packed)


def fresh_rows(
    core: Core,
    table: Table,
    keys: Sequence[bytes],
    ids: Sequence[bytes],
    stamps: Sequence[bytes],
    columns: Sequence[Sequence[Value]],
    encoders: Sequence[Encoder] = (),
) -> list[ShadowRow]:
    """`fresh_row` of many records at once, from the local columns. `encoders`: of the columns, of a caller who keeps them
    for more. Raises ValueRefused for a record over the limit."""
    if not columns:
        return [fresh_row(core, table, *one, ()) for one in zip(keys, ids, stamps, strict=True)]
    found: list[ShadowRow] = []
    encoders = encoders or [Encoder() for _ in columns]
    for start in range(0, len(keys), BLOCK):
        part = slice(start, start + BLOCK)
        own = keys[part], ids[part], stamps[part]
        checks, digests = _fresh_block(core, table, own[1], own[2], [column[part] for column in columns], encoders)
        tbl, no = repeat(table.tbl), repeat(b"")
        found += zip(own[0], tbl, own[1], no, own[2], own[2], no, checks, digests, repeat(SHOWN), strict=False)
    return found


def fresh_columns(
    core: Core,
    table: Table,
    keys: Sequence[bytes],
    ids: Sequence[bytes],
    stamps: Sequence[bytes],
    columns: Sequence[Sequence[Value]],
    encoders: Sequence[Encoder],
    kinds: Sequence[Collection[type]] = (),
) -> Born:
    """`fresh_rows` of at most BLOCK records, and at least one, with columns. `encoders`: one for each column, kept from
    block to block; `kinds`: the types in each, if they are known. Raises ValueRefused for a record over the limit."""
    checks, digests = _fresh_block(core, table, ids, stamps, columns, encoders, kinds)
    return Born(keys, digests, stamps, checks, ids)


def named(
    core: Core, table: Table, columns: Sequence[Sequence[Any]], stamps: Sequence[bytes]
) -> tuple[list[bytes], list[bytes], Sequence[bytes], Sequence[Sequence[Any]]]:
    """Keys and ids of the records of rows that were inserted at these stamps, the stamps, and the columns but for those of
    the row's key, which come first in `columns`: what `fresh_rows` and `fresh_columns` take."""
    assert table.shape is not None
    width = len(table.shape.key)
    if table.surrogate:
        ids = [pack_id(key, Birth(stamp)) for key, stamp in zip(zip(columns[0]), stamps, strict=True)]
    else:
        ids = pack_ids(columns[:width])
    return core.keys.record_keys(table.packed_name, ids), ids, stamps, columns[width:]


def _fresh_block(
    core: Core,
    table: Table,
    ids: Sequence[bytes],
    stamps: Sequence[bytes],
    columns: Sequence[Sequence[Value]],
    encoders: Sequence[Encoder],
    kinds: Sequence[Collection[type]] = (),
) -> tuple[list[bytes], list[bytes]]:
    """Checks and digests."""
    told = zip(encoders, columns, kinds or [()] * len(columns), strict=True)
    packed, crcs = zip(*starmap(Encoder.encode, told), strict=True)
    before, between, after = b"\xc0\xc4\x10", table.tail + b"\xc4\x10", _EMPTY_BIN + table.values_header
    head, to, of, then = (repeat(part, len(ids)) for part in (table.head, before, between, after))
    bodies = list(map(b"".join, zip(head, map(pack_plain, ids), to, stamps, of, stamps, then, *packed, strict=True)))
    if max(map(len, bodies)) > limits.RECORD_BYTES_MAX:
        raise ValueRefused(f"a record has at most {limits.RECORD_BYTES_MAX} bytes")
    checks = list(map(Struct(f"{len(packed)}I").pack, *crcs))
    return checks, core.keys.digests(bodies)


def shadow_row(
    core: Core,
    table: Table,
    key: bytes,
    id_: bytes,
    floor: bytes,
    born: bytes,
    stamps: bytes,
    which: bytes,
    packed: list[bytes],
) -> ShadowRow:
    """Shadow of a shown record whose registers are exactly the local columns of a plain table."""
    body = (
        table.head,
        pack_any(id_),
        pack_any(floor or None),
        pack_any(born),
        table.tail,
        pack_any(stamps if packed else b""),
        pack_any(which),
        table.values_header,
        *packed,
    )
    digest = core.keys.digest(b"".join(body))
    checks = array("I", list(map(zlib.crc32, packed))).tobytes()
    stored = which
    if which:
        stored = array("H", list(which) if len(stamps) <= 256 * 16 else [*_pairs(which)]).tobytes()
    return (key, table.tbl, id_, floor, born, stamps if packed else b"", stored, checks, digest, SHOWN)


def _pairs(which: bytes) -> Iterable[int]:
    return (int.from_bytes(which[i : i + 2], "big") for i in range(0, len(which), 2))


def spread(stamps: bytes, which: bytes, count: int) -> list[bytes]:
    """The stamp of each of `count` fields, from the stored form; none if one is absent."""
    if not which:
        return [stamps] * count if stamps else []
    index = memoryview(which).cast("H").tolist()
    distinct = [stamps[i : i + 16] for i in range(0, len(stamps), 16)]
    return [distinct[i] for i in index] if ABSENT not in index else []


def records(core: Core, keys: Sequence[bytes]) -> list[Record]:
    """These records, by the shortest way for each."""
    found, others = plain(core, keys)
    out = [record for table, rows in found for record in whole(table, rows)]
    out.extend(state.record for state in load(core, others).values())
    return out


def whole(table: Table, rows: Iterable[Whole]) -> Iterator[Record]:
    """The records of what `plain` found."""
    count = len(table.names)
    for (_, _, id_, floor, born, stamps, which, _, _), row in rows:
        registers = zip(spread(stamps, which, count), pack_values(row), strict=True)
        yield Record(table.collection, id_, floor, born, dict(zip(table.names, registers, strict=True)))


def deltas(core: Core, keys: Sequence[bytes]) -> list[Delta]:
    """They as they travel, whole. A double may still be -0.0."""
    found, others = plain(core, keys)
    out = [
        Delta(table.collection, id_, floor, born, table.names, stamps, _travelling(which, len(stamps)), row)
        for table, rows in found
        for (_, _, id_, floor, born, stamps, which, _, _), row in rows
    ]
    out.extend(state.record.delta() for state in load(core, others).values())
    return out


def _travelling(which: bytes, size: int) -> bytes:
    if not which:
        return which
    index = memoryview(which).cast("H").tolist()
    return bytes(index) if size <= 256 * 16 else b"".join([i.to_bytes(2, "big") for i in index])


Whole = tuple[tuple[Any, ...], list[Any]]
"""Of a record: key, tbl, id, floor, born, stamps, which, bytes of its checks, flags; and the values of its row."""


def plain(core: Core, keys: Sequence[bytes]) -> tuple[list[tuple[Table, list[Whole]]], list[bytes]]:
    """Shown records that have a register in each column of their table and in no other, by table. And the keys of all
    others."""
    sql = "SELECT key, tbl, id, floor, born, stamps, which, length(checks), flags FROM _replica_record WHERE key IN ("
    by_table: dict[int, list[tuple[Any, ...]]] = {}
    others: list[bytes] = []
    for shadow in core.select_in(sql, keys):
        key, tbl, _, _, _, stamps, which, size, flags = shadow
        table = core.tables[tbl]
        whole = flags == SHOWN and table.plain and stamps and size == 4 * len(table.fields)
        if whole and not (which and ABSENT in memoryview(which).cast("H")):
            by_table.setdefault(tbl, []).append(shadow)
        else:
            others.append(key)
    found = []
    for tbl, shadows in by_table.items():
        table = core.tables[tbl]
        pks = [unpack_id(shadow[2])[0] for shadow in shadows]
        rows = fetch_rows(core, table, pks)
        ids = map(pack_id, pks) if table.surrogate else (shadow[2] for shadow in shadows)
        found.append((table, [(shadow, rows[id_]) for shadow, id_ in zip(shadows, ids, strict=True) if id_ in rows]))
    return found, others


def whole_shadows(core: Core, table: Table, keys: Sequence[bytes]) -> list[tuple[Any, ...]]:
    """(key, id, born, stamps, which, checks) of those of these records that stand in the table, were never deleted, and of
    which all fields were seen; none, if the table is not plain or keeps something to itself."""
    if not table.plain or core.db.execute("SELECT 1 FROM _replica_local WHERE tbl = ? LIMIT 1", (table.tbl,)).fetchone():
        return []
    sql = (  # Of all that may stand there in its place, only a BLOB comes after x''.
        "SELECT key, id, born, stamps, which, checks FROM _replica_record "
        f"WHERE tbl = ? AND flags = {SHOWN} AND floor = x'' AND born > x'' AND length(checks) = ? AND key IN ("
    )
    return list(core.select_in(sql, keys, table.tbl, 4 * len(table.fields)))
