"""Where the rows of `put_many` come from: somebody else's program, which runs while they are read. One test each:

1. Rows are what they were when they were handed over, also if they all come in one object.
2. What fails there is told as it is: it says nothing of the file that the rows were to go into.
"""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterator, MutableMapping, MutableSequence

from replica.store.careful import Row


class SourceFailed(Exception):
    """Where the rows come from, SQLite failed: that says nothing of the file that they were to go into."""

    def __init__(self, error: sqlite3.Error) -> None:
        super().__init__(str(error))
        self.error = error


def taken(source: Iterator[Row], count: int) -> list[Row]:
    """The next rows, at most so many. Raises SourceFailed, and whatever else their source raises."""
    try:
        return list(itertools.islice(source, count))
    except sqlite3.Error as error:
        raise SourceFailed(error) from error


def own(row: Row) -> Row:
    """A row that stays what it is, whatever becomes of the object that it came in: who makes rows one by one may use one
    object for them all."""
    if type(row) is tuple:
        return row
    if isinstance(row, MutableMapping):
        return dict(row)
    return list(row) if isinstance(row, MutableSequence) else row
