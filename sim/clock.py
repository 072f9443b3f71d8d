"""The wall clock of one machine: right, but for what the scenario does to it. One test each:

1. It runs with the world's time, ahead or behind by its skew, faster or slower by its drift.
2. Frozen, it stands still, and then shows the right time again, as a clock that is set by the network does.
"""

from __future__ import annotations

from collections.abc import Callable


class WallClock:
    """`now_s` gives virtual seconds since the start, at which it was `start_ms`."""

    def __init__(self, now_s: Callable[[], float], start_ms: int, skew_ms: int = 0) -> None:
        self._now_s, self._start_ms = now_s, start_ms
        self.skew_ms = skew_ms
        self._ppm, self._since = 0.0, 0.0
        self._frozen: int | None = None

    def true_ms(self) -> int:
        """What a right clock shows."""
        return self._start_ms + int(self._now_s() * 1000)

    def now_ms(self) -> int:
        """What this one shows: Unix milliseconds, never below 0."""
        if self._frozen is not None:
            return self._frozen
        now_s = self._now_s()
        drift = int((now_s - self._since) * self._ppm / 1000) if self._ppm else 0
        return max(0, self._start_ms + int(now_s * 1000) + self.skew_ms + drift)

    def step(self, ms: int) -> None:
        """Jump."""
        self.skew_ms += ms

    def drift(self, ppm: float) -> None:
        """Run so many millionths too fast from now on."""
        self.skew_ms = self.now_ms() - self.true_ms()
        self._ppm, self._since = ppm, self._now_s()

    def freeze(self, frozen: bool) -> None:
        """Stand still, or go on."""
        self._frozen = self.now_ms() if frozen else None

    def set_right(self) -> None:
        """Show the true time from now on."""
        self.skew_ms, self._ppm, self._frozen = 0, 0.0, None
