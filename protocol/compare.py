"""Where two tries differ: the peer's nodes beside our own.

If both sides have an inner node, the differing children are described in turn. If one is a leaf, the records below are
told apart by fingerprints: what the peer cannot have in any version is sent whole, what it has in another version is
asked about with the stamps that we have seen (so that only newer fields travel), and what we have in no version is
wanted. SPEC section 10.4.
"""

from __future__ import annotations

from collections.abc import Sequence

from protocol import limits
from protocol.descent import Agenda
from protocol.messages import Described
from protocol.trie import NIBBLES, Entry, Leaf, Node, cut


def compare(described: Sequence[Described], attempt: int, agenda: Agenda) -> None:
    """Note what follows from these nodes of the peer's trie."""
    mine = agenda.nodes([theirs.prefix for theirs in described])
    for theirs in described:
        _compare(theirs, mine[theirs.prefix], attempt, agenda)


def _compare(theirs: Described, mine: Node, attempt: int, agenda: Agenda) -> None:
    if not theirs.inner:
        _compare_leaf(theirs, mine, attempt, agenda)
    elif isinstance(mine, Leaf):
        agenda.describe(theirs.prefix)
    else:
        where = cut(attempt)
        for digit, child, slice_ in zip(NIBBLES, mine.children, theirs.slices, strict=True):
            if child[where] == slice_:
                continue
            prefix = theirs.prefix + digit
            if not slice_:
                agenda.send_below(prefix)
            elif child:
                agenda.describe(prefix)
            else:
                agenda.absent(prefix)


def _compare_leaf(theirs: Described, mine: Node, attempt: int, agenda: Agenda) -> None:
    their_prints = frozenset(theirs.slices)
    several = limits.COMPARED_MAX + 1
    entries: Sequence[Entry] = mine.entries if isinstance(mine, Leaf) else agenda.entries(theirs.prefix, several)
    if len(entries) > limits.COMPARED_MAX:  # Most of it is news to them, so it goes whole.
        agenda.send_below(theirs.prefix, their_prints)
        agenda.want(theirs.prefix, theirs.slices, attempt)
        return
    my_prints = agenda.prints(entries, attempt)
    news = [key for (key, _), p in zip(entries, my_prints, strict=True) if p not in their_prints]
    lacking = [p for p in theirs.slices if p not in my_prints]
    if lacking:
        agenda.ask(news)
        agenda.want(theirs.prefix, lacking, attempt)
    else:
        agenda.send(news)
