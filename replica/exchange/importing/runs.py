"""Runs of imports: each is a record of a replicated table, so every node knows what any node imported.

The table `replica_imports` is made by the first import that writes something; one that changes nothing leaves no trace, so
that it syncs nothing. What only the node of a run needs (what stood there before, rows that wait, rows that were rejected)
stays beside it, in the engine's own tables.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

from protocol.hlc import NODE_BYTES, STAMP_BYTES
from protocol.record import fold
from replica.errors import UsageError
from replica.store import adopt, put
from replica.store.catalog import find, meant
from replica.store.core import Core
from replica.store.store import Store

TABLE = "replica_imports"
_COLUMNS = {
    "id": "TEXT PRIMARY KEY",
    "node": "TEXT",
    "source": "TEXT",
    "files": "TEXT",
    "digest": "TEXT",
    "map": "TEXT",
    "collections": "TEXT",
    "stamp": "TEXT",
    "began": "TEXT",
    "ended": "TEXT",
    "state": "TEXT",
    "position": "TEXT",
    "counts": "TEXT",
    "undone": "TEXT",
    "as_of": "TEXT",
}
TEXT_MAX = 4_000_000
"""Characters of a part of a run, as it is believed."""
RUNNING, FINISHED, UNDONE = "running", "finished", "undone"


@dataclass(frozen=True, slots=True)
class Known:
    """What the last import into a collection said. `key`: its fields that hold the external key; `id`: the column with the
    record id that the import made up (UUIDv5 of source and external key), None if the table has a key of its own;
    `fields`: the imported ones, in the order of the file; `refers`: field -> collection whose record id stands in it."""

    collection: str
    source: str
    key: tuple[str, ...]
    id: str | None
    fields: tuple[str, ...]
    refers: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Run:
    """One run. `node`: id of the node that made it, in hex; `files`: names; `digest`: of them and of the map; `stamp`: of
    what it writes, in hex; `position`: "file:row" up to where its rows are in; `counts`: rows by what came of them;
    `undone`: stamp of the undo, in hex, or empty; `as_of`: column
    whose times its stamps are, or empty."""

    id: str
    node: str
    source: str
    files: list[str]
    digest: str
    map: str
    collections: list[Known]
    stamp: str
    began: str
    ended: str = ""
    state: str = RUNNING
    position: str = "0:0"
    counts: dict[str, int] = field(default_factory=dict)
    undone: str = ""
    as_of: str = ""

    def row(self) -> dict[str, object]:
        """As the table holds it."""
        known = [{**vars_of(k), "key": list(k.key), "fields": list(k.fields)} for k in self.collections]
        plain = {name: getattr(self, name) for name in _COLUMNS}
        packed = {"files": self.files, "collections": known, "counts": self.counts}
        return {**plain, **{n: json.dumps(v, ensure_ascii=False) for n, v in packed.items()}}


def vars_of(known: Known) -> dict[str, Any]:
    """Its fields by name."""
    return {name: getattr(known, name) for name in Known.__slots__}


def ensure(core: Core) -> None:
    """Make the table of runs if it is not here, in the caller's transaction. Raises UsageError if a table of somebody else's
    has its name."""
    table = core.by_name.get(TABLE)
    if table is not None and table.shape is not None:
        have = {c.folded for c in (*table.shape.key, *table.shape.columns)}
        if missing := set(_COLUMNS) - have:
            raise UsageError(f"the table {TABLE} here is not the one of imports: it has no column {min(missing)}")
        return
    if find(core.db, TABLE) is None:
        core.db.execute(f"CREATE TABLE {TABLE}({', '.join(f'{n} {kind}' for n, kind in _COLUMNS.items())})")
    adopt.adopt(core, [TABLE], [])


def write(core: Core, run: Run) -> None:
    """Keep a run as it is now, in the caller's transaction."""
    ensure(core)
    put.put_many(core, TABLE, [run.row()])


def runs(store: Store) -> list[Run]:
    """All runs that this node knows, the latest first."""
    with store.transaction() as core:
        return read(core)


