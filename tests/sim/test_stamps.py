"""Each check is content with the engine, and names what a broken one does."""

from __future__ import annotations

from pathlib import Path

import pytest

from protocol.hlc import lowest
from protocol.values import pack_value
from sim.bugs import planted
from sim.stamps import surfaced
from sim.truth import Item, items
from tests.sim.test_oracle import Judged, World
from tests.store.harness import all_meet, meet

WIDE = "CREATE TABLE t(id TEXT PRIMARY KEY NOT NULL, a UNIQUE, b, c, d)"


def told(world: World) -> set[str]:
    for machine in world.machines:
        machine.close()
    return world.broken


@pytest.mark.parametrize(("bug", "broken"), [("", set()), ("all-fields-stamped", {"I3"})])
def test_an_edit_stamps_what_changed(tmp_path: Path, bug: str, broken: set[str]) -> None:
    world = World(tmp_path, WIDE)
    a, _, _ = world.machines
    a.write("INSERT INTO t VALUES ('1', 1, 1, 1, 1)", "1")
    a.store.absorb()
    with planted(bug):
        a.write("UPDATE t SET a = 2", "1")
        a.store.absorb()
    assert told(world) == broken


@pytest.mark.parametrize(("bug", "broken"), [("", set()), ("not-read-back", {"I3"})])
def test_nobody_wrote_what_was_never_there(tmp_path: Path, bug: str, broken: set[str]) -> None:
    world = World(tmp_path, WIDE)
    a, b, _ = world.machines
    a.sql("ALTER TABLE t ADD COLUMN e")
    a.store.absorb()
    b.write("INSERT INTO t VALUES ('1', 1, 1, 1, 1)", "1")
    b.store.absorb()
    with planted(bug):
        a.store.apply([b.record("t", "1").delta()], a.clock())
        a.write("UPDATE t SET a = 2", "1")
        a.store.absorb()
    assert told(world) == broken


def test_the_row_of_a_held_record_is_written_as_a_whole(tmp_path: Path) -> None:
    world = World(tmp_path, WIDE)
    a, b, _ = world.machines
    a.write("INSERT INTO t VALUES ('1', 7, 1, 1, 1)", "1")
    b.write("INSERT INTO t VALUES ('2', 7, 1, 1, 1)", "2")
    meet(a, b)
    held, other = ("1", "2") if a.sees("1") is None else ("2", "1")
    a.write(f"UPDATE t SET a = 8 WHERE id = '{other}'", other)
    a.write(f"INSERT INTO t VALUES ('{held}', 7, 1, 1, 1)", held)
    a.store.absorb()
    assert told(world) == set()


@pytest.mark.parametrize(("bug", "broken"), [("", set()), ("captured-time-believed", {"I8"})])
def test_no_stamp_is_ahead_of_the_clock(tmp_path: Path, bug: str, broken: set[str]) -> None:
    world = World(tmp_path, WIDE)
    a, _, _ = world.machines
    a.write("INSERT INTO t VALUES ('1', 1, 1, 1, 1)", "1")
    a.sql(f"UPDATE _replica_outbox SET at = {a.clock() + 300_000}")
    with planted(bug):
        a.store.absorb()
    assert told(world) == broken


@pytest.mark.parametrize(("bug", "broken"), [("", set()), ("clone-unnoticed", {"I6"})])
def test_a_copy_becomes_another(tmp_path: Path, bug: str, broken: set[str]) -> None:
    world = World(tmp_path, WIDE)
    a, b, c = world.machines
    a.write("INSERT INTO t VALUES ('1', 1, 1, 1, 1)", "1")
    a.store.absorb()
    a.close()
    d = Judged.copy(a.path, tmp_path / "d.db")
    assert isinstance(d, Judged)
    world.oracle.cloned("a", "d")
    a._open()
    a.start()
    d.watched(world.oracle)
    d.write("UPDATE t SET a = 3", "1")
    with planted(bug):
        all_meet([a, b, c, d])
    d.close()
    assert told(world) == broken


def test_nobody_becomes_another_without_a_copy(tmp_path: Path) -> None:
    world = World(tmp_path, WIDE)
    a, _, _ = world.machines
    a.sql("UPDATE _replica_meta SET value = x'0102030405060708' WHERE name = 'node'")
    a.reopen()
    a.start()
    assert told(world) == {"I6"}


def test_only_a_default_has_the_lowest_stamp(tmp_path: Path) -> None:
    world = World(tmp_path, WIDE, "a")
    (a,) = world.machines
    a.write("INSERT INTO t VALUES ('1', 1, 1, 1, 1)", "1")
    a.store.absorb()
    a.sql("ALTER TABLE t ADD COLUMN e DEFAULT 'x'")
    a.store.absorb()
    core, record = a.store._core, a.record("t", "1")
    with core.reading():
        spoken = surfaced(core, record, items(record))
        assert spoken == [Item("e", lowest(record.floor), pack_value("x"))]
        assert surfaced(core, record, [spoken[0]._replace(value=pack_value("y"))]) == []
        assert surfaced(core, record, [spoken[0]._replace(part="b", value=pack_value(1))]) == []
        assert surfaced(core, record, [spoken[0]._replace(stamp=record.born)]) == []
    assert told(world) == set()
