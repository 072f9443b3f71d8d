"""Values for the IN lists of queries, in few lengths, so that SQLite compiles few statements.

To compile a statement with a hundred places takes longer than to look for a hundred values. One test each:

1. A list says what its values say: what fills it up is said twice.
2. Lists of all lengths have few.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from functools import lru_cache

CHUNK = 512
"""Values of one list."""

_LENGTHS = sorted({length for power in range(10) for length in (1 << power, 3 << power >> 1)} - {CHUNK * 3 // 2})
"""At most half more than there are values."""


def length(count: int) -> int:
    """How long a list of so many values is, from 1 to CHUNK."""
    return _LENGTHS[bisect_left(_LENGTHS, count)]


@lru_cache(CHUNK)
def places(count: int, one: str = "?") -> str:
    """So many places for values, or for several at once."""
    return ",".join([one] * count)


def filled(values: Sequence[object]) -> list[object]:
    """The values, from 1 to CHUNK, as a list of its `length`. A `bytes` is bound as a `bytearray`: Python's sqlite3 looks
    for an adapter of the one, which takes as long as to look for it in a table, and asks nothing of the other."""
    bound = [bytearray(value) if type(value) is bytes else value for value in values]
    return bound + bound[-1:] * (length(len(bound)) - len(bound))
