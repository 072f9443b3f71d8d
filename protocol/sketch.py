"""The sketch of a set of items: two sketches tell how much two sets differ, and if it is not much, in what.

An invertible Bloom lookup table whose cells are XORs of self-checking fingerprints, beside a tug-of-war estimator.
Both are linear: the XOR of two sketches is the sketch of the difference. One test each:

1. The same set gives the same sketch, by any history of adds and removes.
2. The cells of any smaller width are a fold of those of a greater one; widening costs the new part alone.
3. Cells that hold no more than their width allows are peeled, at the rates that size_for was measured for; more, if some
   of what is in them is guessed.
4. Peeling yields only fingerprints that pass their check and lie at their positions, and it ends, on any cells.
5. The estimate errs by 18 % (standard deviation), and never calls a difference of twice the capacity small.

A sub-table grows as in linear hashing, a cell at a time, each of which splits one in two: what is split in part holds as
much as what is even, but for 2 %. So a sketch is as wide as an estimate wants it, and not up to half wider.

Sources: Goodrich and Mitzenmacher, "Invertible Bloom lookup tables" (2011); Eppstein et al., "What's the difference?"
(2011); Litwin, "Linear hashing" (1980); Alon, Matias and Szegedy, "The space complexity of approximating the frequency
moments" (1996).
SPEC section 7.1; vectors: tests/vectors/sketch.json.
"""

import sys
from array import array
from collections.abc import Iterable, Sequence
from itertools import islice

from protocol import limits
from protocol.errors import Malformed, OurFault
from protocol.prints import CHECK_BITS, CHECK_MASK, CHECK_SHIFT, MASK, PRINT_BYTES, SUBTABLES, ItemHash, bulk_pays

FULL_BYTES = PRINT_BYTES * SUBTABLES * limits.SKETCH_WIDTH + limits.SKETCH_COUNTERS
"""What a whole sketch takes on disk."""

_OCTET = 8
"""Bytes of a cell in memory."""

FEW = 1_024
"""Items that take less time to be folded to a small width than the cells of the full one: 1 us each, and 1 ms."""

LIKELY, TRIALS = 1_024, 64
"""Items that came last, which are likely in a small difference: how many are looked at where peeling comes to a halt, 3 us
each, and how many of them are tried, 15 us each."""

NARROW, NARROW_MAX = 96, 4
"""Cells up to this width are kept up to date, of so many widths at most: 1 us for each item that comes or goes."""


def cells_size(width: int) -> int:
    """Bytes of the cells at a width."""
    return SUBTABLES * PRINT_BYTES * width


def fits(width: int) -> bool:
    """Whether a sketch may be so wide: its cells of one sub-table, from SKETCH_WIDTH_MIN to SKETCH_WIDTH."""
    return limits.SKETCH_WIDTH_MIN <= width <= limits.SKETCH_WIDTH


