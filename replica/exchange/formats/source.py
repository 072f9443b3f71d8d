"""What the rooms of formats want of a file that is read (`files.Input` is one), and of one that is written."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, Protocol

from replica.errors import RowRefused

FIELDS_MAX = 10_000
"""Different names in a file; above that it holds no records of one kind."""

RAW_MAX = 2_000
"""Characters of a broken record that are told."""


class Source(Protocol):
    """A file that is read from its beginning, as often as asked, unpacked already."""

    name: str
    """What to call it in messages."""
    path: Path | None
    """Where its plain bytes lie on the disk, for libraries that open files themselves; None: nowhere."""

    def open(self) -> IO[bytes]:
        """A stream of its bytes, from the beginning."""

    def progress(self) -> tuple[int, int]:
        """(bytes read of the last stream, bytes in all), as they lie on the disk."""

    def close(self) -> None:
        """Let go of the file."""


class Sink(Protocol):
    """Where bytes of a file go."""

    def write(self, data: bytes, /) -> object:
        """Add bytes."""


@contextmanager
def on_disk(source: Source, suffix: str) -> Iterator[Path]:
    """A path with the plain bytes of a source, for libraries that want one: its own, or a copy for as long as it is used."""
    if source.path is not None:
        yield source.path
        return
    with tempfile.TemporaryDirectory(prefix="replica-") as folder:
        place = Path(folder) / f"file{suffix}"
        with closing(source.open()) as stream, place.open("wb") as copy:
            shutil.copyfileobj(stream, copy, 1 << 20)
        yield place


def wrong_width(row: Sequence[object], width: int) -> RowRefused:
    """What every writer says of a row that has not one cell for each field."""
    return RowRefused(f"a row has {len(row)} cells, the file has {width} fields")
