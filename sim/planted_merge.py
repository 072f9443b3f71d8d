"""Planted bugs of the merge: what makes all copies equal, whatever came first. See sim.bugs."""

from __future__ import annotations

BUGS: tuple[tuple[str, str, tuple[str, ...], tuple[str, ...], tuple[tuple[str, str, object], ...]], ...] = (
    (
        "no-tie-break",
        "Of two values under one stamp the greater wins; else two clones keep what each had first, for ever.",
        ("clone", "restore"),
        ("I1", "I3", "I9"),
        (
            (
                "protocol.record:Record.join",
                'register > self.registers.get(name, (b"", b""))',
                'register[0] > self.registers.get(name, (b"", b""))[0]',
            ),
        ),
    ),
    (
        "edit-above-no-floor",
        "A field at or below the delete is not taken; else what was deleted lives on in some copies.",
        (),
        ("I1", "I3", "I4", "I5", "I9"),
        (("protocol.record:Record.join", "register[0] > self.floor and register", "register"),),
    ),
    (
        "delete-keeps-fields",
        "A delete of a peer erases the fields below it; else copies differ in what they deleted.",
        (),
        ("I1", "I4", "I5", "I9"),
        (("protocol.record:Record.join", "if self.floor != before[0]:", "if False:"),),
    ),
    (
        "latest-birth-wins",
        "The greatest insert counts; else the one that came last undoes another.",
        (),
        ("I2", "I3", "I9"),
        (("protocol.record:Record.join", "max(self.born, delta.born)", "delta.born or self.born"),),
    ),
    (
        "first-delete-stays",
        "The greatest delete counts; else a record that was deleted twice comes back.",
        (),
        ("I1", "I3", "I4", "I9"),
        (("protocol.record:Record.join", "max(self.floor, delta.floor)", "self.floor or delta.floor"),),
    ),
    (
        "delete-not-sent",
        "A fragment carries the delete that the peer lacks; else nobody hears of deletes.",
        (),
        ("I1", "I4", "I9", "crash"),
        (("protocol.record:Record._part", "missing is None or self.floor in missing else", "missing is None else"),),
    ),
    (
        "last-edit-wins",
        "The short way for edits takes the newer value; else the one that came last wins.",
        (),
        ("I3", "I9"),
        (("replica.store.edits:_Joining.join", "if stamp > old_stamp:\n", "if stamp:\n"),),
    ),
    (
        "birth-as-edit",
        "The short way for edits leaves another birth to the long one; else a record that was made anew stays old.",
        (),
        ("I1", "I2", "I3", "I4", "I5", "I9"),
        (("replica.store.edits:join_edits", 'and edit.delta.born in {b"", born}', ""),),
    ),
    (
        "edit-wakes-nobody",
        "The short way for edits leaves those alone that hold another record; else what they set free is not shown.",
        (),
        ("I1", "I5"),
        (("replica.store.edits:join_edits", "times.update(", "list("),),
    ),
    (
        "known-as-new",
        "The short way for new records takes no known one; else a late insert brings a deleted record back.",
        (),
        ("I1", "I3", "I4", "I5", "I9"),
        (("replica.store.apply:_Batch._fresh", "new = item.key not in seen and table.plain", "new = table.plain"),),
    ),
    (
        "all-fields-stamped",
        "An edit stamps the fields that changed; else it wins against other edits of the same row too.",
        (),
        ("I2", "I3"),
        (
            (
                "replica.store.absorb:_Looking._update",
                "if not changed:\n",
                "changed = changed and list(zip(table.names, table.at, packed, strict=True))\n    if not changed:\n",
            ),
            (
                "replica.store.retouch:retouch",
                "if not old or not changed or",
                "changed = changed and list(range(len(row)))\n        if not old or not changed or",
            ),
        ),
    ),
    (
        "first-come-shown",
        "Of two rows that exclude each other the earlier one is shown; else each node shows the one that came first.",
        (),
        ("I1", "I5"),
        (
            (
                "replica.store.show:_Placing._resolve",
                "(v for v in victims.values() if v.order < state.order)",
                "victims.values()",
            ),
        ),
    ),
    (
        "loser-dropped",
        "A row that cannot be shown is held, with the reason; else it is gone from view and nobody knows why.",
        (),
        ("I1", "I5"),
        (
            (
                "replica.store.show:_Placing._resolve",
                "self._hold(state, str(error), earlier.key if earlier else UNKNOWN)",
                "pass",
            ),
        ),
    ),
    (
        "held-for-ever",
        "A held record is shown when what held it goes away; else it never comes back.",
        (),
        ("I1", "I5"),
        (
            (
                "replica.store.show:_Placing._add_waiting",
                'if not self._core.db.execute("SELECT 1 FROM _replica_held LIMIT 1").fetchone():',
                "if True:",
            ),
            ("replica.store.absorb:surface", "waiting.items()", "()"),
        ),
    ),
)
"""Name, what is lost, faults, invariants, and what is changed: (place, old words, new words)."""
