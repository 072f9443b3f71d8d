"""Sources of bytes for the tests of one room."""

from __future__ import annotations

import io
from pathlib import Path
from typing import IO


class Bytes:
    """A source that is some bytes, or a file as it is."""

    name = "file"

    def __init__(self, data: bytes | Path) -> None:
        self._data = data
        self.path = data if isinstance(data, Path) else None

    def open(self) -> IO[bytes]:
        return io.BytesIO(self._data) if isinstance(self._data, bytes) else self._data.open("rb")

    def progress(self) -> tuple[int, int]:
        return (0, 0)

    def close(self) -> None:
        """Nothing is held."""
