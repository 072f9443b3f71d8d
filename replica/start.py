"""Where the program begins: it hears what ends it before the modules of the command line are there, which takes a while.

1. Ctrl-C ends the program with 130 and a line in words, never with a traceback, also while it is still being imported.
2. SIGTERM, and SIGHUP of a terminal that is closed, end it as Ctrl-C does, with 128 and their number: no copy of an input
   stays behind. Who started it with one of them ignored (nohup) wants it so.
"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

INTERRUPTED = 130


def main() -> int:
    """Import the command line, and run it; returns its exit code."""
    heard = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # Else somebody wants it ignored.
    enders = [n for n in _enders() if signal.getsignal(n) == signal.SIG_DFL]
    if heard:
        signal.signal(signal.SIGINT, end_unbegun)
    for number in enders:
        signal.signal(number, end_unbegun)
    from replica.cli import main as run

    if heard:
        signal.signal(signal.SIGINT, signal.default_int_handler)
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


def _enders() -> list[int]:
    return [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


def end_unbegun(number: int, _frame: FrameType | None) -> None:
    """Nothing was begun, so nothing has to be closed; an exception would meet whatever module is half there."""
    os.write(sys.stderr.fileno(), b"interrupted: nothing was begun\n")
    os._exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
