"""What rots on a disk: bits that flip behind the back of the engine, in a file that nobody has open.

One test each:

1. Rot is not captured, and `verify` or SQLite's own check finds it.
2. A row does not rot while writes wait to be absorbed: nobody has a digest of what they say.
3. Definitions do not rot, however many pages they fill: without them SQLite knows nothing of the rest.
"""

from __future__ import annotations

import sqlite3
import struct
from contextlib import closing
from pathlib import Path
from random import Random

from replica.store import catalog

HEADER = 100
"""Bytes of the first page that belong to the whole file."""
INTERIOR = 5
"""What the first byte of a table's page is, if it has children."""


def spoil(path: Path, what: str, random: Random) -> str:
    """Damage one "row", "digest", "trie" or "page" of a closed file, and say what, or "" if there is none."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        if what != "page":
            return _row(db, random) if what == "row" else _bit(db, what, random)
    return _page(path, random)


def _row(db: sqlite3.Connection, random: Random) -> str:
    if db.execute("SELECT 1 FROM _replica_outbox LIMIT 1").fetchone():
        return ""
    tables = [t.shape for _, t in sorted(catalog.load(db, {}).items()) if t.shape is not None]
    random.shuffle(tables)
    for shape in tables:
        keys, name = [catalog.quote(c.name) for c in shape.key], catalog.quote(shape.name)
        fields = [c for c in shape.columns if not c.key]
        rows = db.execute(f"SELECT {', '.join(keys)} FROM {name} ORDER BY {', '.join(keys)}").fetchall()
        random.shuffle(fields)
        for column in fields if rows else ():
            key, field = random.choice(rows), catalog.quote(column.name)
            where = " AND ".join(f"{k} IS ?" for k in keys)
            value = 4242 if column.affinity in {"INTEGER", "REAL", "NUMERIC"} else "rotten"
            db.execute("BEGIN IMMEDIATE")
            db.execute("INSERT INTO _replica_mute VALUES (1)")
            changed = db.execute(f"UPDATE OR IGNORE {name} SET {field} = ? WHERE {where} AND {field} IS NOT ?",
                                 (value, *key, value)).rowcount  # fmt: skip
            db.execute("DELETE FROM _replica_mute")
            db.execute("COMMIT")
            if changed:
                return f"{shape.name} {key!r}: {column.name} is now {value!r}"
    return ""


def _bit(db: sqlite3.Connection, what: str, random: Random) -> str:
    table, key, column = {"digest": ("record", "key", "digest"), "trie": ("trie", "prefix", "digests")}[what]
    rows = db.execute(f"SELECT {key}, {column} FROM _replica_{table} ORDER BY 1").fetchall()
    if not rows:
        return ""
    name, data = random.choice(rows)
    data, said = _flipped(data, 0, len(data), random)
    db.execute(f"UPDATE _replica_{table} SET {column} = ? WHERE {key} = ?", (data, name))
    return f"_replica_{table} {name.hex() if isinstance(name, bytes) else name!r}: {said} of {column}"


def _page(path: Path, random: Random) -> str:
    """In what a b-tree page uses: the numbers of its cells, or the cells."""
    data, pages = path.read_bytes(), []
    size = _page_size(data)
    spared = definitions(data)
    for start in range(0, len(data), size) if data else ():
        at = start + (0 if start else HEADER)
        cells, begin = struct.unpack_from(">HH", data, at + 3)
        if data[at] in {2, 5, 10, 13} and cells and start // size + 1 not in spared:
            pages.append((start + begin, start + size))
    if not pages:
        return ""
    begin, end = random.choice(pages)
    data, said = _flipped(data, begin, end, random)
    path.write_bytes(data)
    return f"page {begin // size + 1}: {said} of the file"


def definitions(data: bytes) -> set[int]:
    """The numbers of the b-tree pages of sqlite_schema: the first, and all below it."""
    size, found, todo = _page_size(data), set[int](), [1] if data else []
    while todo:
        number = todo.pop()
        start = (number - 1) * size
        if number in found or not 0 <= start < len(data):
            continue  # A damaged file may name any page.
        found.add(number)
        head = start + (HEADER if number == 1 else 0)
        if data[head] == INTERIOR:
            (cells,) = struct.unpack_from(">H", data, head + 3)
            todo += struct.unpack_from(">I", data, head + 8)
            for at in struct.unpack_from(f">{cells}H", data, head + 12):
                todo += struct.unpack_from(">I", data, start + at)
    return found


def _page_size(data: bytes) -> int:
    size = int.from_bytes(data[16:18], "big")
    return 65_536 if size == 1 else size


def _flipped(data: bytes, begin: int, end: int, random: Random) -> tuple[bytes, str]:
    at, bit = random.randrange(begin, end), random.randrange(8)
    return data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :], f"bit {bit} of byte {at}"
