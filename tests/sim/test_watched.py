"""What is known of a disk."""

from __future__ import annotations

from protocol.record import Record
from sim.watched import Watched


def test_a_copy_is_known_as_far_as_the_other_and_then_by_itself() -> None:
    one, other = Watched(), Watched()
    rid = "t", b"\x91\x01"
    one.ids, one.seen, one.late = [b"n" * 8], {rid: (1.0, Record(*rid))}, {rid: None}
    one.clock, one.issued, one.schema, one.held = b"c", {b"n" * 8: b"s"}, 3, frozenset({b"k"})
    other.begin_as(one)
    known = "ids", "seen", "late", "clock", "issued", "schema", "held"
    assert [getattr(other, name) for name in known] == [getattr(one, name) for name in known]
    other.ids.append(b"m" * 8)
    other.seen.clear()
    other.late.clear()
    other.issued.clear()
    assert (one.ids, len(one.seen), len(one.late), len(one.issued)) == ([b"n" * 8], 1, 1, 1)
