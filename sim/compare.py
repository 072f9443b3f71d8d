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
from sim.truth import Look, columns_of, look, quiet, rows_of, schema_of

_Shown = tuple[str, tuple[str, ...], list[tuple[str, bool]], Counter[tuple[Any, ...]]]
"""A machine's name, the SQL of a table there, its columns (name, whether it is in the key), and its rows (see `rows_of`)."""
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
    the caller's snapshot."""
    seen: list[tuple[str, bytes, list[bytes]]] = []
    shown: dict[tuple[bytes, str, tuple[str, ...]], dict[tuple[str, ...], _Shown]] = {}
    for machine in machines:
        core = machine.store._core
        with core.reading():
            if not quiet(core):
                continue
            contents = sorted(whole(machine.name, core).digests.values())
            now = (machine.name, index.root(core)[0], contents)
            for name, root, content in seen:
                if (root == now[1]) != (content == contents):
                    what = "roots, but other contents" if root == now[1] else "contents, but other roots"
                    yield "I5", now[0], f"{now[0]} and {name} have equal {what}"
            seen.append(now)
            for collection, sql in sorted(schema_of(core).items()):
                if _private(core, collection):
                    continue
                columns = columns_of(core, collection)
                mine = (machine.name, sql, [c[:2] for c in columns], rows_of(core, collection, columns))
                apart = sql if core.by_name[collection].surrogate else ()
                others = shown.setdefault((b"".join(contents), collection, apart), {})
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
