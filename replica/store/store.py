"""A store: one SQLite file, synchronous, in one thread. Every public method is one transaction.

Use it directly in scripts; `replica.node` runs it in a thread of its own. It is also the `Port` of a sync session. One
test each:

1. What a program wrote by plain SQL is in the root that `root` returns.
2. After any method that raised, the file is as it was before.
3. A sync session and a writing program may use the file at once.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext, suppress
from itertools import chain
from pathlib import Path
from typing import Any

from protocol.errors import ReplicaError
from protocol.keys import Secrets
from protocol.outcome import Outcome
from protocol.trie import EMPTY
from replica import system
from replica.errors import StoreError, UsageError, from_sqlite
from replica.store import absorb, ddl, index, put, report, schema, source, together, young
from replica.store.adopt import Adopted, Progress, adopt
from replica.store.careful import Row
from replica.store.changes import Change
from replica.store.connection import bulk, connect, interruptible
from replica.store.core import Collision
from replica.store.identity import introduced, renew
from replica.store.mend import follow_schema
from replica.store.port import CAUTIOUS, COPY_AFTER, StorePort, reporting
from replica.store.repair import repair
from replica.store.statement import makes, reads, refuse, statement
from replica.store.verify import verify


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


class Store(StorePort):
    """An open store. `on_change` gets the changes of each commit, in the thread that made it."""

    # --- who and what -------------------------------------------------------------------------------------------------

    @property
    @reporting
    def me(self) -> tuple[bytes, str]:
        """This node's id and name, of one moment."""
        settings = self._core.settings()
        return settings["node"], str(settings["name"])

    @property
    @reporting
    def node_id(self) -> bytes:
        """This node's id. It changes when the file is found to be a clone."""
        node: bytes = self._core.meta("node")
        return node

    @property
    @reporting
    def name(self) -> str:
        """This node's name."""
        return self._core.name

    @reporting
    def secrets(self) -> Secrets:
        """What another machine needs to join: keep it secret."""
        return Secrets(*(self._core.meta(n) for n in ("group", "digest_secret", "access_key")))

    def listen(self, on_change: Callable[[list[Change]], None] | None) -> None:
        """Have the changes of each commit reported."""
        self._core.changes.listener = on_change

    # --- writing ------------------------------------------------------------------------------------------------------

    def introduce(self) -> None:
        """Tell the group this node's name."""
        with self.transaction() as core:
            ddl.introduce(core)

    def rescan(self) -> list[str]:
        """Compare every row with what is known of it, and take what no trigger saw as local writes. A node whose id is
        damaged takes a new one. Returns what was damaged and is mended, a sentence each."""
        core = self._core
        with core.transaction(index.flush, follow=False):  # To follow would be to read them.
            mended = young.drop_damaged(core)
        with core.transaction(index.flush):  # Nothing is flushed before: the trie may be what is damaged.
            young.merge(core)
            mended += repair(core)
            absorb.absorb_all(core)
            follow_schema(core)
            for table in core.tables.values():
                if table.shape is not None:
                    absorb.full_diff(core, table)
            absorb.surface(core)
            if not introduced(core):
                renew(core, core.name)
            index.rebuild(core)
            self._sketched.forget()
        return mended

    @reporting
    def adopt(
        self, tables: Sequence[str] = (), *, natural: Sequence[str] = (), progress: Progress | None = None
    ) -> list[Adopted]:
        """Replicate existing tables: these, or all. `natural`: tables whose INTEGER PRIMARY KEY means something outside
        this database. Raises TableRefused."""
        with bulk(self._db), self.transaction() as core:
            return adopt(core, tables, natural, progress)

    def put_many(self, table: str, rows: Iterable[Row]) -> int:
        """Insert or update many rows; all or nothing. Raises RowRefused, and whatever their source raises; a transaction
        that the caller began may go on."""
        try:
            return self._put(table, rows)
        except source.SourceFailed as failed:
            raise failed.error from None

    @reporting
    def _put(self, table: str, rows: Iterable[Row]) -> int:
        steady = type(rows) in {list, tuple}
        with bulk(self._db):
            given = iter(rows) if steady else map(source.own, rows)
            few = source.taken(given, young.BATCH_MAX + 1)
            inner = self._core.in_transaction
            fit = young.BATCH_MIN <= len(few) <= young.BATCH_MAX and not inner
            if fit and self._put_young(table, few):
                return len(few)
            with self.transaction() as core, core.savepoint() if inner else nullcontext():
                return put.put_many(core, table, chain(few, given), steady=steady)

    def _put_young(self, table: str, rows: list[Row]) -> bool:
        """Whether the rows are in, all of them new. Where one is not, the next are often not either."""
        if self._updating:
            self._updating -= 1
            return False
        try:
            with self._core.transaction(index.flush):
                return put.put_young(self._core, table, rows, self._encoders)
        except Collision:
            self._updating = CAUTIOUS
            return False

    def execute(self, sql: str, parameters: Sequence[object] | dict[str, object] = ()) -> tuple[list[str], list[Any]]:
        """Run one SQL statement and stamp what it wrote: (columns, rows). What begins with SELECT waits for no other program
        that writes. Raises UsageError for one about transactions."""
        run = statement(sql, parameters)
        if reads(sql):
            with interruptible(self._db), self._core.reading():
                return run(self._core)
        with interruptible(self._db), self.transaction() as core:
            done = run(core)
            absorb.absorb_all(core)
        return done

    def together(self, writes: Sequence[together.Write]) -> list[together.Done]:
        """Group commit: run these writes, each as if alone, in as few transactions as may be. What statements wrote waits to
        be absorbed."""
        return together.together(self._core, writes, self.transaction)

    def query(self, sql: str, parameters: Sequence[object] | dict[str, object] = ()) -> list[Any]:
        """Rows of a SELECT. Raises UsageError as `execute`."""
        if makes(sql):  # In a transaction, at whose end it is known what was made.
            return self.execute(sql, parameters)[1]
        refuse(sql)
        with self._core.reporting():
            self._core.unsure()
            return self._db.execute(sql, parameters).fetchall()

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

    @reporting
    def home(self) -> str:
        """The address that the invite named, else that of the peer last met by address, or empty."""
        row = self._db.execute("SELECT url FROM _replica_peer WHERE url <> '' ORDER BY met_ms DESC LIMIT 1").fetchone()
        return str(self._core.meta("home") or (row[0] if row else ""))

    def set_home(self, url: str) -> None:
        """Sync with this address when none is named."""
        with self.transaction() as core:
            core.set_meta("home", url)

    @reporting
    def agreed(self, url: str) -> bytes:
        """The root at which this node and the one at this address were equal last; empty if they never were."""
        return self._agreed(url) or b""

    @reporting
    def broken_off(self, url: str) -> bool:
        """Whether all that one of these two has was on its way to the other when the line was cut."""
        return self._agreed(url) == b""

    def _agreed(self, url: str) -> bytes | None:
        sql = "SELECT agreed FROM _replica_peer WHERE url = ? ORDER BY met_ms DESC LIMIT 1"
        row = self._db.execute(sql, (url,)).fetchone()
        return row[0] if row and type(row[0]) is bytes else None

    @reporting
    def remember(self, outcome: Outcome, url: str | None) -> bool:
        """Keep how a session went, for `status`. Returns whether it left something for `tidy`."""
        peer = outcome.peer
        if peer is None:
            return False
        with self._core.pace.unhurried(), self._core.transaction(index.flush):
            now = self._core.now_ms()
            if outcome.misled:
                self._sketched.forget()
            self._sketched.keep()
            agreed = outcome.root if outcome.in_sync else b"" if outcome.broken_off else None
            self._db.execute(
                "INSERT INTO _replica_peer(node, name, url, met_ms, outcome, root, agreed_ms, offset_ms, sent, received, "
                "agreed) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT(node) DO UPDATE SET "
                "name = excluded.name, url = coalesce(excluded.url, url), met_ms = excluded.met_ms, "
                "outcome = excluded.outcome, root = excluded.root, agreed_ms = coalesce(excluded.agreed_ms, agreed_ms), "
                "agreed = coalesce(excluded.agreed, agreed), "
                "offset_ms = excluded.offset_ms, sent = sent + excluded.sent, received = received + excluded.received",
                (peer.node, peer.name, url, now, outcome.code, outcome.root, now if outcome.in_sync else None,
                 outcome.offset_ms, outcome.sent, outcome.received, agreed),
            )  # fmt: skip
        return self._joined >= COPY_AFTER

    def note(self, outcome: Outcome, url: str | None, *, tell: bool) -> bool:
        """`remember`, if the disk lets us, and in one call, if somebody is to be told of it, what he must know of this node
        by now: how many records it holds, and its notices."""
        more = False
        with suppress(ReplicaError):  # What ended the session matters more than the note of it.
            more = self.remember(outcome, url)
        if tell:
            outcome.held, notices = self._read(lambda: (report.held_count(self._core), report.notices(self._core)))
            outcome.reasons.extend(notices)
        return more
