"""Planted bugs of the short ways: the memory, the sketch, and what makes up for them when they miss. See sim.bugs.

A hint that is false breaks no promise: worlds have such hints (sim.hints). So each bug here takes out what makes up for
one, or makes a node believe what nobody compared, or damages what `verify` answers for."""

from __future__ import annotations

_ONE_LEFT_OUT = (
    "replica.store.history:news",
    "return {key: stamps for key, stamps in found.items() if stamps}",
    "return {key: stamps for key, stamps in list(found.items())[1:] if stamps}",
)
_NO_TRIE_AFTER_NEWS = (
    "protocol.session:Session._end_of_round",
    "if self._round < 0:\n",
    "if self._round < 0 and self._short.way.value == 'news':\n"
    "        self._say_bye(UNEXPLAINED, '', root)\n        return\n    if self._round < 0:\n",
)

BUGS: tuple[tuple[str, str, tuple[str, ...], tuple[str, ...], tuple[tuple[str, str, object], ...]], ...] = (
    (
        "trie-not-asked",
        "What the short ways do not find, the trie does; else nodes without hints, or with false ones, stay apart.",
        (),
        ("I9",),
        (
            (
                "protocol.session:Session._end_of_round",
                "self._next_round()\n        self._speak()\n        return",
                "self._say_bye(UNEXPLAINED, '', root)\n        return",
            ),
        ),
    ),
    (
        "minor-ignored",
        "A peer of an older minor version hears no hints; else it throws out whoever says one.",
        (),
        ("I9",),
        (
            (
                "protocol.session:Session.open",
                "self._short.introduction(count, self._agreed) if self._hinted else _NO_HINTS",
                "self._short.introduction(count, self._agreed)",
            ),
        ),
    ),
    (
        "probe-believed",
        "A probed root is compared; else who has news says to a peer without any that all is the same.",
        (),
        ("I5", "I9"),
        (("protocol.session:Session._on_probe", "self._same(probe.root", "self._same(self._store.root()[0]"),),
    ),
    (
        "end-not-compared",
        "A session ends when the roots are equal; else news that lack a record pass for all that there is.",
        (),
        ("I5", "I9"),
        (
            _ONE_LEFT_OUT,
            (
                "protocol.session:Session._on_end",
                "if self._proofs.is_theirs(end.root, root):",
                "if self._proofs.is_theirs(end.root, root) or (self._short.way.value == 'news' and self._agenda.empty):",
            ),
            (
                "protocol.session:Session._on_bye",
                "bye.code == IN_SYNC and not self._proofs.is_theirs(bye.root, root, said)",
                "bye.code != IN_SYNC and not said",
            ),
            (
                "protocol.session:Session._on_bye",
                "bye.code == IN_SYNC and not self._proofs.is_theirs(bye.root, root)",
                "bye.code == 'never'",
            ),
        ),
    ),
    (
        "news-not-made-up-for",
        "After news the trie finds what they lack; else a memory that lacks a record keeps two nodes apart.",
        (),
        ("I9",),
        (_ONE_LEFT_OUT, _NO_TRIE_AFTER_NEWS),
    ),
    (
        "gap-in-memory",
        "Of the memory the oldest goes first; else it holds a root, and not all that came since.",
        (),
        ("I5", "I9"),
        (
            ("replica.store.history:ROWS_MAX", "", 1),
            ("replica.store.history:LOOK_EVERY", "", 1),
            (
                "replica.store.history:_trim",
                'core.db.execute("DELETE FROM _replica_history WHERE seq <= ?", (seq - ROWS_MAX,))',
                'core.db.execute("DELETE FROM _replica_history WHERE seq <= ? AND seq % 2", (seq - ROWS_MAX,))',
            ),
            _NO_TRIE_AFTER_NEWS,
        ),
    ),
    (
        "edit-not-remembered",
        "Each transaction is a line of the memory; else the memory ends at a root of the past.",
        (),
        ("I5",),
        (
            (
                "replica.store.history:write",
                "seq = core.db",
                "if len(came) == ITEM_BYTES:\n        toggled.clear()\n        return\n    seq = core.db",
            ),
        ),
    ),
    (
        "overwritten-stays-in-sketch",
        "What is overwritten leaves the sketch; else the sketch of a node is soon of another set than its records.",
        (),
        ("I5",),
        (("replica.store.sketched:Sketched._follow", "sketch.remove(self._prints(went))", "pass"),),
    ),
    (
        "taken-back-yet-remembered",
        "What a savepoint takes back leaves the memory; else the memory is of records that never were.",
        (),
        ("I5",),
        (("replica.store.toggled:Toggled.back", "del self.came[came:], self.went[went:]", "pass"),),
    ),
    (
        "failed-yet-remembered",
        "What a failed transaction noted is forgotten with it; else the next one remembers what never was.",
        (),
        ("I5",),
        (("replica.store.core:Core.transaction", "self.toggled.clear()", "pass"),),
    ),
)
"""Name, what is lost, faults, invariants, and what is changed: (place, old words, new words)."""
