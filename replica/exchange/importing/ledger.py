"""Rows of a run that are not in, with the reason: rejected ones, second ones of a key, and those that wait for another row.

They are kept in the store, in the transaction of their batch, so that an interrupted run knows them; the file of rejected
rows is written from here, when the run is over.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from replica.exchange.rows import MISSING, Batch
from replica.store.core import Core

REJECTED, DUPLICATE, LATER = "rejected", "duplicate", "later"
PREFIX = "replica:"
"""Of the columns that a file of rejected rows adds: an import leaves such columns alone."""


class Aside(NamedTuple):
    """A row that is not in. `cells`: the row as it was read, and its tree if the format nests; of a row that could not be
    read, `raw` alone. `reasons`: a sentence each."""

    source: int
    number: int
    line: int
    kind: str
    cells: tuple[Any, ...]
    reasons: tuple[str, ...]
    raw: str = ""
    tree: dict[str, Any] | None = None


def keep(core: Core, run: str, rows: Sequence[Aside]) -> None:
    """Keep these rows, in the caller's transaction."""
    packed = [
        (
            run,
            place(r.source, r.number),
            r.line,
            r.kind,
            _pack([list(r.cells), r.raw, r.tree]),
            _pack(list(r.reasons)),
        )
        for r in rows
    ]
    core.db.executemany("INSERT OR REPLACE INTO _replica_import_row VALUES (?, ?, ?, ?, ?, ?)", packed)


def kept(core: Core, run: str, kinds: Sequence[str], size: int = 1_000) -> Iterator[list[Aside]]:
    """The rows of these kinds, in the order of the files, in parts."""
    last = -1
    marks = ", ".join("?" * len(kinds))
    sql = (
        "SELECT number, line, kind, cells, reasons FROM _replica_import_row "
        f"WHERE run = ? AND number > ? AND kind IN ({marks}) ORDER BY number LIMIT ?"
    )
    while part := core.rows(sql, (run, last, *kinds, size)):
        last = part[-1][0]
        yield [_aside(*row) for row in part]


def some(core: Core, run: str, source: int, numbers: Sequence[int]) -> list[Aside]:
    """Those of these rows of one file that are kept, in its order."""
    sql = (
        "SELECT number, line, kind, cells, reasons FROM _replica_import_row "
        "WHERE run = ? AND number IN (SELECT value FROM json_each(?)) ORDER BY number"
    )
    wanted = json.dumps([place(source, number) for number in numbers])
    return [_aside(*row) for row in core.rows(sql, (run, wanted))]


def _aside(number: int, line: int, kind: str, cells: str, reasons: str) -> Aside:
    values, raw, tree = _unpack(cells)
    source, own = divmod(number, _FILE)
    return Aside(source, own, line, kind, tuple(values), tuple(_unpack(reasons)), raw, tree)


def forget_rows(core: Core, run: str, source: int, numbers: Sequence[int]) -> None:
    """Forget these rows of one file, in the caller's transaction."""
    places = [(run, place(source, number)) for number in numbers]
    core.db.executemany("DELETE FROM _replica_import_row WHERE run = ? AND number = ?", places)


def waiting(core: Core, run: str) -> int:
    """How many rows of a run wait."""
    sql = "SELECT count(*) FROM _replica_import_row WHERE run = ? AND kind = ?"
    return int(core.db.execute(sql, (run, LATER)).fetchone()[0])


def rejected(core: Core, run: str, source: int, numbers: Sequence[int]) -> set[int]:
    """Which of these rows of one file were rejected."""
    if not numbers:
        return set()
    sql = "SELECT number FROM _replica_import_row WHERE run = ? AND kind = ? AND number BETWEEN ? AND ?"
    found = core.rows(sql, (run, REJECTED, place(source, min(numbers)), place(source, max(numbers))))
    return {number % _FILE for (number,) in found}


def forget_old(core: Core, before: str, runs: Sequence[str]) -> None:
    """Forget the rows of runs whose ids are below `before`, but for these, in the caller's transaction."""
    sql = "DELETE FROM _replica_import_row WHERE run < ? AND run NOT IN (SELECT value FROM json_each(?))"
    core.db.execute(sql, (before, json.dumps(list(runs))))


def batch(rows: Sequence[Aside]) -> Batch:
    """Rows of one file, to be taken again."""
    trees = [row.tree for row in rows if row.tree is not None]
    nested = trees if rows and len(trees) == len(rows) else None
    return Batch([r.number for r in rows], [r.line for r in rows], [r.cells for r in rows], [], nested)


_FILE = 1 << 40


def place(source: int, number: int) -> int:
    """What a row of a file is known by among those of all files: its number in the first one, were it as long."""
    return source * _FILE + number


def _pack(value: object) -> str:
    return json.dumps(value, ensure_ascii=True, default=_default)


def _default(value: object) -> object:
    if value is MISSING:
        return {"$missing": 1}
    if isinstance(value, bytes):
        return {"$bytes": value.hex()}
    raise TypeError(f"a cell cannot hold a {type(value).__name__}")


def _unpack(text: str) -> Any:
    return json.loads(text, object_hook=_hook)


def _hook(item: dict[str, Any]) -> Any:
    if item.keys() == {"$missing"}:
        return MISSING
    if item.keys() == {"$bytes"}:
        return bytes.fromhex(item["$bytes"])
    return item
