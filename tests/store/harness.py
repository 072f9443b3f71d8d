"""Machines for tests of the store: a file, a clock that can be set, chance from a seed, another program at the same
file; and meetings of two machines, which may be cut."""

from __future__ import annotations

import itertools
import math
import shutil
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

from protocol import limits
from protocol.keys import CLIENT, SERVER, Handshake, Secrets
from protocol.outcome import Outcome
from protocol.record import Record, unpack_id
from protocol.session import Self, Session
from protocol.values import Value
from replica.store import catalog
from replica.store.core import Core
from replica.store.ddl import NODES, SYSTEM
from replica.store.store import Store, initialize

NOW_MS = 1_700_000_000_000
"""Where test clocks begin: in the past, so that the real time, which the triggers note, never comes before it."""

SECRETS = Secrets(b"g" * 16, b"d" * 32, b"a" * 32)
HANDSHAKE = Handshake(b"c" * 16, b"s" * 16, limits.MINOR, limits.MINOR)


class Clock:
    """Wall time that stands still until it is set."""

    def __init__(self, ms: int = NOW_MS) -> None:
        self.ms = ms

    def __call__(self) -> int:
        return self.ms


class Machine:
    """One machine: its file, its store, its clock, and another program that has the file open."""

    def __init__(self, path: Path, *, schema: str = "", adopt: bool = True, secrets: Secrets | None = SECRETS) -> None:
        """A new store; tables of `schema` are made by the other program and adopted."""
        self.path, self.clock = path, Clock()
        self._random = Random(path.stem)
        if schema:
            with closing(foreign(path)) as db:
                db.executescript(schema)
        initialize(path, path.stem, secrets, now_ms=self.clock, random=self._random.randbytes)
        self._open()
        if schema and adopt:
            self.store.adopt()

    def _open(self) -> None:
        self.store = Store(self.path, durable=False, now_ms=self.clock, random=self._random.randbytes)
        self.core.db.execute("PRAGMA synchronous = OFF")
        self.store.counters()  # From here on the sketch follows the history; `verify` holds it against the records.
        self.db = foreign(self.path)

    @classmethod
    def copy(cls, of: Path, path: Path, now_ms: int = NOW_MS) -> Machine:
        """A machine on a copy of a closed store's file, as somebody who copies it would have it."""
        shutil.copy(of, path)
        self = cls.__new__(cls)
        self.path, self.clock, self._random = path, Clock(now_ms), Random(path.stem)
        self._open()
        return self

    @property
    def core(self) -> Core:
        """The inside of the store."""
        return self.store._core

    def close(self) -> None:
        """Close both connections, so that the file is whole without its log."""
        self.db.close()
        self.store.close()

    def reopen(self) -> None:
        """The process ends and begins anew."""
        self.close()
        self._open()

    def sql(self, *statements: str, values: Sequence[object] = ()) -> None:
        """The other program runs these statements, each its own transaction unless they say BEGIN."""
        for statement in statements:
            self.db.execute(statement, values)

    def rows(self, query: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """What the other program sees."""
        return self.db.execute(query, values).fetchall()

    def value(self, query: str, values: Sequence[object] = ()) -> Any:
        """The one value that the other program sees."""
        return self.rows(query, values)[0][0]

    def dump(self, *tables: str) -> dict[str, list[tuple[Any, ...]]]:
        """The tables as the other program sees them: see `table_dump`."""
        return table_dump(self.db, tables)

    def records(self, *collections: str) -> list[Record]:
        """All records of these collections, or of all but what every node says of itself."""
        self.store.absorb()
        every = self.store.records([key for key, _ in self.store.entries("", b"", -1)])
        return [r for r in every if (r.collection in collections if collections else r.collection != NODES)]

    def record(self, collection: str, *key: Value) -> Record:
        """The one record under a key."""
        (found,) = [r for r in self.records(collection) if unpack_id(r.id)[0] == key]
        return found

    def held(self) -> dict[Any, str]:
        """Reason by key (a tuple, if it has several parts) of the records that no table shows."""
        return {h["key"][0] if len(h["key"]) == 1 else tuple(h["key"]): h["reason"] for h in self.store.held()}


def foreign(path: Path) -> sqlite3.Connection:
    """A connection as another program has it: nothing of ours, autocommit."""
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA synchronous = OFF")
    return db


def readable(value: object) -> tuple[str, object]:
    """A value with its type, so that 1, 1.0, '1' and x'31' are four. Text comes as bytes."""
    if isinstance(value, float):
        return "real", value + 0.0
    return type(value).__name__, value


class Text(bytes):
    """Text as SQLite holds it, UTF-8 or not."""

    __slots__ = ()


def table_dump(db: sqlite3.Connection, tables: Sequence[str] = ()) -> dict[str, list[tuple[Any, ...]]]:
    """Every user table by folded name: its rows, sorted, each value with its type, columns by folded name.

    What two stores may show differently is made equal: -0.0 is 0.0, and a whole number in a key is an integer."""
    found = {}
    for name in tables or catalog.user_tables(db):
        info = db.execute("SELECT name, pk FROM pragma_table_xinfo(?) WHERE hidden <> 1", (name,)).fetchall()
        columns = sorted((n.lower(), bool(pk), catalog.quote(n)) for n, pk in info)
        db.text_factory = Text
        rows = db.execute(f"SELECT {', '.join(sql for _, _, sql in columns)} FROM {catalog.quote(name)}").fetchall()
        db.text_factory = str
        shown = (
            tuple(_key(value) if key else readable(value) for value, (_, key, _) in zip(row, columns, strict=True))
            for row in rows
        )
        found[name.lower()] = sorted(shown, key=repr)
    return found


def _key(value: object) -> tuple[str, object]:
    if isinstance(value, float) and math.isfinite(value) and value.is_integer() and abs(value) < 2**63:
        return "int", int(value)
    return readable(value)


def meet(
    a: Machine,
    b: Machine,
    *,
    cut: int | None = None,
    sample: bool = False,
    agreed: bytes = b"",
    meanwhile: Callable[[], object] = lambda: None,
) -> tuple[Outcome, Outcome]:
    """One session, which `a` dials, to its end; or until `cut` frames went over the wire. `agreed`: where `a` believes that
    both were equal last; `meanwhile`: what happens after each frame."""
    left = itertools.count(cut if cut is not None else 1 << 30, -1)
    one, two = (
        Session(role, m.store.group_keys, m.store, Self(m.store.node_id, m.store.name), HANDSHAKE, sample=s, agreed=r)
        for role, m, s, r in [(CLIENT, a, sample, agreed), (SERVER, b, False, b"")]
    )
    frame: bytes | None = one.open(a.clock())
    if next(left) > 0 and frame is not None:
        two.receive(frame, b.clock())
        while one.speaking or two.speaking:
            speaker, hearer, there, here = (one, two, b, a) if one.speaking else (two, one, a, b)
            frame = speaker.pull(here.clock())
            if frame is None:
                break
            if next(left) <= 0:
                break
            hearer.receive(frame, there.clock())
            meanwhile()
    for session, clock in ((one, a.clock), (two, b.clock)):
        session.settle(clock())
    return one.outcome, two.outcome


def all_meet(machines: Sequence[Machine]) -> None:
    """Every two meet, until one round changes nothing any more. Fails if that takes too long."""
    for _ in range(10):
        outcomes = [meet(a, b) for a, b in itertools.combinations(machines, 2)]
        changed = sum(o.changed for pair in outcomes for o in pair)
        if not changed and all(one.in_sync and two.in_sync for one, two in outcomes):
            return
    raise AssertionError(f"no end after 10 rounds: {[(o.code, o.text, o.reasons) for pair in outcomes for o in pair]}")


def check_inside(machine: Machine) -> None:
    """The engine's own tables agree with each other."""
    shown, extra = 1, 2
    for sql, what in (
        ("SELECT * FROM _replica_mute", "capture is switched off"),
        ("SELECT * FROM _replica_outbox", "something waits"),
        ("SELECT seq FROM _replica_young", "rows that were put wait"),
        ("SELECT key FROM _replica_extra EXCEPT SELECT key FROM _replica_record", "values of no record"),
        ("SELECT key FROM _replica_past EXCEPT SELECT key FROM _replica_record", "lost values of no record"),
        (f"SELECT key FROM _replica_record WHERE (flags & {extra} > 0) <> "
         "EXISTS (SELECT 1 FROM _replica_extra AS e WHERE e.key = _replica_record.key)", "a flag for values that are not"),
        (f"SELECT h.key FROM _replica_held AS h LEFT JOIN _replica_record AS r USING (key) WHERE flags & {shown} "
         "OR born <= floor OR born IS NULL", "held, but shown or dead"),
        (f"SELECT key FROM _replica_record WHERE born > floor AND NOT flags & {shown} AND tbl IN "
         "(SELECT tbl FROM _replica_table WHERE local > '') EXCEPT SELECT key FROM _replica_held", "not shown, no reason"),
        ("SELECT blocker FROM _replica_held WHERE length(blocker) = 16 AND blocker NOT IN "
         f"(SELECT key FROM _replica_record WHERE flags & {shown})", "held by one that is not shown"),
    ):  # fmt: skip
        assert machine.rows(sql) == [], what
    systems = [t.tbl for t in machine.core.tables.values() if t.collection in SYSTEM]
    hidden = f"SELECT count(*) FROM _replica_record WHERE born > floor AND NOT flags & {shown} AND tbl NOT IN "
    assert machine.store.held_count() == machine.value(f"{hidden} ({','.join(map(str, systems))})")
    for table in machine.core.tables.values():
        if table.shape is not None and table.shape.rowid_alias:
            sql = f"SELECT key, id FROM _replica_record WHERE tbl = ? AND flags & {shown}"
            records = {(unpack_id(id_)[0][0], key) for key, id_ in machine.rows(sql, (table.tbl,))}
            assert set(machine.rows("SELECT pk, key FROM _replica_row WHERE tbl = ?", (table.tbl,))) == records


def check_equal(machines: Iterable[Machine]) -> None:
    """Equal roots, equal tables, and nothing wrong anywhere."""
    first, *others = machines
    assert first.store.verify() == []
    check_inside(first)
    keys = [key for key, _ in first.store.entries("", b"", -1)]
    whole = [delta.encode() for delta in first.store.deltas(keys)]
    assert sorted(whole) == sorted(record.encode() for record in first.store.records(keys))
    for other in others:
        assert other.store.verify() == []
        check_inside(other)
        assert other.store.root() == first.store.root()
        assert other.dump() == first.dump()
