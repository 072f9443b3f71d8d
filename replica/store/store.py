"""A store: one SQLite file, synchronous, in one thread. Every public method is one transaction.

Use it directly in scripts; `replica.node` runs it in a thread of its own. It is also the `Port` of a sync session. One
test each:

1. What a program wrote by plain SQL is in the root that `root` returns.
2. After any method that raised, the file is as it was before.
3. A sync session and a writing program may use the file at once.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from protocol.collector import uncollected
from protocol.descent import Applied, Items
from protocol.keys import Keys, Secrets
from protocol.outcome import Outcome
from protocol.record import Delta, Record
from protocol.trie import EMPTY, Entry, Node
from replica import system
from replica.errors import StoreError, UsageError, from_sqlite
from replica.store import absorb, ddl, history, index, put, report, sample, schema, together
from replica.store.adopt import Adopted, Progress, adopt
from replica.store.apply import apply
from replica.store.connection import bulk, connect
from replica.store.core import Change, Collision, Core
from replica.store.fresh import deltas, records
from replica.store.mend import follow_schema
from replica.store.put import Row
from replica.store.shadow import stamps_of
from replica.store.sketched import Sketched
from replica.store.verify import verify

_T = TypeVar("_T")
_P = ParamSpec("_P")

CAUTIOUS = 16
"""Batches that are applied with savepoints after one in which rows collided: where one is, there are more."""


def initialize(
    path: str | Path,
    name: str,
    secrets: Secrets | None = None,
    *,
    now_ms: Callable[[], int] = system.now_ms,
    random: Callable[[int], bytes] = system.random_bytes,
) -> None:
    """Make the file part of a replication group: of the one whose secrets are given, else of a new one. The file is made
    if need be; tables that it has are left alone. Raises StoreError."""
    path = str(path)
    if not name or len(name) > 64 or not name.isprintable():
        raise UsageError("a node's name has 1 to 64 printable characters")
    db = connect(path, create=True)
    try:
        db.execute("BEGIN IMMEDIATE")
        if schema.installed(db):
            raise StoreError(f"{path} is part of a replication group already: `replica status {path}` shows which")
        schema.migrate(db, path)
        mine = secrets or Secrets(random(16), random(32), random(32))
        meta = {
            "node": random(8),
            "name": name,
            "group": mine.group,
            "digest_secret": mine.digest_secret,
            "access_key": mine.access_key,
            "check": mine.check(),
            "clock": b"",
            "root": EMPTY,
            "count": 0,
            "founder": int(secrets is None),
            "made_ms": now_ms(),
            "schema_version": -1,
        }
        db.executemany("INSERT INTO _replica_meta VALUES (?, ?)", list(meta.items()))
        db.execute("COMMIT")
    except sqlite3.Error as error:
        raise from_sqlite(error, path) from error
    finally:
        db.close()
    with Store(path, now_ms=now_ms, random=random) as store:
        store.introduce()


def _reporting(method: Callable[_P, _T]) -> Callable[_P, _T]:
    """A method of Store that turns SQLite's errors into ours."""

    @wraps(method)
    def reporting(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        store: Any = args[0]
        with store._core.reporting():
            return method(*args, **kwargs)

    return reporting


class Store:
    """An open store. `on_change` gets the changes of each commit, in the thread that made it."""

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
        self._cautious = 0
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

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- who and what -------------------------------------------------------------------------------------------------

    @property
    def group_keys(self) -> Keys:
        """The group's derived keys."""
        return self._core.keys

    @property
    @_reporting
    def node_id(self) -> bytes:
        """This node's id. It changes when the file is found to be a clone."""
        node: bytes = self._core.meta("node")
        return node

    @property
    @_reporting
    def name(self) -> str:
        """This node's name."""
        return self._core.name

    @_reporting
    def secrets(self) -> Secrets:
        """What another machine needs to join: keep it secret."""
        return Secrets(*(self._core.meta(n) for n in ("group", "digest_secret", "access_key")))

    def listen(self, on_change: Callable[[list[Change]], None] | None) -> None:
        """Have the changes of each commit reported."""
        self._core.on_change = on_change

    # --- writing ------------------------------------------------------------------------------------------------------

    @contextmanager
    def transaction(self) -> Iterator[Core]:
        """One write transaction, in which nothing waits to be absorbed: for rooms that compose what is below a store."""
        self._catch_up()
        with self._core.transaction(index.flush):
            absorb.absorb_all(self._core)
            yield self._core

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
            if self._core.schema_moved or absorb.pending(self._core):
                return False
            self._settled = now
        return True

    def introduce(self) -> None:
        """Tell the group this node's name."""
        with self.transaction() as core:
            ddl.introduce(core)

    def rescan(self) -> None:
        """Compare every row with what is known of it, and take what no trigger saw as local writes."""
        core = self._core
        with core.transaction(index.flush):  # Nothing is flushed before: the trie may be what is damaged.
            absorb.absorb_all(core)
            follow_schema(core)
            for table in core.tables.values():
                if table.shape is not None:
                    absorb.full_diff(core, table)
            absorb.surface(core)
            index.rebuild(core)
            self._sketched.forget()

    @_reporting
    def adopt(
        self, tables: Sequence[str] = (), *, natural: Sequence[str] = (), progress: Progress | None = None
    ) -> list[Adopted]:
        """Replicate existing tables: these, or all. `natural`: tables whose INTEGER PRIMARY KEY means something outside
        this database. Raises TableRefused."""
        with bulk(self._db), self.transaction() as core:
            return adopt(core, tables, natural, progress)

    @_reporting
    def put_many(self, table: str, rows: Iterable[Row]) -> int:
        """Insert or update many rows; all or nothing. Raises RowRefused."""
        with bulk(self._db), self.transaction() as core:
            return put.put_many(core, table, rows)

    def execute(self, sql: str, parameters: Sequence[object] | dict[str, object] = ()) -> tuple[list[str], list[Any]]:
        """Run one SQL statement and stamp what it wrote: (columns, rows). Raises UsageError for one about transactions."""
        with self.transaction() as core:
            done = together.statement(sql, parameters)(core)
            absorb.absorb_all(core)
        return done

    def together(self, writes: Sequence[together.Write]) -> list[together.Done]:
        """Group commit: run these writes, each as if alone, in as few transactions as may be."""
        return together.together(self._core, writes, self.transaction)

    def query(self, sql: str, parameters: Sequence[object] | dict[str, object] = ()) -> list[Any]:
        """Rows of a SELECT."""
        with self._core.reporting():
            return self._db.execute(sql, parameters).fetchall()

    # --- a session's port ---------------------------------------------------------------------------------------------

    def _read(self, action: Callable[[], _T]) -> _T:
        """Run an action on a snapshot in which nothing waits to be absorbed: a row and its stamps then belong together."""
        core = self._core
        for _ in range(8):
            with core.reading():
                if self._quiet(core.began):
                    return action()
            self._catch_up()
        with self.transaction():
            return action()

    def root(self) -> tuple[bytes, int]:
        """Root digest and number of records, after absorption."""
        with self._core.reporting():
            if self._core.versions() == self._settled:  # Then what is remembered is true: no snapshot is needed.
                return index.root(self._core)
        return self._read(lambda: index.root(self._core))

    @_reporting
    def nodes(self, prefixes: Sequence[str]) -> dict[str, Node]:
        """The trie nodes at these prefixes."""
        return index.nodes(self._core, prefixes)

    @_reporting
    def entries(self, prefix: str, after: bytes, limit: int) -> list[Entry]:
        """Entries below a prefix."""
        return index.entries(self._core, prefix, after, limit)

    @_reporting
    def keys(self, heads: Sequence[bytes]) -> dict[bytes, bytes]:
        """Head of a key -> the first key that begins so."""
        return index.first_keys(self._core, heads)

    @_reporting
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

    @uncollected()
    def apply(self, records: Sequence[Delta], now_ms: int) -> Applied:
        """Join a peer's records. Raises Malformed and changes nothing if one is no record."""
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
        return self._read(lambda: sample.first(self._core, limit))

    def compare_sample(self, entries: Sequence[Entry]) -> tuple[int, int]:
        """(adopted records that both sides have, those of them that differ)."""
        return self._read(lambda: sample.compare(self._core, entries))

    @_reporting
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

    @uncollected()
    def cells(self, width: int, since: bytes = b"") -> bytes:
        """The sketch of the same, folded to a width."""
        return self._read(lambda: self._sketched.now(since).cells(width))

    def extension(self, width: int, since: bytes = b"") -> bytes:
        """What widens `cells(width, since)`."""
        return self._read(lambda: self._sketched.now(since).extension(width))

    @uncollected()
    def heads(self) -> list[bytes]:
        """The first 4 bytes of every item's fingerprint."""
        return self._read(self._sketched.heads)

    @_reporting
    def locate(self, heads: Sequence[bytes]) -> dict[bytes, list[tuple[bytes, bytes]]]:
        """The items here that these beginnings of fingerprints may stand for."""
        return self._sketched.locate(heads)

    # --- for people ---------------------------------------------------------------------------------------------------

    def status(self) -> report.Json:
        """Node, tables, roots, clock, peers."""
        with self._core.reporting():
            backlog = absorb.backlog(self._core)
        shown = self._read(lambda: report.status(self._core))
        shown["backlog"] = backlog
        return shown

    def notices(self) -> list[str]:
        """What the user of this node must know: shown by every status and sync."""
        return self._read(lambda: report.notices(self._core))

    def verify(self, progress: Progress | None = None) -> list[str]:
        """Every difference between the tables and what is stored about them; empty if all is well."""
        return self._read(lambda: list(verify(self._core, progress)) or list(self._sketched.differences()))

    def why(self, table: str, key: list[str], field: str | None = None) -> report.Json:
        """Who wrote what is in a record, and what it overwrote. Raises UsageError."""
        return self._read(lambda: report.why(self._core, table, key, field))

    def held(self) -> list[report.Json]:
        """Records held from view, and hidden edits."""
        return self._read(lambda: report.held(self._core))

    def held_edit(self, ref: str, changes: dict[str, object]) -> None:
        """Write fields of a held record."""
        with self.transaction() as core:
            report.held_edit(core, ref, changes)

    def held_delete(self, ref: str) -> None:
        """Delete a held record everywhere."""
        with self.transaction() as core:
            report.held_delete(core, ref)

    def held_count(self) -> int:
        """How many live records no table shows."""
        return self._read(lambda: report.held_count(self._core))

    def held_rekey(self, ref: str, key: object | None = None) -> tuple[object, list[str]]:
        """Give a held record another key, so that it can be shown. Returns the key, and who refers to the old one."""
        with self.transaction() as core:
            done = report.held_rekey(core, ref, key)
            absorb.absorb_all(core)
            return done

    @_reporting
    def home(self) -> str:
        """The address that the invite named, else that of the peer last met by address, or empty."""
        row = self._db.execute("SELECT url FROM _replica_peer WHERE url <> '' ORDER BY met_ms DESC LIMIT 1").fetchone()
        return str(self._core.meta("home") or (row[0] if row else ""))

    def set_home(self, url: str) -> None:
        """Sync with this address when none is named."""
        with self.transaction() as core:
            core.set_meta("home", url)

    @_reporting
    def agreed(self, url: str) -> bytes:
        """The root at which this node and the one at this address were equal last; empty if they never were."""
        sql = "SELECT agreed FROM _replica_peer WHERE url = ? ORDER BY met_ms DESC LIMIT 1"
        row = self._db.execute(sql, (url,)).fetchone()
        return bytes(row[0]) if row and type(row[0]) is bytes else b""

    def remember(self, outcome: Outcome, url: str | None) -> None:
        """Keep how a session went, for `status`."""
        peer = outcome.peer
        if peer is None:
            return
        with self._core.transaction(index.flush) as _:
            now = self._core.now_ms()
            if outcome.misled:
                self._sketched.forget()
            self._sketched.keep()
            self._db.execute(
                "INSERT INTO _replica_peer(node, name, url, met_ms, outcome, root, agreed_ms, offset_ms, sent, received, "
                "agreed) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT(node) DO UPDATE SET "
                "name = excluded.name, url = coalesce(excluded.url, url), met_ms = excluded.met_ms, "
                "outcome = excluded.outcome, root = excluded.root, agreed_ms = coalesce(excluded.agreed_ms, agreed_ms), "
                "agreed = coalesce(excluded.agreed, agreed), "
                "offset_ms = excluded.offset_ms, sent = sent + excluded.sent, received = received + excluded.received",
                (peer.node, peer.name, url, now, outcome.code, outcome.root, now if outcome.in_sync else None,
                 outcome.offset_ms, outcome.sent, outcome.received, outcome.root if outcome.in_sync else None),
            )  # fmt: skip
