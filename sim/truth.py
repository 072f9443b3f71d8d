"""What a world should know: every update that anybody was told is safe, and the state that they make together.

This is the model against which the engine is held, so it shares none of its merge. An update is one part of a record
(its floor, its born, or a field) with a stamp and a value. One test each:

1. The order in which updates are learnt does not matter.
2. A register at or below the floor is not missed; one above it is.
3. An update that became unsure may be there or not.
4. A write that no absorption finds is missed at the next commit that should have.
5. A later write replaces what an earlier one said, also of rows that it changed by the way.
6. A row that cannot travel, or says nothing new, is not waited for.
"""

from __future__ import annotations

import math
import sqlite3
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from protocol.errors import ValueRefused
from protocol.record import Record, fold, pack_id, unpack_id
from protocol.values import pack_value
from replica.store import absorb, catalog
from replica.store.catalog import Table
from replica.store.core import Core
from replica.store.fresh import records
from replica.store.show import marks
from replica.store.state import key_of, load_shadows, row_id

FLOOR, BORN = "\0floor", "\0born"
"""Parts of a record that are no fields."""
KEYS = 4_096

Rid = tuple[str, bytes]
"""Collection and id of a record."""


class Item(NamedTuple):
    """One update of a record: its part, stamp, and packed value."""

    part: str
    stamp: bytes
    value: bytes = b""


def items(record: Record) -> list[Item]:
    """All that a record says."""
    found = [Item(part, stamp) for part, stamp in ((FLOOR, record.floor), (BORN, record.born)) if stamp]
    return found + [Item(name, *register) for name, register in sorted(record.registers.items())]


def covers(record: Record | None, item: Item) -> bool:
    """Whether a copy has seen this update, or something above it."""
    if record is None:
        return False
    if item.part == FLOOR:
        return record.floor >= item.stamp
    if item.part == BORN:
        return record.born >= item.stamp
    return record.floor >= item.stamp or record.registers.get(item.part, (b"", b"")) >= (item.stamp, item.value)


def words(rid: Rid) -> str:
    """A record for people."""
    key, birth = unpack_id(rid[1])
    return f"{rid[0]} {list(key)!r:.80}{' born ' + birth.hex() if birth else ''}"


class Truth:
    """All updates that were ever acknowledged, and whether each is sure."""

    def __init__(self) -> None:
        self.known: dict[Rid, dict[Item, bool]] = {}
        """Record -> update -> whether it must be there at the end."""
        self.stamps: dict[bytes, Rid] = {}
        """Whose each stamp is."""

    def knows(self, rid: Rid, item: Item) -> bool:
        """Whether this update was learnt."""
        return item in self.known.get(rid, ())

    def learn(self, rid: Rid, item: Item, *, sure: bool = True) -> None:
        """Take an update in; a sure one stays sure."""
        mine = self.known.setdefault(rid, {})
        mine[item] = mine.get(item, False) or sure
        self.stamps.setdefault(item.stamp, rid)

    def doubt(self, holders: Iterable[dict[Rid, Record]]) -> None:
        """Whatever none of these copies has seen is unsure from here on."""
        copies = list(holders)
        for rid, mine in self.known.items():
            for item, sure in mine.items():
                if sure and not any(covers(copy.get(rid), item) for copy in copies):
                    mine[item] = False

    def state(self, rid: Rid, floor: bytes = b"") -> Record:
        """The join of all sure updates. `floor`: one that the copy has, and that may be above."""
        found = Record(*rid, floor)
        sure = [item for item, ok in self.known.get(rid, {}).items() if ok]
        for item in sure:
            if item.part == FLOOR:
                found.floor = max(found.floor, item.stamp)
            elif item.part == BORN:
                found.born = max(found.born, item.stamp)
        for part, stamp, value in sure:
            if part not in {FLOOR, BORN} and stamp > found.floor:
                found.registers[part] = max(found.registers.get(part, (b"", b"")), (stamp, value))
        return found

    def judge(self, rid: Rid, record: Record | None) -> list[tuple[str, str]]:
        """What is wrong with a copy of a record at the end: (invariant, text)."""
        have = record or Record(*rid)
        due = self.state(rid, have.floor)
        wrong = [
            ("I3", f"{words(rid)}: {item.part!r} of {item.stamp.hex()}, which nobody wrote")
            for item in items(have)
            if not self.knows(rid, item)
        ]
        if have.floor < due.floor:
            wrong.append(("I4", f"{words(rid)}: its delete {due.floor.hex()} is undone"))
        if have.born < due.born:
            wrong.append(("I2", f"{words(rid)}: its insert {due.born.hex()} is lost"))
        for name, register in sorted(due.registers.items()):
            mine = have.registers.get(name)
            if mine is None:
                wrong.append(("I2", f"{words(rid)}: {name} of {register[0].hex()} is lost"))
            elif mine < register:
                wrong.append(("I3", f"{words(rid)}: {name} of {mine[0].hex()} won against {register[0].hex()}"))
        wrong += [
            ("I4", f"{words(rid)}: {name} of {stamp.hex()} outlived the delete {have.floor.hex()}")
            for name, (stamp, _) in sorted(have.registers.items())
            if stamp <= have.floor
        ]
        return wrong


