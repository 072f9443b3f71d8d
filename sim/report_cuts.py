"""Where a report cuts its axis of time: a stretch in which nothing happens would squeeze all else to nothing.

After the faults a world may wait for years, until a clock that was wrong is right. One test each:

1. A stretch without any event, sync, write or lasting fault is cut, if it is longer than its share of the whole.
2. What is drawn is never cut: every moment of it lies outside, or at an edge.
"""

from __future__ import annotations

from sim.result import Result

SHARE = 0.2
"""Of the whole: a shorter stretch stays."""


def cuts(result: Result) -> list[tuple[float, float]]:
    """Such stretches, in order of time."""
    busy = [(b.start, b.end) for b in result.bands] + [(s.start, s.end) for s in result.syncs]
    busy += [(w.at, w.at) for w in result.work] + [(line.at, line.at) for line in result.lines]
    marks = [result.healed_at, result.equal_at, result.violation.at if result.violation else None, result.ended_at]
    busy += [(at, at) for at in marks if at is not None]
    found, until = [], 0.0
    for start, end in sorted(busy):
        if start - until > SHARE * result.ended_at:
            found.append((until, start))
        until = max(until, end)
    return found
