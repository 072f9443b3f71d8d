"""What changed, transaction by transaction: the memory that makes the next meeting with a known peer short.

One row for each transaction that changed records: the root after it, and the items (record key and stamp) that came and
went. So a root that a peer names says what it lacks, if this node had that root once: everything that came since. It also
says how a sketch of then becomes one of now. All of it is a hint: it is bounded, the oldest goes first, and whoever does
not find a root in it falls back to the sketch or the trie. One test each:

1. After any history, the items of a past root, less what went, plus what came, are the items of now.
2. It holds about ITEMS_MAX items and ROWS_MAX rows: it is looked at every 256 transactions, before which at most 65,536
   items more come in. The newest row is never dropped, so no number is used twice.
3. What is rolled back leaves nothing in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from protocol.hlc import STAMP_BYTES
from protocol.prints import ITEM_BYTES
from replica.errors import StoreError
from replica.store.core import Core
from replica.store.toggled import distinct

ITEMS_MAX = 131_072
"""4 MB in the file."""
ROWS_MAX = 16_384
SEQ_MAX = 1 << 53
"""No history comes so far; what stands there is not ours, and SQLite would number at random after it."""
LOOK_EVERY = 256
"""Transactions after which the size of the history is looked at."""
ROWS_AT_ONCE, PART_BYTES = 256, 1 << 20
"""Records read at a time, and bytes of their items that are handed on together: a record of 2,000 stamps is 64 kB of
items, so that both together are 18 MB at worst; and NumPy pays from 500 items on."""


def write(core: Core) -> None:
    """Note what this transaction did, at its end. The oldest row is the base: what it brought is not asked for."""
    toggled = core.toggled
    root = core.meta("root")
    came, went = b"".join(toggled.came), b"".join(toggled.went)
    sql = "INSERT INTO _replica_history(root, came, went) VALUES (?, ?, ?)"
    seq = core.db.execute(sql, (root, came, went)).lastrowid
    assert seq is not None
    if toggled.lost:
        core.db.execute("DELETE FROM _replica_history WHERE seq < ?", (seq,))
    elif seq % LOOK_EVERY == 0 or len(came) + len(went) > ITEM_BYTES * LOOK_EVERY:
        _trim(core, seq)
    toggled.clear()


def _trim(core: Core, seq: int) -> None:
    core.db.execute("DELETE FROM _replica_history WHERE seq <= ?", (seq - ROWS_MAX,))
    items = 0
    sql = "SELECT seq, length(came) + length(went) FROM _replica_history ORDER BY seq DESC"
    for row, size in core.db.execute(sql):
        items += size // ITEM_BYTES
        if items > ITEMS_MAX and row < seq:
            core.db.execute("DELETE FROM _replica_history WHERE seq <= ?", (row,))
            return


def now(core: Core) -> int:
    """Number of the newest row, 0 if there is none."""
    return int(core.db.execute("SELECT coalesce(max(seq), 0) FROM _replica_history").fetchone()[0])


def when(core: Core, root: bytes) -> int | None:
    """The number of the last transaction after which this was the root, if that is remembered."""
    (seq,) = core.db.execute("SELECT max(seq) FROM _replica_history WHERE root = ?", (root,)).fetchone()
    return seq if seq is not None and sound(core, seq) else None


def sound(core: Core, seq: int) -> bool:
    """Whether every transaction after that one is there, and says what came and went in whole items. The table is plain SQL,
    and somebody's hand may have been in it."""
    rows, newest, odd = core.db.execute(
        "SELECT count(*), max(seq), sum(typeof(came) <> 'blob' OR typeof(went) <> 'blob' OR length(came) % ?1 OR "
        "length(went) % ?1) FROM _replica_history WHERE seq > ?2",
        (ITEM_BYTES, seq),
    ).fetchone()
    return bool(not rows or (newest - seq == rows and not odd))


def begin_anew(core: Core) -> None:
    """Forget everything, in a write transaction; numbers go on from the newest, so that none is used twice."""
    core.db.execute("DELETE FROM _replica_history WHERE seq > ?", (SEQ_MAX,))
    core.toggled.lose()
    core.toggled.due = True


def since(core: Core, seq: int, size_bytes: int = 0) -> tuple[bytes, bytes, int]:
    """Items that came and items that went after that transaction, and the number of the newest. One may come and go. With
    `size_bytes`: of as many transactions as make so much, the next one at least; and the number of the last of them."""
    cursor = core.db.execute("SELECT came, went, seq FROM _replica_history WHERE seq > ? ORDER BY seq", (seq,))
    rows = _some(cursor, size_bytes) if size_bytes else cursor.fetchall()
    return b"".join([row[0] for row in rows]), b"".join([row[1] for row in rows]), rows[-1][2] if rows else seq


