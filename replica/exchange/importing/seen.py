"""The keys of a run so far: which were there already, on which line, and whether with the same values.

Fifty thousand stay in memory, in some 7 MB; beyond that they go into a temporary file, so that memory does not grow
with the file that is read.
"""

from __future__ import annotations

import sqlite3
import tempfile
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

IN_MEMORY = 50_000


class First(NamedTuple):
    """Where a key was first: its line, and a hash of its row."""

    line: int
    hash: int


class Seen:
    """Close it when done. `limit`: keys that stay in memory."""

    def __init__(self, limit: int = IN_MEMORY) -> None:
        self._limit = limit
        self._near: dict[int, int] = {}
        """Number of the key -> index into these two: an object for each key would be several times as large."""
        self._lines, self._hashes = array("q"), array("q")
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._db: sqlite3.Connection | None = None

    def look(self, keys: Sequence[str]) -> list[First | None]:
        """For each key: where it was before, or None if it is new here. Empty keys are always new."""
        numbers = [_number(key) if key else None for key in keys]
        near = self._near
        if not near and self._db is None:
            return [None] * len(keys)
        far = self._look_up([n for n in numbers if n is not None and n not in near])
        out: list[First | None] = []
        for number in numbers:
            at = None if number is None else near.get(number)
            if at is not None:
                out.append(First(self._lines[at], self._hashes[at]))
            else:
                out.append(None if number is None else far.get(number))
        return out

    def keep(self, keys: Sequence[str], lines: Sequence[int], hashes: Sequence[int]) -> None:
        """Remember keys that are new, and where they are. Empty ones are left out."""
        near, numbers = self._near, list(map(_number, keys))
        if "" not in keys and near.keys().isdisjoint(numbers) and len(set(numbers)) == len(numbers):
            near.update(zip(numbers, range(len(self._lines), len(self._lines) + len(numbers)), strict=True))
            self._lines.extend(lines)
            self._hashes.extend(hashes)
        else:
            for key, number, line, hash_ in zip(keys, numbers, lines, hashes, strict=True):
                if key and number not in near:
                    near[number] = len(self._lines)
                    self._lines.append(line)
                    self._hashes.append(hash_)
        if len(near) > self._limit:
            self._spill()

    def _look_up(self, numbers: Sequence[int]) -> dict[int, First]:
        if self._db is None:
            return {}
        found = {}
        for start in range(0, len(numbers), 900):
            part = numbers[start : start + 900]
            sql = f"SELECT key, line, hash FROM seen WHERE key IN ({','.join('?' * len(part))})"
            found.update({key: First(line, hash_) for key, line, hash_ in self._db.execute(sql, part)})
        return found

    def _spill(self) -> None:
        if self._db is None:
            self._folder = tempfile.TemporaryDirectory(prefix="replica-import-")
            self._db = sqlite3.connect(Path(self._folder.name) / "seen.db", isolation_level=None)
            self._db.execute("PRAGMA journal_mode = OFF")
            self._db.execute("PRAGMA synchronous = OFF")
            self._db.execute("CREATE TABLE seen(key INTEGER PRIMARY KEY, line INTEGER, hash INTEGER)")
        self._db.execute("BEGIN")
        rows = ((number, self._lines[at], self._hashes[at]) for number, at in sorted(self._near.items()))
        self._db.executemany("INSERT OR IGNORE INTO seen VALUES (?, ?, ?)", rows)
        self._db.execute("COMMIT")
        self._near.clear()
        del self._lines[:], self._hashes[:]

    def close(self) -> None:
        """Forget all."""
        if self._db is not None:
            self._db.close()
            self._db = None
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None


def _number(key: str) -> int:
    """63 bits of a hash: of a hundred million keys, two meet by chance once in two thousand files."""
    return hash(key) & 0x7FFF_FFFF_FFFF_FFFF
