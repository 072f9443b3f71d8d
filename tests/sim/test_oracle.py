"""The judge is content with the engine as it is, and names the promise that a broken one breaks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from protocol.hlc import Clock as Stamps
from protocol.hlc import pack
from protocol.record import Record
from protocol.values import IllFormedText
from replica.store import absorb
from sim.bugs import planted
from sim.diary import Row
from sim.oracle import Oracle
from tests.store.harness import Machine, all_meet, meet
from tests.store.test_convergence import take
from tests.store.world import COLUMNS, KEYS, SCHEMA, Decide, Fate, Put, Write

TABLE = "CREATE TABLE t(id TEXT PRIMARY KEY NOT NULL, a, b)"
NUMBERED = "CREATE TABLE t(id INTEGER PRIMARY KEY, a, b)"


class Judged(Machine):
    """A machine that the judge watches."""

    oracle: Oracle

    @property
    def name(self) -> str:
        return self.path.stem

    def watched(self, oracle: Oracle) -> Judged:
        self.oracle = oracle
        self.start()
        return self

    def start(self) -> None:
        self.store.listen(lambda changes: self.oracle.committed(self.name, self.store, changes))
        self.oracle.opened(self.name, self.store)

    def write(self, sql: str, *keys: object) -> None:
        """As a user does, who then looks."""
        self.sql(sql)
        self.oracle.user_wrote(self.name, [("t", (key,), self.sees(key)) for key in keys])

    def sees(self, key: object) -> dict[str, object] | None:
        rows = self.rows("SELECT id, a, b FROM t WHERE id IS ?", (key,))
        return dict(zip(("id", "a", "b"), rows[0], strict=True)) if rows else None

    def everything(self) -> list[Row]:
        """All rows that stand here, as their user sees them."""
        found: list[Row] = []
        for table, keys in KEYS.items():
            columns = COLUMNS[table]
            self.db.text_factory = bytes_or_text
            rows = [
                dict(zip(columns, row, strict=True)) for row in self.rows(f"SELECT {', '.join(columns)} FROM {table}")
            ]
            self.db.text_factory = str
            found += [(table, tuple(row[k] for k in keys), row) for row in rows]
        return found


def bytes_or_text(data: bytes) -> str | IllFormedText:
    """Text as SQLite holds it."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return IllFormedText(data)


class World:
    """Some machines and their judge."""

    def __init__(self, folder: Path, schema: str = TABLE, names: str = "abc") -> None:
        self.said: list[tuple[str, str, str]] = []
        self.at = 0.0
        self.oracle = Oracle(lambda *said: self.said.append(said), self.now_s)
        self.machines = [Judged(folder / f"{n}.db", schema=schema).watched(self.oracle) for n in names]

    def now_s(self) -> float:
        self.at += 1
        return self.at

    @property
    def broken(self) -> set[str]:
        return {invariant for invariant, _, _ in self.said}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    for machine in made.machines:
        machine.close()


# --- content ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("schema", [TABLE, NUMBERED])
def test_it_is_content_with_the_engine(tmp_path: Path, schema: str) -> None:
    world = World(tmp_path, schema)
    a, b, c = world.machines
    a.write("INSERT INTO t VALUES (1, 'x', 1)", 1)
    a.write("UPDATE t SET a = 'y' WHERE id = 1", 1)
    meet(a, b)
    b.write("UPDATE t SET b = 2.5 WHERE id = 1", 1)
    a.write("UPDATE t SET b = NULL WHERE id = 1", 1)
    c.write("INSERT INTO t VALUES (1, 'z', x'00')", 1)
    meet(a, b)
    a.reopen()
    a.start()
    world.oracle.equal_check([a, b, c])
    b.write("DELETE FROM t WHERE id = 1", 1)
    all_meet(world.machines)
    world.oracle.equal_check(world.machines)
    world.oracle.final(world.machines)
    assert world.said == []
    for machine in world.machines:
        machine.close()


@pytest.mark.parametrize("seed", range(10))
def test_it_is_content_with_any_history(seed: int, tmp_path: Path) -> None:
    world = World(tmp_path, SCHEMA)
    for step in Fate(Random(seed)).history(3, 60):
        take(world.machines, step)
        if isinstance(step, Write) and not step.look:
            one = world.machines[step.machine]
            world.oracle.user_wrote(one.name, one.everything())
        if isinstance(step, Put | Decide):
            one = world.machines[step.machine]
            one.start()  # Edits of held records are not reported; a process may have begun anew.
    all_meet(world.machines)
    world.oracle.final(world.machines)
    assert world.said == []
    for machine in world.machines:
        machine.close()


