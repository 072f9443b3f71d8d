"""How long something took, as a quiet machine would take: the bounds of tests are of such a one.

Two busy neighbours on one core double the CPU time of anything. A loop that is always the same says how slow it is now.
"""

from __future__ import annotations

import time

QUIET_SECONDS = 0.01
"""The loop on the machine where the bounds were set, alone."""


def spent(began: float) -> float:
    """CPU seconds since `began` (of time.process_time), at the pace of a quiet machine."""
    took = time.process_time() - began
    return took / max(1.0, _loop() / QUIET_SECONDS)


def _loop() -> float:
    began, total = time.process_time(), 0
    for number in range(300_000):
        total += number & 7
    return time.process_time() - began
