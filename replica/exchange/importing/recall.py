"""What an import of this very file left behind: the same file, imported again, need not be read again.

For each row that is in, the key of its record and 8 bytes of the record's digest are kept beside the store, 24 bytes a row,
in the transaction of its batch. When the same bytes come under the same map, options, definitions and code, a row whose
record still has that digest says what stands here already: it is unchanged. All others are taken as ever. So this is a
hint, never replicated; to lose it costs time. One test each:

1. A file that is here already is not read again; whatever changed since, an import ends as it would without this.
2. Other bytes, another map, option, definition of the table or version of the code: nothing is recalled.
3. A run that was killed, resumed, stopped or undone leaves nothing that is not so.
4. What is kept is bounded, the files of the latest runs first.

Recalled are runs in which what becomes of a row depends on that row and its record alone: one collection, found by the
external key, without rules about other records. Of any run, what was decided over the whole file is.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import blake3 as _library
import msgpack
from blake3 import blake3

import replica
from protocol.record import fold
from replica.exchange.importing.places import How, Place
from replica.exchange.importing.runs import known_in
from replica.exchange.maps.columns import Decision
from replica.exchange.rows import Batch, Finding
from replica.store.core import Core
from replica.store.upsert import MARK_BYTES, Fate

BYTES_MAX = 64 << 20
"""Kept in all: nearly three million rows."""
FILES_MAX = 200
SHARED_MAX = 10_000
"""Rows of a file whose key another row has too: they are taken every time."""
_FILE = 1 << 40
_HEAD = -1
_NONE = bytes(MARK_BYTES)


@dataclass(slots=True)
class Part:
    """A batch. `number`: its own; `numbers`: of all its rows; `batch`: those to be taken, and `left` their indexes; `marks`:
    of every row, empty if it is not known to be in."""

    number: int
    numbers: Sequence[int]
    batch: Batch
    left: list[int]
    marks: list[bytes]

    @property
    def known(self) -> int:
        """How many rows are unchanged without a look at them."""
        return len(self.marks) - len(self.left)


def mark(parts: Sequence[str]) -> bytes:
    """16 bytes that stand for a file and all that was said about it, to this code."""
    said = "\0".join([*parts, _code()])
    return blake3(said.encode("utf-8", "surrogatepass")).digest(16)


def _code() -> str:
    """Changes when this package or the libraries do: the times of its files, and of the folder they stand in."""
    told = [sys.version, str(Path(_library.__file__).parent.parent.stat().st_mtime_ns)]
    for folder, _, names in sorted(os.walk(Path(replica.__file__).parent)):
        paths = [Path(folder, name) for name in sorted(names) if name.endswith(".py")]
        told += [f"{path} {(found := path.stat()).st_mtime_ns} {found.st_size}" for path in paths]
    return "\n".join(told)


class Recall:
    """Of one run. `same`: whether the files still are what they were when the run began."""

    def __init__(self, core: Core, mark: bytes, run: str, source: str, *, rows: bool, same: Callable[[], bool]) -> None:
        """In the caller's transaction. `rows`: whether rows may be recalled at all."""
        self._mark, self._run, self._source, self._rows, self._same = mark, run, source, rows, same
        self._context: bytes | None = None
        self._asked = False
        self._size, self._wrote = 0, False
        self.shared: set[tuple[int, int]] = set()
        """(file, line) of rows whose key another row has too."""
        found = core.db.execute(
            "SELECT content FROM _replica_import_known WHERE mark = ? AND part = ?", (mark, _HEAD)
        ).fetchone()
        self._head: dict[str, Any] = msgpack.unpackb(found[0]) if found else {}
        self._valid = False
        """Whether the parts that are here hold."""

    # --- what was found out -------------------------------------------------------------------------------------------

    def decided(self, file: int) -> tuple[list[Decision], list[Finding]] | None:
        """What was decided over the whole file, and found; None if it is to be found out."""
        if not self._head:
            return None
        decisions, findings = self._head["decided"][file]
        return [Decision(*d) for d in decisions], [Finding(what, value, sure) for what, value, sure in findings]

    # --- rows ---------------------------------------------------------------------------------------------------------

    @property
    def hopeful(self) -> bool:
        """Whether rows of these files are kept: `look` tells whether they hold."""
        return self._rows and bool(self._head.get("rows"))

    @property
    def fates(self) -> frozenset[Fate]:
        """Of rows to be remembered: what is cheap the first time; all when the file comes again."""
        if self._context is None:
            return frozenset()
        return frozenset({Fate.CREATED, Fate.UPDATED, *([Fate.UNCHANGED] if self._head else [])})

    def look(self, core: Core, places: Mapping[int, Mapping[str, Place]]) -> None:
        """Find out, once, whether these places may be recalled, and whether what is kept is of them."""
        if self._asked or not self._rows:
            return
        self._asked, self._context = True, _context(core, places, self._source)
        self._valid = self._context is not None and self._head.get("context") == self._context
        if self._valid:
            self.shared |= {(file, line) for file, line in self._head["shared"]}
        else:
            self._forget_rows(core)

    def give_up(self) -> None:
        """Another record decided about a row of this run: nothing of it is to be recalled."""
        self._rows, self._valid, self._context = False, False, None

    def share(self, file: int, line: int) -> None:
        """The row of this line has its key in common with another."""
        if self._rows:
            self.shared.add((file, line))
            if len(self.shared) > SHARED_MAX:
                self.give_up()

    def all_same(self, core: Core) -> dict[int, int] | None:
        """Number of rows by file, if every row of every file is here already; else None."""
        if not self._valid or self.shared:
            return None
        counts: dict[int, int] = {}
        sql = "SELECT part FROM _replica_import_known WHERE mark = ? AND part >= 0 ORDER BY part"
        for (number,) in core.rows(sql, (self._mark,)):
            _, _, marks = self._load(core, number)
            if _NONE in marks or not all(_held(core, marks)):
                return None
            counts[number // _FILE] = counts.get(number // _FILE, 0) + len(marks)
        return counts if sum(counts.values()) == self._head["read"] else None

    def part(self, core: Core, file: int, batch: Batch) -> Part | None:
        """A batch of a file, in the caller's transaction; None if nothing is recalled or remembered of this run."""
        if not self._rows or not batch.rows:
            return None
        number = file * _FILE + batch.numbers[0]
        whole = Part(number, batch.numbers, batch, list(range(len(batch.rows))), [b""] * len(batch.rows))
        if not self._valid:
            return whole
        last, count, marks = self._load(core, number)
        if (last, count) != (batch.numbers[-1], len(batch.rows)):
            return whole
        holds = _held(core, marks)
        if self.shared:
            holds = [held and (file, line) not in self.shared for held, line in zip(holds, batch.lines, strict=True)]
        whole.left = [i for i, held in enumerate(holds) if not held]
        whole.marks = [m if held else b"" for m, held in zip(marks, holds, strict=True)]
        trees = [batch.trees[i] for i in whole.left] if batch.trees is not None else None
        numbers, lines = ([of[i] for i in whole.left] for of in (batch.numbers, batch.lines))
        whole.batch = Batch(numbers, lines, [batch.rows[i] for i in whole.left], batch.broken, trees)
        return whole

    def note(self, core: Core, part: Part, marks: Mapping[int, bytes]) -> None:
        """Remember rows of a batch, in its transaction. `marks`: by index among those that were taken."""
        if not self._rows:
            self._forget_rows(core)
        if self._context is None or not any(marks.values()):
            return
        every = list(part.marks)
        for i, one in marks.items():
            every[part.left[i]] = one
        some = [m for m in every if m]
        if len({m[:16] for m in some}) < len(some):
            return  # Two rows of one record: which of them holds depends on the other.
        self._size += MARK_BYTES * len(every)
        if self._size > BYTES_MAX:
            self.give_up()
            return
        content = msgpack.packb([part.numbers[-1], len(every), b"".join([m or _NONE for m in every])])
        sql = "INSERT OR REPLACE INTO _replica_import_known VALUES (?, ?, ?, ?)"
        core.db.execute(sql, (self._mark, part.number, self._run, content))
        # Without its head nothing of this is believed: whoever is killed before the end leaves none.
        core.db.execute("DELETE FROM _replica_import_known WHERE mark = ? AND part = ?", (self._mark, _HEAD))
        self._wrote = True

    def _load(self, core: Core, number: int) -> tuple[int, int, list[bytes]]:
        sql = "SELECT content FROM _replica_import_known WHERE mark = ? AND part = ?"
        found = core.db.execute(sql, (self._mark, number)).fetchone()
        if found is None:
            return 0, 0, []
        last, count, marks = msgpack.unpackb(found[0])
        return last, count, [marks[at : at + MARK_BYTES] for at in range(0, len(marks), MARK_BYTES)]

    def _forget_rows(self, core: Core) -> None:
        self._valid = False
        core.db.execute("DELETE FROM _replica_import_known WHERE mark = ? AND part >= 0", (self._mark,))

    # --- the end ------------------------------------------------------------------------------------------------------

    def finish(self, core: Core, decided: Iterable[tuple[list[Decision], list[Finding]]], read: int) -> None:
        """All rows were taken: from now on what was noted holds. In the caller's transaction. `read`: number of rows."""
        told = [[list(map(list, decisions)), [f[:3] for f in findings]] for decisions, findings in decided]
        context = self._context if self._rows else None
        head = {
            "context": context,
            "rows": context is not None,
            "shared": sorted(self.shared) if context is not None else [],
            "decided": told,
            "read": read,
        }
        content = msgpack.packb(head)
        if not self._wrote and content == msgpack.packb(self._head):
            return
        if context is None:
            self._forget_rows(core)
        if not self._same():
            core.db.execute("DELETE FROM _replica_import_known WHERE mark = ?", (self._mark,))
            return
        core.db.execute(
            "INSERT OR REPLACE INTO _replica_import_known VALUES (?, ?, ?, ?)", (self._mark, _HEAD, self._run, content)
        )
        _trim(core, self._mark)


def _held(core: Core, marks: Sequence[bytes]) -> list[bool]:
    """Whether the record of each mark still has its digest."""
    keys = [m[:16] for m in marks if m != _NONE]
    digests = dict(core.select_in("SELECT key, substr(digest, 1, 8) FROM _replica_record WHERE key IN (", keys))
    return [digests.get(m[:16]) == m[16:] for m in marks]


def _context(core: Core, places: Mapping[int, Mapping[str, Place]], source: str) -> bytes | None:
    """Stands for the tables that the rows go to; None if what becomes of a row depends on more than its own record."""
    told: list[object] = []
    every = {name: place for some in places.values() for name, place in some.items()}
    for number, some in sorted(places.items()):
        if len(some) != 1:
            return None
        for name, place in some.items():
            table = core.by_name.get(name)
            if table is None or table.shape is None or table.shape.rowid_alias or place.how is How.LOOKUP:
                return None
            if any(f.unique or f.exists for f in place.target.fields):
                return None
            if any(place.target.fields[position].refers is None for position in place.refers):
                return None  # Without a map, a cell may be the id of a record, if that is here.
            told += [number, name, place, table.shape.signature]
            for to in sorted({*map(fold, place.refers.values())}):
                other, known = core.by_name.get(to), known_in(core, to, source)
                told += [to, other and other.shape and other.shape.signature, known, every.get(to)]
    return blake3(repr(told).encode("utf-8", "surrogatepass")).digest(16)


def _trim(core: Core, own: bytes) -> None:
    """Keep what is within the bounds, the latest first, and nothing that has no head."""
    sql = (
        "SELECT mark, sum(length(content)), min(part) FROM _replica_import_known GROUP BY mark "
        "ORDER BY mark <> ?, max(run) DESC, mark"
    )
    size = 0
    for number, (mark, bytes_, first) in enumerate(core.rows(sql, (own,))):
        size += bytes_
        if first != _HEAD or size > BYTES_MAX or number >= FILES_MAX:
            core.db.execute("DELETE FROM _replica_import_known WHERE mark = ?", (mark,))
