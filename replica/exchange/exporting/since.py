"""What changed in a collection since a moment: from the stamps that every record carries.

A record changed if anything in its state has a stamp at or after the moment: a field, its birth or its delete. A stamp
says when something was written, not when it came here: what a peer wrote before the moment and sends after it is not in a
later since-export. One test each:

1. A record is in the export if and only if a field, its birth or its delete is stamped at or after the moment.
2. A record that was deleted since is a row with its key and `replica:deleted` = 1, also if other edits came later.
3. A moment is ISO 8601, of UTC if it names no zone, or the id of a run, whose own writes are no change since it.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from protocol.hlc import MILLIS_MAX, NODE_BYTES, STAMP_BYTES, pack
from protocol.record import unpack_id
from replica.errors import UsageError
from replica.store.catalog import Table
from replica.store.core import Core
from replica.store.shadow import SHOWN

CHANGED = "temp._replica_changed"
"""Keys of what changed: k0, k1, …, and `gone`."""

RunMoment = Callable[[str], "int | None"]
"""Run id -> the moment after its writes (ms), or None if nobody knows it."""

_PART = 4_096


class Changes(NamedTuple):
    """How many records changed and are shown, and how many were deleted."""

    shown: int
    deleted: int


def moment(text: str, run: RunMoment) -> int:
    """Unix milliseconds of a time or of a run. Raises UsageError."""
    known = run(text)
    if known is not None:
        return known
    try:
        time = datetime.datetime.fromisoformat(text.strip())
        if time.tzinfo is None:
            time = time.replace(tzinfo=datetime.UTC)
        epoch = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
        millis = (time - epoch) // datetime.timedelta(milliseconds=1)
    except (ValueError, OverflowError):
        raise UsageError(
            f"{text!r} is neither a run of this store nor a time: 2026-11-20, 2026-11-20T08:30 (UTC) or "
            "2026-11-20T08:30+08:00"
        ) from None
    return min(max(millis, 0), MILLIS_MAX)


def collect(core: Core, table: Table, since_ms: int) -> Changes:
    """Fill CHANGED with the keys of what changed since then. Flat memory."""
    assert table.shape is not None
    width = len(table.shape.key)
    since = pack(since_ms, 0, bytes(NODE_BYTES))
    core.db.create_function("replica_newest", 1, _newest, deterministic=True)
    core.db.execute(f"DROP TABLE IF EXISTS {CHANGED}")
    core.db.execute(f"CREATE TEMP TABLE _replica_changed({', '.join(f'k{i}' for i in range(width))}, gone)")
    counts = {"shown": 0, "deleted": 0}
    sql = (
        f"SELECT id, born > floor, flags & {SHOWN}, floor >= x'{since.hex()}' FROM _replica_record "
        f"WHERE tbl = {table.tbl} AND max(floor, born, CASE length(stamps) WHEN {STAMP_BYTES} THEN stamps "
        f"ELSE replica_newest(stamps) END) >= x'{since.hex()}'"
    )
    into = f"INSERT INTO {CHANGED} VALUES ({'?, ' * width}?)"
    # Read whole parts before each write: both go through one connection.
    for part in core.stream(sql, _PART):
        core.db.executemany(into, list(_sorted_out(part, counts)))
    return Changes(counts["shown"], counts["deleted"])


def _sorted_out(part: list[tuple[Any, ...]], counts: dict[str, int]) -> Iterator[tuple[Any, ...]]:
    for id_, live, shown, deleted_since in part:
        if live and shown:
            counts["shown"] += 1
            yield (*unpack_id(id_)[0], 0)
        elif deleted_since and not live:
            counts["deleted"] += 1
            yield (*unpack_id(id_)[0], 1)


def _newest(stamps: bytes) -> bytes:
    return max((stamps[i : i + STAMP_BYTES] for i in range(0, len(stamps), STAMP_BYTES)), default=b"")
