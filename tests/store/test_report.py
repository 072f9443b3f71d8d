"""What an administrator asks of a store: status, why, held, and what is done about what is held."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from protocol.hlc import pack
from protocol.outcome import CHANGING, Outcome
from protocol.reconcile import Way
from protocol.record import Record, pack_id
from protocol.values import Value, pack_value
from replica.errors import RowRefused, UsageError
from tests.store.harness import NOW_MS, Machine, check_equal, meet

Make = Callable[..., Machine]

PEOPLE = "CREATE TABLE People(id TEXT PRIMARY KEY, name TEXT, mail TEXT UNIQUE);"


def at(ms: int) -> bytes:
    return pack(NOW_MS - 10_000 + ms, 0, b"somebody")


def person(key: Value, stamp: int, floor: bytes = b"", **fields: Value) -> Record:
    return Record(
        "people", pack_id([key]), floor, at(stamp), {n: (at(stamp), pack_value(v)) for n, v in fields.items()}
    )


def take(machine: Machine, *records: Record) -> None:
    machine.store.apply([r.delta() for r in records], machine.clock())


def table(machine: Machine, name: str = "People") -> dict[str, Any]:
    return next(t for t in machine.store.status()["tables"] if t["table"] == name)


def rivals(machine: Make) -> Machine:
    """A machine that shows Ann and holds Bob, who has the same address."""
    m = machine("m", PEOPLE)
    take(m, person("ann", 1, name="Ann", mail="x"), person("bob", 2, name="Bob", mail="x"))
    return m


# --- status -----------------------------------------------------------------------------------------------------------


def test_status_says_who_and_what_and_how_much(machine: Make) -> None:
    m = rivals(machine)
    take(m, person("dead", 3), Record("people", pack_id(["dead"]), at(4)))
    hidden = Record("people", pack_id(["late"]), at(5), b"", {"name": (at(6), pack_value("Late"))})
    take(m, hidden, Record("nowhere", pack_id([1]), b"", at(7)))
    status = m.store.status()
    assert status["name"] == "m"
    assert status["node"] == m.store.node_id.hex()
    assert (status["root"], status["count"]) == (m.store.root()[0].hex(), m.store.root()[1])
    assert status["file"] == str(m.path)
    people = table(m)
    assert (people["live"], people["deleted"], people["held"], people["hidden_edits"]) == (2, 2, 1, 1)
    assert people["held_reasons"] == [{"reason": "UNIQUE constraint failed: People.mail", "records": 1}]
    assert table(m, "nowhere")["state"] == "no such table here"
    assert status["notices"] == []


def test_status_remembers_whom_we_met_and_how_it_went(machine: Make) -> None:
    a, b = machine("a", PEOPLE), machine("b")
    b.clock.ms += 5_000
    one, _ = meet(a, b)
    a.store.remember(one, "ws://b")
    (peer,) = a.store.status()["peers"]
    assert (peer["name"], peer["url"], peer["outcome"], peer["met_ms"]) == ("b", "ws://b", "in sync", a.clock())
    assert (peer["offset_ms"], peer["root"], peer["node"]) == (5_000, a.store.root()[0].hex(), b.store.node_id.hex())
    agreed = a.store.root()[0]
    assert (a.store.agreed("ws://b"), b.store.agreed("ws://b"), a.store.agreed("ws://c")) == (agreed, b"", b"")
    a.sql("INSERT INTO People VALUES ('k', 'Ann', NULL)")
    for outcome in (Outcome(), replace(one, code=CHANGING, root=a.store.root()[0])):
        a.store.remember(outcome, "ws://b")
        assert a.store.agreed("ws://b") == agreed, "only a session that ended in sync is an agreement"
    one, _ = meet(a, b)
    a.store.remember(one, "ws://b")
    assert a.store.agreed("ws://b") == a.store.root()[0] != agreed


def test_a_stream_that_was_cut_is_remembered_until_both_agree(machine: Make) -> None:
    a, b = machine("a", PEOPLE), machine("b")
    one, _ = meet(a, b)
    cut = replace(one, code="cut", way=Way.STREAM)
    for outcome, url, expected in (
        (replace(cut, way=Way.SKETCH), "ws://b", False),
        (replace(cut, code=CHANGING), "ws://b", False),
        (cut, "ws://b", True),
        (replace(cut, way=Way.NONE), "ws://b", True),
        (replace(cut, way=Way.NEWS), None, True),
        (one, None, False),
        (cut, "ws://b", True),
        (one, "ws://b", False),
    ):
        a.store.remember(outcome, url)
        assert (a.store.broken_off("ws://b"), a.store.broken_off("ws://c")) == (expected, False)
        assert a.store.agreed("ws://b") == (one.root if outcome is one else b"")


# --- why --------------------------------------------------------------------------------------------------------------


def test_why_says_who_wrote_each_field_and_when(machine: Make) -> None:
    a, b = machine("a", PEOPLE + "INSERT INTO People VALUES ('old', 'n', 'm');"), machine("b")
    a.clock.ms += 1_000
    a.sql("INSERT INTO People VALUES ('k', 'Ann', NULL)")
    meet(a, b)
    b.clock.ms += 2_000
    b.sql("UPDATE People SET name = 'Anna'")
    meet(a, b)
    why = a.store.why("PEOPLE", ["k"])
    assert (why["table"], why["key"], why["live"], why["shown"], why["held"]) == ("People", ["k"], True, True, None)
    by = {f["field"]: (f["value"], f["by"], f["millis"] - NOW_MS) for f in why["fields"]}
    assert by == {"mail": (None, "a", 1_000), "name": ("Anna", "b", 2_000)}
    assert why["born"]["by"] == "a"
    old = a.store.why("people", ["old"], "MAIL")["fields"]
    assert [(f["field"], f["node"]) for f in old] == [("mail", "")]


def test_why_of_what_is_held_or_deleted_says_so(machine: Make) -> None:
    m = rivals(machine)
    why = m.store.why("people", ["bob"])
    assert (why["shown"], why["held"]) == (False, "UNIQUE constraint failed: People.mail")
    m.sql("DELETE FROM People WHERE id = 'ann'")
    why = m.store.why("people", ["ann"])
    assert (why["live"], why["shown"], why["held"], why["fields"]) == (False, False, None, [])
    assert why["deleted"]["by"] == "m"
    assert m.store.why("_replica.node", [f"x'{m.core.clock.node.hex()}'"])["held"] is None


@pytest.mark.parametrize(("kind", "key"), [
    ("INTEGER", ["7"]), ("TEXT", ["7"]), ("REAL", ["7.5"]), ("BLOB", ["x'00ff'"]), ("INT, j TEXT", ["1", "2"]),
])  # fmt: skip
def test_a_key_is_found_by_its_text(machine: Make, kind: str, key: list[str]) -> None:
    composite = ", " in kind
    m = machine("m", f"CREATE TABLE t(k {kind}, v, PRIMARY KEY({'k, j' if composite else 'k'}));")
    literal = ", ".join(part if part[0] == "x" else f"'{part}'" for part in key)
    m.sql(f"INSERT INTO t({'k, j' if composite else 'k'}, v) VALUES ({literal}, 'found')")
    assert m.store.why("t", key, "v")["fields"][0]["value"] == "found"
    m.sql("DELETE FROM t")
    assert not m.store.why("t", key)["live"]


@pytest.mark.parametrize(("arguments", "words"), [
    (("nowhere", ["k"]), "table 'nowhere' is not replicated here"),
    (("people", ["never"]), "no record 'never' was ever in People"),
    (("people", ["ann"], "shoes"), "People has no field 'shoes' beside its key: "),
])  # fmt: skip
def test_why_of_what_is_not_there_says_what_is_wrong(machine: Make, arguments: Any, words: str) -> None:
    m = rivals(machine)
    with pytest.raises(UsageError, match=words):
        m.store.why(*arguments)


# --- held -------------------------------------------------------------------------------------------------------------


def test_held_lists_what_no_table_shows_with_all_its_values_and_the_reason(machine: Make) -> None:
    m = rivals(machine)
    take(m, Record("people", pack_id(["late"]), at(5), b"", {"name": (at(6), pack_value(b"\xff"))}))
    take(m, Record("nowhere", pack_id([1, "a"]), b"", at(7), {"v": (at(7), pack_value(1.5))}))
    held = {h["table"] + str(h["key"]): (h["reason"], h["live"], h["values"]) for h in m.store.held()}
    assert held == {
        "People['bob']": ("UNIQUE constraint failed: People.mail", True, {"mail": "x", "name": "Bob"}),
        "People['late']": ("edited elsewhere after it was deleted", False, {"name": "x'ff'"}),
        "nowhere[1, 'a']": ("no such table here", True, {"v": 1.5}),
    }
    for entry in m.store.held():
        assert m.store.why(entry["table"], [str(part) for part in entry["key"]])["held"] == entry["reason"]


def test_an_edit_of_a_held_record_lets_it_surface_everywhere(machine: Make) -> None:
    m, other = rivals(machine), machine("other")
    meet(m, other)
    (held,) = m.store.held()
    m.store.held_edit(held["ref"], {"MAIL": "y"})
    assert m.rows("SELECT * FROM People WHERE id = 'bob'") == [("bob", "Bob", "y")]
    assert m.store.held() == []
    meet(m, other)
    check_equal([m, other])
    assert other.store.why("people", ["bob"], "mail")["fields"][0]["by"] == "m"


def test_an_edit_of_what_was_deleted_inserts_it_again(machine: Make) -> None:
    m, other = machine("m", PEOPLE), machine("other", PEOPLE)
    take(m, Record("people", pack_id(["late"]), at(5), b"", {"name": (at(6), pack_value("Late"))}))
    (held,) = m.store.held()
    m.store.held_edit(held["ref"], {"name": "Back"})
    meet(m, other)
    check_equal([m, other])
    assert other.rows("SELECT * FROM People") == [("late", "Back", None)]


def test_a_held_record_can_be_deleted_everywhere(machine: Make) -> None:
    m, other = rivals(machine), machine("other")
    meet(m, other)
    m.store.held_delete(m.store.held()[0]["ref"])
    meet(m, other)
    check_equal([m, other])
    assert m.store.held() == other.store.held() == []
    assert table(other)["deleted"] == 1


def test_a_held_record_can_get_another_key(machine: Make) -> None:
    m, other = rivals(machine), machine("other")
    take(m, person("cid", 3, name="Cid", mail="x"))
    meet(m, other)
    ref = {h["key"][0]: h["ref"] for h in m.store.held()}
    with pytest.raises(UsageError, match="name the new key: People does not number its rows"):
        m.store.held_rekey(ref["bob"])
    with pytest.raises(RowRefused, match=r"UNIQUE constraint failed: People\.mail"):
        m.store.held_rekey(ref["bob"], "robert")
    m.sql("UPDATE People SET mail = 'z' WHERE id = 'ann'")
    m.store.absorb()
    assert set(m.held()) == {"cid"}
    m.sql("DELETE FROM People WHERE id = 'bob'")
    m.store.absorb()
    assert m.held() == {}
    meet(m, other)
    check_equal([m, other])


def test_a_number_that_two_took_is_given_anew_and_who_refers_to_it_is_told(machine: Make) -> None:
    schema = (
        "CREATE TABLE p(id INTEGER PRIMARY KEY, name); CREATE TABLE c(id TEXT PRIMARY KEY, p INT REFERENCES p(id));"
    )
    a, b = machine("a", schema), machine("b", schema)
    a.sql("INSERT INTO p VALUES (1, 'Ann')")
    a.store.absorb()
    b.clock.ms += 1_000
    b.sql("INSERT INTO p VALUES (1, CAST(x'ff' AS TEXT))", "INSERT INTO c VALUES ('of bob', 1)")
    meet(a, b)
    (held,) = b.store.held()
    with pytest.raises(RowRefused, match="its key must be a whole number"):
        b.store.held_rekey(held["ref"], "two")
    key, notes = b.store.held_rekey(held["ref"])
    assert key == 2
    assert notes == ["rows of c that refer by p to 1: 1; check whose they are"]
    meet(a, b)
    check_equal([a, b])
    assert a.rows("SELECT id, typeof(name), hex(name) FROM p ORDER BY id") == [(1, "text", "416E6E"), (2, "text", "FF")]


@pytest.mark.parametrize("ref", ["", "zz", "12", "ffffffffffff", "shown"])
def test_a_reference_to_nothing_that_is_held_is_refused(machine: Make, ref: str) -> None:
    m = rivals(machine)
    if ref == "shown":
        ref = next(k for k, _ in m.store.entries("", b"", 99) if m.store.records([k])[0].id == pack_id(["ann"])).hex()
    for act in (m.store.held_delete, lambda r: m.store.held_edit(r, {"name": "x"}), m.store.held_rekey):
        with pytest.raises(UsageError, match=r"take .* from the list of `replica held`"):
            act(ref)
    assert m.store.verify() == []


@pytest.mark.parametrize(("changes", "words"), [
    ({"shoes": 1}, "the record has no field 'shoes'"), ({"name": "x" * (5 << 20)}, "could not travel: at most 4194304"),
])  # fmt: skip
def test_an_edit_that_cannot_be_is_refused_and_changes_nothing(
    machine: Make, changes: dict[str, object], words: str
) -> None:
    m = rivals(machine)
    before = m.store.root()
    with pytest.raises(UsageError, match=words):
        m.store.held_edit(m.store.held()[0]["ref"], changes)
    assert m.store.root() == before
    assert m.store.verify() == []
