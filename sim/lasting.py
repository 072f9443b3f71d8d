"""What lasts for a while in a world, and how it ends: when its time is over, by hand, or when everything heals.

One test each:

1. It ends once, however often it is ended.
2. Only what is of these kinds, and of this node if one is named, is ended by hand.
3. Its end comes although the process in which it began is dead by then.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextvars import Context

from sim.loop import Loop
from sim.result import Band


class Lasting:
    """See above. `ended` is told when something ends, just before it is undone."""

    def __init__(self, loop: Loop, ended: Callable[[Band], None]) -> None:
        self._loop, self._ended = loop, ended
        self._going: dict[int, tuple[Band, Callable[[], None]]] = {}
        self._begun = 0

    @property
    def bands(self) -> list[Band]:
        """Those that have not ended."""
        return [band for band, _ in self._going.values()]

    def begin(self, band: Band, seconds: float, undo: Callable[[], None]) -> None:
        """`undo` is called when it ends."""
        self._begun += 1
        self._going[self._begun] = band, undo
        # In no process's context: what ends a crash must not die with it.
        self._loop.call_later(seconds, self._end, self._begun, context=Context())

    def end(self, kinds: Collection[str], node: str = "") -> None:
        """End these now, of this node or everywhere."""
        for number, (band, _) in list(self._going.items()):
            if band.kind in kinds and node in {"", band.node}:
                self._end(number)

    def end_all(self) -> None:
        """End what has not ended."""
        for number in list(self._going):
            self._end(number)

    def _end(self, number: int) -> None:
        if number not in self._going:
            return
        band, undo = self._going.pop(number)
        band.end = self._loop.time()
        self._ended(band)
        undo()