class Sketch:
    """Cells and counters of a set, at full width. While the set is small, the items themselves stand for the cells; and
    cells of a small width that were asked for once are kept: every session wants those of the smallest."""

    __slots__ = ("_counters", "_few", "_hash", "_narrow", "_wide")

    def __init__(self, family: ItemHash) -> None:
        self._hash = family
        self._few: set[int] = set()
        """All that the cells hold, as long as `_wide` is None."""
        self._wide: array[int] | None = None
        self._narrow: dict[int, array[int]] = {}
        """Width -> cells folded to it, as of now."""
        self._counters = [0] * limits.SKETCH_COUNTERS

    def add(self, fingerprints: Sequence[int]) -> None:
        """Add items that are not in the set. (One that is would vanish.)"""
        self._toggle(fingerprints, 1)

    def remove(self, fingerprints: Sequence[int]) -> None:
        """Remove items that are in the set."""
        self._toggle(fingerprints, -1)

    def cells(self, width: int) -> bytes:
        """The cells folded to `width`: the sub-tables in order, 7 bytes a cell. Raises OurFault unless it fits."""
        if not fits(width):
            raise OurFault(f"no sketch is {width} cells wide")
        if width in self._narrow:
            return _packed(self._narrow[width])
        if self._wide is not None:
            folded = b"".join(_fold(table, width) for table in _tables(_packed(self._wide)))
            if width <= NARROW:
                self._keep(width, _unpacked(folded))
            return folded
        cells = array("Q", bytes(_OCTET * SUBTABLES * width))
        _toggle(cells, width, self._hash.position, self._few)
        if width <= NARROW:
            self._keep(width, cells)
        return _packed(cells)

    def _keep(self, width: int, cells: "array[int]") -> None:
        if len(self._narrow) == NARROW_MAX:
            del self._narrow[next(iter(self._narrow))]
        self._narrow[width] = cells

    def extension(self, width: int) -> bytes:
        """What must be said to a peer that has cells(width), so that it has cells(wider(width)). Raises OurFault if
        there is no wider one."""
        wide = wider(width)
        if wide is None:
            raise OurFault(f"a sketch of {width} cells cannot be widened")
        return beyond(self.cells(wide), width)

    def counters(self) -> bytes:
        """The estimator: 64 bytes, each a counter modulo 256."""
        return bytes(counter & 255 for counter in self._counters)

    def equals(self, other: "Sketch") -> bool:
        """Whether both say the same."""
        if self.counters() != other.counters():
            return False
        return self._few == other._few if self._wide is other._wide is None else self._all() == other._all()

    def to_bytes(self) -> bytes:
        """All of it, to be kept: FULL_BYTES."""
        return _packed(self._all()) + self.counters()

    @classmethod
    def from_bytes(cls, family: ItemHash, kept: bytes) -> "Sketch":
        """The sketch that was kept. Raises OurFault unless it is FULL_BYTES."""
        if len(kept) != FULL_BYTES:
            raise OurFault(f"a sketch has {FULL_BYTES} bytes, not {len(kept)}")
        made = cls(family)
        made._wide = _unpacked(kept[: -limits.SKETCH_COUNTERS])
        made._counters = list(kept[-limits.SKETCH_COUNTERS :])
        return made

    def _all(self) -> "array[int]":
        """The cells at full width."""
        if self._wide is None:
            self._wide = array("Q", bytes(_OCTET * SUBTABLES * limits.SKETCH_WIDTH))
            _toggle(self._wide, limits.SKETCH_WIDTH, self._hash.position, self._few)
            self._few = set()
        return self._wide

    def _toggle(self, fingerprints: Sequence[int], sign: int) -> None:
        if bulk_pays(len(fingerprints)):
            from protocol import bulk

            gains = bulk.toggle(self._hash, self._all(), fingerprints)
            self._counters = [counter + sign * gain for counter, gain in zip(self._counters, gains, strict=True)]
            self._narrow.clear()
            return
        counters, count = self._counters, limits.SKETCH_COUNTERS
        for fingerprint in fingerprints:
            counters[fingerprint % count] += -sign if fingerprint & count else sign
        for width, cells in self._narrow.items():
            _toggle(cells, width, self._hash.position, fingerprints)
        if self._wide is not None:
            _toggle(self._wide, limits.SKETCH_WIDTH, self._hash.position, fingerprints)
            return
        for fingerprint in fingerprints:
            if fingerprint in self._few:
                self._few.remove(fingerprint)
            else:
                self._few.add(fingerprint)
        if len(self._few) > FEW:
            self._all()


def _toggle(cells: "array[int]", width: int, multiplier: int, fingerprints: Iterable[int]) -> None:
    """XOR fingerprints into the cells of a width."""
    full, half, square = limits.SKETCH_WIDTH, _half(width), limits.SKETCH_WIDTH**2
    double = 2 * half
    second, third, fourth = width, 2 * width, 3 * width
    for fingerprint in fingerprints:
        mixed = fingerprint * multiplier & MASK
        high, low = divmod(mixed ^ mixed >> 32, square)
        one, two, three, four = low % double, low // full % double, high % double, high // full % double
        cells[one if one < width else one - half] ^= fingerprint
        cells[second + (two if two < width else two - half)] ^= fingerprint
        cells[third + (three if three < width else three - half)] ^= fingerprint
        cells[fourth + (four if four < width else four - half)] ^= fingerprint


def estimate(mine: bytes, theirs: bytes) -> int:
    """How many items are in one of two sets alone, by their counters. Raises Malformed unless both are 64 bytes."""
    if not len(mine) == len(theirs) == limits.SKETCH_COUNTERS:
        raise Malformed(f"an estimator of {len(theirs)} counters: {limits.SKETCH_COUNTERS} are needed")
    return sum(((a - b + 128 & 255) - 128) ** 2 for a, b in zip(mine, theirs, strict=True))


