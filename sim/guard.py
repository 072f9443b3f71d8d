"""Guards against a run that never ends. One test each:

1. A world whose virtual time stands still for too much CPU is told so, with the place; one that goes on is not, however
   long it takes.
2. A run that uses too much CPU ends as well, wherever it swallows that.
3. Guards nest: the outer one still counts, and all is as before when they end.

They tick with the CPU of the process (SIGPROF), so only in its main thread, and only between two steps of Python: one
endless SQL statement is not interrupted. A world may take Hung for an exception of its own, and go on: it is raised again.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

HANG = "hang"
"""The kind of failure: it stands where otherwise an invariant does."""
STILL_S = 60.0
"""CPU seconds in which virtual time must advance. The longest single step, to read all of a large file, takes far less."""
AGAIN_S = 0.5
"""Who swallows Hung is told so again after so much CPU."""
TICK_S = 1.0
OURS = frozenset({"protocol", "replica", "sim"})


class Hung(BaseException):
    """A run does not end. No `except Exception` of the engine stops it."""


class Limit:
    """`place`: where the run was when it was stopped; empty if it was not."""

    place = ""


@contextmanager
def limited(cpu_s: float, limit: Limit) -> Iterator[None]:
    """Raises Hung after so much CPU, and tells `limit` where."""
    due = time.process_time() + cpu_s

    def check(frame: FrameType | None) -> None:
        nonlocal due
        if time.process_time() >= due:
            due = time.process_time() + AGAIN_S
            limit.place = limit.place or place(frame)
            raise Hung

    with _ticking(check, cpu_s):
        yield


@contextmanager
def moving(progress: Callable[[], object], tell: Callable[[str], None], still_s: float = STILL_S) -> Iterator[None]:
    """Tells the place, and raises Hung, when `progress` has been the same for so much CPU."""
    seen, due = progress(), time.process_time() + still_s

    def check(frame: FrameType | None) -> None:
        nonlocal seen, due
        now = progress()
        if now != seen:
            seen, due = now, time.process_time() + still_s
        elif time.process_time() >= due:
            due = time.process_time() + AGAIN_S
            tell(place(frame))
            raise Hung

    with _ticking(check, still_s):
        yield


@contextmanager
def _ticking(check: Callable[[FrameType | None], None], limit_s: float) -> Iterator[None]:
    """Call `check` now and then, after whoever was called before."""
    over = False

    def tick(number: int, frame: FrameType | None) -> None:
        if callable(before):
            before(number, frame)
        if not over:
            check(frame)

    every_s = min(TICK_S, limit_s / 4)
    before = signal.getsignal(signal.SIGPROF)
    signal.signal(signal.SIGPROF, tick)
    _, outer_s = signal.setitimer(signal.ITIMER_PROF, every_s, every_s)
    try:
        if 0 < outer_s < every_s:
            signal.setitimer(signal.ITIMER_PROF, outer_s, outer_s)
        yield
    finally:
        over = True
        # First the timer: without a handler, its signal ends the process.
        signal.setitimer(signal.ITIMER_PROF, outer_s, outer_s)
        signal.signal(signal.SIGPROF, before or signal.SIG_DFL)


def place(frame: FrameType | None) -> str:
    """The innermost function; and if that is a library's, the innermost of ours that called it."""
    inner = _name(frame)
    while frame is not None and frame.f_globals.get("__name__", "").split(".")[0] not in OURS:
        frame = frame.f_back
    ours = _name(frame)
    return inner if ours in {inner, ""} else f"{inner}, called by {ours}"


def _name(frame: FrameType | None) -> str:
    return f"{frame.f_globals.get('__name__', '?')}.{frame.f_code.co_qualname}" if frame is not None else ""
