"""Number ranges of AUTOINCREMENT tables: two nodes that are offline at once count in different ones.

SQLite always takes max(rowid) + 1, so a fixed range would be lost with the first row from a peer. Instead each node leaps
ahead by its own slot whenever rows came in.
"""

from __future__ import annotations

from replica.store.catalog import Table
from replica.store.core import Core


def leap(core: Core, table: Table) -> None:
    """Begin a number range of this node's own in an AUTOINCREMENT table."""
    assert table.shape is not None
    top = core.db.execute(f"SELECT coalesce(max({table.key_columns[0]}), 0) FROM {table.sql}").fetchone()[0]
    row = core.db.execute("SELECT seq FROM sqlite_sequence WHERE name = ?", (table.shape.name,)).fetchone()
    seq = row[0] if row else 0
    if (table.leap and top <= table.leap) or max(top, seq) > 1 << 52:
        return
    slot = 1 + int.from_bytes(core.clock.node[:2], "big") % 4096
    table.leap = max(top, seq) + slot * 4096
    if row:
        core.db.execute("UPDATE sqlite_sequence SET seq = ? WHERE name = ?", (table.leap, table.shape.name))
    else:
        core.db.execute("INSERT INTO sqlite_sequence(name, seq) VALUES (?, ?)", (table.shape.name, table.leap))
    core.db.execute("UPDATE _replica_table SET leap = ? WHERE tbl = ?", (table.leap, table.tbl))
