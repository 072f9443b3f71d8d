"""What `put_many` wrote and nobody has sorted in yet, read past the engine: what such rows will say as records.

The engine tells of these rows when they are put, and not when they become records. By the time somebody hears of one from
a peer, a program may have written over it where it was put: then nothing there says any more who wrote it first. One test
each:

1. A row that waits says what its record says once it is one.
2. A row that was changed since, a table that is gone and a blob that is damaged say nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct

from protocol.record import Record, unpack_id
from protocol.values import pack_values
from replica.store.core import Core
from replica.store.state import fetch_rows

_HEAD = Struct("<4I")
"""Of a batch, as in replica.store.young: the number of its table, its rows, bytes of the checks of one, numbered or not."""


def waiting(core: Core) -> Iterator[Record]:
    """The records that wait in the young generation and of which the row still says what was put, in the caller's
    snapshot."""
    for digest, body in core.rows("SELECT digest, body FROM _replica_young ORDER BY seq"):
        if type(body) is bytes and core.keys.digest(body) == digest:
            yield from _batch(core, body)


def _batch(core: Core, body: bytes) -> Iterator[Record]:
    tbl, count, width, _ = _HEAD.unpack_from(body)
    table = core.tables.get(tbl)
    if table is None or table.shape is None:
        return
    born, digests, checks = (_HEAD.size + 16 * count * n for n in (1, 2, 3))
    sizes = checks + width * count
    at = sizes + 4 * count
    for n, size in enumerate(Struct(f"<{count}I").unpack_from(body, sizes)):
        id_, stamp = body[at : at + size], body[born + 16 * n :][:16]
        at += size
        for row in fetch_rows(core, table, [unpack_id(id_)[0]]).values():
            registers = {name: (stamp, value) for name, value in zip(table.names, pack_values(row), strict=True)}
            record = Record(table.collection, id_, b"", stamp, registers)
            if core.keys.digest(record.encode()) == body[digests + 16 * n :][:16]:
                yield record
