"""Whatever cells a peer makes up, peeling ends and yields nothing false; what has another length is refused."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import Malformed, OurFault
from protocol.prints import ItemHash
from protocol.sketch import FULL_BYTES, Sketch, peel, widen
from tests.protocol.test_prints import FAMILY
from tests.protocol.test_sketch import POOL, plain_cells, plain_place

WEAK = ItemHash(bytes(96))
"""Passes whatever ends in 12 zero bits."""


@given(st.sampled_from([7, 8, 12, 50]), st.data())
def test_4_cells_made_of_true_fingerprints_in_false_places_end_and_yield_nothing_false(
    width: int, data: st.DataObject
) -> None:
    """A peer that holds the key: each cell is 0, a fingerprint or the XOR of two, wherever it likes."""
    some = st.one_of(st.just(0), st.sampled_from(POOL[:8]))
    pairs = data.draw(st.lists(st.tuples(some, some), min_size=4 * width, max_size=4 * width))
    cells = b"".join((a ^ b).to_bytes(7, "big") for a, b in pairs)
    found = peel(FAMILY, cells, bytes(len(cells)))
    if found is not None:
        assert plain_cells(found, width) == cells
        assert all(map(FAMILY.passes, found))


@given(st.sampled_from([7, 24, 100]), st.data())
def test_4_random_cells_are_never_a_difference(width: int, data: st.DataObject) -> None:
    cells = data.draw(st.binary(min_size=28 * width, max_size=28 * width).filter(any))
    assert peel(FAMILY, cells, bytes(len(cells))) is None


@pytest.mark.parametrize("width", [7, 8, 12, 4_096, 5_000, 12_288])
@pytest.mark.parametrize("kind", ["ones", "one print", "three of four", "one of four", "twice", "weak"])
def test_4_hostile_cells_fail_and_end(width: int, kind: str) -> None:
    """Among them cycles, in which each item that is taken out brings the one before it back."""
    places = [table * width + plain_place(position, width) for table, position in enumerate(FAMILY.positions(POOL[0]))]
    said = [0] * (4 * width)
    match kind:
        case "ones":
            said = [2**56 - 1] * (4 * width)
        case "one print":
            said = [POOL[0]] * (4 * width)
        case "three of four":
            for place in places[:3]:
                said[place] = POOL[0]
        case "one of four":
            said[places[3]] = POOL[0]
        case "twice":
            for fingerprint in POOL[:2]:
                for table, position in enumerate(FAMILY.positions(fingerprint)):
                    said[table * width + plain_place(position, width)] = POOL[0]
        case "weak":
            said = [cell % 4 for cell in range(4 * width)]
    cells = b"".join(cell.to_bytes(7, "big") for cell in said)
    assert peel(FAMILY, cells, bytes(len(cells))) is None
    assert peel(FAMILY, bytes(len(cells)), cells) is None


@pytest.mark.parametrize("family", [FAMILY, WEAK], ids=["honest hash", "hash that passes all"])
def test_4_a_chain_that_a_key_holder_builds_ends_within_as_many_items_as_cells(family: ItemHash) -> None:
    """The most work that cells can make: whichever cell is looked at next was chosen so that, with all that was taken
    out before, it holds a fingerprint that brings no earlier one back."""
    width = 24
    cells = chain(family, width, Random(9))
    seen: list[int] = []

    class Watched(set[int]):
        def add(self, fingerprint: int, /) -> None:
            seen.append(fingerprint)
            super().add(fingerprint)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("protocol.sketch.set", Watched, raising=False)
        assert peel(family, cells, bytes(len(cells))) is None
    assert width < len(seen) <= 4 * width
    assert all(map(family.passes, seen))


def chain(family: ItemHash, width: int, random: Random) -> bytes:
    """Cells whose values are fixed one by one, each when peeling comes to look at it."""
    first, taken, pending = dict[int, int](), [0] * (4 * width), list(range(4 * width))
    while pending:
        at = pending.pop()
        if at in first:
            continue
        for _ in range(20_000):
            made = random.getrandbits(44) << 12 if family is WEAK else family.prints(random.randbytes(32))[0]
            four = [table * width + plain_place(position, width) for table, position in enumerate(family.positions(made))]
            if at in four and not any(cell in first and first[cell] == taken[cell] for cell in four):
                break
        else:
            break
        first[at] = taken[at] ^ made
        for cell in four:
            taken[cell] ^= made
        pending += four
    return b"".join(first.get(at, 1).to_bytes(7, "big") for at in range(4 * width))


@pytest.mark.parametrize("size", [0, 7, 28, 28 * 6, 195, 197, 203, 28 * 12_289, 28 * 24_576])
def test_cells_of_no_width_are_malformed(size: int) -> None:
    with pytest.raises(Malformed, match="cells of"):
        peel(FAMILY, bytes(size), bytes(size))


def test_cells_of_another_width_are_malformed() -> None:
    with pytest.raises(Malformed, match="cells of 448 bytes"):
        peel(FAMILY, bytes(224), bytes(448))


@pytest.mark.parametrize(("cells", "more"), [(224, 111), (224, 140), (224, 0), (0, 0), (223, 112), (168, 84)])
def test_an_extension_that_does_not_fit_is_malformed(cells: int, more: int) -> None:
    with pytest.raises(Malformed, match="do not widen"):
        widen(bytes(cells), bytes(more))


def test_the_full_width_has_no_extension() -> None:
    with pytest.raises(Malformed, match="do not widen"):
        widen(bytes(28 * 12_288), bytes(28 * 6_144))
    with pytest.raises(OurFault, match="cannot be widened"):
        Sketch(FAMILY).extension(12_288)


@pytest.mark.parametrize("width", [-8, 0, 4, 6, 12_289, 24_576])
def test_a_width_that_is_none_is_refused(width: int) -> None:
    with pytest.raises(OurFault, match="cells wide"):
        Sketch(FAMILY).cells(width)


def test_a_kept_sketch_of_another_length_is_refused() -> None:
    with pytest.raises(OurFault, match=f"a sketch has {FULL_BYTES} bytes"):
        Sketch.from_bytes(FAMILY, bytes(FULL_BYTES - 1))


def test_4_a_sum_that_passes_the_check_is_not_taken_where_it_does_not_lie() -> None:
    """With a check that tells nothing, every cell of two items looks like one: the positions tell, but for a few."""
    whole = 0
    for seed in range(20):
        random = Random(seed)
        some = {random.getrandbits(44) << 12 for _ in range(60)}
        made = Sketch(WEAK)
        made.add(list(some))
        whole += peel(WEAK, made.cells(384), bytes(28 * 384)) == some
    assert whole >= 18
