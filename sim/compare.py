"""Copies held against each other: equal roots, equal contents; equal records, equal rows. See sim.oracle.

One test each:

1. Roots are equal if and only if the contents are.
2. Equal records show as equal rows, where the tables have equal definitions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from replica.store import index
from replica.store.core import Core
from replica.store.store import Store
from sim.truth import Look, look, quiet, rows_of, schema_of

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
    seen: list[tuple[str, bytes, list[bytes], Core]] = []
    for machine in machines:
        core = machine.store._core
        with core.reading():
            if not quiet(core):
                continue
            contents = sorted(whole(machine.name, core).digests.values())
            now = (machine.name, index.root(core)[0], contents, core)
            for name, root, content, other in seen:
                if (root == now[1]) != (content == now[2]):
                    what = "roots, but other contents" if root == now[1] else "contents, but other roots"
                    yield "I5", now[0], f"{now[0]} and {name} have equal {what}"
                elif content == now[2]:
                    yield from _tables((name, other), (now[0], core))
            seen.append(now)


def _tables(one: tuple[str, Core], two: tuple[str, Core]) -> Iterator[Broken]:
    """Equal records show as equal rows, where the tables have equal definitions."""
    schemas = schema_of(one[1]), schema_of(two[1])
    for collection, sql in sorted(schemas[0].items()):
        if schemas[1].get(collection) != sql or any(_private(core, collection) for _, core in (one, two)):
            continue
        if rows_of(one[1], collection) != rows_of(two[1], collection):
            yield "I1", two[0], f"equal records, but {one[0]} and {two[0]} show other rows of {collection}"


def _private(core: Core, collection: str) -> bool:
    """Whether some row or cell of a table is one that cannot travel."""
    sql = "SELECT 1 FROM _replica_local WHERE tbl = ? LIMIT 1"
    return core.db.execute(sql, (core.by_name[collection].tbl,)).fetchone() is not None
