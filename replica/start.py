"""Where the program begins: Ctrl-C is heard before the modules of the command line are there, which takes a while.

1. Ctrl-C ends the program with 130 and a line in words, never with a traceback, also while it is still being imported.
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
    if heard:
        signal.signal(signal.SIGINT, _end)
    from replica.cli import main as run

    if heard:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    return run()


def _end(_number: int, _frame: FrameType | None) -> None:
    """Nothing was begun, so nothing has to be closed; an exception would meet whatever module is half there."""
    os.write(sys.stderr.fileno(), b"interrupted: nothing was begun\n")
    os._exit(INTERRUPTED)
