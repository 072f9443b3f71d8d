"""Planted bugs of what waits beside the records: rows that were put, and statements of the node. See sim.bugs.

They show in worlds whose sizes are small (sim.small), or whose people write through the node (sim.through)."""

from __future__ import annotations

BUGS: tuple[tuple[str, str, tuple[str, ...], tuple[str, ...], tuple[tuple[str, str, object], ...]], ...] = (
    (
        "put-over-tombstone",
        "Rows that were deleted, or are held, are no new ones; else what is put over them takes their stamps away.",
        (),
        ("I1", "I2", "I3", "I4", "I5", "I6", "I9", "crash"),
        (
            (
                "replica.store.put:_Put.young",
                "young.hidden(core, _keys(records))",
                "not records",
            ),
            (
                "replica.store.put:_Put._later",
                "young.hidden(self._core, _keys(records))",
                "not records",
            ),
            ("replica.store.nursery:_write", '"FAIL"', '"REPLACE"'),
        ),
    ),
    (
        "definitions-before-put",
        "What was put is merged before definitions are followed; else its rows are taken for another program's.",
        ("schema",),
        ("I1", "I2", "I3", "I5", "I6", "I9", "crash"),
        (("replica.store.mend:follow_schema", "young.merge(core)\n", "pass\n"),),
    ),
    (
        "put-after-outbox",
        "What was put is merged before what was written after it; else a row that was deleted since is a record again.",
        (),
        ("I1", "I2", "I3", "I5", "I6", "I9", "crash"),
        (("replica.store.absorb:absorb", "if young.merge(core):", "if not captured(core) and young.merge(core):"),),
    ),
    (
        "put-not-waited-for",
        "Rows that were put wait to be absorbed, as those of others do; else no peer ever hears of them.",
        (),
        ("I2", "I5", "I9"),
        (("replica.store.absorb:WAITS", "", "SELECT EXISTS(SELECT 1 FROM _replica_outbox)"),),
    ),
    (
        "acknowledged-uncommitted",
        "A statement is acknowledged when it is committed; else it is lost, and whoever wrote it believes it safe.",
        (),
        ("I2",),
        (
            (
                "replica.store.together:_begin",
                "core.transaction(index.flush):\n            yield",
                "core.transaction(index.flush):\n            yield\n"
                "            core.db.execute('ROLLBACK')\n            core.db.execute('BEGIN IMMEDIATE')",
            ),
        ),
    ),
)
"""Name, what is lost, faults, invariants, and what is changed: (place, old words, new words)."""
