"""Which rows stand in the way of one that a unique index refuses.

They are looked up by the values of the row. Where an index is partial or over an expression, or a value is a default, or
nothing is found, only SQLite can tell: by a trial INSERT OR REPLACE, with a temporary trigger that notes its victims, then
rolled back.
Both ways find the same rows: tests/store/test_rivals.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from types import TracebackType

from protocol.values import Value
from replica.store.catalog import Shape, Table, marks, quote
from replica.store.core import Core

_MADE_UP = object()
"""A value that the column gives."""


class Rivals:
    """Of one table, in a write transaction. A context manager: a trial leaves something to clear away."""

    def __init__(self, core: Core, table: Table) -> None:
        assert table.shape is not None
        self._core, self._table, self._shape = core, table, table.shape
        self._names = {c.folded: c.name for c in table.columns}
        self._real = {c.name for c in (*table.shape.key, *table.columns) if c.affinity == "REAL"}
        self._keys = _keys(self._shape)
        self._trials = ExitStack()
        self._noted = ""
        """The table of victims, while there is one."""

    def __enter__(self) -> Rivals:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._trials.__exit__(kind, error, trace)

    def find(
        self, pk: Sequence[Value], row: Mapping[str, Value], replace: tuple[str, Sequence[object]]
    ) -> list[tuple[Value, ...]]:
        """Primary keys of the rows that this one would replace. `row`: folded column -> value; `replace`: the statement
        that would do it, with its values."""
        return self._equal(pk, row) or self._replaced(*replace)

    def _equal(self, pk: Sequence[Value], row: Mapping[str, Value]) -> list[tuple[Value, ...]] | None:
        """By the values of the row, or None where only SQLite can tell."""
        if self._keys is None:
            return None
        cells: dict[str, object] = {c.name: v for c, v in zip(self._shape.key, pk, strict=True)}
        cells |= {self._names[name]: value for name, value in row.items()}
        tests, values = [], list[object]()
        for parts in self._keys:
            mine = [self._compared(name, cells.get(name, _MADE_UP)) for name, _ in parts]
            if _MADE_UP in mine:
                return None
            if None not in mine:  # NULL is equal to nothing.
                pairs = zip(parts, mine, strict=True)
                tests.append(" AND ".join(f"{quote(n)} = {marks([v])} COLLATE {quote(c)}" for (n, c), v in pairs))
                values += mine
        keys = ", ".join(self._table.key_columns)
        return self._core.rows(f"SELECT {keys} FROM {self._table.sql} WHERE ({') OR ('.join(tests)})", values)

    def _compared(self, name: str, value: object) -> object:
        """A number that is stored as a float may be rounded then, but not when it is compared."""
        return _MADE_UP if name in self._real and type(value) not in {float, type(None)} else value

    def _replaced(self, sql: str, values: Sequence[object]) -> list[tuple[Value, ...]]:
        """By a trial."""
        if not self._noted:
            self._trials.enter_context(self._noting())
        with self._core.savepoint(keep=False):
            # Deletes that were no trial left their rows there.
            self._core.db.execute(f"DELETE FROM temp.{self._noted}")
            self._core.db.execute(sql, values)
            return self._core.rows(f"SELECT * FROM temp.{self._noted}")

    @contextmanager
    def _noting(self) -> Iterator[None]:
        db, keys = self._core.db, [f"k{i}" for i in range(len(self._shape.key))]
        victims = self._noted = f"_replica_victim{len(keys)}"
        db.execute(f"CREATE TEMP TABLE IF NOT EXISTS {victims}({', '.join(keys)})")
        old = ", ".join(f"OLD.{c}" for c in self._table.key_columns)
        db.execute(
            f"CREATE TEMP TRIGGER _replica_victims AFTER DELETE ON main.{self._table.sql} "
            f"BEGIN INSERT INTO {victims} VALUES ({old}); END"
        )
        db.execute("PRAGMA recursive_triggers = ON")  # Only then do the victims of REPLACE fire triggers.
        try:
            yield
            db.execute("DROP TRIGGER temp._replica_victims")
        finally:
            db.execute("PRAGMA recursive_triggers = OFF")
            self._noted = ""


def _keys(shape: Shape) -> list[list[tuple[str, str]]] | None:
    """(Column, collation) of whatever must be unique, the key first; None if there is more to it than columns."""
    found = [[(c.name, c.collation) for c in shape.key]] if shape.rowid_alias else []
    for unique in shape.uniques:
        parts = [(name, collation) for name, collation in unique.parts if name is not None]
        if unique.partial or len(parts) < len(unique.parts):
            return None
        found.append(parts)
    return found
