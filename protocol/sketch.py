"""The sketch of a set of items: two sketches tell how much two sets differ, and if it is not much, in what.

An invertible Bloom lookup table whose cells are XORs of self-checking fingerprints, beside a tug-of-war estimator.
Both are linear: the XOR of two sketches is the sketch of the difference. One test each:

1. The same set gives the same sketch, by any history of adds and removes.
2. The cells of a smaller width are a fold of those of a greater one; widening costs the new part alone.
3. Cells that hold no more than their width allows are peeled, at the rates that size_for was measured for.
4. Peeling yields only fingerprints that pass their check and lie at their positions, and it ends, on any cells.
5. The estimate errs by 18 % (standard deviation), and never calls a difference of twice the capacity small.

Sources: Goodrich and Mitzenmacher, "Invertible Bloom lookup tables" (2011); Eppstein et al., "What's the difference?"
(2011); Alon, Matias and Szegedy, "The space complexity of approximating the frequency moments" (1996).
SPEC section 7.1; vectors: tests/vectors/sketch.json.
"""

import functools
import sys
from array import array
from collections.abc import Sequence

from protocol import limits
from protocol.errors import Malformed, OurFault
from protocol.prints import CHECK_BITS, CHECK_MASK, MASK, SUBTABLES, ItemHash, bulk_pays

CELL_BYTES = 8
FULL_BYTES = CELL_BYTES * SUBTABLES * limits.SKETCH_WIDTH + limits.SKETCH_COUNTERS
"""What a whole sketch takes, in memory and on disk."""

WIDTHS = tuple(
    sorted(
        width
        for shift in range(limits.SKETCH_WIDTH.bit_length())
        for width in (1 << shift, 3 << shift)
        if width >= limits.SKETCH_WIDTH_MIN and limits.SKETCH_WIDTH % width == 0
    )
)
"""Cells of one sub-table that a sketch can be folded to, ascending: 8, 12, 16, 24 … 4,096, 6,144, 12,288."""


def cells_size(width: int) -> int:
    """Bytes of the cells at a width."""
    return SUBTABLES * CELL_BYTES * width


