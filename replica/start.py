"""Where the program begins: it hears what ends it before the modules of the command line are there, which takes a while.

1. Ctrl-C ends the program with 130 and a line in words, never with a traceback, also while it is still being imported.
2. SIGTERM, and SIGHUP of a terminal that is closed, end it as Ctrl-C does, with 128 and their number: no copy of an input
   stays behind. Who started it with one of them ignored (nohup) wants it so.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

INTERRUPTED = 130
ENDERS: list[int] = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
"""Signals that end a program, beside Ctrl-C."""


def main() -> int:
    """Import the command line, and run it; returns its exit code."""
    with importing():
        from replica.cli import main as run
    enders = [n for n in ENDERS if signal.getsignal(n) == signal.SIG_DFL]
    ended: list[int] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        ended.append(number)
        for other in set(enders) - {number}:  # A closing session sends both: the second must not stop the cleaning.
            signal.signal(other, signal.SIG_IGN)
        on_ctrl_c = signal.getsignal(signal.SIGINT)
        if not callable(on_ctrl_c):
            raise KeyboardInterrupt
        on_ctrl_c(signal.SIGINT, frame)  # asyncio has one of its own.

    for number in enders:
        signal.signal(number, interrupt)
    code = run()
    return 128 + ended[0] if ended and code == INTERRUPTED else code


@contextmanager
def importing() -> Iterator[None]:
    """In here whatever ends the program does so at once. Who started it with a signal ignored wants it so."""
    usual = {n: signal.getsignal(n) for n in (signal.SIGINT, *ENDERS)}
    heard = [n for n, handler in usual.items() if handler in {signal.SIG_DFL, signal.default_int_handler}]
    for number in heard:
        signal.signal(number, _end)
    yield
    for number in heard:
        signal.signal(number, usual[number])


def _end(number: int, _frame: FrameType | None) -> None:
    """Nothing was begun, so nothing has to be closed; an exception would meet whatever module is half there."""
    os.write(sys.stderr.fileno(), b"interrupted: nothing was begun\n")
    os._exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