def size_for(difference: int) -> int | None:
    """The width to peel an estimated difference at: the smallest with 1.9 cells an item and 16 more, since the
    estimate may be low, and wider than the client's first cells, since they were too few. None if the full width does
    not hold it."""
    if difference > limits.SKETCH_DIFFERENCE_MAX:
        return None
    fitting = -(-(19 * difference + 160) // (10 * SUBTABLES))
    return min(max(fitting, _next(limits.SKETCH_WIDTH_MIN)), limits.SKETCH_WIDTH)


def wider(width: int) -> int | None:
    """The next width after one at which peeling failed: half as much again. None if there is no more."""
    return min(_next(width), limits.SKETCH_WIDTH) if width < limits.SKETCH_WIDTH else None


def beyond(cells: bytes, width: int) -> bytes:
    """Of each sub-table of some cells what is beyond a smaller width."""
    return b"".join(table[PRINT_BYTES * width :] for table in _tables(cells))


def widen(cells: bytes, extension: bytes) -> bytes:
    """The cells of the next width, from those of one and its extension. Raises Malformed if they do not fit."""
    width, rest = divmod(len(cells), cells_size(1))
    wide = wider(width)
    if rest or not fits(width) or wide is None or len(extension) != cells_size(wide - width):
        raise Malformed(f"{len(extension)} bytes do not widen a sketch of {len(cells)}")
    made = []
    for table, more in zip(_tables(cells), _tables(extension), strict=True):
        made += [_xor(table, _fold(bytes(len(table)) + more, width)), more]
    return b"".join(made)


def peel(family: ItemHash, mine: bytes, theirs: bytes, likely: Sequence[int] = ()) -> set[int] | None:
    """Fingerprints of the items that are in one of two sets alone, from the cells of both at one width; whose an item
    is, the caller looks up. None if they are too many for this width. `likely`: items of which some may be among them;
    where peeling comes to a halt, the first TRIALS that can be are tried. Raises Malformed unless both have a width."""
    width, rest = divmod(len(mine), cells_size(1))
    if len(mine) != len(theirs) or rest or not fits(width):
        raise Malformed(f"cells of {len(theirs)} bytes: no sketch is so wide, or ours is wider or narrower")
    cells, found = _unpacked(_xor(mine, theirs)), set[int]()
    if _peel(family, cells, found, [at for at, cell in enumerate(cells) if cell]):
        return found
    possible = (f for f in likely if f not in found and all(cells[place] for place in _places(family, width, f)))
    for fingerprint in islice(possible, TRIALS):
        trial, places = cells[:], _places(family, width, fingerprint)
        for place in places:
            trial[place] ^= fingerprint
        if _peel(family, trial, more := {*found, fingerprint}, places):
            return more
    return None


def _places(family: ItemHash, width: int, fingerprint: int) -> list[int]:
    """The cells of a width that it is in."""
    half = _half(width)
    folded = [position % (2 * half) for position in family.positions(fingerprint)]
    return [table * width + (at if at < width else at - half) for table, at in enumerate(folded)]


def _peel(family: ItemHash, cells: "array[int]", found: set[int], pending: list[int]) -> bool:
    """Take out of the cells what stands alone in one of those that are pending, and what then does. Returns whether no
    cell holds anything in the end."""
    width = len(cells) // SUBTABLES
    half, full, square = _half(width), limits.SKETCH_WIDTH, limits.SKETCH_WIDTH**2
    double = 2 * half
    (first, second), multiplier = family.check, family.position
    while pending:
        at = pending.pop()
        fingerprint = cells[at]
        mixed = (fingerprint >> CHECK_BITS) * first & MASK
        if fingerprint & CHECK_MASK != ((mixed ^ mixed >> 32) * second & MASK) >> CHECK_SHIFT or not fingerprint:
            continue
        mixed = fingerprint * multiplier & MASK
        high, low = divmod(mixed ^ mixed >> 32, square)
        one, two, three, four = low % double, low // full % double, high % double, high // full % double
        places = (
            one if one < width else one - half,
            width + (two if two < width else two - half),
            2 * width + (three if three < width else three - half),
            3 * width + (four if four < width else four - half),
        )
        if at not in places:
            continue
        if fingerprint in found or len(found) == len(cells):
            return False  # no honest difference: one item twice, or more items than cells
        found.add(fingerprint)
        for cell in places:
            cells[cell] ^= fingerprint
            if cells[cell]:
                pending.append(cell)
    return not any(cells)


def _next(width: int) -> int:
    return width + (width + 1) // 2


def _half(width: int) -> int:
    """The greatest 3 * 2^n below a width: what is at a position beyond the width is in the cell so much before."""
    return 3 << ((width - 1) // 3).bit_length() - 1


def _packed(cells: "array[int]") -> bytes:
    if sys.byteorder == "little":
        cells = cells[:]
        cells.byteswap()
    packed = bytearray(cells.tobytes())
    del packed[::_OCTET]
    return bytes(packed)


def _unpacked(packed: bytes) -> "array[int]":
    wide = bytearray(len(packed) // PRINT_BYTES * _OCTET)
    for at in range(PRINT_BYTES):
        wide[at + 1 :: _OCTET] = packed[at::PRINT_BYTES]
    cells = array("Q", bytes(wide))
    if sys.byteorder == "little":
        cells.byteswap()
    return cells


def _tables(cells: bytes) -> list[bytes]:
    size = len(cells) // SUBTABLES
    return [cells[at : at + size] for at in range(0, len(cells), size)]


def _fold(table: bytes, width: int) -> bytes:
    """A sub-table at a smaller width: the cells beyond half of 3 * 2^n go where they were before they were split off."""
    while len(table) > PRINT_BYTES * width:
        wide = len(table) // PRINT_BYTES
        half = _half(wide)
        cut = max(half, width)
        head, tail = table[: PRINT_BYTES * cut], table[PRINT_BYTES * cut :]
        moved = int.from_bytes(tail, "big") << 8 * PRINT_BYTES * (cut - (wide - half))
        table = (int.from_bytes(head, "big") ^ moved).to_bytes(len(head), "big")
    return table


def _xor(a: bytes, b: bytes) -> bytes:
    return (int.from_bytes(a, "big") ^ int.from_bytes(b, "big")).to_bytes(len(a), "big")
