"""A fingerprint checks itself, leads back to its record and spreads evenly over the cells."""

from __future__ import annotations

import importlib
import itertools
import os
import subprocess
import sys
from array import array
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import prints
from protocol.errors import OurFault
from protocol.keys import Keys
from protocol.limits import SKETCH_WIDTH
from protocol.prints import ITEM_BYTES, LOAD_MIN, ItemHash
from tests.protocol.memory_store import GROUP, KEYS
from tests.vectors import vectors

FAMILY = ItemHash(KEYS.sketch())
ROOT = Path(__file__).parents[2]

words = st.one_of(st.integers(0, 2**32 - 1), st.sampled_from([0, 1, 2**31, 2**32 - 1]))
items = st.lists(words, min_size=8, max_size=8).map(lambda of: b"".join(word.to_bytes(4, "big") for word in of))


def schema_items(count: int, seed: int) -> bytes:
    """Items of schema records of one node, written one after the other: all that can be alike is alike."""
    random = Random(seed)
    start = random.randrange(1 << 60)
    return b"".join(b"\0\0" + random.randbytes(14) + (start + i).to_bytes(8, "big") + b"laptop-7" for i in range(count))


def plain_print(family: ItemHash, item: bytes) -> int:
    """SPEC section 7.1, word by word and without any cleverness."""
    modulus = 2**64
    total = family.item[0]
    for i, multiplier in enumerate(family.item[1:]):
        total += multiplier * int.from_bytes(item[4 * i : 4 * i + 4], "big")
    hashed = total % modulus // 2**44 or 1
    body = int.from_bytes(item[:3], "big") * 2**20 + hashed
    mixed = body * family.check[0] % modulus
    mixed = (mixed ^ mixed // 2**32) * family.check[1] % modulus
    return body * 2**12 + mixed // 2**52


def head(fingerprint: int) -> bytes:
    """The first 3 bytes of the record key."""
    return (fingerprint >> 32).to_bytes(3, "big")


def plain_positions(family: ItemHash, fingerprint: int) -> list[int]:
    """The same of the positions."""
    y = fingerprint * family.position % 2**64
    y ^= y // 2**32
    return [y // 12288**table % 12288 for table in range(4)]


def chi_square(counts: list[int]) -> float:
    """How far counts are from even, in standard deviations of the statistic."""
    expected, freedom = sum(counts) / len(counts), len(counts) - 1
    return float((sum((count - expected) ** 2 for count in counts) / expected - freedom) / (2 * freedom) ** 0.5)


@given(items)
def test_a_fingerprint_is_the_one_of_the_spec(item: bytes) -> None:
    (fingerprint,) = FAMILY.prints(item)
    assert fingerprint == plain_print(FAMILY, item)
    assert list(FAMILY.positions(fingerprint)) == plain_positions(FAMILY, fingerprint)
    assert FAMILY.passes(fingerprint)
    assert head(fingerprint) == item[:3]


@given(st.lists(items, max_size=5))
def test_items_stand_one_after_the_other(some: list[bytes]) -> None:
    assert list(FAMILY.prints(b"".join(some))) == [plain_print(FAMILY, item) for item in some]


def test_1_no_fingerprint_is_0() -> None:
    """Not even where all hashes and the head are 0."""
    nothing = ItemHash(bytes(96))
    assert list(nothing.prints(bytes(32))) == [plain_print(nothing, bytes(32))] == [1 << 12]
    assert head(1 << 12) == bytes(3)


def test_2_a_number_that_is_no_fingerprint_passes_the_check_once_in_4096() -> None:
    """Random numbers, and fingerprints of which one bit is flipped: 49 and 41 expected, within five deviations."""
    random = Random(2)
    assert abs(sum(FAMILY.passes(random.getrandbits(56)) for _ in range(200_000)) - 49) <= 35
    whole = FAMILY.prints(schema_items(3_000, 2))
    assert all(map(FAMILY.passes, whole))
    assert sum(FAMILY.passes(fingerprint ^ 1 << bit) for fingerprint in whole for bit in range(56)) <= 41 + 32


def test_2_the_sum_of_three_fingerprints_is_none() -> None:
    """What a cell holds before it is pure, with fingerprints that are as like as can be: 49 expected to pass."""
    whole = FAMILY.prints(schema_items(400, 3))
    three = itertools.islice(itertools.combinations(whole, 3), 200_000)
    assert abs(sum(FAMILY.passes(a ^ b ^ c) for a, b, c in three) - 49) <= 35


@pytest.mark.parametrize("kind", ["schema", "one record"])
def test_3_the_positions_are_spread_evenly_whatever_the_head_is(kind: str) -> None:
    """In each sub-table, in the narrowest fold of each, and in pairs of sub-tables: within five standard deviations."""
    made = schema_items(50_000, 4)
    if kind == "one record":
        made = b"".join(made[:16] + made[at + 16 : at + 32] for at in range(0, len(made), ITEM_BYTES))
    places = [FAMILY.positions(fingerprint) for fingerprint in sorted(set(FAMILY.prints(made)))]
    assert len(places) > 45_000
    for table in range(4):
        counts = [0] * SKETCH_WIDTH
        for place in places:
            counts[place[table]] += 1
        assert abs(chi_square(counts)) < 5
    for one, other in itertools.combinations(range(4), 2):
        pairs = [0] * 144
        for place in places:
            pairs[place[one] % 12 * 12 + place[other] % 12] += 1
        assert abs(chi_square(pairs)) < 5


def test_stamps_of_one_record_share_fingerprints_no_more_often_than_20_bits_do() -> None:
    """Families differ: 50 records of 300 stamps each, 2.1 shared fingerprints expected, over 12 once in a million."""
    shared = 0
    for seed in range(50):
        family = ItemHash(Random(seed).randbytes(96))
        random = Random(seed + 1)
        made = family.prints(b"".join(b"k" * 16 + random.randbytes(16) for _ in range(300)))
        shared += 300 - len(set(made))
    assert shared <= 12


def test_4_in_bulk_or_one_by_one_it_is_the_same() -> None:
    """NumPy is among the extras `fast` and `dev`: without it this test fails, and does not hide."""
    from protocol import bulk

    for made in (schema_items(3_000, 5), Random(5).randbytes(32 * 3_000), bytes(32), b"\xff" * 64, b""):
        assert bulk.prints(FAMILY, made) == array("Q", FAMILY._one_by_one(made))
    for family in (ItemHash(bytes(96)), ItemHash(b"\xff" * 96)):
        assert bulk.prints(family, made := schema_items(10, 6)) == array("Q", family._one_by_one(made))


@given(st.lists(items, min_size=1, max_size=5), st.binary(min_size=96, max_size=96))
def test_4_in_bulk_or_one_by_one_for_any_words_and_family(some: list[bytes], secret: bytes) -> None:
    from protocol import bulk

    family = ItemHash(secret)
    assert list(bulk.prints(family, b"".join(some))) == [plain_print(family, item) for item in some]


WITHOUT = f"""
import sys
sys.modules["numpy"] = None
from blake3 import blake3
from protocol import prints, sketch
family = prints.ItemHash(bytes(range(96)))
made = sketch.Sketch(family)
made.add(family.prints(blake3(b"items").digest(32 * {LOAD_MIN})))
assert not prints.NUMPY
sys.stdout.buffer.write(made.to_bytes())
"""


def test_4_all_of_it_works_without_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where NumPy cannot be imported, so many items as would have loaded it make the same sketch."""
    import numpy as np
    from blake3 import blake3

    from protocol.sketch import Sketch

    assert np.__version__
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", WITHOUT], cwd=ROOT, env=environment, capture_output=True, check=True)
    monkeypatch.setattr(ItemHash, "_one_by_one", None)
    family = ItemHash(bytes(range(96)))
    made = Sketch(family)
    made.add(family.prints(blake3(b"items").digest(32 * LOAD_MIN)))
    assert made.to_bytes() == done.stdout


def test_numpy_is_loaded_only_for_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prints, "NUMPY", True)
    monkeypatch.delitem(sys.modules, "numpy", raising=False)
    assert [prints.bulk_pays(count) for count in (0, prints.BULK_MIN, LOAD_MIN - 1, LOAD_MIN)] == [False] * 3 + [True]
    monkeypatch.setitem(sys.modules, "numpy", sys)
    assert [prints.bulk_pays(count) for count in (0, prints.BULK_MIN - 1, prints.BULK_MIN)] == [False, False, True]
    monkeypatch.setattr(prints, "NUMPY", False)
    assert not prints.bulk_pays(LOAD_MIN)


def test_numpy_is_loaded_for_many_that_come_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prints, "NUMPY", True)
    monkeypatch.delitem(sys.modules, "numpy", raising=False)
    loaded = list[str]()
    monkeypatch.setattr(importlib, "import_module", loaded.append)
    prints.expect(LOAD_MIN - 1)
    assert loaded == []
    prints.expect(LOAD_MIN)
    assert loaded == ["numpy"]
    monkeypatch.setattr(prints, "NUMPY", False)
    prints.expect(LOAD_MIN)
    assert loaded == ["numpy"]


def test_another_group_has_other_fingerprints() -> None:
    other = ItemHash(Keys(GROUP._replace(digest_secret=b"d" * 32)).sketch())
    made = schema_items(50, 7)
    assert not set(other.prints(made)) & set(FAMILY.prints(made))


@pytest.mark.parametrize("size", [1, 31, 33])
def test_a_part_of_an_item_is_refused(size: int) -> None:
    with pytest.raises(OurFault, match="an item has 32 bytes"):
        FAMILY.prints(bytes(size))


def test_hashes_of_too_few_numbers_are_refused() -> None:
    with pytest.raises(OurFault, match="are made of 96 bytes, not 88"):
        ItemHash(bytes(88))


def test_vectors() -> None:
    cases = vectors("sketch")
    (numbers,) = cases["hashes"]
    family = ItemHash(bytes.fromhex(numbers["bytes"]))
    for case in cases["prints"]:
        (fingerprint,) = family.prints(bytes.fromhex(case["item"]))
        assert f"{fingerprint:014x}" == case["bytes"], case["name"]
        assert list(family.positions(fingerprint)) == case["positions"], case["name"]
