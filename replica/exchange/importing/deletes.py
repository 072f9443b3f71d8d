"""Rows that say that a record was deleted: those of a since-export, marked by 1 in its column `replica:deleted`.

Such a row names its record by the primary key of the table; nothing else in it counts. One test each:

1. A since-export that is imported into a store of the same records makes its rows those of the store it is from.
2. Deletes of a file come before its other rows, wherever they stand: what a deleted record had is free for another.
3. A row whose record is deleted here already, or is not here, is unchanged; one whose record was edited after the run began
   is kept; a mark that is neither 1 nor 0, or no key, is rejected.
4. Numbers that SQLite made up on another node are no names of records here: such rows are rejected.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgpack

from protocol.record import Delta, fold
from replica.errors import UsageError
from replica.exchange.importing.identity import external
from replica.exchange.importing.places import Place
from replica.exchange.importing.runs import Known
from replica.exchange.importing.seen import Seen
from replica.exchange.maps.mapmodel import FieldSpec, as_text
from replica.exchange.maps.mapping import Mapping
from replica.exchange.rows import DELETED, MISSING, Batch
from replica.store.apply import apply
from replica.store.catalog import Table
from replica.store.core import Core
from replica.store.fit import fit
from replica.store.identify import identify
from replica.store.state import load
from replica.store.upsert import Fate

_MARKS = {"1": True, "true": True, "0": False, "false": False, "": False}


@dataclass(slots=True)
class Gone:
    """What came of marked rows, by index in the batch."""

    fates: dict[int, Fate] = field(default_factory=dict)
    reasons: dict[int, list[str]] = field(default_factory=dict)
    texts: dict[int, str] = field(default_factory=dict)
    """The primary key of each, for people."""
    absent: int = 0
    """Records that are not here, and never were."""
    wrote: bool = False


class Deletes:
    """The marked rows of one file. Raises UsageError if it cannot be told of which collection they are."""

    def __init__(self, fields: Sequence[str], mapping: Mapping) -> None:
        if len(mapping.collections) != 1:
            names = ", ".join(spec.name for spec in mapping.collections)
            raise UsageError(f"a file with {DELETED!r} is of one collection; the map names several: {names}")
        self._name = mapping.collections[0].name
        self.collection = fold(self._name)
        self._mark = list(fields).index(DELETED)
        self._places = {fold(name): at for at, name in reversed(list(enumerate(fields)))}
        for spec in mapping.collections[0].fields:
            if len(spec.sources) == 1 and spec.sources[0] in fields:
                self._places.setdefault(fold(spec.name), list(fields).index(spec.sources[0]))
        self._seen = Seen()

    def check(self, core: Core) -> None:
        """The table must be here, else nobody could say what its key is. Raises UsageError."""
        if self.collection not in core.by_name:
            raise UsageError(f"{self._name} is not here: import a whole export first, then what changed since")

    def close(self) -> None:
        """Forget the rows."""
        self._seen.close()

    def repeated(self, batch: Batch, rows: Sequence[int]) -> list[int]:
        """Which of these marked rows stood in the file before."""
        texts = [repr(batch.rows[i]) for i in rows]
        here: set[str] = set()
        out = []
        for i, text, first in zip(rows, texts, self._seen.look(texts), strict=True):
            if first is not None or text in here:
                out.append(i)
            here.add(text)
        return out

    def remember(self, batch: Batch, rows: Sequence[int]) -> None:
        """These marked rows are in."""
        nothing = [0] * len(rows)
        self._seen.keep([repr(batch.rows[i]) for i in rows], nothing, nothing)

    def marks(self, batch: Batch) -> tuple[list[int], dict[int, str]]:
        """Which rows are marked, and why it cannot be told."""
        cells = [row[self._mark] for row in batch.rows]
        if set(map(type, cells)) == {str} and set(cells) <= {"0", ""}:
            return [], {}
        marked: list[int] = []
        wrong: dict[int, str] = {}
        for i, cell in enumerate(cells):
            known = _MARKS.get(as_text(cell).strip().lower())
            if known is None:
                wrong[i] = f"{DELETED}: {as_text(cell)[:40]!r} is neither 1 nor 0"
            elif known:
                marked.append(i)
        return marked, wrong

    def take(
        self, core: Core, place: Place, batch: Batch, rows: Sequence[int], stamps: Sequence[bytes], run: str
    ) -> Gone:
        """Delete the records of these rows, in the caller's transaction, and note for the run what stood there. What it
        deleted before is told again as deleted by it."""
        gone = Gone()
        table = core.by_name[place.collection]
        pks = self._keys(table, batch, rows, gone)
        found = identify(core, table, pks, [n for n, i in enumerate(rows) if i not in gone.reasons], {})
        states = load(core, [key for key, _ in found.values()])
        deltas, notes = [], []
        for n, (key, id_) in found.items():
            i, stamp, state = rows[n], stamps[rows[n]], states.get(key)
            gone.texts[i] = external(pks[n])
            gone.fates[i] = Fate.UNCHANGED
            if state is None:
                gone.absent += 1
            elif not state.record.live:
                gone.fates[i] = Fate.UPDATED if state.record.floor == stamp else Fate.UNCHANGED
            elif max([state.record.born, *(at for at, _ in state.record.registers.values())]) > stamp:
                gone.fates[i] = Fate.NEWER
            else:
                gone.fates[i] = Fate.UPDATED
                deltas.append(Delta(table.collection, id_, stamp, b"", (), b"", b"", ()))
                notes.append((run, key, stamp, msgpack.packb({n: v for n, (_, v) in state.record.registers.items()})))
        apply(core, deltas, core.now_ms())
        core.db.executemany("INSERT OR IGNORE INTO _replica_import VALUES (?, ?, ?, ?)", notes)
        gone.wrote = bool(deltas)
        return gone

    def _keys(self, table: Table, batch: Batch, rows: Sequence[int], gone: Gone) -> list[tuple[Any, ...]]:
        """The primary key of each row; why there is none goes into `gone.reasons`."""
        assert table.shape is not None
        key = table.shape.key
        lacking = next((c.name for c in key if c.folded not in self._places), None)
        why = ""
        if table.surrogate:
            why = f"{table.label} numbers its own records, so one of another node may be another one here: delete by hand"
        elif lacking is not None:
            why = f"the record was deleted, but the file has no column for {lacking}, the key of {table.label}"
        if why:
            gone.reasons.update({i: [why] for i in rows})
            return [()] * len(rows)
        columns: list[Sequence[Any]] = []
        for column in key:
            cells = [_trimmed(batch.rows[i][self._places[column.folded]]) for i in rows]
            fitted, refused = fit(column, cells, MISSING)
            columns.append(fitted)
            for n, cell in enumerate(fitted):
                if cell is None or cell is MISSING or cell == "":
                    refused[n] = f"the record was deleted, but {column.name}, which tells it, is empty"
                elif table.shape.rowid_alias and type(cell) is not int:
                    refused.setdefault(n, f"{column.name}: {cell!r} is no whole number")
            for n, reason in refused.items():
                gone.reasons.setdefault(rows[n], []).append(reason)
        return list(zip(*columns, strict=True))


def _trimmed(cell: Any) -> Any:
    return cell.strip() if type(cell) is str else cell


def with_id(mapping: Mapping, known: Known | None, fields: Sequence[str]) -> Mapping:
    """A map of one collection that takes along the record ids that an export names, if an import made them up."""
    spec = mapping.collections[0]
    name = next((f for f in fields if known is not None and known.id is not None and fold(f) == fold(known.id)), None)
    if name is None or spec.rest == "keep" or fold(name) in {fold(f.name) for f in spec.fields}:
        return mapping
    return replace(mapping, collections=(replace(spec, fields=(*spec.fields, FieldSpec(name, (name,)))),))
