"""What Hypothesis draws: values, stamps, records, and histories of events as real nodes make them."""

from __future__ import annotations

import math
from random import Random

from hypothesis import strategies as st

from protocol.hlc import COUNTER_MAX, MILLIS_MAX, Clock, pack
from protocol.record import Record, pack_id
from protocol.values import INT_MAX, INT_MIN, IllFormedText, Value, pack_value
from tests.protocol.memory_store import NOW_MS, MemoryStore

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
ill_formed_texts = st.binary(max_size=6).map(lambda b: IllFormedText(b + b"\xff"))
floats = st.floats(allow_nan=False).map(lambda x: x + 0.0)
integers = st.integers(INT_MIN, INT_MAX)
edges = st.sampled_from(
    [0, -1, -32, -33, 127, 128, 255, 256, 65535, 65536, 2**32 - 1, 2**32, INT_MAX, INT_MIN, math.inf, -math.inf, 5e-324,
     "", "a" * 31, "a" * 32, b"", b"\0" * 256],
)  # fmt: skip
values: st.SearchStrategy[Value] = st.one_of(
    st.none(), integers, floats, texts, st.binary(max_size=12), ill_formed_texts, edges
)

nodes = st.sampled_from([b"node-one", b"node-two", b"\0" * 8, b"\xff" * 8])
stamps = st.builds(pack, st.integers(0, MILLIS_MAX), st.integers(0, COUNTER_MAX), nodes)
few_stamps = st.builds(pack, st.integers(1, 4), st.integers(0, 1), nodes)
"""So few that ties, and one stamp in several roles, are common."""

names = st.one_of(st.sampled_from(["name", "city", "z", "näme"]), st.text(st.characters(codec="utf-8"), min_size=1))
key_parts: st.SearchStrategy[Value] = st.one_of(integers, floats, texts, st.binary(max_size=8), ill_formed_texts)
keys = st.lists(key_parts, min_size=1, max_size=3)


def records(stamp: st.SearchStrategy[bytes] = stamps) -> st.SearchStrategy[Record]:
    """Records that exist: with a floor, a birth or a register, and no register at or below the floor."""

    def build(key: list[Value], floor: bytes, born: bytes, registers: dict[str, tuple[bytes, Value]]) -> Record:
        kept = {name: (at, pack_value(value)) for name, (at, value) in registers.items() if at > floor}
        return Record("contacts", pack_id(key), floor, born, kept)

    registers = st.dictionaries(names, st.tuples(stamp, values), max_size=5)
    maybe = st.one_of(st.just(b""), stamp)
    return st.builds(build, keys, maybe, maybe, registers).filter(lambda r: bool(r.floor or r.born or r.registers))


def colleagues(seed: int, common: int, edits_a: int, edits_b: int) -> tuple[MemoryStore, MemoryStore]:
    """Two copies of one set of records, then changed apart: inserts, edits, deletes and returns, partly of the same."""
    random = Random(seed)
    a = MemoryStore()
    fill(a, Clock(b"founder."), common)
    b = MemoryStore(record.encode() for record in a.state.values())
    change(a, Clock(b"node-a.."), random, edits_a, common)
    change(b, Clock(b"node-b.."), random, edits_b, common)
    return a, b


def fill(store: MemoryStore, clock: Clock, count: int) -> None:
    """`count` rows of four fields."""
    for number in range(count):
        fields: dict[str, Value] = {name: f"{name} of {number}" for name in ("city", "mail", "name", "phone")}
        store.insert(number, clock.tick(NOW_MS - 10_000_000), fields)


def change(store: MemoryStore, clock: Clock, random: Random, edits: int, common: int) -> None:
    """Some history of a node."""
    for _ in range(edits):
        number, stamp = random.randrange(common * 5 // 4 + 1), clock.tick(NOW_MS - random.randrange(1_000))
        match random.randrange(10):
            case 0 | 1:
                store.delete(number, stamp)
            case 2 | 3:
                store.insert(number, stamp, {"name": random.random(), "city": None, "mail": "", "phone": 7})
            case _:
                store.update(number, stamp, {random.choice(["name", "city", "fax"]): random.randrange(100)})
