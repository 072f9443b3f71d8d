"""What a map sees of a file: its own columns and rows, not what a file of rejected rows or a since-export adds to them."""

from __future__ import annotations

from replica.exchange.importing import ledger
from replica.exchange.importing.batches import MapsRows
from replica.exchange.importing.deletes import Deletes
from replica.exchange.maps.mapmodel import Mapped, Problem
from replica.exchange.rows import Batch, Reader


class Theirs:
    """A mapper that does not see the columns which a file of rejected rows or a since-export adds, nor rows that say that a
    record was deleted."""

    def __init__(self, mapper: MapsRows, reader: Reader, deletes: Deletes | None) -> None:
        self._mapper, self.targets, self._deletes = mapper, mapper.targets, deletes
        self._left = [i for i, f in enumerate(reader.fields) if not f.startswith(ledger.PREFIX)]
        self._all = len(self._left) == len(reader.fields)

    def map(self, batch: Batch) -> tuple[list[Mapped], dict[int, list[Problem]]]:
        """Records, and problems by index of the row, of the rows that are not marked."""
        marked = set(self._deletes.marks(batch)[0]) if self._deletes is not None else set[int]()
        if not self._all:
            rows = [tuple(row[i] for i in self._left) for row in batch.rows]
            batch = Batch(batch.numbers, batch.lines, rows, batch.broken, batch.trees)
        if not marked:
            return self._mapper.map(batch)
        keep = [i for i in range(len(batch.rows)) if i not in marked]
        trees = [batch.trees[i] for i in keep] if batch.trees is not None else None
        some = Batch([batch.numbers[i] for i in keep], [batch.lines[i] for i in keep], [batch.rows[i] for i in keep],
                     batch.broken, trees)  # fmt: skip
        made, problems = self._mapper.map(some)
        made = [m._replace(sources=[keep[i] for i in m.sources]) for m in made]
        return made, {keep[i]: found for i, found in problems.items()}