class Sketch:
    """Cells and counters of a set, at full width."""

    __slots__ = ("_cells", "_counters", "_hash")

    def __init__(self, family: ItemHash) -> None:
        self._hash = family
        self._cells = array("Q", bytes(CELL_BYTES * SUBTABLES * limits.SKETCH_WIDTH))
        self._counters = [0] * limits.SKETCH_COUNTERS

    def add(self, fingerprints: Sequence[int]) -> None:
        """Add items that are not in the set. (One that is would vanish.)"""
        self._toggle(fingerprints, 1)

    def remove(self, fingerprints: Sequence[int]) -> None:
        """Remove items that are in the set."""
        self._toggle(fingerprints, -1)

    def cells(self, width: int) -> bytes:
        """The cells folded to `width`, one of WIDTHS: the sub-tables in order, 8 bytes a cell. Raises OurFault."""
        if width not in WIDTHS:
            raise OurFault(f"no sketch is {width} cells wide")
        return b"".join(_fold(table, CELL_BYTES * width) for table in _tables(_packed(self._cells)))

    def extension(self, width: int) -> bytes:
        """What must be said to a peer that has cells(width), so that it has cells(wider(width)). Raises OurFault if
        there is no wider one."""
        wide = wider(width)
        if wide is None:
            raise OurFault(f"a sketch of {width} cells cannot be widened")
        return b"".join(table[CELL_BYTES * width :] for table in _tables(self.cells(wide)))

    def counters(self) -> bytes:
        """The estimator: 64 bytes, each a counter modulo 256."""
        return bytes(counter & 255 for counter in self._counters)

    def to_bytes(self) -> bytes:
        """All of it, to be kept: FULL_BYTES."""
        return _packed(self._cells) + self.counters()

    @classmethod
    def from_bytes(cls, family: ItemHash, kept: bytes) -> "Sketch":
        """The sketch that was kept. Raises OurFault unless it is FULL_BYTES."""
        if len(kept) != FULL_BYTES:
            raise OurFault(f"a sketch has {FULL_BYTES} bytes, not {len(kept)}")
        made = cls(family)
        made._cells = _unpacked(kept[: -limits.SKETCH_COUNTERS])
        made._counters = list(kept[-limits.SKETCH_COUNTERS :])
        return made

    def _toggle(self, fingerprints: Sequence[int], sign: int) -> None:
        if bulk_pays(len(fingerprints)):
            from protocol import bulk

            gains = bulk.toggle(self._hash, self._cells, fingerprints)
            self._counters = [counter + sign * gain for counter, gain in zip(self._counters, gains, strict=True)]
            return
        cells, counters, multiplier, width = self._cells, self._counters, self._hash.position, limits.SKETCH_WIDTH
        square, count = width * width, limits.SKETCH_COUNTERS
        second, third, fourth = width, 2 * width, 3 * width
        for fingerprint in fingerprints:
            mixed = fingerprint * multiplier & MASK
            high, low = divmod(mixed ^ mixed >> 32, square)
            cells[low % width] ^= fingerprint
            cells[second + low // width] ^= fingerprint
            cells[third + high % width] ^= fingerprint
            cells[fourth + high // width % width] ^= fingerprint
            counters[fingerprint % count] += -sign if fingerprint & count else sign


def estimate(mine: bytes, theirs: bytes) -> int:
    """How many items are in one of two sets alone, by their counters. Raises Malformed unless both are 64 bytes."""
    if not len(mine) == len(theirs) == limits.SKETCH_COUNTERS:
        raise Malformed(f"an estimator of {len(theirs)} counters: {limits.SKETCH_COUNTERS} are needed")
    return sum(((a - b + 128 & 255) - 128) ** 2 for a, b in zip(mine, theirs, strict=True))


def size_for(difference: int) -> int | None:
    """The width to peel an estimated difference at: the smallest with 1.7 cells an item and 16 more, since the
    estimate may be low. None if the full width does not hold it."""
    if difference > limits.SKETCH_DIFFERENCE_MAX:
        return None
    for width in WIDTHS:
        if 10 * SUBTABLES * width >= 17 * difference + 160:
            return width
    return limits.SKETCH_WIDTH


def wider(width: int) -> int | None:
    """The next width after one at which peeling failed: twice, or three times if twice does not divide the full one.
    None if there is no more."""
    return next((times * width for times in (2, 3) if times * width in WIDTHS), None)


def widen(cells: bytes, extension: bytes) -> bytes:
    """The cells of the next width, from those of one and its extension. Raises Malformed if they do not fit."""
    size, rest = divmod(len(cells), SUBTABLES * CELL_BYTES)
    wide = wider(size)
    if rest or wide is None or len(extension) != len(cells) * (wide // size - 1):
        raise Malformed(f"{len(extension)} bytes do not widen a sketch of {len(cells)}")
    made = []
    for table, more in zip(_tables(cells), _tables(extension), strict=True):
        made += [_xor(table, _fold(more, len(table))), more]
    return b"".join(made)


def peel(family: ItemHash, mine: bytes, theirs: bytes) -> set[int] | None:
    """Fingerprints of the items that are in one of two sets alone, from the cells of both at one width; whose an item
    is, the caller looks up. None if they are too many for this width. Raises Malformed unless both have it."""
    if len(mine) != len(theirs) or len(mine) not in _SIZES:
        raise Malformed(f"cells of {len(theirs)} bytes: no sketch is so wide, or ours is wider or narrower")
    cells = _unpacked(_xor(mine, theirs))
    width, full, square = len(cells) // SUBTABLES, limits.SKETCH_WIDTH, limits.SKETCH_WIDTH**2
    (first, second), multiplier = family.check, family.position
    found: set[int] = set()
    pending = [at for at, cell in enumerate(cells) if cell]
    while pending:
        at = pending.pop()
        fingerprint = cells[at]
        mixed = (fingerprint >> CHECK_BITS) * first & MASK
        if fingerprint & CHECK_MASK != ((mixed ^ mixed >> 32) * second & MASK) >> 44 or not fingerprint:
            continue
        mixed = fingerprint * multiplier & MASK
        high, low = divmod(mixed ^ mixed >> 32, square)
        four = (
            low % width,
            width + low // full % width,
            2 * width + high % width,
            3 * width + high // full % width,
        )
        if at not in four:
            continue
        if fingerprint in found or len(found) == len(cells):
            return None  # no honest difference: one item twice, or more items than cells
        found.add(fingerprint)
        for cell in four:
            cells[cell] ^= fingerprint
            if cells[cell]:
                pending.append(cell)
    return None if any(cells) else found


_SIZES = frozenset(SUBTABLES * CELL_BYTES * width for width in WIDTHS)


def _packed(cells: "array[int]") -> bytes:
    if sys.byteorder == "little":
        cells = cells[:]
        cells.byteswap()
    return cells.tobytes()


def _unpacked(packed: bytes) -> "array[int]":
    cells = array("Q", packed)
    if sys.byteorder == "little":
        cells.byteswap()
    return cells


def _tables(cells: bytes) -> list[bytes]:
    size = len(cells) // SUBTABLES
    return [cells[at : at + size] for at in range(0, len(cells), size)]


def _fold(table: bytes, size: int) -> bytes:
    while len(table) > size:
        part = len(table) // (3 if len(table) // size % 2 else 2)
        table = functools.reduce(_xor, (table[at : at + part] for at in range(0, len(table), part)))
    return table


def _xor(a: bytes, b: bytes) -> bytes:
    return (int.from_bytes(a, "big") ^ int.from_bytes(b, "big")).to_bytes(len(a), "big")
