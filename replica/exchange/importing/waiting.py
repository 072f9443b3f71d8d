"""In which order rows that wait for others are taken: each after those that it waits for, so that every row is taken once.

Rows that wait for each other in a circle are taken together. One test each:

1. A row comes after every row that makes a record it refers to, or in the same batch; a chain of any length takes time that
   grows with its length.
2. Rows of a circle are taken at once, whatever files they are of.
3. Memory is some 250 bytes for each row that waits, and 100 more for each relation of it.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence

from protocol.record import fold
from replica.exchange.importing.identity import external, externals
from replica.exchange.importing.places import Place
from replica.exchange.maps.mapmodel import Mapped, Target

Key = tuple[str, str]
"""A collection, and the external key of a record in it."""


class Waiting:
    """Rows, known by file and number."""

    def __init__(self) -> None:
        self._files, self._numbers = array("q"), array("q")
        self._makes: dict[int, int] = {}
        """Hash of a key -> the row that makes its record: two that meet by chance change the order, and nothing else."""
        self._needs = array("q")
        self._ends = array("q", [0])
        """Where the needs of each row begin, and those of the last end."""

    def add(self, file: int, number: int, makes: Iterable[Key], needs: Iterable[Key]) -> None:
        """A row makes records, and refers to others."""
        for key in makes:
            self._makes.setdefault(hash(key), len(self._files))
        self._files.append(file)
        self._numbers.append(number)
        self._needs.extend(map(hash, needs))
        self._ends.append(len(self._needs))

    def take(
        self, file: int, numbers: Sequence[int], mapped: Sequence[Mapped], targets: Sequence[Target],
        places: Mapping[str, Place],
    ) -> None:  # fmt: skip
        """Rows of a batch, by what a map makes of them. `places`: of the targets, as far as they are known."""
        found: list[tuple[list[Key], list[Key]]] = [([], []) for _ in numbers]
        for made in mapped:
            target = targets[made.target]
            place = places.get(fold(target.collection))
            refers = place.refers if place is not None else {i: f.refers for i, f in enumerate(target.fields) if f.refers}
            names = [f.name for f in target.fields]
            keys = externals([made.columns[names.index(n)] for n in target.key])
            for source, text in zip(made.sources, keys, strict=True):
                found[source][0].append((fold(target.collection), text))
            for position, to in refers.items():
                for source, cell in zip(made.sources, made.columns[position], strict=True):
                    found[source][1].append((fold(to), external(cell if isinstance(cell, tuple) else (cell,))))
        for number, (makes, needs) in zip(numbers, found, strict=True):
            self.add(file, number, makes, needs)

    def batches(self, size: int) -> Iterator[list[tuple[int, list[int]]]]:
        """Rows to take at once, as (file, numbers): at most `size`, of one file, but for a circle, which may be larger and
        of several."""
        file, numbers = -1, list[int]()
        for circle in self._circles():
            files = {self._files[row] for row in circle}
            if numbers and (files != {file} or len(numbers) + len(circle) > size):
                yield [(file, sorted(numbers))]
                numbers = []
            if len(files) == 1:
                (file,) = files
                numbers += [self._numbers[row] for row in circle]
            else:
                yield [(f, sorted(self._numbers[row] for row in circle if self._files[row] == f)) for f in sorted(files)]
        if numbers:
            yield [(file, sorted(numbers))]

    def _before(self, row: int) -> Iterator[int]:
        """Rows that make what this one refers to."""
        for need in self._needs[self._ends[row] : self._ends[row + 1]]:
            maker = self._makes.get(need)
            if maker is not None:
                yield maker

    def _circles(self) -> Iterator[list[int]]:
        """Strongly connected components, each after those that it refers to (Tarjan 1972, without recursion)."""
        count = len(self._files)
        index, low = array("q", [-1]) * count, array("q", [0]) * count
        on_stack = bytearray(count)
        stack: list[int] = []
        seen = 0
        for root in range(count):
            if index[root] >= 0:
                continue
            path: list[tuple[int, Iterator[int]]] = [(root, self._before(root))]
            index[root] = low[root] = seen
            seen += 1
            stack.append(root)
            on_stack[root] = 1
            while path:
                row, before = path[-1]
                for other in before:
                    if index[other] < 0:
                        index[other] = low[other] = seen
                        seen += 1
                        stack.append(other)
                        on_stack[other] = 1
                        path.append((other, self._before(other)))
                        break
                    if on_stack[other]:
                        low[row] = min(low[row], index[other])
                else:
                    path.pop()
                    if path:
                        low[path[-1][0]] = min(low[path[-1][0]], low[row])
                    if low[row] == index[row]:
                        at = len(stack) - 1
                        while stack[at] != row:
                            at -= 1
                        circle = stack[at:]
                        del stack[at:]
                        for one in circle:
                            on_stack[one] = 0
                        yield circle
