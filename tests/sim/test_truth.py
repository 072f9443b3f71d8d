"""The model of what the world should know keeps the promises of its header."""

from __future__ import annotations

import itertools

from protocol.hlc import lowest, pack
from protocol.record import Record
from protocol.values import pack_value
from sim.truth import BORN, FLOOR, Item, Truth


def item(ms: int, part: str = "a", value: object = 1) -> Item:
    return Item(part, pack(ms, 0, b"n" * 8), b"" if part in {FLOOR, BORN} else pack_value(value))


def test_order_of_learning_does_not_matter() -> None:
    updates = [item(1, BORN), item(1), item(2, FLOOR), item(3, BORN), item(3, value=2), item(3, value=3)]
    states = []
    for order in itertools.permutations(updates):
        truth = Truth()
        for update in order:
            truth.learn(("t", b"\x91\x01"), update)
        states.append(truth.state(("t", b"\x91\x01")))
    assert all(state == states[0] for state in states)
    assert states[0].live
    assert states[0].registers == {"a": (pack(3, 0, b"n" * 8), pack_value(3))}


def test_unsure_updates_may_be_there_or_not() -> None:
    rid, truth = ("t", b"\x91\x01"), Truth()
    truth.learn(rid, item(1))
    truth.learn(rid, item(2))
    low = Record(*rid, registers={"a": item(1)[1:]})
    high = Record(*rid, registers={"a": item(2)[1:]})
    assert [wrong[0] for wrong in truth.judge(rid, low)] == ["I3"]
    truth.doubt([{rid: low}])
    assert truth.judge(rid, low) == truth.judge(rid, high) == []
    assert [wrong[0] for wrong in truth.judge(rid, None)] == ["I2"]
    assert truth.judge(rid, Record(*rid, floor=item(3, FLOOR).stamp))[0][0] == "I3"  # Nobody deleted it.


def test_a_register_at_the_floor_is_not_missed() -> None:
    rid, truth = ("t", b"\x91\x01"), Truth()
    for update in (item(1, BORN), item(2), item(2, FLOOR), item(3, "b")):
        truth.learn(rid, update)
    low, above = Record(*rid, item(2, FLOOR).stamp, item(1, BORN).stamp), item(3, "b")
    assert [text for _, text in truth.judge(rid, low) if " a of " in text] == []
    assert [name for name, text in truth.judge(rid, low) if f"b of {above.stamp.hex()} is lost" in text] == ["I2"]
    low.registers["b"] = above[1:]
    assert truth.judge(rid, low) == []


def test_what_a_default_shows_above_a_delete_is_no_write() -> None:
    truth, rid = Truth(), ("t", b"\x91\x01")
    delete = item(5, FLOOR)
    shown = Item("a", lowest(delete.stamp), b"\xc0")
    assert not truth.shown_by_default(rid, shown)
    truth.learn(rid, delete)
    assert truth.shown_by_default(rid, shown)
    assert not truth.shown_by_default(rid, item(6))
    assert not truth.shown_by_default(("t", b"\x91\x02"), shown)
    assert not truth.shown_by_default(rid, shown._replace(part=FLOOR))


def test_what_was_put_is_no_surprise_and_is_not_missed() -> None:
    truth, rid = Truth(), ("t", b"\x91\x01")
    truth.waits([Record(*rid, born=item(1, BORN).stamp, registers={"a": item(1)[1:]})])
    assert truth.was_put(rid, item(1, BORN))
    assert truth.was_put(rid, item(1))
    assert not truth.was_put(rid, item(1, value=2))
    assert not truth.was_put(("t", b"\x91\x02"), item(1))
    assert not truth.knows(rid, item(1))
    assert truth.judge(rid, None) == []