# --- reading a store without waking it --------------------------------------------------------------------------------


def quiet(core: Core) -> bool:
    """Whether nothing waits: only then do rows and stamps belong together."""
    return not absorb.pending(core) and not core.schema_moved


class Look(NamedTuple):
    """Records that were read; and those that are there but cannot be judged now, or are damaged."""

    records: dict[Rid, Record]
    odd: dict[Rid, str]


def look(core: Core, wanted: Sequence[Rid] | None = None) -> Look:
    """Read these records (all, if None) as they stand. Nothing is absorbed: a judge must not change what he judges."""
    if wanted is None:
        keys = [key for (key,) in core.db.execute("SELECT key FROM _replica_record ORDER BY key").fetchall()]
    else:
        keys = [key_of(core, core.by_name[rid[0]], rid[1]) for rid in wanted if rid[0] in core.by_name]
    found = Look({}, {})
    for start in range(0, len(keys), KEYS):
        some = keys[start : start + KEYS]
        shadows = {(core.tables[s.tbl].collection, s.id): s for s in load_shadows(core, some).values()}
        for record in records(core, some):
            rid = record.collection, record.id
            if core.keys.digest(record.encode()) == shadows[rid].digest:
                found.records[rid] = record
        for rid in shadows:
            if rid not in found.records:
                found.odd[rid] = "its row does not fit to its digest"
    return found


def schema_of(core: Core) -> dict[str, tuple[str, ...]]:
    """Collection -> the SQL of its table and of what belongs to it, our triggers aside; none of what no table shows."""
    found = {}
    for table in core.tables.values():
        if table.shape is not None:
            sql = (
                "SELECT sql FROM sqlite_master WHERE tbl_name = ? COLLATE NOCASE AND type IN ('table', 'index') "
                "AND sql IS NOT NULL ORDER BY type, name"
            )
            found[table.collection] = tuple(s for (s,) in core.db.execute(sql, (table.shape.name,)).fetchall())
    return found


class _Text(bytes):
    """Text as SQLite holds it, UTF-8 or not."""

    __slots__ = ()


def rows_of(core: Core, collection: str) -> list[tuple[Any, ...]]:
    """The user's rows of a collection: each value with its type, columns by name. A whole number in a key is an integer,
    and -0.0 is 0.0, since copies may differ in that."""
    shape = core.by_name[collection].shape
    assert shape is not None
    info = core.db.execute("SELECT name, pk FROM pragma_table_xinfo(?) WHERE hidden <> 1", (shape.name,)).fetchall()
    columns = sorted((fold(n), bool(pk), catalog.quote(n)) for n, pk in info)
    core.db.text_factory = _Text
    try:
        sql = f"SELECT {', '.join(c for _, _, c in columns)} FROM {catalog.quote(shape.name)}"
        rows = core.db.execute(sql).fetchall()
    finally:
        core.db.text_factory = str
    shown = [tuple(_typed(v, key) for v, (_, key, _) in zip(row, columns, strict=True)) for row in rows]
    return sorted(shown, key=repr)


def _typed(value: object, key: bool) -> tuple[str, object]:
    if isinstance(value, float):
        if key and math.isfinite(value) and value.is_integer() and abs(value) < 2**63:
            return "int", int(value)
        return "real", value + 0.0
    return type(value).__name__, value