def recent(core: Core, limit: int) -> bytes:
    """The items that came last, the last at the end; of transactions that say what makes no sense, none."""
    size, parts = limit * ITEM_BYTES, list[bytes]()
    sql = (
        "SELECT substr(came, ?1) FROM _replica_history "
        "WHERE typeof(came) = 'blob' AND length(came) % ?2 = 0 AND came <> x'' ORDER BY seq DESC"
    )
    for (came,) in core.db.execute(sql, (-size, ITEM_BYTES)):
        parts.append(came)
        size -= len(came)
        if size <= 0:
            break
    return b"".join(reversed(parts))[-limit * ITEM_BYTES :]


def _some(cursor: Iterable[tuple[bytes, bytes, int]], size_bytes: int) -> list[tuple[bytes, bytes, int]]:
    rows = []
    for row in cursor:
        rows.append(row)
        size_bytes -= len(row[0]) + len(row[1])
        if size_bytes <= 0:
            break
    return rows


def size_since(core: Core, seq: int) -> int:
    """Bytes of all items that came and that went since."""
    sql = "SELECT coalesce(sum(length(came) + length(went)), 0) FROM _replica_history WHERE seq > ?"
    return int(core.db.execute(sql, (seq,)).fetchone()[0])


def remembers(core: Core, seq: int) -> bool:
    """Whether every transaction after that one is there, and that one too."""
    return reaches(core, seq) and sound(core, seq)


def reaches(core: Core, seq: int) -> bool:
    """Whether that transaction is there, which seldom means less."""
    return core.db.execute("SELECT 1 FROM _replica_history WHERE seq = ?", (seq,)).fetchone() is not None


def count_since(core: Core, seq: int) -> int:
    """How many items came since: at most so many has a peer of that time to be sent."""
    sql = "SELECT coalesce(sum(length(came)), 0) FROM _replica_history WHERE seq > ?"
    return int(core.db.execute(sql, (seq,)).fetchone()[0]) // ITEM_BYTES


def news(core: Core, seq: int) -> dict[bytes, set[bytes]]:
    """Record key -> stamps that came since and did not go again. (One that went never comes back: the joins only grow.)"""
    came, went, _ = since(core, seq)
    found: dict[bytes, set[bytes]] = {}
    for key, stamp in _apart(came):
        found.setdefault(key, set()).add(stamp)
    for key, stamp in _apart(went):
        if key in found:
            found[key].discard(stamp)
    return {key: stamps for key, stamps in found.items() if stamps}


def _apart(items: bytes) -> Iterator[tuple[bytes, bytes]]:
    for at in range(0, len(items), ITEM_BYTES):
        stamp = at + ITEM_BYTES - STAMP_BYTES
        yield items[at:stamp], items[stamp : at + ITEM_BYTES]


def items(core: Core, after: bytes = b"", size_bytes: int = 0) -> Iterator[bytes]:
    """All items of records with keys above `after`, in the order of keys, about `size_bytes` at a time or PART_BYTES, and
    not less but at the end."""
    cursor = core.db.execute("SELECT key, floor, born, stamps FROM _replica_record WHERE key > ? ORDER BY key", (after,))
    parts: list[bytes] = []
    size = 0
    while rows := cursor.fetchmany(ROWS_AT_ONCE):
        parts.append(items_of(core, rows))
        size += len(parts[-1])
        if size >= (size_bytes or PART_BYTES):
            yield b"".join(parts)
            parts, size = [], 0
    if parts:
        yield b"".join(parts)


def items_of(core: Core, rows: Sequence[tuple[bytes, bytes, bytes, bytes]]) -> bytes:
    """The items of records that are (key, floor, born, stamps), 32 bytes each. Raises StoreError if those are no bytes."""
    try:
        return b"".join(
            [
                key + born
                if stamps == born and not floor
                else b"".join([key + stamp for stamp in distinct(floor, born, stamps)])
                for key, floor, born, stamps in rows
            ]
        )
    except TypeError as error:
        raise damaged(core) from error


def damaged(core: Core) -> StoreError:
    """What to say of records whose keys or stamps are no bytes."""
    return StoreError(f"{core.path} is damaged: a record's stamps make no sense; `replica verify` says which")
