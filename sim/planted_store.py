"""Planted bugs of the store: transactions, disks, capture of other programs' writes, and definitions. See sim.bugs."""

from __future__ import annotations

BUGS: tuple[tuple[str, str, tuple[str, ...], tuple[str, ...], tuple[tuple[str, str, object], ...]], ...] = (
    (
        "not-durable",
        "A commit reaches the disk before anybody hears of it; else a power cut takes back what was acknowledged.",
        ("crash",),
        ("I2", "I3", "I4", "I5", "I6", "I12"),
        (
            (
                "replica.store.connection:connect",
                "PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}",
                "PRAGMA synchronous = OFF",
            ),
        ),
    ),
    (
        "trie-after-commit",
        "Rows and trie are committed together; else a crash between leaves a root that fits to nothing.",
        ("crash",),
        ("I5", "I12", "I9"),
        (
            ("replica.store.core:Core.transaction", "flush(self)\n", "pass\n"),
            (
                "replica.store.core:Core.transaction",
                'self.db.execute("COMMIT")\n',
                'self.db.execute("COMMIT")\n            self.db.execute("BEGIN IMMEDIATE")\n            flush(self)\n'
                '            self.db.execute("COMMIT")\n',
            ),
        ),
    ),
    (
        "half-a-batch",
        "A batch is one transaction; else a crash leaves rows that are no records.",
        ("crash",),
        ("I1", "I2", "I3", "I5", "I6", "I12", "crash"),
        (
            (
                "replica.store.apply:_Batch._insert",
                "even = [",
                'core.db.execute("COMMIT")\n    core.db.execute("BEGIN IMMEDIATE")\n    even = [',
            ),
        ),
    ),
    (
        "failure-commits",
        "What failed is rolled back; else half of a transaction stays.",
        (),
        ("I1", "I2", "I3", "I4", "I5", "I6", "I9", "I12", "crash"),
        (("replica.store.core:Core.transaction", 'self.db.execute("ROLLBACK")', 'self.db.execute("COMMIT")'),),
    ),
    (
        "stale-after-failure",
        "What a transaction that failed had changed is forgotten; else the trie counts records that are not there.",
        (),
        ("I5", "I9", "crash"),
        (("replica.store.core:Core.transaction", "self.dirty.clear()", "pass"),),
    ),
    (
        "trie-skips-edits",
        "The trie follows each change of a record; else an edit alone is never found by a peer.",
        (),
        ("I1", "I5", "I9"),
        (
            (
                "replica.store.index:catch_up",
                "before, count = root(core)",
                "if len(dirty) == 1 and 0 in dirty.whole().values():\n"
                "        core.dirty.clear()\n        return\n    before, count = root(core)",
            ),
        ),
    ),
    (
        "apply-before-absorb",
        "What users wrote is stamped before a peer's data comes in; else that overwrites it.",
        ("slow",),
        ("I2", "I3", "I5", "I9"),
        (
            (
                "replica.store.port:StorePort._apply",
                "with self.transaction() as core:",
                "with self._core.transaction(index.flush):\n        core = self._core",
            ),
            ("replica.store.port:StorePort._read", "self._catch_up()", "pass"),
            (
                "replica.store.port:StorePort._read",
                "if self._quiet(core.began):",
                "if not core.schema_moved:",
            ),
        ),
    ),
    (
        "read-before-absorb",
        "What is sent is read when nothing waits; else a new value travels under an old stamp.",
        ("slow",),
        ("I1", "I3", "I5", "I9"),
        (
            (
                "replica.store.port:StorePort._read",
                "core = self._core\n",
                "core = self._core\n    with core.reading():\n        return action()\n",
            ),
        ),
    ),
    (
        "triggers-not-mended",
        "Triggers that a rebuilt table lost are made again; else nothing written there is ever seen.",
        ("schema",),
        ("I2", "I5"),
        (("replica.store.mend:follow_schema", " and installed == capture.triggers(tbl, shape)", ""),),
    ),
    (
        "rebuilt-not-looked-at",
        "A table that was rebuilt is compared in full; else what was written meanwhile is never seen.",
        ("schema",),
        ("I2", "I5"),
        (("replica.store.mend:_follow", "full_diff(core, table)", "pass"),),
    ),
    (
        "victims-not-probed",
        "Rows that OR REPLACE takes away are noted; else they are deleted here alone.",
        (),
        ("I2", "I5"),
        (("replica.store.capture:_probed", "return probed", "return []"),),
    ),
    (
        "old-key-not-left",
        "A changed key is a delete of the old one; else the old record lives on without a row.",
        (),
        ("I1", "I2", "I5"),
        (
            (
                "replica.store.capture:triggers",
                'add("ak", "AFTER UPDATE", f"{_LOUD} AND ({moved})", _note(tbl, LEFT, "OLD", keys))',
                "",
            ),
        ),
    ),
    (
        "number-not-freed",
        "The number of a deleted row is free again; else the next row under it is taken for the old record.",
        (),
        ("I1", "I2", "I5"),
        (
            (
                "replica.store.absorb:_Looking._delete",
                'core.db.execute("DELETE FROM _replica_row WHERE tbl = ? AND pk = ? AND key = ?", gone)',
                "pass",
            ),
        ),
    ),
    (
        "numbers-reused",
        "A row that was deleted and inserted anew under one made-up number is another record.",
        (),
        ("I1", "I2", "I5"),
        (("replica.store.absorb:_Looking.at", "entry.left and self._table.surrogate", "False"),),
    ),
    (
        "not-read-back",
        "Where a row shows another value than was sent, the true one is kept aside; else it is taken for an edit.",
        ("schema",),
        ("I1", "I3", "I5", "I6"),
        (
            (
                "replica.store.show:_Placing._doubtful",
                "registers = state.record.registers\n",
                "return False\n    registers = state.record.registers\n",
            ),
        ),
    ),
    (
        "default-unspoken",
        "What a column's default shows is state; else nodes with other defaults show other rows under equal roots.",
        ("schema",),
        ("I1", "I5"),
        (
            ("replica.store.refit:_recheck", "speak(core, state, packed)", "pass"),
            ("replica.store.show:_Placing._read_back", "speak(self._core, state, packed)", "pass"),
        ),
    ),
)
"""Name, what is lost, faults, invariants, and what is changed: (place, old words, new words)."""
