"""What users of one machine were told is written, until the engine has taken it.

A user looks at rows after COMMIT; what was seen is noted, and must be in the records once nothing waits. One test each:

1. A write that no absorption finds is missed at the next commit that should have.
2. A later write replaces what an earlier one said, also of rows that it changed by the way.
3. A row that cannot travel, or says nothing new, is not waited for.
4. A row that was gone, and stands there again under a number that SQLite made up, is another record.
5. While the node is asked for a write, a row that says something else now is not waited for.
6. Nor is what stood in a row that somebody was writing when the machine died.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from protocol.errors import ValueRefused
from protocol.record import Record, fold, pack_id, unpack_id
from protocol.values import pack_value
from replica.store.catalog import Table, called, marks
from replica.store.core import Core
from replica.store.shadow import load_shadows
from replica.store.state import key_of, row_id
from sim.truth import Rid, look, quiet, words

LARGE = 3 << 20
"""A value so long may stay where it is."""

Row = tuple[str, tuple[Any, ...], dict[str, Any] | None]
"""Table, key, and what a user saw there (None: nothing)."""


@dataclass(slots=True)
class _Note:
    """A row that somebody saw (None: that it is gone), and what must come of it."""

    table: str
    key: tuple[Any, ...]
    row: dict[str, Any] | None
    known: bool = False
    """Whether it was compared with what the engine had last seen; the rest says what came of that."""
    old: tuple[Rid, bytes] | None = None
    """The record that stood there, and its birth."""
    due: dict[str, bytes] = field(default_factory=dict)
    """Fields that must become these."""
    left: tuple[Rid, bytes] | None = None
    """The record of a row that was gone before this one came, and its birth."""

    def __str__(self) -> str:
        return f"{self.table} {list(self.key)!r:.80}"


class Diary:
    """Notes of one machine, by table and key."""

    def __init__(self) -> None:
        self._notes: dict[tuple[str, bytes], _Note] = {}
        self._blind = False
        """Something was written while nobody could look: what other rows it changed by the way is not known."""

        self.under_way = 0
        """Writes that the node was asked for: they may be in the file before anybody is told."""

    def clear(self) -> None:
        """Nothing that was told counts any more."""
        self._notes.clear()

    def unsure(self, keys: Iterable[tuple[str, tuple[Any, ...]]]) -> None:
        """Who wrote these rows anew was told nothing, and nobody knows what stands there."""
        for table, key in keys:
            with suppress(ValueRefused):  # Such a row stays where it is.
                self._notes.pop((fold(table), row_id(key)), None)

    def pending(self) -> list[str]:
        """What waits, in words."""
        return [str(note) for note in self._notes.values()]

    def wrote(self, core: Core | None, rows: Sequence[Row]) -> None:
        """Somebody committed, and then saw these rows."""
        places = [self._add(core, *row) for row in rows]
        if core is None:
            self._blind = True
            return
        self._look_again(core, [p for p in places if p])
        for note in list(self._notes.values()):
            if not note.known:
                self._compare(core, note)

    def _add(self, core: Core | None, name: str, key: tuple[Any, ...], row: dict[str, Any] | None) -> tuple[str, bytes]:
        table = _table(core, name)
        real = key
        if row is not None and table is not None and table.shape is not None:
            by_name = {fold(n): v for n, v in row.items()}
            real = tuple(by_name.get(c.folded, old) for c, old in zip(table.shape.key, key, strict=True))
        try:
            place, asked = (fold(name), row_id(real)), (fold(name), row_id(key))
        except ValueRefused:
            return "", b""  # Such a row stays where it is.
        self._put(table, place, _Note(name, real, row))
        if asked != place and asked in self._notes:
            self._notes[asked] = _Note(name, key, None)
        return place

    def _put(self, table: Table | None, place: tuple[str, bytes], note: _Note) -> None:
        """Take a note for what was noted there."""
        old = self._notes.get(place)
        if old is not None and table is not None and table.surrogate:
            note.left = old.old if old.row is None and note.row is not None else old.left
        self._notes[place] = note

    def _look_again(self, core: Core, but: Iterable[tuple[str, bytes]]) -> None:
        """What else the write changed counts as seen: cascades, triggers, rows that were replaced."""
        told = set(but)
        for place, note in list(self._notes.items()):
            table = _table(core, note.table)
            if place not in told and table is not None:
                row = read_row(core, table, note.key)
                same = row is None if note.row is None else row is not None and _says(row, note.row)
                if not same:
                    self._put(table, place, _Note(note.table, note.key, row))

    def _compare(self, core: Core, note: _Note) -> None:
        """Find out whether the engine has something to find here."""
        note.known = True
        table = _table(core, note.table)
        key = _record_key(core, table, note.key) if table is not None else b""
        shadow = load_shadows(core, [key]).get(key) if key else None
        if table is not None and shadow is not None:
            note.old = (table.collection, shadow.id), shadow.born
        shown = shadow is not None and shadow.shown
        if table is not None and note.row is not None:
            for name, value in note.row.items():
                pos, packed = table.positions.get(fold(name)), pack_value(value)
                if pos is None or pos not in table.at or len(packed) > LARGE:
                    continue
                seen = shadow.checks[pos] if shadow is not None and pos < len(shadow.checks) else None
                if not shown or seen != zlib.crc32(packed):
                    note.due[fold(name)] = packed
        if table is None or (not shown if note.row is None else shown and not note.due and note.left is None):
            self._notes.pop((fold(note.table), row_id(note.key)), None)

    def opened(self, core: Core) -> None:
        """Somebody can look again."""
        if self._blind:
            self._look_again(core, ())
            self._blind = False
        for note in list(self._notes.values()):
            if not note.known:
                self._compare(core, note)

    # --- what became of it ----------------------------------------------------------------------------------------------

    def committed(self, core: Core, remote: dict[Rid, None], mine: dict[Rid, None], ids: Sequence[bytes]) -> list[str]:
        """What is wrong now. `remote`: records that this commit changed by a peer's data; `mine`: by local writes."""
        if not self._notes:
            return []
        calm = quiet(core)
        wrong = []
        for place, note in list(self._notes.items()):
            if not calm:
                if note.old is not None and note.old[0] in remote and note.old[0] not in mine:
                    wrong.append(f"{note}: a peer's data came before what the user had written")
                    del self._notes[place]
                continue
            del self._notes[place]
            if self.under_way and not _stands(core, note):
                continue
            text = self._missing(core, note, remote, mine, ids)
            if text:
                wrong.append(f"{note}: {text}")
        return wrong

    def _missing(
        self, core: Core, note: _Note, remote: dict[Rid, None], mine: dict[Rid, None], ids: Sequence[bytes]
    ) -> str:
        table = _table(core, note.table)
        if table is None:
            return ""
        gone = note.old if note.row is None else note.left
        if gone is not None:
            rid, born = gone
            where = key_of(core, core.by_name[rid[0]], rid[1])  # Its values went with the row, but not its stamps.
            shadow = load_shadows(core, [where]).get(where)
            if shadow is not None and shadow.live and shadow.born == born:
                return f"{words(rid)} was deleted, and is live"
        if note.row is None:
            return ""
        found = self._candidates(core, table, note, mine)
        due = {name: value for name, value in note.due.items() if name in table.names}  # Without dropped columns.
        excuse = [r for r in found if (r.collection, r.id) in remote]
        if any(_holds(r, due, ids if r in excuse else None) for r in found):
            return ""
        return "written, acknowledged, and not in the record" if found else "written, acknowledged, and no record of it"

    def _candidates(self, core: Core, table: Table, note: _Note, mine: dict[Rid, None]) -> list[Record]:
        """Records that the row may have become: the one at its place, else those that were inserted under its key."""
        key = _record_key(core, table, note.key)
        shadow = load_shadows(core, [key]).get(key) if key else None
        wanted = [(table.collection, shadow.id)] if shadow is not None else []
        if table.surrogate:
            part = pack_id(note.key)
            wanted += [r for r in mine if r[0] == table.collection and pack_id(unpack_id(r[1])[0]) == part]
        return list(look(core, wanted).records.values())


