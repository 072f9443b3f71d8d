"""Copies held against each other: equal roots, equal contents; equal records, equal rows. See sim.oracle.

One test each:

1. Roots are equal if and only if the contents are.
2. Equal records show as equal rows, where the tables have equal definitions.
3. Where they have not, a row that both show has equal values in the columns that both have; also where the
   first machine lacks that column.
4. Not in a table whose numbers SQLite makes up: another record may have a number where a definition refuses the first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from replica.store import index
from replica.store.core import Core
from replica.store.store import Store
from sim.truth import Columns, Look, look, quiet, rows_of, schema_of

_Shown = tuple[str, tuple[str, ...], Columns, Counter[tuple[Any, ...]]]
"""A machine's name, the SQL of a table there, its columns, and its rows."""
Broken = tuple[str, str, str]
"""Invariant, node, and what is wrong."""


class Machine(Protocol):
    """A machine of the world, as far as the judge must know it."""

    @property
    def name(self) -> str:
        """Its name in the world."""

    @property
    def store(self) -> Store:
        """Its open store."""


def differing(
    machines: Sequence[Machine], whole: Callable[[str, Core], Look] = lambda _, core: look(core)
) -> Iterator[Broken]:
    """What does not fit together, now, between any of these with nothing to absorb. `whole`: all records of a machine, in
    the caller's snapshot. Rows are read of those who have the same records."""
    seen: list[tuple[Machine, bytes, list[bytes]]] = []
    alike: dict[bytes, list[Machine]] = {}
    for machine in machines:
        core = machine.store._core
        with core.reading():
            if not quiet(core):
                continue
            contents, root = sorted(whole(machine.name, core).digests.values()), index.root(core)[0]
        for other, others_root, content in seen:
            if (others_root == root) != (content == contents):
                what = "roots, but other contents" if others_root == root else "contents, but other roots"
                yield "I5", machine.name, f"{machine.name} and {other.name} have equal {what}"
        seen.append((machine, root, contents))
        alike.setdefault(b"".join(contents), []).append(machine)
    for some in alike.values():
        yield from _showing(some) if len(some) > 1 else ()


def _showing(machines: Sequence[Machine]) -> Iterator[Broken]:
    """Which of these, who have the same records, show other rows."""
    shown: dict[tuple[str, tuple[str, ...]], dict[tuple[str, ...], _Shown]] = {}
    for machine in machines:
        core = machine.store._core
        with core.reading():
            for collection, sql in sorted(schema_of(core).items()):
                if _private(core, collection):
                    continue
                mine = machine.name, sql, *rows_of(core, collection)
                others = shown.setdefault((collection, sql if core.by_name[collection].surrogate else ()), {})
                others.setdefault(sql, mine)
                for other in others.values():
                    if not _alike(mine, other):
                        text = f"equal records, but {other[0]} and {machine.name} show other rows of {collection}"
                        yield "I1", machine.name, text
                        break


def _alike(mine: _Shown, other: _Shown) -> bool:
    """Whether two copies of a table show the same, as far as their definitions let them."""
    if mine[1] == other[1]:
        return mine[3] == other[3]
    both = [column for column in mine[2] if column in other[2]]
    if [name for name, key in mine[2] if key] != [name for name, key in other[2] if key]:
        return True
    ours, theirs = _by_key(mine, both), _by_key(other, both)
    return all(ours[key] == theirs[key] for key in ours.keys() & theirs.keys())


def _by_key(table: _Shown, columns: Sequence[tuple[str, bool]]) -> dict[str, list[object]]:
    places = [table[2].index(column) for column in columns]
    keys = [place for place, (_, key) in enumerate(table[2]) if key]
    return {repr([row[k] for k in keys]): [row[p] for p in places] for row in table[3]}


def _private(core: Core, collection: str) -> bool:
    """Whether some row or cell of a table is one that cannot travel."""
    sql = "SELECT 1 FROM _replica_local WHERE tbl = ? LIMIT 1"
    return core.db.execute(sql, (core.by_name[collection].tbl,)).fetchone() is not None
