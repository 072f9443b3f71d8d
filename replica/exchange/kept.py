"""A file whose rows are wanted twice is parsed once: the first time they are kept in a temporary file, already told apart.

To decide what single values leave open takes all rows, and the import after it takes them again. Bytes of the machine's own
(`marshal`) come back five times as fast as the text is parsed. One test each:

1. The second time gives the same batches as the first, without a look at the file.
2. What cannot be kept (too much, no room, a cell that has no bytes) is read from the file again.
"""

from __future__ import annotations

import marshal
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from typing import IO

from replica.exchange.rows import BATCH_ROWS, Batch, Broken, Reader

BYTES_MAX = 1 << 28
"""Kept of one file: some million rows."""
_FORM = 2
"""Of marshal: the later ones look for cells that are one object, which costs more than it saves."""


class Kept:
    """A reader on top of another. Close it when done; it closes the other."""

    def __init__(self, reader: Reader, most: int = BYTES_MAX) -> None:
        self._reader, self._most = reader, most
        self.format, self.fields, self.findings = reader.format, reader.fields, reader.findings
        self._file: IO[bytes] | None = None
        self._sizes: list[int] = []
        self._size = self._done = 0
        self.whole = False
        """Whether all rows are kept."""

    def batches(self, size: int = BATCH_ROWS) -> Iterator[Batch]:
        """All rows from the beginning; the second time in the batches of the first, whatever their size."""
        if self.whole:
            yield from self._again()
            return
        self._drop()
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 (it lives as long as the reader)
        for batch in self._reader.batches(size):
            self._keep(batch)
            yield batch
        self._finish()

    def _finish(self) -> None:
        if self._file is None:
            return
        try:
            self._file.flush()
        except OSError:  # A full disk.
            self._drop()
        else:
            self.whole = True

    def _keep(self, batch: Batch) -> None:
        if self._file is None:
            return
        parts = (list(batch.numbers), list(batch.lines), batch.rows, list(map(tuple, batch.broken)), batch.trees)
        try:
            data = marshal.dumps(parts, _FORM)
            if self._size + len(data) > self._most:
                self._drop()
                return
            self._file.write(data)
        except (ValueError, OSError):  # A cell of another type, or a full disk: the file itself is still there to read.
            self._drop()
            return
        self._sizes.append(len(data))
        self._size += len(data)

    def _again(self) -> Iterator[Batch]:
        assert self._file is not None
        self._file.seek(0)
        self._done = 0
        for size in self._sizes:
            numbers, lines, rows, broken, trees = marshal.loads(self._file.read(size))
            self._done += size
            yield Batch(numbers, lines, rows, [Broken(*one) for one in broken], trees)

    def progress(self) -> tuple[int, int]:
        """(bytes read so far, bytes in all) of the file as it lies on the disk, as if it were read."""
        done, of = self._reader.progress()
        return (of * self._done // max(1, self._size), of) if self.whole else (done, of)

    def close(self) -> None:
        """Let go of both files."""
        self._drop()
        self._reader.close()

    def _drop(self) -> None:
        self.whole = False
        self._sizes.clear()
        self._size = 0
        if self._file is not None:
            with suppress(OSError):  # What could not be written is not missed.
                self._file.close()
            self._file = None
