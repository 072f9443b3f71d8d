"""What a world should know: every update that anybody was told is safe, and the state that they make together.

This is the model against which the engine is held, so it shares none of its merge. An update is one part of a record
(its floor, its born, or a field) with a stamp and a value. One test each:

1. The order in which updates are learnt does not matter.
2. A register at or below the floor is not missed; one above it is.
3. An update that became unsure may be there or not.
4. An update that was put is no surprise, and is not missed before it was part of a record.
"""

from __future__ import annotations

import math
import sqlite3
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from protocol.record import Record, fold, unpack_id
from replica.store import absorb, catalog
from replica.store.core import Core
from replica.store.fresh import records
from replica.store.state import key_of

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


def backwards(before: Record, now: Record) -> list[tuple[str, str]]:
    """What a copy of a record has lost: (invariant, text)."""
    lost = []
    if now.floor < before.floor:
        lost.append(("I4", f"its delete {before.floor.hex()} is undone"))
    if now.born < before.born:
        lost.append(("I3", f"its insert {before.born.hex()} is lost"))
    lost += [
        ("I3", f"{field} went back from {register[0].hex()}")
        for field, register in sorted(before.registers.items())
        if register[0] > now.floor and now.registers.get(field, (b"", b"")) < register
    ]
    return lost


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
        self._put: dict[Rid, set[Item]] = {}
        """What stood in rows that wait to be records: nobody misses it yet."""

    def knows(self, rid: Rid, item: Item) -> bool:
        """Whether this update was learnt."""
        return item in self.known.get(rid, ())

    def shown_by_default(self, rid: Rid, item: Item) -> bool:
        """Whether this is no write: what a column's default showed, just above a delete that is known (SPEC section 8)."""
        below = (int.from_bytes(item.stamp, "big") - 1).to_bytes(len(item.stamp), "big")
        return item.part not in {FLOOR, BORN} and self.knows(rid, Item(FLOOR, below))

    def waits(self, put: Iterable[Record]) -> None:
        """These were put, and will be records as they stand here, if nobody writes there before."""
        for record in put:
            self._put.setdefault((record.collection, record.id), set()).update(items(record))

    def was_put(self, rid: Rid, item: Item) -> bool:
        """Whether this update was seen where it was put."""
        return item in self._put.get(rid, ())

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
    """Records that were read, and their digests; and those that are there but cannot be judged now, or are damaged."""

    records: dict[Rid, Record]
    digests: dict[Rid, bytes]
    odd: dict[Rid, str]


def look(core: Core, wanted: Sequence[Rid] | None = None, known: dict[bytes, Record] | None = None) -> Look:
    """Read these records (all, if None) as they stand. Nothing is absorbed: a judge must not change what he judges.
    `known`: records of the group by their digests, as they were read before; what is new is added. Nobody changes them."""
    if wanted is None:
        keys = [key for (key,) in core.db.execute("SELECT key FROM _replica_record ORDER BY key").fetchall()]
    else:
        keys = [key_of(core, core.by_name[rid[0]], rid[1]) for rid in wanted if rid[0] in core.by_name]
    return read(core, keys, {} if known is None else known)


def read(core: Core, keys: Sequence[bytes], known: dict[bytes, Record]) -> Look:
    """The same of the records under these keys."""
    found = Look({}, {}, {})
    for start in range(0, len(keys), KEYS):
        some = keys[start : start + KEYS]
        sql = "SELECT tbl, id, digest FROM _replica_record WHERE key IN ("
        shadows = {(core.tables[tbl].collection, id_): digest for tbl, id_, digest in core.select_in(sql, some)}
        for record in records(core, some):
            rid = record.collection, record.id
            digest = shadows[rid]
            same = known.get(digest)
            if same == record:
                record = same  # One for all copies: it need not be encoded again, and is soon compared.
            elif digest != core.keys.digest(record.encode()):
                continue
            found.records[rid], found.digests[rid] = record, digest
            known[digest] = record
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


Columns = list[tuple[str, bool]]
"""(folded name, whether it is in the key), by name."""


def rows_of(core: Core, collection: str) -> tuple[Columns, Counter[tuple[Any, ...]]]:
    """The columns of a user's table; and its rows, with how often each is there: each value with its type. A whole number
    in a key is an integer, and -0.0 is 0.0, since copies may differ in that."""
    shape = core.by_name[collection].shape
    assert shape is not None
    core.db.text_factory = _text
    try:
        found = core.db.execute(f"SELECT * FROM {catalog.quote(shape.name)}")
        rows = found.fetchall()
    finally:
        core.db.text_factory = str
    keys = {column.folded for column in shape.key}
    names = [fold(name) for name, *_ in found.description]
    order = sorted(range(len(names)), key=names.__getitem__)
    columns = [(names[place], names[place] in keys) for place in order]
    values = list(zip(*rows, strict=True)) or [()] * len(names)
    shown = [
        [_typed(value, key) for value in values[place]] if float in map(type, values[place]) else values[place]
        for place, (_, key) in zip(order, columns, strict=True)
    ]
    return columns, Counter(zip(*shown, strict=True))


def _text(data: bytes) -> tuple[str, bytes]:
    """Text as SQLite holds it, UTF-8 or not; Python tells it from a blob."""
    return "text", data


def _typed(value: object, key: bool) -> object:
    """The value itself, where Python tells it from those of other types."""
    if type(value) is not float:
        return value
    if key and math.isfinite(value) and value.is_integer() and abs(value) < 2**63:
        return int(value)
    return "real", value + 0.0


def wrong_inside(core: Core) -> list[str]:
    """Where the engine's small tables disagree with each other."""
    shown, extra = 1, 2
    checks = (
        ("SELECT * FROM _replica_mute", "capture is switched off"),
        ("SELECT * FROM _replica_outbox", "something waits"),
        ("SELECT seq FROM _replica_young", "rows that were put wait"),
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