def _holds(record: Record, due: dict[str, bytes], ids: Sequence[bytes] | None) -> bool:
    """Whether a record says this. `ids`: of this node; what others wrote may stand above, if they are given."""
    if not record.live:
        return ids is not None and record.floor[8:] not in ids
    for name, packed in due.items():
        stamp, value = record.registers.get(name, (b"", b""))
        if value != packed and (ids is None or stamp[8:] in ids or not stamp):
            return False
    return True


def _table(core: Core | None, name: str) -> Table | None:
    return called(core.tables.values(), name) if core is not None else None


def _record_key(core: Core, table: Table, key: tuple[Any, ...]) -> bytes:
    assert table.shape is not None
    if table.shape.rowid_alias:
        sql = "SELECT key FROM _replica_row WHERE tbl = ? AND pk = ?"
        row = core.db.execute(sql, (table.tbl, key[0])).fetchone()
        if row is not None:
            return bytes(row[0])
    return b"" if table.surrogate else key_of(core, table, pack_id(key))


def read_row(core: Core, table: Table, key: tuple[Any, ...]) -> dict[str, Any] | None:
    """The row of this key, by column; None if there is none."""
    assert table.shape is not None
    names = [c.name for c in (*table.shape.key, *table.shape.columns)]
    where = " AND ".join(f"{c} IS {marks([v])}" for c, v in zip(table.key_columns, key, strict=True))
    for row in core.rows(f"{table.select} WHERE {where}", key):
        if pack_id(row[: len(key)]) == pack_id(key):
            return dict(zip(names, row, strict=True))
    return None


def _stands(core: Core, note: _Note) -> bool:
    """Whether the row still says what somebody saw there."""
    table = _table(core, note.table)
    row = read_row(core, table, note.key) if table is not None else None
    return row is None if note.row is None else row is not None and _says(row, note.row)


def _says(row: dict[str, Any], seen: dict[str, Any]) -> bool:
    by_name = {fold(n): pack_value(v) for n, v in row.items()}
    return all(by_name.get(fold(n), b"") in {b"", pack_value(v)} for n, v in seen.items())
