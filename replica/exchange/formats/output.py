"""Files that are written: each appears whole or not at all.

Bytes go beside the place, and take it in one step when they are finished and on the disk. One test each:

1. A finished output replaces the old file in one step; bytes are the same for the same content, packed ones too.
2. A failed or interrupted one leaves the old file and no litter; the error of a full disk names it.
3. Links are followed and modes kept; devices, pipes and standard output are written straight.
4. What a killed process left beside a file is removed by the next one that writes it, and what a living one writes is not.
"""

from __future__ import annotations

import contextlib
import errno
import gzip
import os
import re
import stat
import sys
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from replica.errors import FileRefused, UsageError
from replica.words import clean

if sys.platform != "win32":
    import fcntl

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class Output:
    """A file being written, beside its place, packed by its suffix (.gz, .zst). As a context it appears when the block ends
    well and leaves nothing when it does not. `part`: where the bytes go meanwhile, for libraries that write files
    themselves; None where there is no such place (standard output, a device, packed)."""

    def __init__(self, target: str | Path, stdout: IO[bytes] | None = None) -> None:
        self.name = clean(target)
        self.part: Path | None = None
        self._part: Path | None = None
        self._place: Path | None = None
        self._packer: Any = None
        if str(target) == "-":
            self.name, self._file = "standard output", stdout or sys.stdout.buffer
        else:
            self._file = self._beside(Path(os.path.realpath(target)))
        suffix = Path(str(target)).suffix.lower()
        if suffix == ".gz":
            self._packer = gzip.GzipFile("", "wb", 6, self._file, 0)  # No name and no time in it: same bytes.
        elif suffix == ".zst":
            from zstandard import ZstdCompressor

            self._packer = ZstdCompressor(level=3).stream_writer(self._file, closefd=False)
        else:
            self.part = self._part
        self._to: Any = self._packer or self._file

    def _beside(self, place: Path) -> IO[bytes]:
        try:
            if place.exists() and not stat.S_ISREG(place.stat().st_mode):
                if place.is_dir():
                    raise FileRefused(f"{self.name} is a folder: give a name in it")
                return place.open("wb")
            _sweep(place)
            part = place.with_name(f".{place.name[:100]}.{os.getpid()}.{id(self):x}.part")
            file = os.fdopen(
                os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666), "wb"
            )
        except OSError as error:
            raise FileRefused(f"{self.name} cannot be written: {clean(error.strerror or error)}") from error
        _lock(file.fileno())
        self._part, self._place = part, place
        return file

    def write(self, data: bytes) -> int:
        """Add bytes."""
        self._to.write(data)
        return len(data)

    def flush(self) -> None:
        """Does nothing: bytes are safe when the file is finished."""

    def commit(self) -> None:
        """Finish: the file is on the disk, whole, in its place. Once."""
        if self._packer is not None:
            self._packer.close()
        self._file.flush()
        if self._part is None or self._place is None:
            if self.name != "standard output":
                self._file.close()
            return
        if self._place.exists():
            os.chmod(self._part, stat.S_IMODE(self._place.stat().st_mode))
        os.fsync(self._file.fileno())
        self._file.close()
        os.replace(self._part, self._place)
        self._part = None
        if hasattr(os, "O_DIRECTORY"):
            folder = os.open(self._place.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def discard(self) -> None:
        """Give up: the old file is as it was, and nothing lies beside it."""
        if self._part is None:
            if self.name != "standard output":
                with contextlib.suppress(OSError):
                    self._file.close()
        else:
            with contextlib.suppress(OSError):  # What cannot be flushed is thrown away anyway.
                if self._packer is not None:
                    self._packer.close()
                self._file.close()
            with contextlib.suppress(FileNotFoundError):
                self._part.unlink()
            self._part = None

    def __enter__(self) -> Output:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._name(error)
            self.discard()
            return
        try:
            self.commit()
        except BaseException as failure:
            self._name(failure)
            self.discard()
            raise

    def _name(self, error: BaseException | None) -> None:
        """Writing to an open file fails without its name."""
        if isinstance(error, OSError) and error.errno in _NO_ROOM and error.filename is None:
            error.filename = self.name


def _sweep(place: Path) -> None:
    """Remove what dead processes left beside this place. A process of another container has a number that means nothing
    here; but nobody has the lock of what a dead one wrote."""
    if sys.platform == "win32":
        return  # There, to ask whether a process lives is to end it.
    ours = re.compile(re.escape(f".{place.name[:100]}.") + r"(\d{1,9})\.[0-9a-f]+\.part")
    for name in os.listdir(place.parent):
        found = ours.fullmatch(name)
        if found is None or _lives(int(found[1])):
            continue
        left = place.with_name(name)
        with contextlib.suppress(OSError), left.open("rb") as file:  # Another swept it, or may and we may not.
            if _lock(file.fileno()):
                left.unlink()


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # It is somebody else's.
        return True
    return True


def _lock(file: int) -> bool:
    """Hold a file for as long as it is open; whether nobody else does. Where the disk knows no locks nobody can tell."""
    if sys.platform == "win32":
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def refuse_same(out: str | Path, what: str, inputs: Iterable[str | Path]) -> None:
    """Raise UsageError if an output would replace one of these files, or what belongs to it as a database."""
    target = Path(out)
    if str(out) == "-" or not target.exists():
        return
    for name in inputs:
        for path in (Path(name), Path(f"{name}-wal"), Path(f"{name}-shm")):
            with contextlib.suppress(OSError):
                if path.samefile(target):
                    raise UsageError(f"{what} {out} would replace {path}, which is read here: choose another name")


def open_output(target: str | Path, stdout: IO[bytes] | None = None) -> Output:
    """Open a file to write, "-" for standard output. Raises FileRefused where nothing can be written."""
    return Output(target, stdout)
