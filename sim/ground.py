"""Where the files of a world lie while it runs: in memory, if the machine can.

A process that is killed leaves its folders. Each holds a file that its owner has locked, so whoever comes next can tell
whose owner is dead, and removes those. One test each:

1. The folder of a world is gone when it ends; that of a killed process is gone when the next one looks.
2. A folder whose owner lives is left alone, and so is one that is only being made.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import sys
import tempfile
from pathlib import Path

if sys.platform != "win32":
    import fcntl

_HEAD, _LOCK = "replica-sim-", "owner"


class Ground:
    """A folder of one's own, until `clear`."""

    def __init__(self) -> None:
        _sweep_once()
        self.folder = Path(tempfile.mkdtemp(prefix=_HEAD, dir=_home()))
        made = self.folder / f"{_LOCK}.new"
        self._lock = os.open(made, os.O_RDWR | os.O_CREAT, 0o600)
        if sys.platform != "win32":
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            made.rename(self.folder / _LOCK)  # Whoever finds it finds it locked.

    def clear(self) -> None:
        """Remove it. Once."""
        if sys.platform == "win32":
            os.close(self._lock)  # There a file that is open cannot be removed.
        shutil.rmtree(self.folder, ignore_errors=True)
        if sys.platform != "win32":
            os.close(self._lock)


def sweep() -> int:
    """Remove what dead processes left; returns how many folders."""
    if sys.platform == "win32":
        return 0  # There nobody says whose a folder is.
    swept = 0
    for folder in _home().glob(f"{_HEAD}*"):
        with contextlib.suppress(OSError):  # Another sweeps too, it is somebody else's, or it is only being made.
            lock = os.open(folder / _LOCK, os.O_RDWR)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder)
                swept += 1
            finally:
                os.close(lock)
    return swept


_sweep_once = functools.cache(sweep)


def _home() -> Path:
    memory = Path("/dev/shm")
    return memory if memory.is_dir() else Path(tempfile.gettempdir())
