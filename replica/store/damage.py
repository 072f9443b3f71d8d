"""Where bits have flipped in what is stored of records: whose they are. One test each:

1. What cannot be decoded ends in a StoreError that names the record. Nobody looks for it until decoding fails: the tables
   are plain SQL, anything may stand there, and to ask for each type of each row would make every write dearer.
2. An error that has another reason stays what it is.
"""

from __future__ import annotations

import json
import sqlite3
import struct
from array import array
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Protocol

from protocol.errors import ReplicaError
from protocol.record import unpack_id
from replica.errors import Reporting, StoreError
from replica.store.catalog import Table


class Core(Protocol):
    """What is needed of an open store."""

    path: str
    tables: dict[int, Table]

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """All rows of a query; text that is not UTF-8 comes all the same."""

    def stream(self, sql: str, size: int) -> Iterator[list[tuple[Any, ...]]]:
        """They in parts."""


Place = tuple[Any, Any, Any]
"""Key, table and id of a record, as they are stored: of any type."""

NONSENSE = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, struct.error)
"""What decoding raises, beside the protocol's own errors."""

_ABSENT = 0xFFFF

_SOUND = " AND ".join(
    [
        *(f"typeof({c}) = 'blob'" for c in ("key", "id", "floor", "born", "stamps", "which", "checks", "digest")),
        "length(key) = 16 AND length(floor) IN (0, 16) AND length(born) IN (0, 16) AND length(digest) = 16",
        "length(stamps) % 16 = 0 AND length(checks) % 4 = 0 AND length(checks) / 4 <= fields",
        "CASE WHEN length(which) THEN 2 * length(which) = length(checks) ELSE length(stamps) < 17 END",
        "typeof(flags) = 'integer'",
    ]
)
_UNSOUND = (
    "SELECT key, r.tbl, id FROM _replica_record AS r LEFT JOIN (SELECT t.tbl, count(f.tbl) AS fields FROM _replica_table "
    f"AS t LEFT JOIN _replica_field AS f USING (tbl) GROUP BY t.tbl) AS t ON t.tbl = r.tbl WHERE ({_SOUND}) IS NOT 1"
)
_EXTRA = (
    "SELECT DISTINCT key, r.tbl, id FROM _replica_extra AS e JOIN _replica_record AS r USING (key) "
    "WHERE typeof(e.pos) <> 'integer' OR typeof(e.value) <> 'blob'"
)
_WHICH = "SELECT key, tbl, id, length(stamps) / 16, which FROM _replica_record WHERE length(which)"


def unsound(core: Core) -> Iterator[Place]:
    """The records whose stored form is none, by types and sizes alone. One may come twice."""
    yield from core.rows(_UNSOUND)
    yield from core.rows(_EXTRA)
    for part in core.stream(_WHICH, 4_096):
        for key, tbl, id_, count, which in part:
            if type(which) is bytes and len(which) % 2 == 0:
                index = array("H", which)
                if any(count <= i != _ABSENT for i in index):
                    yield key, tbl, id_


def named(core: Core, key: object, tbl: object, id_: object) -> str:
    """A record for people, as far as can be told."""
    table = next((t for t in core.tables.values() if t.tbl == tbl), None)
    if table is not None and type(id_) is bytes:
        with suppress(ReplicaError, *NONSENSE):
            parts = [part.hex() if isinstance(part, bytes) else part for part in unpack_id(id_)[0]]
            return f"{table.label} {json.dumps(parts, ensure_ascii=False)}"
    return f"record {spelled(key)}"


def spelled(key: object) -> str:
    """The key of a record, or whatever stands there instead."""
    return key.hex() if isinstance(key, bytes) else repr(key)


class Decoding(Reporting):
    """Turns SQLite's errors into ours; and what decoding raises, if a record makes no sense, into one that names it."""

    def __init__(self, core: Core) -> None:
        super().__init__(core.path)
        self._core = core

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        super().__exit__(kind, error, trace)
        if not isinstance(error, NONSENSE):
            return
        found = None
        with suppress(sqlite3.Error):  # The file is closed, say: then the error itself is to be told.
            found = next(unsound(self._core), None)
        if found is not None:
            raise StoreError(
                f"{self._core.path} is damaged: what is stored of {named(self._core, *found)} makes no sense; `replica "
                "rescan` takes its row as it stands, or drops it if it has none: then peers bring it back"
            ) from error
