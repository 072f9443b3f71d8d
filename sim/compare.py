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

Row = tuple[tuple[str, object], ...]
"""Of a user's table: each value with its type."""
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
    shown: dict[tuple[bytes, str, tuple[str, ...]], tuple[str, list[Row]]] = {}
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
                rows = rows_of(core, collection)
                name, others = shown.setdefault((b"".join(contents), collection, sql), (machine.name, rows))
                if rows != others:
                    text = f"equal records, but {name} and {machine.name} show other rows of {collection}"
                    yield "I1", machine.name, text


def _private(core: Core, collection: str) -> bool:
    """Whether some row or cell of a table is one that cannot travel."""
    sql = "SELECT 1 FROM _replica_local WHERE tbl = ? LIMIT 1"
    return core.db.execute(sql, (core.by_name[collection].tbl,)).fetchone() is not None