def wrong_inside(core: Core) -> list[str]:
    """Where the engine's small tables disagree with each other."""
    shown, extra = 1, 2
    checks = (
        ("SELECT * FROM _replica_mute", "capture is switched off"),
        ("SELECT * FROM _replica_outbox", "something waits"),
        ("SELECT key FROM _replica_extra EXCEPT SELECT key FROM _replica_record", "values of no record"),
        ("SELECT key FROM _replica_past EXCEPT SELECT key FROM _replica_record", "lost values of no record"),
        ("SELECT key FROM _replica_held EXCEPT SELECT key FROM _replica_record", "no record is held"),
        (f"SELECT key FROM _replica_record AS r WHERE (flags & {extra} > 0) <> "
         "EXISTS (SELECT 1 FROM _replica_extra AS e WHERE e.key = r.key)", "a flag for values that are not there"),
        (f"SELECT h.key FROM _replica_held AS h JOIN _replica_record AS r USING (key) WHERE flags & {shown} "
         "OR born <= floor", "held, but shown or dead"),
        (f"SELECT key FROM _replica_record WHERE born <= floor AND flags & {shown}", "dead, but shown"),
        (f"SELECT key FROM _replica_record WHERE born > floor AND NOT flags & {shown} AND tbl IN "
         "(SELECT tbl FROM _replica_table WHERE local > '') EXCEPT SELECT key FROM _replica_held", "hidden, no reason"),
        ("SELECT blocker FROM _replica_held WHERE length(blocker) = 16 AND blocker NOT IN "
         f"(SELECT key FROM _replica_record WHERE flags & {shown})", "held by one that is not shown"),
    )  # fmt: skip
    found = [what for sql, what in checks if core.db.execute(sql).fetchone()]
    for table in core.tables.values():
        if table.shape is not None and table.shape.rowid_alias:
            sql = f"SELECT id, key FROM _replica_record WHERE tbl = ? AND flags & {shown}"
            due = sorted((unpack_id(i)[0][0], key) for i, key in core.db.execute(sql, (table.tbl,)).fetchall())
            sql = "SELECT pk, key FROM _replica_row WHERE tbl = ? ORDER BY pk, key"
            if core.db.execute(sql, (table.tbl,)).fetchall() != due:
                found.append(f"the row numbers of {table.label} are not those of its records")
    return found


def alive(core: Core) -> bool:
    """Whether a store is open."""
    try:
        core.db.execute("SELECT 1")
    except sqlite3.ProgrammingError:
        return False
    return True


# --- what users of one machine were told is written, until the engine has taken it ------------------------------------

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

    def __str__(self) -> str:
        return f"{self.table} {list(self.key)!r:.80}"


class Diary:
    """Notes of one machine, by table and key."""

    def __init__(self) -> None:
        self._notes: dict[tuple[str, bytes], _Note] = {}
        self._blind = False
        """Something was written while nobody could look: what other rows it changed by the way is not known."""

    def clear(self) -> None:
        """Nothing that was told counts any more."""
        self._notes.clear()

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
        self._notes[place] = _Note(name, real, row)
        if asked != place and asked in self._notes:
            self._notes[asked] = _Note(name, key, None)
        return place

    def _look_again(self, core: Core, but: Iterable[tuple[str, bytes]]) -> None:
        """What else the write changed counts as seen: cascades, triggers, rows that were replaced."""
        told = set(but)
        for place, note in list(self._notes.items()):
            table = _table(core, note.table)
            if place not in told and table is not None:
                row = _read(core, table, note.key)
                same = row is None if note.row is None else row is not None and _says(row, note.row)
                if not same:
                    self._notes[place] = _Note(note.table, note.key, row)

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
        if table is None or (not shown if note.row is None else shown and not note.due):
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
        if note.row is None:
            assert note.old is not None
            rid, born = note.old
            where = key_of(core, core.by_name[rid[0]], rid[1])  # Its values went with the row, but not its stamps.
            shadow = load_shadows(core, [where]).get(where)
            undone = shadow is not None and shadow.live and shadow.born == born
            return f"{words(rid)} was deleted, and is live" if undone else ""
        found = self._candidates(core, table, note, mine)
        excuse = [r for r in found if (r.collection, r.id) in remote]
        if any(_holds(r, note.due, ids if r in excuse else None) for r in found):
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
    tables = core.tables.values() if core is not None else ()
    return next((t for t in tables if t.shape is not None and fold(t.shape.name) == fold(name)), None)


def _record_key(core: Core, table: Table, key: tuple[Any, ...]) -> bytes:
    assert table.shape is not None
    if table.shape.rowid_alias:
        sql = "SELECT key FROM _replica_row WHERE tbl = ? AND pk = ?"
        row = core.db.execute(sql, (table.tbl, key[0])).fetchone()
        if row is not None:
            return bytes(row[0])
    return b"" if table.surrogate else key_of(core, table, pack_id(key))


def _read(core: Core, table: Table, key: tuple[Any, ...]) -> dict[str, Any] | None:
    assert table.shape is not None
    names = [c.name for c in (*table.shape.key, *table.shape.columns)]
    where = " AND ".join(f"{c} IS {marks([v])}" for c, v in zip(table.key_columns, key, strict=True))
    for row in core.rows(f"{table.select} WHERE {where}", key):
        if pack_id(row[: len(key)]) == pack_id(key):
            return dict(zip(names, row, strict=True))
    return None


def _says(row: dict[str, Any], seen: dict[str, Any]) -> bool:
    by_name = {fold(n): pack_value(v) for n, v in row.items()}
    return all(by_name.get(fold(n), b"") in {b"", pack_value(v)} for n, v in seen.items())
