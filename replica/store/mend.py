"""Other programs change definitions: ALTER TABLE, DROP, and the rebuild of an ORM (create, copy, drop, rename), which
takes our triggers along without a word. When `schema_version` moved, this makes things right again, in the transaction
that noticed. One test each:

1. Triggers that vanished are made again, and the table is compared in full with what is known of it; not one that only got
   more columns under triggers that are all there.
2. A renamed table keeps its collection: our triggers went along and tell its new name.
3. Nothing is shown anew before every write is stamped that came before: what another program deleted stays deleted, and
   nothing else is.
4. DROP of a table or column is no delete of its data: the records stay with the peers, and come back as held.
"""

from __future__ import annotations

from collections.abc import Sequence

from protocol.record import fold
from replica.errors import TableRefused, hopeless
from replica.store import capture, catalog, ddl, young
from replica.store.absorb import captured, full_diff, stamp_outbox, surface
from replica.store.catalog import Shape, Table
from replica.store.core import Core
from replica.store.refit import refit, reveal, triggers_of, widened


def follow_schema(core: Core) -> None:
    """Compare every adopted table with what was installed, and mend what differs. Raises StoreError if what is stored of
    that makes no sense: then nobody knows which columns are new."""
    young.merge(core)
    rows = core.db.execute("SELECT tbl, local, signature FROM _replica_table WHERE local IS NOT NULL").fetchall()
    changed: list[tuple[Table, Shape, bool]] = []
    for tbl, local, signature in rows:
        table = core.tables[tbl]
        triggers = triggers_of(core, table)
        # They go with a table that is renamed, and its old name may be another's by now.
        name = next((on for on, _ in triggers.values()), None) or catalog.find(core.db, local)
        try:
            if name is None:
                raise TableRefused(
                    "the table was dropped here, and its records with it: "
                    f"make a table {table.named(local)!r} and adopt it to have back those that peers have"
                )
            shape = catalog.shape(core.db, name)
            _same_key(core, signature, shape)
        except TableRefused as error:
            forget(core, table, str(error))
            continue
        installed = {n: sql for n, (on, sql) in triggers.items() if fold(on) == fold(name)}
        whole = name == local and installed == capture.triggers(tbl, shape)
        if not whole or shape.signature != signature:
            changed.append((table, shape, whole and widened(signature, shape)))
    _follow(core, changed)
    core.schema_followed()


def _follow(core: Core, changed: Sequence[tuple[Table, Shape, bool]]) -> None:
    """These tables have other shapes, or lost triggers: stamp what was written, and only then show what can be shown. Of
    some it is sure that they only have more columns, and that their triggers saw every write."""
    fresh = []
    for table, shape, seen in changed:
        known = catalog.load_names(core.db, table.tbl)
        table.names = tuple(n for n in table.fields if n in known)
        fresh.append(refit(core, table, shape, seen=seen))
    while changed and captured(core):
        stamp_outbox(core)
    for table, _, seen in changed:
        if not seen:
            full_diff(core, table)
    if not captured(core):
        surface(core)
    for (table, *_), names in zip(changed, fresh, strict=True):
        reveal(core, table, names)
        ddl.publish(core, table)


def _same_key(core: Core, signature: str, shape: Shape) -> None:
    try:
        before = catalog.key_of_signature(signature)
    except (TypeError, ValueError, LookupError) as error:
        raise hopeless(core.path, f"what is stored of the definition of {shape.name!r} makes no sense") from error
    if before != catalog.key_of_signature(shape.signature):
        raise TableRefused(
            f"the primary key of {shape.name!r} changed, so its rows are other records now: adopt it again"
        )


def forget(core: Core, table: Table, reason: str) -> None:
    """The local table is no more: forget its records here. Peers have them, and nothing is deleted there."""
    for (key,) in core.db.execute("SELECT key FROM _replica_record WHERE tbl = ?", (table.tbl,)).fetchall():
        core.dirty.touch(key, -1)
    core.toggled.lose()
    for name in ("extra", "past"):
        sql = f"DELETE FROM _replica_{name} WHERE key IN (SELECT key FROM _replica_record WHERE tbl = ?)"
        core.db.execute(sql, (table.tbl,))
    for name in ("record", "held", "row", "local", "outbox"):
        core.db.execute(f"DELETE FROM _replica_{name} WHERE tbl = ?", (table.tbl,))
    core.db.execute("UPDATE _replica_table SET local = NULL, state = ? WHERE tbl = ?", (reason, table.tbl))
    for name in triggers_of(core, table):
        core.db.execute(f"DROP TRIGGER {catalog.quote(name)}")
    table.shape, table.state = None, reason
    table.refresh()
