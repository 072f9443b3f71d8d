"""The sketch of this store's items, as of now: made when a session asks, not with every write.

A sketch of some moment lies in the file, or in memory since the last session; the history says which items came and went
since then, and folding those in costs 2 us each, a tenth of that with NumPy. So a write costs nothing but its line of
history. Where the history does not reach back, the sketch is made anew from all records. Both are done in short parts,
where it is much and while the node has nothing else to do, so that no stranger has to wait for it. Who goes through all
items sees which are of adopted rows, and keeps that with the sketch (`sample`). It is a hint: a wrong one costs a session
a descent of the trie. One that was peeled and did not tell all is then forgotten; what lies in the file has a digest
beside it; any other that is wrong `verify` finds. One test each:

1. After any history, the sketch is that of the items that are there.
2. A stored sketch that is old, of another moment or damaged is not used, or does no harm.
3. What `locate` finds for a fingerprint is the item that it was made of.
4. Made or followed in parts, whatever is written between them, it is the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from protocol import limits, prints
from protocol.errors import OurFault
from protocol.hlc import STAMP_BYTES
from protocol.keys import DIGEST_BYTES
from protocol.prints import HEAD_BYTES, ITEM_BYTES, PRINT_BYTES, ItemHash
from protocol.sketch import FULL_BYTES, Sketch
from replica.store import history, index
from replica.store.core import Core
from replica.store.sample import Adopted

KEEP_AFTER = 16_384
"""Items that were folded in, or hashed anew, after which the sketch is stored: 344 kB, for about 30 ms of work saved."""

AHEAD_FROM = 16_384
"""Records from which it pays to make the sketch before it is wanted: it takes 40 ms."""
AHEAD_BYTES = 1 << 17
"""Items that are taken in then in one part: 4,096, in about 12 ms. Fewer that came and went may wait for a session."""


@dataclass(slots=True)
class _Making:
    """A sketch of the items of all records up to a key, after a transaction."""

    sketch: Sketch
    adopted: Adopted
    seq: int
    after: bytes = b""
    count: int = 0


class Sketched:
    """The sketch of one open store. Every method but `keep` and `forget` reads, and expects a snapshot."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._family = ItemHash(core.keys.sketch())
        self._sketch: Sketch | None = None
        self._adopted = Adopted()
        """As of the sketch."""
        self._seq = 0
        self._unsaved = 0
        """Items that would be hashed again if this process ended now."""
        self._making: _Making | None = None

    def now(self, since: bytes = b"") -> Sketch:
        """The sketch of what is there; or, which takes less, of what came and went since a root: for two who had it both,
        the one tells as much as the other. Of nothing, if that root is not remembered."""
        core = self._core
        if since:
            seq = history.when(core, since)
            came, went, _ = history.since(core, seq) if seq is not None else (b"", b"", 0)
            return self._follow(Sketch(self._family), came, went)
        if self._sketch is None or not history.remembers(core, self._seq):
            self._load()
        if self._sketch is None:
            return self._build()
        self._making = None
        self._catch_up(self._sketch)
        return self._sketch

    def adopted(self) -> Adopted | None:
        """Which records may be adopted ones, if the sketch is there."""
        if self._sketch is None or not history.remembers(self._core, self._seq):
            return None
        self._catch_up(self._sketch)
        return self._adopted

    def _catch_up(self, sketch: Sketch, size_bytes: int = 0) -> None:
        came, went, seq = history.since(self._core, self._seq, size_bytes)
        self._follow(sketch, came, went)
        self._adopted.note(came)
        self._seq = seq
        self._unsaved += (len(came) + len(went)) // ITEM_BYTES
        sketch.cells(limits.SKETCH_WIDTH_MIN)  # Every stranger wants these: they are kept up to date from here on.

    def _follow(self, sketch: Sketch, came: bytes, went: bytes) -> Sketch:
        sketch.add(self._prints(came))
        sketch.remove(self._prints(went))
        return sketch

    def _load(self) -> None:
        self._sketch = None
        rows = self._core.db.execute("SELECT seq, cells FROM _replica_sketch ORDER BY seq DESC LIMIT 1").fetchall()
        for seq, sealed in rows:
            kept = sealed[:-DIGEST_BYTES] if type(sealed) is bytes else b""
            if not kept or self._sealed(seq, kept) != sealed:
                continue  # Rot would make it useless for ever, and nobody would notice but by longer syncs.
            adopted = Adopted.from_bytes(kept[FULL_BYTES:])  # None of a development version.
            if adopted is not None and history.remembers(self._core, seq):
                self._sketch, self._seq, self._unsaved = Sketch.from_bytes(self._family, kept[:FULL_BYTES]), seq, 0
                self._adopted = adopted

    def _build(self) -> Sketch:
        """Make it from all records, or from those that `part` did not come to."""
        core, made, self._making = self._core, self._made_so_far(), None
        prints.expect(index.root(core)[1] - made.count)
        for items in history.items(core, made.after):
            self._take(made, items)
        return self._finish(made)

    def _take(self, made: _Making, items: bytes) -> None:
        made.sketch.add(self._prints(items))
        made.adopted.note(items)
        made.count += len(items) // ITEM_BYTES

    def _made_so_far(self) -> _Making:
        """What `part` made, brought up to date."""
        core, made = self._core, self._making
        if made is None or not history.remembers(core, made.seq):
            return _Making(Sketch(self._family), Adopted(), history.now(core))
        came, went, made.seq = history.since(core, made.seq)
        self._follow(made.sketch, _up_to(made.after, came), _up_to(made.after, went))
        made.adopted.note(came)
        return made

    def _finish(self, made: _Making) -> Sketch:
        self._making = None
        self._sketch, self._seq, self._unsaved = made.sketch, made.seq, made.count
        self._adopted = made.adopted
        self._catch_up(made.sketch)
        return made.sketch

    def pays(self) -> bool:
        """Whether it is worth being made before it is wanted. Without a snapshot this is as of some moment."""
        return index.root(self._core)[1] >= AHEAD_FROM

    def due(self) -> bool:
        """The same, and it was not made or followed yet."""
        core = self._core
        if not self.pays():
            return False
        if self._sketch is None or not history.remembers(core, self._seq):
            self._load()
        return self._sketch is None or history.size_since(core, self._seq) > AHEAD_BYTES

    def part(self) -> bool:
        """Make some more of it. Returns whether there is more to do."""
        if not self.due():
            return False
        if self._sketch is not None:
            self._catch_up(self._sketch, AHEAD_BYTES)
            return history.size_since(self._core, self._seq) > AHEAD_BYTES
        made = self._made_so_far()
        items = next(history.items(self._core, made.after, AHEAD_BYTES), b"")
        self._take(made, items)
        if len(items) < AHEAD_BYTES:
            self._finish(made)
            return False
        self._making, made.after = made, items[-ITEM_BYTES : STAMP_BYTES - ITEM_BYTES]
        return True

    def differences(self) -> Iterator[str]:
        """What is wrong with it, for `verify`."""
        rows = self._core.db.execute("SELECT root, seq FROM _replica_history ORDER BY seq DESC LIMIT 1").fetchall()
        (first,) = self._core.db.execute("SELECT min(seq) FROM _replica_history").fetchone()
        if first is not None and not history.sound(self._core, first):
            yield "the history has holes, or says what makes no sense: syncs are longer; `replica rescan` begins it anew"
        if any(root != index.root(self._core)[0] or seq > history.SEQ_MAX for root, seq in rows):
            yield "the history does not end at the root of now: syncs are longer; `replica rescan` begins it anew"
        followed = self.now()
        self._making = None
        if not followed.equals(self._build()):
            yield "the sketch is not that of the records: syncs are longer; `replica rescan` makes it anew"

    @property
    def costly(self) -> bool:
        """Whether it took long to make, and is not stored."""
        return self._sketch is not None and self._unsaved >= KEEP_AFTER

    def keep(self) -> None:
        """Store the sketch if it took long to make, in a write transaction."""
        if self._sketch is None or not self.costly:
            return
        self._core.db.execute("DELETE FROM _replica_sketch")
        sealed = self._sealed(self._seq, self._sketch.to_bytes() + self._adopted.to_bytes())
        self._core.db.execute("INSERT INTO _replica_sketch VALUES (?, ?)", (self._seq, sealed))
        self._unsaved = 0

    def _sealed(self, seq: int, kept: bytes) -> bytes:
        return kept + self._core.keys.digest(b"%d " % seq + kept)

    def forget(self) -> None:
        """It did not tell the truth: make it anew when it is wanted again. In a write transaction."""
        self._sketch = self._making = None
        self._core.db.execute("DELETE FROM _replica_sketch")

    def _prints(self, items: bytes) -> Sequence[int]:
        try:
            return self._family.prints(items)
        except OurFault as error:
            raise history.damaged(self._core) from error

    def recent(self, limit: int) -> Sequence[int]:
        """Fingerprints of the items that came last, the last first, as far as the history goes."""
        return self._prints(history.recent(self._core, limit))[::-1]

    def heads(self, limit: int) -> list[bytes]:
        """The first 5 bytes of every fingerprint, ascending; of the first `limit` by key, if there are more."""
        found: list[int] = []
        prints.expect(min(limit, index.root(self._core)[1]))
        for items in history.items(self._core):
            found += [fingerprint >> 16 for fingerprint in self._prints(items)]
            if len(found) >= limit:
                del found[limit:]
                break
        found.sort()
        return [head.to_bytes(5, "big") for head in found]

    def locate(self, heads: Sequence[bytes]) -> dict[bytes, list[tuple[bytes, bytes]]]:
        """The first 4, 5 or all 7 bytes of a fingerprint -> the items here, as (record key, stamp), that it may stand for.
        Nothing, where there is none."""
        wanted = set(heads)
        width = len(heads[0]) if heads else PRINT_BYTES
        ranges = sorted({head[:HEAD_BYTES] for head in wanted})
        bounds = [(low, low + b"\xff" * (STAMP_BYTES - HEAD_BYTES)) for low in ranges]
        found: dict[bytes, list[tuple[bytes, bytes]]] = {}
        for _, rows in index.select_ranges(self._core, "key, floor, born, stamps", bounds):
            while some := rows.fetchmany(history.ROWS_AT_ONCE):
                items = history.items_of(self._core, some)
                for at, fingerprint in enumerate(self._prints(items)):
                    head = fingerprint.to_bytes(PRINT_BYTES, "big")[:width]
                    if head in wanted:
                        item = items[ITEM_BYTES * at : ITEM_BYTES * at + ITEM_BYTES]
                        found.setdefault(head, []).append((item[:STAMP_BYTES], item[STAMP_BYTES:]))
        return found


def _up_to(key: bytes, items: bytes) -> bytes:
    """Those of the items whose records do not come after a key."""
    parts = [items[at : at + ITEM_BYTES] for at in range(0, len(items), ITEM_BYTES)]
    return b"".join([part for part in parts if part[:STAMP_BYTES] <= key])
