"""The careful way of `put_many`: rows go in as a program's own statements would, each an UPSERT, which the triggers capture.

One test each:

1. Which row is at fault is said, whatever refuses it: a constraint, the user's trigger, a value or the row's shape.
2. Fields that a row does not name stay as they are, also those that a new row must have.
"""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence

from protocol.errors import ValueRefused
from protocol.record import fold
from protocol.values import check
from replica.errors import RowAtFault, RowRefused, UsageError
from replica.store.catalog import Table, quote
from replica.store.core import Core

Row = Mapping[str, object] | Sequence[object]
"""By names of columns, in any case, or in the order of the table's columns."""


def is_row(row: object) -> bool:
    """Whether it can be one: mappings apart, whatever has a length and places, but for text and bytes."""
    return type(row) is tuple or (
        hasattr(row, "__getitem__") and hasattr(row, "__len__") and not isinstance(row, str | bytes)
    )


class Careful:
    """For one table, whose columns stand in this order."""

    def __init__(self, table: Table, order: list[str]) -> None:
        assert table.shape is not None
        self._table, self._shape, self._order = table, table.shape, order
        self._folded = {fold(n): n for n in order}

    def values(self, number: int, row: Row) -> dict[str, object]:
        """What a row says of each column that it names. Raises UsageError and RowRefused."""
        if isinstance(row, Mapping):
            unknown = [n for n in row if type(n) is not str or fold(n) not in self._folded]
            if unknown:
                raise UsageError(f"row {number + 1}: {self._shape.name} has no column {unknown[0]!r}")
            items = {self._folded[fold(n)]: v for n, v in row.items()}
        elif not is_row(row):
            raise RowRefused(f"row {number + 1} is a {type(row).__name__}: a row is a mapping or a sequence of values")
        elif len(row) == len(self._order):
            items = dict(zip(self._order, row, strict=True))
        else:
            raise UsageError(f"row {number + 1} has {len(row)} values, {self._shape.name} {len(self._order)} columns")
        for column in () if self._shape.rowid_alias else self._shape.key:
            if items.get(column.name) is None and (column.name in items or column.default is None):
                raise RowRefused(
                    f"row {number + 1} has no value for its key, {column.name}: it could not be replicated"
                )
        for name, value in items.items():
            try:
                items[name] = check(value)
            except ValueRefused as error:
                raise RowRefused(f"row {number + 1}, {name}: {error}") from None
        return items

    def run(self, core: Core, rows: Iterable[tuple[int, Row]]) -> None:
        """Write rows, each with its number, from 0, in their order. Raises UsageError, RowRefused and RowAtFault."""
        said = ((number, self.values(number, row)) for number, row in rows)
        for columns, some in itertools.groupby(said, key=lambda one: tuple(one[1])):
            self._upsert(core, columns, [(number, tuple(values.values())) for number, values in some])

    def _upsert(self, core: Core, columns: tuple[str, ...], rows: Iterable[tuple[int, tuple[object, ...]]]) -> None:
        keys = [c.name for c in self._shape.key]
        names = ", ".join(map(quote, columns))
        insert = f"INSERT INTO {self._table.sql}({names}) VALUES({', '.join('?' * len(columns))})"
        if not columns:
            insert = f"INSERT INTO {self._table.sql} DEFAULT VALUES"
        elif set(keys) <= set(columns):
            needed = any(c.notnull and c.default is None and c.name not in columns for c in self._shape.columns)
            if needed:
                self._update(core, columns, rows, insert)
                return
            sets = ", ".join(f"{quote(c)} = excluded.{quote(c)}" for c in columns if c not in keys)
            target = ", ".join(map(quote, keys))
            insert += f" ON CONFLICT({target}) DO " + (f"UPDATE SET {sets}" if sets else "NOTHING")
        number = -1

        def each() -> Iterator[tuple[object, ...]]:
            nonlocal number
            for number, values in rows:  # noqa: B007
                yield values

        try:
            core.db.executemany(insert, each())
        except sqlite3.IntegrityError as error:
            raise RowAtFault(error, number) from error

    def _update(
        self, core: Core, columns: tuple[str, ...], rows: Iterable[tuple[int, tuple[object, ...]]], insert: str
    ) -> None:
        """The same where the rows lack a value that a new row must have: SQLite would refuse an UPSERT before it looks
        whether the row is there."""
        keys = [c.name for c in self._shape.key]
        fields = [name for name in columns if name not in keys] or keys
        seek = " AND ".join(f"{quote(name)} = ?" for name in keys)
        sql = f"UPDATE {self._table.sql} SET {', '.join(f'{quote(name)} = ?' for name in fields)} WHERE {seek}"
        order = [columns.index(name) for name in (*fields, *keys)]
        for number, values in rows:
            try:
                if not core.db.execute(sql, [values[n] for n in order]).rowcount:
                    core.db.execute(insert, values)
            except sqlite3.IntegrityError as error:
                raise RowAtFault(error, number) from error
