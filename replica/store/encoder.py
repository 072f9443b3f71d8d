"""Encodings of the values of one column, block after block, and the checks of them.

Much of what a CRM holds is one of a few: a status, a country, an owner. Such a column is encoded by a dictionary, and only
what is new to it is packed. As soon as that does not pay, every value is packed by itself, from then on. Values of a small
block are so anyway. One test each:

1. Either way, in blocks of whatever size, each value comes out as `pack_values` packs it, with its CRC-32.
2. A dictionary has DISTINCT_MAX values at most, and none that takes more than PACKED_BYTES_MAX.
3. Values that are equal but of different types are never taken for each other.
4. What was learned serves the next batches of the same table, also after one that is small, or ends with a small block;
   what did not pay in one batch is tried again in the next.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterable, Sequence

from protocol.values import Value, pack_plain, pack_values

DISTINCT_MAX, PACKED_BYTES_MAX = 1_024, 64
"""A dictionary is kept as long as its load goes on, batch by batch too: it has some 400 kB at most, however many come."""
BLOCK_MIN = 64
"""In a block of fewer values nothing comes again often enough."""
NEW_IN = 8
"""If more than every eighth value of a block is new, to learn them costs more than their packing saves there."""
_APART = frozenset({str, bytes, type(None)})
"""Of these types, no value of one equals a value of another."""


class Encoder:
    """Of one column. It remembers values from block to block."""

    __slots__ = ("_checks", "_packed", "pays")

    def __init__(self) -> None:
        self._packed, self._checks, self.pays = dict[Value, bytes](), dict[Value, int](), True

    def encode(self, values: Sequence[Value], kinds: Collection[type] = ()) -> tuple[Sequence[bytes], Iterable[int]]:
        """Encoding and check of each of at least one value, which come from SQLite or could go there. `kinds`: the types
        among them, if the caller knows them. Raises as `pack_values` does."""
        if self.pays and len(values) >= BLOCK_MIN:
            self.pays = _APART.issuperset(kinds or map(type, values))
            if self.pays:
                try:
                    return self._known(values)
                except KeyError:
                    self._learn(values)
            if self.pays:
                return self._known(values)
            self._packed, self._checks = {}, {}
        each = pack_values(values, kinds)
        return each, map(zlib.crc32, each)

    def _known(self, values: Sequence[Value]) -> tuple[Sequence[bytes], Iterable[int]]:
        return list(map(self._packed.__getitem__, values)), map(self._checks.__getitem__, values)

    def _learn(self, values: Sequence[Value]) -> None:
        """Take new values in, if that pays."""
        new = set(values).difference(self._packed)
        self.pays = NEW_IN * len(new) <= len(values) and len(self._packed) + len(new) <= DISTINCT_MAX
        for value in new if self.pays else ():
            packed = pack_plain(value)
            if len(packed) > PACKED_BYTES_MAX:
                self.pays = False
                return
            self._checks[value] = zlib.crc32(packed)
            self._packed[value] = packed  # Last: who is interrupted before it has not learned the value.


class Encoders:
    """Of the columns of the table that was written last, for whoever writes it batch by batch."""

    def __init__(self) -> None:
        self._of, self._each = (-1, 0), list[Encoder]()

    def of(self, tbl: int, columns: int) -> list[Encoder]:
        """Those of so many columns of this table. If they are others now, what was learned of them is worth less, never
        wrong."""
        kept = self._each if (tbl, columns) == self._of else [Encoder() for _ in range(columns)]
        self._of, self._each = (tbl, columns), [one if one.pays else Encoder() for one in kept]
        return self._each