def test_it_is_content_with_what_surfaces_after_a_new_definition(tmp_path: Path) -> None:
    world = World(tmp_path, "CREATE TABLE t(id TEXT PRIMARY KEY NOT NULL, a UNIQUE, b)", "ab")
    a, b = world.machines
    a.write("INSERT INTO t VALUES ('1', 7, 1)", "1")
    b.write("INSERT INTO t VALUES ('2', 7, 1)", "2")
    meet(a, b)
    shown = "1" if a.sees("1") else "2"
    a.sql("CREATE INDEX i ON t(b)")
    a.write(f"UPDATE t SET a = 8 WHERE id = '{shown}'", shown)
    a.store.absorb()
    assert a.rows("SELECT count(*) FROM t") == [(2,)]
    assert world.said == []
    for machine in world.machines:
        machine.close()


# --- sabotage ---------------------------------------------------------------------------------------------------------


def test_a_peers_data_before_a_users(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b, _ = world.machines
    a.write("INSERT INTO t VALUES ('1', 1, 1)", "1")
    meet(a, b)
    b.write("UPDATE t SET a = 2", "1")
    b.store.absorb()
    delta = b.record("t", "1").delta()
    a.write("UPDATE t SET b = 3", "1")
    monkeypatch.setattr(absorb, "absorb", lambda *_: 0)
    monkeypatch.setattr(a.store, "_catch_up", lambda: None)
    a.store.apply([delta], a.clock())
    assert "I2" in world.broken


def test_a_delete_that_is_undone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b, _ = world.machines
    a.write("INSERT INTO t VALUES ('1', 1, 1)", "1")
    meet(a, b)
    old = b.record("t", "1").delta()
    a.write("DELETE FROM t", "1")
    a.store.absorb()

    def join(record: Record, delta: object) -> bool:
        record.floor, record.born = b"", delta.born  # type: ignore[attr-defined]
        record.registers = delta.registers()  # type: ignore[attr-defined]
        return True

    monkeypatch.setattr(Record, "join", join)
    a.store.apply([old], a.clock())
    assert "I4" in world.broken


def test_a_value_that_nobody_wrote(world: World) -> None:
    a, b, _ = world.machines
    stamp = pack(a.clock(), 0, b.store.node_id)
    forged = Record("t", b"\x91\xa11", b"", stamp, {"a": (stamp, b"\x01"), "b": (stamp, b"\x01")})
    a.store.apply([forged.delta()], a.clock())
    assert world.broken == {"I3"}
    world.said.clear()
    world.oracle.hostile("c")
    stamp = pack(a.clock() + 5, 0, b.store.node_id)
    a.store.apply([Record("t", b"\x91\xa12", b"", stamp, {"a": (stamp, b"\x01")}).delta()], a.clock())
    assert world.said == []


def test_a_stamp_that_is_used_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    a = world.machines[0]
    a.write("INSERT INTO t VALUES ('1', 1, 1)", "1")
    a.store.absorb()
    used = a.record("t", "1").born
    monkeypatch.setattr(Stamps, "tick", lambda _clock, _now: used)
    monkeypatch.setattr(Stamps, "ticks", lambda _clock, _now, count: [used] * count)
    a.write("INSERT INTO t VALUES ('2', 1, 1)", "2")
    a.store.absorb()
    assert "I6" in world.broken


def test_a_clock_that_falls(world: World) -> None:
    a = world.machines[0]
    a.write("INSERT INTO t VALUES ('1', 1, 1)", "1")
    a.store.absorb()
    a.sql("UPDATE _replica_meta SET value = zeroblob(8) WHERE name = 'clock'")
    a.reopen()
    a.start()
    assert world.broken == {"I6"}


def test_a_stamp_from_the_future(world: World) -> None:
    a = world.machines[0]
    world.oracle.hostile("c")
    stamp = pack(a.clock() + 700_000, 0, b"n" * 8)
    a.store.apply([Record("t", b"\x91\xa11", b"", stamp, {"a": (stamp, b"\x01")}).delta()], a.clock() + 200_000)
    assert world.broken == {"I8"}


def test_a_value_changed_behind_the_engine(world: World) -> None:
    a, b, _ = world.machines
    a.write("INSERT INTO t VALUES ('1', 1, 1)", "1")
    meet(a, b)
    b.sql("INSERT INTO _replica_mute VALUES (1)", "UPDATE t SET a = 9", "DELETE FROM _replica_mute")
    world.oracle.final([a, b])
    assert {"I5", "I2"} <= world.broken


def test_a_wrong_root(world: World) -> None:
    a, b, _ = world.machines
    meet(a, b)
    a.sql("UPDATE _replica_meta SET value = zeroblob(16) WHERE name = 'root'")
    world.oracle.equal_check([a, b])
    assert world.broken == {"I5"}


def test_a_copy_that_lags(world: World) -> None:
    a, b, _ = world.machines
    a.write("INSERT INTO t VALUES ('1', 1, 1)", "1")
    world.oracle.final([a, b])
    assert {"I1", "I2"} <= world.broken


# --- disks ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("told", [True, False])
def test_an_older_disk(world: World, told: bool) -> None:
    a, b, c = world.machines
    a.write("INSERT INTO t VALUES ('1', 1, 1)", "1")
    all_meet(world.machines)
    a.close()
    backup = a.path.read_bytes()
    a._open()
    a.start()
    a.write("UPDATE t SET a = 2", "1")
    a.store.absorb()
    a.close()
    a.path.write_bytes(backup)
    if told:
        world.oracle.restored("a")
    a._open()
    a.start()
    b.write("UPDATE t SET b = 7", "1")
    all_meet([a, b, c])
    world.oracle.final([a, b, c])
    assert bool(world.broken) is not told


def test_what_somebody_else_has_is_not_forgiven(world: World) -> None:
    a, b, _ = world.machines
    a.write("INSERT INTO t VALUES ('1', 1, 1)", "1")
    meet(a, b)
    world.oracle.restored("a")
    a.start()
    assert all(all(known.values()) for rid, known in world.oracle.truth.known.items() if rid[0] == "t")


def test_a_clone(world: World, tmp_path: Path) -> None:
    a, b, c = world.machines
    a.write("INSERT INTO t VALUES ('1', 1, 1)", "1")
    a.store.absorb()
    a.close()
    d = Judged.copy(a.path, tmp_path / "d.db")
    assert isinstance(d, Judged)
    world.oracle.cloned("a", "d")
    a._open()
    a.start()
    d.watched(world.oracle)
    a.write("UPDATE t SET a = 2", "1")
    d.write("UPDATE t SET a = 3", "1")
    all_meet([a, b, c, d])
    world.oracle.final([a, b, c, d])
    assert world.said == []
    d.close()


def test_a_fault_of_the_judge(world: World) -> None:
    a = world.machines[0]
    a.oracle.committed("a", a.store, [None])  # type: ignore[list-item]
    assert world.broken == {"oracle"}


def test_rows_that_were_put_and_wait_for_ever(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("replica.store.young.BATCH_MIN", 1)
    a = world.machines[0]
    with planted("put-not-waited-for"):
        a.store.put_many("t", [("1", 1, 1)])
        world.oracle.final([a])
    assert ("I5", "a", "rows that were put wait") in world.said


def test_rows_that_were_put_are_waited_for_and_then_known(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("replica.store.young.BATCH_MIN", 1)
    a, b, _ = world.machines
    a.store.put_many("t", [("1", 1, 1)])
    assert not any(rid[0] == "t" for rid in world.oracle.truth.known)
    a.write("INSERT INTO t VALUES ('2', 1, 1)", "2")
    a.store.absorb()
    assert len([rid for rid in world.oracle.truth.known if rid[0] == "t"]) == 2
    meet(a, b)
    world.oracle.final(world.machines[:2])
    assert world.said == []


@pytest.mark.parametrize("since", ["DELETE FROM t", "UPDATE t SET a = 2"])
@pytest.mark.parametrize("absorbed", [False, True])
@pytest.mark.parametrize("told", [1, 7])
def test_a_peer_hears_of_what_was_put_and_then_changed(
    world: World, monkeypatch: pytest.MonkeyPatch, since: str, absorbed: bool, told: int
) -> None:
    monkeypatch.setattr("replica.store.young.BATCH_MIN", 1)
    a, b, _ = world.machines
    a.store.put_many("t", [("1", 1, 1)])
    a.store.absorb()  # Nobody is told of that.
    (delta,) = a.store.deltas([a.value("SELECT key FROM _replica_record WHERE id = x'91a131'")])
    a.write(since, "1")
    if absorbed:
        a.store.absorb()
    b.store.apply([delta._replace(values=(told, 1))], b.clock())
    assert world.broken == ({"I3"} if told == 7 else set())
    if told == 1:
        all_meet(world.machines)
        world.oracle.final(world.machines)
        assert world.said == []
