"""Records of other collections, as arrays of the rows that they belong to: what `maps.nesting` plans, read from a store.

Each collection is put into a temporary table once, in its order; then every part of the parents asks for what belongs to
them. So memory holds the elements of one part. One test each:

1. Each record stands in the array of its parent, in the order of its number, else of its key.
2. Records without a parent in the file are counted, as are numbers that are not the element's place: they come back as it.
3. Of two parents with one key the first has the elements: no record is written twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from replica.errors import UsageError
from replica.exchange.exporting.export import Teller
from replica.exchange.exporting.plan import KnownOf, of_collection
from replica.exchange.exporting.snapshot import stream
from replica.exchange.formats.paths import unflatten
from replica.exchange.maps.mapmodel import as_text, folded
from replica.exchange.maps.nesting import Nested
from replica.exchange.rows import MISSING, Row
from replica.store.catalog import quote
from replica.store.core import Core

_PARENTS = "temp._replica_parents"


class Array:
    """One collection as arrays of another. Raises UsageError if it is not in the store."""

    def __init__(self, core: Core, plan: Nested, at: int, known_of: KnownOf, format_: str) -> None:
        """`at`: its number among those of the export."""
        child = of_collection(core, plan.collection, known_of)
        self.notes = child.notes
        self._core, self._plan, self._table = core, plan, f"temp._replica_array{at}"
        self._teller = Teller(child.fields, format_)
        places = {folded(name): place for place, name in enumerate(child.fields)}
        self._places = [places.get(folded(name)) for name in plan.elements.reads]
        self._number = None if plan.number is None else places.get(folded(plan.number))
        self._written = self._renumbered = self._odd = 0
        self._last: Any = MISSING
        if folded(plan.belongs) not in places:
            raise UsageError(f"its table has no column {plan.belongs}")
        belongs = child.fields[places[folded(plan.belongs)]]
        order = "a.rowid" if self._number is None else f"CAST(a.{quote(child.fields[self._number])} AS INTEGER), a.rowid"
        core.db.execute(f"CREATE TEMP TABLE {self._table.removeprefix('temp.')} AS {child.queries[0].sql}")
        name = self._table.removeprefix("temp.")
        core.db.execute(f"CREATE INDEX temp.{name}_by ON {name}({quote(belongs)})")
        core.db.execute("CREATE TEMP TABLE IF NOT EXISTS _replica_parents(at INTEGER PRIMARY KEY, key)")
        columns = ", ".join(f"a.{quote(n)}" for n in child.fields)
        self._sql = (
            f"SELECT {columns}, p.at FROM {_PARENTS} AS p CROSS JOIN {self._table} AS a ON a.{quote(belongs)} = p.key "
            f"ORDER BY p.at, {order}"
        )

    def cells(self, keys: Sequence[Any]) -> list[Any]:
        """The array of each parent, or the text of its parts, by the parents' keys."""
        first: dict[Any, int] = {}
        for at, key in enumerate(keys):
            if key is not None and key is not MISSING and key != self._last:
                first.setdefault(key, at)
        if keys:
            self._last = keys[-1]
        self._core.db.execute(f"DELETE FROM {_PARENTS}")
        self._core.db.executemany(f"INSERT INTO {_PARENTS} VALUES (?, ?)", ((at, key) for key, at in first.items()))
        found: list[list[Row]] = [[] for _ in keys]
        for part in stream(self._core.db, self._sql):
            for row, (*_, at) in zip(self._teller.fit([row[:-1] for row in part]), part, strict=True):
                found[at].append(row)
        return [self._cell(rows) for rows in found]

    def _cell(self, rows: list[Row]) -> Any:
        self._written += len(rows)
        if self._number is not None:
            self._renumbered += sum(as_text(row[self._number]) != str(place) for place, row in enumerate(rows, 1))
        if not rows:
            return [] if self._plan.separator is None else MISSING
        columns = list(zip(*rows, strict=True))
        nothing = (MISSING,) * len(rows)
        made = self._plan.elements.columns([columns[p] if p is not None else nothing for p in self._places])
        names = self._plan.elements.fields
        if names == (".",):
            if self._plan.separator is None:
                return list(made[0])
            texts = [as_text(value) for value in made[0]]
            self._odd += sum(not t.strip() or t != t.strip() or self._plan.separator in t for t in texts)
            return self._plan.separator.join(texts)
        elements = zip(*made, strict=True) if made else [()] * len(rows)
        return [unflatten(dict(zip(names, element, strict=True))) for element in elements]

    def end(self) -> list[str]:
        """What has to be told when all parents were written."""
        name, said = self._plan.collection, []
        count = self._core.db.execute(f"SELECT count(*) FROM {self._table}").fetchone()[0]
        if count > self._written:
            said.append(f"{name}: {count - self._written} records belong to none of these: they are not in the file")
        if self._renumbered:
            number = self._plan.number
            said.append(f"{name}: {self._renumbered} have another {number} than their place, which they come back with")
        if self._odd:
            said.append(
                f"{name}: {self._odd} texts are empty, or have {self._plan.separator!r} or spaces at their ends: they come "
                "back otherwise"
            )
        return said + [f"{name}: {note}" for note in self._teller.notes()]
