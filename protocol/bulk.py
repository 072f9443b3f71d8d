"""Fingerprints and cells of many items at once, with NumPy: the same bytes as one by one, some ten times as fast.

Nothing is defined here: `prints` and `sketch` say what is computed, and import this only if NumPy is installed.
"""

from array import array
from collections.abc import Sequence

import numpy as np

from protocol import limits
from protocol.prints import CHECK_BITS, CHECK_SHIFT, SUBTABLES, ItemHash


def prints(family: ItemHash, items: bytes) -> "array[int]":
    """`ItemHash.prints`."""
    words = np.frombuffer(items, dtype=">u4").reshape(-1, 8)
    hashed = np.full(len(words), family.item[0], dtype=np.uint64)
    for column, multiplier in enumerate(family.item[1:]):
        hashed += words[:, column].astype(np.uint64) * np.uint64(multiplier)
    hashed >>= np.uint64(44)
    np.maximum(hashed, np.uint64(1), out=hashed)
    body = words[:, 0].astype(np.uint64)
    body >>= np.uint64(8)
    body <<= np.uint64(20)
    body |= hashed
    mixed = body * np.uint64(family.check[0])
    mixed ^= mixed >> np.uint64(32)
    mixed *= np.uint64(family.check[1])
    mixed >>= np.uint64(CHECK_SHIFT)
    made: array[int] = array("Q")
    made.frombytes((body << np.uint64(CHECK_BITS) | mixed).tobytes())
    return made


def toggle(family: ItemHash, cells: "array[int]", fingerprints: Sequence[int]) -> list[int]:
    """XOR fingerprints into the cells of the full width. Returns what the 64 counters gain if they were added."""
    width = limits.SKETCH_WIDTH
    taken = np.array(fingerprints, dtype=np.uint64)
    mixed = taken * np.uint64(family.position)
    mixed ^= mixed >> np.uint64(32)
    square, side = np.uint64(width * width), np.uint64(width)
    high = mixed // square
    low = mixed - high * square
    tables = np.frombuffer(cells, dtype=np.uint64).reshape(SUBTABLES, width)
    for table, positions in zip(tables, (low % side, low // side, high % side, high // side % side), strict=True):
        narrow = positions.astype(np.uint16)
        order = np.argsort(narrow, kind="stable")
        ascending = narrow[order]
        starts = np.flatnonzero(np.append(True, ascending[1:] != ascending[:-1]))
        table[ascending[starts]] ^= np.bitwise_xor.reduceat(taken[order], starts)
    count = limits.SKETCH_COUNTERS
    signs = np.bincount((taken & np.uint64(2 * count - 1)).astype(np.intp), minlength=2 * count)
    gains: list[int] = (signs[:count] - signs[count:]).tolist()
    return gains
