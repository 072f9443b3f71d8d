"""A world driven by hand, without pytest's fixture."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from math import inf, nan
from pathlib import Path
from typing import Any

import pytest

from protocol.errors import ReplicaError
from replica.errors import TableRefused, UsageError
from sim.hand import DEFAULTS, Hand, PromiseBroken
from sim.member import Down
from sim.scenario import PARAMETERS, WORKLOAD

SCHEMA = """
CREATE TABLE contacts(id TEXT PRIMARY KEY NOT NULL, name TEXT, phone TEXT);
CREATE TABLE logins(id TEXT PRIMARY KEY NOT NULL, email TEXT UNIQUE);
INSERT INTO contacts VALUES ('c1', 'Ana Kovač', '+43 1 555');
"""


def hand(seed: int = 7) -> Hand:
    world = Hand(seed)
    world.node("a", SCHEMA)
    world.node("b")
    return world


# --- the promises -----------------------------------------------------------------------------------------------------


def test_a_broken_promise_is_raised_by_whatever_comes_next() -> None:
    with hand() as world:
        world.world.loop.call_later(5, world.world.fail, "I5", "a", "a digest is wrong")
        with pytest.raises(PromiseBroken, match="I5 was broken"):
            world.run_for(60)
        assert world.now == 5
        with pytest.raises(PromiseBroken):
            world.assert_converged()


def test_the_same_seed_is_the_same_world() -> None:
    def story(seed: int) -> str:
        with hand(seed) as one:
            one.fault("frames", "b", share=0.3)
            one.world.machines["a"].write(["DELETE FROM contacts"])
            one.run_for(120)
            return one.digest

    assert story(1) == story(1) != story(2)


def test_not_equal_is_said_in_words_and_nothing_is_healed() -> None:
    with hand() as world:
        a, b = (world._members[name] for name in "ab")
        world.assert_converged()
        world.partition([["a"], ["b"]])
        a.sql("UPDATE contacts SET phone = '1'")
        b.sql("UPDATE contacts SET name = 'Bo'")
        a.sql("INSERT INTO contacts VALUES ('c9', 'x', 'y')")
        world.skew("b", 900)
        with pytest.raises(AssertionError) as told:
            world.assert_converged(within=75)  # An interval, and the waits for answers: where one was met, then anew.
        said = str(told.value)
        assert not isinstance(told.value, PromiseBroken)
        assert "the nodes are not equal, 75 s later" in said
        assert "contacts ['c9']: absent on b" in said
        assert "name is 'Ana Kovač' on a, 'Bo' on b; phone is '1' on a, '+43 1 555' on b" in said
        assert "partition: a | b (until it is ended)" in said
        assert "the clock of b is 900 s ahead" in said
        assert "the last sync of b with a" in said
        assert b.rows("contacts")[0]["phone"] == "+43 1 555"
        world.skew("b", 0)
        world.heal()
        world.assert_converged()


def test_nothing_is_left_after_any_end() -> None:
    world = hand()
    assert world.world.folder.is_dir()
    world.fault("ioerror", "a", for_s=60.0)
    world.crash("b")
    world.run_for(10)
    world.close()
    world.close()
    assert not world.world.folder.exists()


# --- edges ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def two() -> Iterator[Hand]:
    with hand() as world:
        yield world


@pytest.mark.parametrize("kind", sorted(set(PARAMETERS) - WORKLOAD - {"clone", "backup", "restore", "schema"}))
def test_every_fault_can_be_made_and_ended(kind: str) -> None:
    node = "" if kind == "partition" else "b"
    special: dict[str, dict[str, Any]] = {
        "partition": {"groups": [["a"]]},
        "step": {"ms": -5000},
        "drift": {"ppm": 200},
    }
    with hand() as world:
        world.run_for(20)
        world.fault(kind, node, **special.get(kind, {}))
        world.run_for(20)
        world.end(kind)
        world.skew("b", 0)
        world.fault("drift", "b", ppm=0)
        world.heal()
        world.start("b")
        world.assert_converged(within=900)
        assert not world.world.lasting.bands


def test_faults_are_checked_before_they_happen(two: Hand) -> None:
    for kind, node, more, text in [
        ("flood", "a", {}, "'flood' is no kind of fault; there are backup, block"),
        ("write", "a", {}, "is no fault"),
        ("step", "a", {}, "step needs 'ms'"),
        ("step", "z", {"ms": 1}, "there is no node 'z'"),
        ("step", "", {"ms": 1}, "needs the name of a node"),
        ("deaf", "a", {"colour": 1}, "has no parameter 'colour'"),
        ("deaf", "a", {"for_s": "long"}, "for_s is 'long'"),
        ("block", "", {"links": [["a", "z"]]}, "'z' is no node"),
        ("block", "", {"links": ["ab"]}, "'ab' is no pair"),
        ("crash", "a", {"how": "melt"}, "how of crash can be kill, power, not 'melt'"),
        ("hostile", "a", {"how": "zz"}, "how of hostile can be future, "),
        ("rot", "a", {"what": "zz"}, "what of rot can be row, digest, trie, page, not 'zz'"),
        ("clone", "a", {"to": "b"}, "the clone needs a name of its own, not 'b'"),
        ("partition", "", {"groups": ["ab"]}, "groups are lists of names"),
    ]:
        with pytest.raises(UsageError, match=text):
            two.fault(kind, node, **more)  # type: ignore[arg-type]
    assert set(DEFAULTS) <= set(PARAMETERS)


def test_nodes_are_checked(two: Hand, tmp_path: Path) -> None:
    for arguments, text in [
        ({"name": "a"}, "a name of its own"),
        ({"name": ""}, "a name of its own"),
        *(
            ({"name": "c", "every": odd}, "every must be a number from 0.1 to 604,800, not")
            for odd in (0, inf, nan, "5")
        ),
        *(({"name": "c", "minor": odd}, "minor must be a number from 0 to 9,999, not") for odd in (-1, nan, "1")),
        ({"name": "c", "minor": 1.5}, "minor must be a whole number"),
        *(({"name": "c", "peers": odd}, "peers must be a list of names") for odd in ("bb", [5])),
        ({"name": "c", "peers": ["c"]}, "peers: c cannot dial itself"),
        ({"name": "c", "local": "x"}, "local must be a list of names"),
        ({"name": "c", "schema": "PRAGMA foreign_keys = ON;" + SCHEMA}, "foreign_keys=True"),
        ({"name": "c", "empty": True, "schema": SCHEMA}, "without tables"),
        ({"name": "c", "schema": SCHEMA, "db": "x.db"}, "either"),
        ({"name": "c", "db": tmp_path / "none.db"}, "is no file"),
    ]:
        with pytest.raises(UsageError, match=text):
            two.node(**arguments)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="no backup"):
        two.restore("a")
    with pytest.raises(UsageError, match="of its own"):
        two.clone("a", "b")
    with Hand(1) as world, pytest.raises(UsageError, match="first node needs"):
        world.node("a")


@pytest.mark.parametrize("odd", [nan, inf, -1, "5", None])
def test_a_time_that_makes_no_sense_is_refused_by_its_name(two: Hand, odd: Any) -> None:
    with pytest.raises(UsageError, match="seconds must be a number of at least 0, not"):
        two.run_for(odd)
    if odd is not None:
        with pytest.raises(UsageError, match="within must be a number of at least 0, not"):
            two.assert_converged(within=odd)
    if odd != -1:
        with pytest.raises(UsageError, match="seconds must be a number from"):
            two.skew("a", odd)


def test_groups_and_kinds_that_make_no_sense_are_refused_by_name(two: Hand) -> None:
    for groups in ("ab", ["ab"], ["a", "b"], [], 5, [5]):
        with pytest.raises(UsageError, match="groups must be"):
            two.partition(groups)  # type: ignore[arg-type]
    for kind, name, text in [
        ("slwo", "", "'slwo' is no kind of fault; there are backup, block"),
        ("put", "", "'put' is no kind of fault"),
        ("slow", "z", "there is no node 'z'"),
        ("slow", "a", "it ends everywhere, so name no node"),
    ]:
        with pytest.raises(UsageError, match=text):
            two.end(kind, name)
    two.end("slow")
    with Hand(1) as alone:
        alone.node("a", SCHEMA)
        with pytest.raises(UsageError, match="needs another one to attack"):
            alone.fault("hostile", "a")


def test_a_node_may_dial_one_that_is_added_later_but_nobody() -> None:
    with Hand(1) as world:
        world.node("a", SCHEMA, peers=["b"])
        world.run_for(60)
        with pytest.raises(UsageError, match="peers: a dials 'b', and there is no such node"):
            world.assert_converged()
        world.node("b", peers=[])
        world.assert_converged()


def test_a_table_that_cannot_be_replicated_is_refused_or_told_to_stay() -> None:
    schema = "CREATE TABLE x(a); CREATE TABLE y(id TEXT PRIMARY KEY NOT NULL);"
    with Hand(1) as world:
        with pytest.raises(UsageError, match=r"'x'.*or name it in local=\('x',\)"):
            world.node("a", schema)
        with pytest.raises(UsageError, match="table 'y' is replicated"):
            world.node("a", schema, local=["x", "y"])
        a, b = world.node("a", schema, local={"X": 1}.keys()), world.node("b")
        a.sql("INSERT INTO x VALUES (1)")
        world.assert_converged()
        a.sql("CREATE TABLE z(id TEXT PRIMARY KEY NOT NULL)")
        world.assert_converged()
        a.sql("INSERT INTO z VALUES ('1')")
        with pytest.raises(AssertionError, match="table 'z' has rows on a, and no other node gets them: it was made"):
            world.assert_converged()
        with pytest.raises(UsageError, match="z has rows already"):
            a.adopt("z")
        a.sql("DELETE FROM z")
        b.sql("CREATE TABLE z(id TEXT PRIMARY KEY NOT NULL)")
        for one in (a, b):
            one.adopt("z")
        a.sql("INSERT INTO z VALUES ('2')")
        world.assert_converged()
        assert b.rows("z") == [{"id": "2"}]
        a.sql("CREATE TABLE w(v)")
        with pytest.raises(TableRefused, match="'w' has no primary key"):
            a.adopt("w")


def test_foreign_keys_hold_where_the_test_asks_for_it() -> None:
    schema = """CREATE TABLE firm(id TEXT PRIMARY KEY NOT NULL);
    CREATE TABLE person(id TEXT PRIMARY KEY NOT NULL, firm TEXT REFERENCES firm ON DELETE CASCADE);
    INSERT INTO firm VALUES ('f1'); INSERT INTO person VALUES ('p1', 'f1');"""
    with Hand(1) as world:
        with pytest.raises(UsageError, match="say node"):
            world.node("strict", "PRAGMA foreign_keys = ON;" + schema)
        strict = world.node("strict", "PRAGMA foreign_keys = ON;" + schema, foreign_keys=True)
        lax = world.node("lax")
        world.assert_converged()
        twin = world.clone("strict", "twin")
        for one in (strict, twin):
            with pytest.raises(sqlite3.IntegrityError, match="FOREIGN KEY"):
                one.sql("INSERT INTO person VALUES ('p2', 'nobody')")
        strict.sql("DELETE FROM firm")
        world.assert_converged()
        assert lax.rows("person") == []
        lax.sql("INSERT INTO person VALUES ('p2', 'nobody')")
        world.assert_converged()
        assert strict.rows("person") == [{"id": "p2", "firm": "nobody"}]


def test_a_file_of_the_user_is_copied_and_an_empty_node_gets_all(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "own.db") as own:
        own.executescript("PRAGMA journal_mode = WAL;" + SCHEMA)
    own.close()
    before = (tmp_path / "own.db").read_bytes()
    with Hand(3) as world:
        a = world.node("a", db=tmp_path / "own.db")
        c = world.node("c", empty=True)
        world.assert_converged()
        assert c.rows("contacts") == a.rows("contacts")
        assert not a.verify()
        assert a.path != c.path
    assert (tmp_path / "own.db").read_bytes() == before


def test_users_need_the_machine_and_put_needs_the_node() -> None:
    with hand() as world:
        a, b = world._members["a"], world._members["b"]
        assert a.put("contacts", [{"id": "c5", "name": "x"}, {"id": "c6"}]) == 2
        with pytest.raises(ReplicaError, match="colour"):
            a.put("contacts", [{"id": "c7", "colour": "red"}])
        with pytest.raises(sqlite3.IntegrityError):
            a.sql("INSERT INTO contacts VALUES ('c1', '', '')")
        assert a.sql("SELECT count(*) FROM contacts") == [(3,)]
        world.crash("b", how="power")
        with pytest.raises(Down):
            b.sql("DELETE FROM contacts")
        with pytest.raises(Down):
            b.put("contacts", [])
        world.start("b")
        world.assert_converged()
        world.fault("crash", "b", what="sql", at_step=2)
        with pytest.raises(Down):
            b.sql("DELETE FROM contacts")
        world.start("b")
        world.assert_converged()
        assert len(b.rows("contacts")) == 3


def test_a_row_that_a_constraint_refuses_is_held() -> None:
    with hand() as world:
        a, b = world._members["a"], world._members["b"]
        world.partition([["a"], ["b"]])
        a.sql("INSERT INTO logins VALUES ('l1', 'ana@example.org')")
        b.sql("INSERT INTO logins VALUES ('l2', 'ana@example.org')")
        world.heal()
        world.assert_converged()
        assert [len(n.held()) for n in (a, b)] == [1, 1]
        assert a.rows("logins") == b.rows("logins")


def test_a_machine_is_copied_before_its_node_has_begun() -> None:
    with hand() as world:
        twin = world.clone("a", "twin")
        world._members["a"].sql("INSERT INTO contacts VALUES ('c2', 'a', NULL)")
        twin.sql("INSERT INTO contacts VALUES ('c3', 'twin', NULL)")
        world.assert_converged()
        assert len(world._members["b"].rows("contacts")) == 3


def test_a_backup_is_restored_and_writes_since_come_back_from_others() -> None:
    with hand() as world:
        a, b = world._members["a"], world._members["b"]
        world.assert_converged()
        world.backup("a")
        a.sql("INSERT INTO contacts VALUES ('c2', 'new', NULL)")
        world.run_for(5)
        world.assert_converged()
        world.restore("a")
        world.assert_converged()
        assert [row["id"] for row in a.rows("contacts")] == [row["id"] for row in b.rows("contacts")] == ["c1", "c2"]


def test_an_older_node_and_a_later_one_meet_the_others() -> None:
    with hand() as world:
        old, later = world.node("old", minor=0), world.node("later", peers=["old"], minor=4)
        world.assert_converged()
        later.sql("INSERT INTO contacts VALUES ('c9', 'from later', NULL)")
        world.run_for(60)
        world.assert_converged()
        assert [row["id"] for row in old.rows("contacts")] == ["c1", "c9"]
        reached = world.world.result.reach
        assert {"minors 0 and 3", "minors 0 and 4"} <= reached.keys()
        assert set(reached["minors 0 and 3"]) <= {"equal", "trie"}


def test_what_is_refused_changes_nothing() -> None:
    with Hand(1) as world:
        for name in "abc":
            world.node(name, SCHEMA if name == "a" else "")
        world.partition([["a"], ["b", "c"]])
        for groups in ([["a"], ["a", "b"]], [["z"]], []):
            with pytest.raises(UsageError):
                world.partition(groups)
        assert [band.kind for band in world.world.lasting.bands] == ["partition"]
        for odd in ({"node": "b"}, {"at": 99.0}, {"kind": "crash"}):
            with pytest.raises((UsageError, TypeError)):
                world.fault("off", "a", **odd)
        assert [band.kind for band in world.world.lasting.bands] == ["partition"]


def test_a_schema_that_makes_no_sense_is_refused_in_words() -> None:
    with Hand(1) as world:
        for schema in ("CREATE TABEL x", "CREATE TABLE x(id)\0;"):
            with pytest.raises(UsageError, match="schema: "):
                world.node("a", schema)
