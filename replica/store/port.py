"""An open store as a sync session needs it: the `Port`. Every method is one snapshot, or one transaction.

What programs and people want of a store besides is in `store`. One test each:

1. A session reads no row and stamp that do not belong together: what waits is absorbed first.
2. What is read and what is applied is of one moment, however the file changes between two calls.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, Self, TypeVar

from protocol.collector import uncollected
from protocol.descent import Applied
from protocol.keys import Keys
from protocol.reading import Items
from protocol.record import Delta, Record
from protocol.trie import Entry, Node
from replica import system
from replica.store import absorb, ddl, history, index, sample
from replica.store.apply import apply
from replica.store.connection import connect, copy_log
from replica.store.core import Collision, Core
from replica.store.encoder import Encoders
from replica.store.fresh import deltas, records
from replica.store.mend import follow_schema
from replica.store.shadow import stamps_of
from replica.store.sketched import Sketched

_T = TypeVar("_T")
_P = ParamSpec("_P")

COPY_AFTER = 2_048
"""Records that were joined without waiting until the log is copied into the file, each of which is some two pages of it,
after which it is copied: by the next batch, or when nobody waits."""
CAUTIOUS = 16
"""Batches that are applied with savepoints after one in which rows collided: where one is, there are more."""


def reporting(method: Callable[_P, _T]) -> Callable[_P, _T]:
    """A method of Store that turns SQLite's errors into ours."""

    @wraps(method)
    def told(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        store: Any = args[0]
        with store._core.reporting():
            return method(*args, **kwargs)

    return told


class StorePort:
    """An open store, with what a session needs of it."""

    def __init__(
        self,
        path: str | Path,
        *,
        durable: bool = True,
        now_ms: Callable[[], int] = system.now_ms,
        random: Callable[[int], bytes] = system.random_bytes,
        db: sqlite3.Connection | None = None,
    ) -> None:
        """`durable=False` gives up FULL durability: a power cut may lose the last commits, never consistency. Raises
        NotAStore, NewerStore, StoreBusy or StoreReadOnly."""
        self.path = str(path)
        self._cautious = self._updating = self._joined = 0
        self._encoders = Encoders()
        self._settled: tuple[int, int, int] | None = None
        self._db = db or connect(path, durable=durable)
        try:
            self._core = Core(self._db, self.path, now_ms, random, follow_schema)
        except BaseException:
            self._db.close()
            raise
        self._sketched = Sketched(self._core)

    def close(self) -> None:
        """Close the file. A store that is not closed loses nothing."""
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def group_keys(self) -> Keys:
        """The group's derived keys."""
        return self._core.keys

    @contextmanager
    def transaction(self) -> Iterator[Core]:
        """One write transaction, in which nothing waits to be absorbed: for rooms that compose what is below a store."""
        self._catch_up()
        core = self._core
        inner, quiet = core.in_transaction, False
        with core.transaction(index.flush):
            if inner or core.began != self._settled:
                absorb.absorb_all(core)
            yield core
            quiet = not inner and not absorb.pending(core)
        if quiet and core.known[0] == core.remembered().get("schema_version"):
            self._settled = *core.known, core.db.total_changes

    def absorb(self) -> None:
        """Stamp whatever other programs wrote."""
        self._catch_up()

    def _catch_up(self) -> None:
        core = self._core
        with core.reporting():
            while not self._quiet(core.versions()):
                with core.transaction(index.flush):
                    absorb.absorb(core)

    def _quiet(self, now: tuple[int, int, int]) -> bool:
        """Whether nothing waits to be absorbed or followed, in the file of these `versions` or a later one."""
        if now != self._settled:
            if now[0] != self._core.remembered().get("schema_version") or absorb.pending(self._core):
                return False
            self._settled = now
        return True

    def _read(self, action: Callable[[], _T]) -> _T:
        """Run an action on a snapshot in which nothing waits to be absorbed: a row and its stamps then belong together."""
        core = self._core
        for _ in range(8):
            with core.reading():
                if self._quiet(core.began):
                    return action()
            self._catch_up()
        with self.transaction() as core:
            index.flush(core)  # What was absorbed here belongs to the root, and to the history, that the action sees.
            return action()

    def root(self) -> tuple[bytes, int]:
        """Root digest and number of records, after absorption."""
        with self._core.reporting():
            if self._core.versions() == self._settled:  # Then what is remembered is true: no snapshot is needed.
                return index.root_in(self._core, self._core.remembered())
        return self._read(lambda: index.root(self._core))

    @reporting
    def nodes(self, prefixes: Sequence[str]) -> dict[str, Node]:
        """The trie nodes at these prefixes."""
        return index.nodes(self._core, prefixes)

    @reporting
    def entries(self, prefix: str, after: bytes, limit: int) -> list[Entry]:
        """Entries below a prefix."""
        return index.entries(self._core, prefix, after, limit)

    @reporting
    def keys(self, heads: Sequence[bytes]) -> dict[bytes, bytes]:
        """Head of a key -> the first key that begins so."""
        return index.first_keys(self._core, heads)

    @reporting
    def stamps(self, keys: Sequence[bytes]) -> dict[bytes, set[bytes]]:
        """Key -> every stamp in the record's state."""
        return stamps_of(self._core, keys)

    def records(self, keys: Sequence[bytes]) -> list[Record]:
        """The records under these keys."""
        return self._read(lambda: records(self._core, keys))

    @uncollected()
    def deltas(self, keys: Sequence[bytes]) -> list[Delta]:
        """The same as they travel, whole."""
        return self._read(lambda: deltas(self._core, keys))

    @reporting
    @uncollected()
    def apply(self, records: Sequence[Delta], now_ms: int) -> Applied:
        """Join a peer's records. Raises Malformed and changes nothing if one is no record."""
        if self._joined >= COPY_AFTER:
            self._joined = 0
            return self._join(records, now_ms)
        with self._core.pace.unhurried():
            applied = self._join(records, now_ms)
        self._joined += applied.changed
        return applied

    def _join(self, records: Sequence[Delta], now_ms: int) -> Applied:
        if self._cautious:
            self._cautious -= 1
        else:
            try:
                return self._apply(records, now_ms, bold=True)
            except Collision:
                self._cautious = CAUTIOUS
        return self._apply(records, now_ms, bold=False)

    def _apply(self, deltas: Sequence[Delta], now_ms: int, *, bold: bool) -> Applied:
        with self.transaction() as core:
            core.bold, core.remote = bold, True
            try:
                return apply(core, deltas, now_ms)
            finally:
                core.bold = core.remote = False

    def sample(self, limit: int) -> list[Entry]:
        """(key, birth stamp) of the first adopted, never changed records."""

        def read() -> list[Entry]:
            adopted = self._sketched.adopted()
            return sample.first(self._core, limit) if adopted is None else adopted.first(self._core, limit)

        return self._read(read)

    def compare_sample(self, entries: Sequence[Entry]) -> tuple[int, int]:
        """(adopted records that both sides have, those of them that differ)."""
        return self._read(lambda: sample.compare(self._core, entries))

    @reporting
    def node_name(self, node: bytes) -> str:
        """What the group calls a node."""
        return ddl.node_name(self._core, node)

    def came_since(self, root: bytes) -> int | None:
        """How many items came since this was the root; None: not remembered."""

        def count() -> int | None:
            seq = history.when(self._core, root)
            return None if seq is None else history.count_since(self._core, seq)

        return self._read(count)

    def news(self, root: bytes) -> Items:
        """Those items."""

        def read() -> Items:
            seq = history.when(self._core, root)
            return {} if seq is None else history.news(self._core, seq)

        return self._read(read)

    def counters(self, since: bytes = b"") -> bytes:
        """The estimator of the items here, or of those that came and went since that was the root."""
        return self._read(lambda: self._sketched.now(since).counters())

    @reporting
    def sketch_due(self) -> bool:
        """Whether the sketch is better brought up to now before a session wants it, by `make_sketch`. Nothing is absorbed to
        find out."""
        if not self._sketched.pays():
            return False
        with self._core.reading():
            return self._sketched.due()

    def make_sketch(self) -> bool:
        """Make a part of it, in some 12 ms, and keep it when it is whole. Returns whether there is more to do."""
        if not self.sketch_due():
            return False
        if self._read(self._sketched.part):
            return True
        if self._sketched.costly:
            with self._core.transaction(index.flush):
                self._sketched.keep()
        return False

    @reporting
    def tidy(self) -> bool:
        """Do some of what is better done while nobody waits. Returns whether there is more to do."""
        if self._joined >= COPY_AFTER:
            self._joined = 0
            copy_log(self._db)
        return self.make_sketch()

    @uncollected()
    def cells(self, width: int, since: bytes = b"") -> bytes:
        """The sketch of the same, folded to a width."""
        return self._read(lambda: self._sketched.now(since).cells(width))

    def extension(self, width: int, since: bytes = b"") -> bytes:
        """What widens `cells(width, since)`."""
        return self._read(lambda: self._sketched.now(since).extension(width))

    def recent(self, limit: int) -> Sequence[int]:
        """Fingerprints of the items that came last, the last first."""
        return self._read(lambda: self._sketched.recent(limit))

    @uncollected()
    def heads(self, limit: int) -> list[bytes]:
        """The first 5 bytes of every item's fingerprint, ascending; of some `limit` items, if there are more."""
        return self._read(lambda: self._sketched.heads(limit))

    @reporting
    def locate(self, heads: Sequence[bytes]) -> dict[bytes, list[tuple[bytes, bytes]]]:
        """The items here that these beginnings of fingerprints may stand for."""
        return self._sketched.locate(heads)