def read(core: Core) -> list[Run]:
    """The same, in the caller's transaction. Members write here, by hand too: a row that makes no sense is left out."""
    table = core.by_name.get(TABLE)
    if table is None or table.shape is None:
        return []
    if set(_COLUMNS) - {c.folded for c in (*table.shape.key, *table.shape.columns)}:
        return []
    fits = " AND ".join(f"typeof({n}) = 'text' AND length({n}) < {TEXT_MAX}" for n in _COLUMNS)
    found = []
    for row in core.rows(f"SELECT {', '.join(_COLUMNS)} FROM {TABLE} WHERE {fits} ORDER BY began DESC, id"):
        try:
            found.append(_parsed(dict(zip(_COLUMNS, row, strict=True))))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            continue
    return found


def _parsed(values: dict[str, Any]) -> Run:
    """A run of its row. Raises one of many errors for what is none."""
    known = [_known(item) for item in json.loads(values.pop("collections"))]
    files, counts = json.loads(values.pop("files")), json.loads(values.pop("counts"))
    run = Run(**values, collections=known, files=list(map(str, files)), counts={str(k): int(v) for k, v in counts.items()})
    sizes = (len(bytes.fromhex(run.stamp)), len(bytes.fromhex(run.node)), len(bytes.fromhex(run.undone)))
    if sizes[0] != STAMP_BYTES or sizes[1] != NODE_BYTES or sizes[2] not in {0, STAMP_BYTES}:
        raise ValueError("stamps and nodes have their sizes")
    if not re.fullmatch(r"[0-9]{1,9}:[0-9]{1,12}", run.position) or run.state not in {RUNNING, FINISHED, UNDONE}:
        raise ValueError("no such position or state")
    return run


def _known(item: dict[str, Any]) -> Known:
    return Known(
        str(item["collection"]),
        str(item["source"]),
        tuple(map(str, item["key"])),
        None if item["id"] is None else str(item["id"]),
        tuple(map(str, item["fields"])),
        {str(k): str(v) for k, v in item["refers"].items()},
    )


def dangling(core: Core, run: Run) -> list[str]:
    """What is to be told of relations to tables that are not here, in the caller's transaction."""
    return [
        f"{known.collection}: {name} refers to {to}, which is not here yet; an import of it from {run.source!r} brings what "
        "it means"
        for known in run.collections
        for name, to in known.refers.items()
        if find(core.db, to) is None and not _is_here(core, to)
    ]


def known(store: Store, collection: str) -> Known | None:
    """What the last import into this collection said, of any node; None if nobody imported into it."""
    with store.transaction() as core:
        table = meant(core.db, core.tables.values(), collection)
        return known_in(core, collection if table is None else table.collection)


def known_in(core: Core, collection: str, source: str | None = None) -> Known | None:
    """The same, in the caller's transaction; of this source, if it imported into it. What does not fit the table that is
    here is not believed."""
    wanted = fold(collection)
    found = [k for run in read(core) for k in run.collections if fold(k.collection) == wanted and _fits(core, k)]
    return next((k for k in found if k.source == source), found[0] if found else None)


def _is_here(core: Core, collection: str) -> bool:
    table = core.by_name.get(fold(collection))
    return table is not None and table.shape is not None


def _fits(core: Core, known: Known) -> bool:
    table = core.by_name.get(fold(known.collection))
    if table is None or table.shape is None:
        return False
    keys, columns = {c.folded for c in table.shape.key}, {c.folded for c in table.shape.columns}
    if known.id is not None and (keys != {fold(known.id)} or fold(known.id) in set(map(fold, known.fields))):
        return False
    return bool(known.key) and {*map(fold, known.key)} <= keys | columns


def pardoned(core: Core) -> frozenset[bytes]:
    """Stamps of deletes that undid an import: to import such a record again is no resurrection."""
    return frozenset(bytes.fromhex(run.undone) for run in read(core) if run.state == UNDONE)


def named(store: Store, name: str) -> Run:
    """The run of this id, or of an id that begins so. Raises UsageError."""
    found = [run for run in runs(store) if run.id.startswith(name)]
    if len(found) == 1:
        return found[0]
    known_ids = ", ".join(run.id for run in runs(store)[:5]) or "none yet"
    which = "no run" if not found else "more than one run"
    raise UsageError(f"{which} of an import is called {name!r}; the latest: {known_ids}")
