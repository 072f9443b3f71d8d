"""Item fingerprints: 7 bytes that stand for one stamp of one record, check themselves and say where to look it up.

An item is a record key and a stamp, 16 bytes each: one item for each distinct stamp in a record's state, so that one
edit is one item that the other side lacks. Its fingerprint is a 56-bit number:

    head, 24 bits: first 3 bytes of the record key | hash, 20 bits: of key and stamp | check, 12 bits: of the 44 before

The head leads back to the record by a range of keys, without an index. All hashes are keyed. One test each:

1. No fingerprint is 0, so that an empty cell is no fingerprint.
2. A number that is no fingerprint passes the check once in 4,096; that it lies where it must, `sketch` looks at too.
3. The four positions of a fingerprint are spread evenly, whatever the head is.
4. In bulk with NumPy or one by one without it: the same numbers.

The hash is multilinear: (a0 + sum of a_i * w_i) mod 2^64, over the item's 32-bit words w_i, of which the top bits are
taken: strongly universal (Lemire and Kaser, "Strongly universal string hashing is fast", 2014, theorem 3.1). Check and
positions multiply, fold the upper half into the lower and multiply again: the multiply-shift of Dietzfelbinger et al.
(1997) in rounds, so that no pattern of the hashes shows in them. SPEC section 7.1; vectors: tests/vectors/sketch.json.
"""

import importlib
import importlib.util
import struct
import sys
from array import array
from collections.abc import Iterable

from protocol import limits
from protocol.errors import OurFault

ITEM_BYTES = 32
SUBTABLES = 4
WORDS = 12
"""64-bit numbers that a family of hashes is made of: `keys.Keys.sketch` gives their bytes."""

MASK = (1 << 64) - 1
PRINT_BYTES = 7
"""Of a fingerprint, and of a cell. In memory each takes a number of 64 bits."""

CHECK_BITS = 12
CHECK_MASK = (1 << CHECK_BITS) - 1
CHECK_SHIFT = 64 - CHECK_BITS
HEAD_BYTES = 3

BULK_MIN = 500
"""From so many items on, NumPy is faster."""

LOAD_MIN = 50_000
"""From so many items on, NumPy is faster even if it has to be loaded first, which takes a tenth of a second."""

NUMPY = importlib.util.find_spec("numpy") is not None
"""Whether it is installed; everything works without it."""


class ItemHash:
    """The keyed hashes of a group's sketches, from `Keys.sketch()`. Raises OurFault unless there are 96 bytes."""

    __slots__ = ("check", "item", "position")

    def __init__(self, secret: bytes) -> None:
        if len(secret) != 8 * WORDS:
            raise OurFault(f"the hashes of a sketch are made of {8 * WORDS} bytes, not {len(secret)}")
        words = struct.unpack(f">{WORDS}Q", secret)
        self.item: tuple[int, ...] = words[:9]
        """An addend, and a multiplier for each 32-bit word of an item."""
        self.check: tuple[int, int] = (words[9] | 1, words[10] | 1)
        """Two odd multipliers."""
        self.position: int = words[11] | 1
        """One more."""

    def prints(self, items: bytes) -> "array[int]":
        """Fingerprints of items that are 32 bytes each: key, stamp, key, stamp … Raises OurFault for a part of one."""
        count, rest = divmod(len(items), ITEM_BYTES)
        if rest:
            raise OurFault(f"an item has {ITEM_BYTES} bytes; {rest} are left over")
        if bulk_pays(count):
            from protocol import bulk

            return bulk.prints(self, items)
        return array("Q", self._one_by_one(items))

    def _one_by_one(self, items: bytes) -> Iterable[int]:
        a, b, c, d, e, f, g, h, i = self.item
        first, second = self.check
        for s, t, u, v, w, x, y, z in struct.iter_unpack(">8I", items):
            hashed = (a + b * s + c * t + d * u + e * v + f * w + g * x + h * y + i * z & MASK) >> 44
            body = s >> 8 << 20 | (hashed or 1)
            mixed = body * first & MASK
            yield body << CHECK_BITS | ((mixed ^ mixed >> 32) * second & MASK) >> CHECK_SHIFT

    def passes(self, fingerprint: int) -> bool:
        """Whether a number of 56 bits can be a fingerprint: its last 12 bits are the check of the others. The plain
        definition, which tests hold against what `sketch.peel` does in line."""
        mixed = (fingerprint >> CHECK_BITS) * self.check[0] & MASK
        return fingerprint & CHECK_MASK == ((mixed ^ mixed >> 32) * self.check[1] & MASK) >> CHECK_SHIFT

    def positions(self, fingerprint: int) -> tuple[int, int, int, int]:
        """The cell of each sub-table, of SKETCH_WIDTH each, that a fingerprint is in. The plain definition, which tests
        hold against what `sketch` and `bulk` do in line."""
        width = limits.SKETCH_WIDTH
        mixed = fingerprint * self.position & MASK
        high, low = divmod(mixed ^ mixed >> 32, width * width)
        return low % width, low // width, high % width, high // width % width


def expect(count: int) -> None:
    """So many items will come, part by part: if NumPy pays for all of them, it is loaded for the first."""
    if bulk_pays(count):
        importlib.import_module("numpy")


def bulk_pays(count: int) -> bool:
    """Whether NumPy is there and so many items are worth it."""
    return NUMPY and count >= (BULK_MIN if "numpy" in sys.modules else LOAD_MIN)
