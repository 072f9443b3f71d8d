"""What is wrong with the stamps of one commit, and with who issued them.

Each check compares a node with itself, before and after; what travels between nodes is the matter of sim.truth. One test
each:

1. An edit stamps the fields whose values changed, and no field that its user left alone.
2. A stamp is no later than the wall clock when it is issued, unless the clock stood there already.
3. What surfaces shows its columns' defaults, and nothing else has the lowest stamp.
4. A record holds no stamp of this node that it does not know to have issued: else it must be another by now.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from protocol.hlc import is_base, lowest, millis
from protocol.record import Record, unpack_id
from protocol.values import pack_value
from replica.store.core import Core
from replica.store.state import key_of
from sim.diary import read_row
from sim.truth import BORN, FLOOR, Item, Rid, words

SAME_MIN = 2
"""Fields that were stamped for nothing: one alone may have been changed and changed back, by two programs at once."""

NOTHING = pack_value(None)


def unasked(core: Core, before: Record, now: Record, own: Sequence[Item], was_held: frozenset[bytes]) -> str:
    """What an edit of a shown record stamped though nobody wrote it, in words. `own`: what this commit stamped in it;
    `was_held`: keys of the records that were held before: whose row is then inserted, is written as a whole."""
    table = core.by_name[now.collection]
    if not own or before.floor != now.floor or before.born != now.born or not before.live or table.shape is None:
        return ""
    if key_of(core, table, now.id) in was_held:
        return ""
    fields = [item for item in own if item.part not in {FLOOR, BORN}]
    same = [i for i in fields if before.registers.get(i.part, (b"", b""))[1] == i.value]
    if len(same) >= SAME_MIN and len({item.stamp for item in same}) == 1:
        return f"{', '.join(item.part for item in same)} were stamped, and have the values that they had"
    bare = {column.folded for column in table.columns if column.default is None}
    for item in fields:
        if item.part in bare and item.part not in before.registers and item.value == NOTHING:
            return f"{item.part} was stamped, where nobody ever wrote anything"
    return ""


def surfaced(core: Core, record: Record, fresh: Sequence[Item]) -> list[Item]:
    """Of what is new in a record, what its row shows by the default of a column here: that has the lowest stamp there is,
    and nobody issued it."""
    table = core.by_name[record.collection]
    if table.shape is None:
        return []
    row = read_row(core, table, unpack_id(record.id)[0]) or {}
    shown = {c.folded: pack_value(row.get(c.name)) for c in table.columns if c.default is not None}
    return [item for item in fresh if item.stamp == lowest(record.floor) and shown.get(item.part) == item.value]


def hurried(own: Iterable[Item], limit_ms: int) -> str:
    """Which stamp is later than the wall clock says, in words."""
    newest = max((item.stamp for item in own), default=b"")
    if not newest or millis(newest) <= limit_ms:
        return ""
    return f"the stamp {newest.hex()} is {millis(newest) - limit_ms} ms later than any clock was that it knew of"


def unknown_own(core: Core, found: Iterable[tuple[Rid, Record]]) -> str:
    """Which record says that this node did what it does not know of, in words."""
    node, issued = core.meta("node"), core.meta("issued") or b""
    for rid, record in found:
        for stamp in sorted(record.stamps()):
            if stamp[8:] == node and stamp[:8] > issued and not is_base(stamp):
                return f"{words(rid)}: {stamp.hex()} is its own, and above the last that it knows of"
    return ""


def held(core: Core) -> frozenset[bytes]:
    """Keys of the records that are held from view."""
    return frozenset(key for (key,) in core.db.execute("SELECT key FROM _replica_held").fetchall())
