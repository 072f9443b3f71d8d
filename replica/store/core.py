"""One open store: its connection, its transactions, its clock, and what it remembers between calls.

Everything in this folder works on a `Core`, in one thread. One test each:

1. A transaction commits rows, state, digests, trie and clock together, or none of them.
2. What is remembered (tables, fields, settings) is dropped when another process changed the file, or a transaction failed;
   definitions also when a peer's were followed.
3. `last` is read and written in the transaction that uses it, so two processes on one file never issue one stamp twice.
"""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any

from protocol.errors import ReplicaError
from protocol.hlc import Clock
from protocol.keys import Keys, Secrets
from protocol.values import IllFormedText
from replica.errors import NotAStore, hopeless
from replica.store import catalog, schema
from replica.store.changes import Change, Changes
from replica.store.connection import Pace, begin
from replica.store.damage import Decoding
from replica.store.dirty import Dirty
from replica.store.lists import CHUNK, filled, length, places
from replica.store.toggled import Toggled

ROWS_AT_ONCE = 100
"""Rows of one INSERT."""
ALONE_MAX = 100
"""Rows that are written one by one, so that one which is refused leaves the others alone; more are written together."""
PARAMETERS_MAX = 32_000
"""Of one statement: SQLite's own default limit is 32,766."""
_NEVER = (-1, -1)


class Collision(Exception):
    """A row cannot stand beside others, and there is no savepoint to go back to."""


class Core:
    """An open store. `now_ms` and `random` are the only sources of time and chance."""

    def __init__(
        self,
        db: sqlite3.Connection,
        path: str,
        now_ms: Callable[[], int],
        random: Callable[[int], bytes],
        follow_schema: Callable[[Core], None],
    ) -> None:
        """`follow_schema` is called in a write transaction when somebody changed a definition."""
        self._follow_schema = follow_schema
        self.db, self.path, self.now_ms, self.random = db, path, now_ms, random
        self._reporting, self.pace = Decoding(self), Pace(db)
        self.tables: dict[int, catalog.Table] = {}
        self.by_name: dict[str, catalog.Table] = {}
        self.changes, self.dirty, self.toggled = Changes(), Dirty(), Toggled()
        """Items that came and went in this transaction."""
        self.bold = False
        """Run without savepoints: whoever sets this tries again without it after a Collision."""
        self.remote = False
        """What changes now is a peer's doing."""
        self.in_transaction = False
        self.began = (-1, -1, -1)
        """`versions` when this transaction began."""
        self._seen = self.known = _NEVER
        """Of definitions, and of what others committed: what was read in, and what was seen last."""
        self._shapes, self._shapes_at = dict[str, catalog.Shape | str](), -1
        self._meta: dict[str, Any] | None = None
        self._meta_at = -1
        """What other connections had committed when the settings were read."""
        self._last_saved = b""
        with self.reporting():
            self._busy_ms: int = db.execute("PRAGMA busy_timeout").fetchone()[0]
            if not schema.installed(db):
                raise NotAStore(f"{path} is not part of a replication group yet: run `replica init {path}`")
            if schema.installed(db) != schema.FORMAT:
                self._migrate()
        try:
            self.keys = Keys(Secrets(*(self.meta(n) for n in ("group", "digest_secret", "access_key"))))
            self.clock = Clock(self.meta("node"), self.meta("clock"))
        except (ReplicaError, TypeError, ValueError) as error:
            raise hopeless(path, "its node id or the secrets of its group make no sense") from error

    def _migrate(self) -> None:
        begin(self.db, self._busy_ms)
        try:
            schema.migrate(self.db, self.path)
            self.db.execute("COMMIT")
        except BaseException:
            if self.db.in_transaction:
                self.db.execute("ROLLBACK")
            raise

    # --- meta -------------------------------------------------------------------------------------------------------

    def meta(self, name: str) -> Any:
        """A stored setting, or None."""
        return self.settings().get(name)

    def settings(self) -> Mapping[str, Any]:
        """All settings, of one moment."""
        if not self.in_transaction:
            self.versions()
        return self.remembered()

    def remembered(self) -> Mapping[str, Any]:
        """All settings, as of the last `versions`."""
        if self._meta is None:
            self._meta = dict(self.rows("SELECT name, value FROM _replica_meta"))
        return self._meta

    def set_meta(self, name: str, value: object) -> None:
        """Store a setting, in a transaction."""
        if self.meta(name) != value:
            self.db.execute("INSERT OR REPLACE INTO _replica_meta VALUES (?, ?)", (name, value))
            assert self._meta is not None
            self._meta[name] = value

    @property
    def name(self) -> str:
        """This node's name."""
        return str(self.meta("name"))

    # --- transactions -----------------------------------------------------------------------------------------------

    def reporting(self) -> AbstractContextManager[None]:
        """Turn SQLite's errors into ours."""
        return self._reporting

    @contextmanager
    def transaction(self, flush: Callable[[Core], None], *, follow: bool = True) -> Iterator[None]:
        """One write transaction: all or nothing, with what `flush` does at its end. `follow`: definitions that changed."""
        if self.in_transaction:
            yield
            return
        with self.reporting():
            self.pace.keep()
            begin(self.db, self._busy_ms)
            self.in_transaction = True
            try:
                self._refresh(follow=follow)
                yield
                flush(self)
                if self.clock.last != self._last_saved:
                    self.set_meta("clock", self.clock.last)
                if self.clock.issued:
                    self.set_meta("issued", self.clock.issued)
                # Before the commit: what another process commits right after it must not pass for seen.
                seen = self._definitions(), self.began[1]
                self.db.execute("COMMIT")
                self._seen = self.known = seen
                self.in_transaction = False
            except BaseException:
                self._seen, self.known, self._meta = _NEVER, _NEVER, None
                self.changes.clear()
                self.dirty.clear()
                self.toggled.clear()
                self.in_transaction = False
                if self.db.in_transaction:
                    self.db.execute("ROLLBACK")
                raise
        self.changes.tell()

    @contextmanager
    def reading(self) -> Iterator[None]:
        """One snapshot for several reads."""
        if self.in_transaction:
            yield
            return
        with self.reporting():
            self.db.execute("BEGIN")
            self.in_transaction = True
            try:
                self._refresh(follow=False)
                yield
            finally:
                self.in_transaction = False
                if self.db.in_transaction:
                    self.db.execute("COMMIT")

    def versions(self) -> tuple[int, int, int]:
        """Of the definitions; of what other connections committed; of what this one wrote. Definitions are read again only
        where others committed something or the engine changed them, and at the end of a `transaction`."""
        (others,) = self.db.execute("PRAGMA data_version").fetchone()
        if others != self.known[1]:
            self.known = self._definitions(), others
        if others != self._meta_at:
            self._meta, self._meta_at = None, others
        return *self.known, self.db.total_changes

    def unsure(self) -> None:
        """Definitions may have changed since they were read."""
        self.known = _NEVER

    def _definitions(self) -> int:
        return int(self.db.execute("PRAGMA schema_version").fetchone()[0])

    def _refresh(self, *, follow: bool) -> None:
        self.began = self.versions()
        self._last_saved = self.meta("clock")
        self.clock = Clock(self.meta("node"), self._last_saved)
        if self.began[:2] != self._seen:
            self.reload()
            self._seen = self.began[:2]
        if follow and self.began[0] != self.meta("schema_version"):
            self._follow_schema(self)

    def reload(self) -> None:
        """Read the tables anew. Definitions that this transaction changed are remembered by no number: it may be undone,
        and then another definition gets the same."""
        at = self.db.execute("PRAGMA schema_version").fetchone()[0]
        if at != self._shapes_at:
            self._shapes, self._shapes_at = {}, at if at == self.began[0] else -1
        self.tables = catalog.load(self.db, self._shapes)
        self.by_name = {t.collection: t for t in self.tables.values()}

    @property
    def schema_moved(self) -> bool:
        """Somebody changed a definition since the engine last looked."""
        return bool(self._definitions() != self.meta("schema_version"))

    def schema_followed(self) -> None:
        """What stands in the file now is what the engine knows."""
        self.set_meta("schema_version", self._definitions())
        self.unsure()

    @contextmanager
    def defining(self, really: object = True) -> Iterator[None]:
        """The engine changes definitions here, if `really`. What somebody else changed before must still be followed."""
        moved = not really or self.schema_moved
        yield
        if not moved:
            self.schema_followed()

    @contextmanager
    def trial(self) -> Iterator[None]:
        """Undo what is done here if it raises. A savepoint makes each statement that may fire a trigger copy its pages anew,
        which is slow and takes memory; so a `bold` transaction keeps none, and a collision ends it."""
        if self.bold:
            try:
                yield
            except sqlite3.IntegrityError as error:
                raise Collision from error
            return
        with self.savepoint():
            yield

    @contextmanager
    def savepoint(self, *, keep: bool = True) -> Iterator[None]:
        """Undo what is done here if it raises, or anyway. An error of the disk makes SQLite roll back the whole transaction:
        then the savepoint is gone too, and that error is the one to tell."""
        self.db.execute("SAVEPOINT replica_trial")
        toggled, dirty, told = self.toggled.mark(), self.dirty.mark(), self.changes.mark()

        def back() -> None:
            self._meta, self.known = None, _NEVER
            self.toggled.back(toggled)
            self.dirty.back(dirty)
            self.changes.back(told)
            if self.db.in_transaction:
                self.db.execute("ROLLBACK TO replica_trial")
                self.db.execute("RELEASE replica_trial")

        try:
            yield
        except BaseException:
            back()
            raise
        if not keep:
            back()
            return
        self.dirty.keep(dirty)
        self.db.execute("RELEASE replica_trial")

    # --- helpers ----------------------------------------------------------------------------------------------------

    def note(self, change: Change) -> None:
        """Tell `changes()` after the commit, if anybody listens."""
        self.changes.extend((change,))

    def mute(self) -> None:
        """From here to the end of this transaction, capture is silent: these writes are the engine's own."""
        self.db.execute("INSERT INTO _replica_mute VALUES (1)")

    def unmute(self) -> None:
        """Capture again."""
        self.db.execute("DELETE FROM _replica_mute")

    def each(self, sql: str, rows: Sequence[Sequence[Any]]) -> list[int]:
        """Run a statement, which touches one row, for each of these. Returns which of them a constraint refused. Many are
        run together first, in a trial: a `bold` transaction then ends in a Collision."""
        if len(rows) > ALONE_MAX:
            with suppress(sqlite3.IntegrityError), self.trial():
                self.db.executemany(sql, rows)
                return []
        refused = []
        for number, row in enumerate(rows):
            try:
                self.db.execute(sql, row)
            except sqlite3.IntegrityError:
                refused.append(number)
        return refused

    def insert(self, into: str, marks: str, rows: Sequence[Sequence[Any]]) -> None:
        """Run `into`, which ends in VALUES, for all these rows, many in a statement: a statement that may fire a trigger
        has a journal of its own, which costs half as much as a row. Raises sqlite3.IntegrityError; with OR FAIL all rows
        before the one at fault are then in."""
        if not rows:
            return
        at_once = max(1, min(ROWS_AT_ONCE, PARAMETERS_MAX // len(rows[0])))
        whole = len(rows) - len(rows) % at_once
        sql = into + ", ".join([marks] * at_once)
        for start in range(0, whole, at_once):
            self.db.execute(sql, list(itertools.chain.from_iterable(rows[start : start + at_once])))
        self.db.executemany(into + marks, rows[whole:])

    def select_in(self, sql: str, values: Sequence[object], *before: object) -> Iterable[tuple[Any, ...]]:
        """Rows of `sql`, which ends in `IN (`, for any number of values."""
        if len(values) > CHUNK:
            return self._select_parts(sql, values, before)
        return self.rows(f"{sql}{places(length(len(values)))})", (*before, *filled(values))) if values else ()

    def _select_parts(self, sql: str, values: Sequence[object], before: Sequence[object]) -> Iterator[tuple[Any, ...]]:
        for start in range(0, len(values), CHUNK):
            yield from self.select_in(sql, values[start : start + CHUNK], *before)

    def rows(self, sql: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """All rows of a query; text that is not UTF-8 comes as IllFormedText."""
        try:
            return self.db.execute(sql, parameters).fetchall()
        except sqlite3.OperationalError as error:
            if "decode" not in str(error):
                raise
        self.db.text_factory = _tolerant
        try:
            return self.db.execute(sql, parameters).fetchall()
        finally:
            self.db.text_factory = str

    def stream(self, sql: str, size: int) -> Iterator[list[tuple[Any, ...]]]:
        """Rows of a query in parts, so that memory does not grow with the table."""
        seen = 0
        try:
            for part in self._fetch(sql, size, str):
                seen += len(part)
                yield part
            return
        except sqlite3.OperationalError as error:
            if "decode" not in str(error):
                raise
        for part in self._fetch(sql, size, _tolerant):
            if fresh := part[max(0, seen) :]:
                yield fresh
            seen -= len(part)

    def _fetch(self, sql: str, size: int, factory: Any) -> Iterator[list[tuple[Any, ...]]]:
        cursor = self.db.cursor()
        cursor.execute(sql)
        while True:
            self.db.text_factory = factory
            try:
                part = cursor.fetchmany(size)
            finally:
                self.db.text_factory = str
            if not part:
                return
            yield part

    def field(self, table: catalog.Table, name: str) -> int:
        """Position of a field, which is new to this collection if need be."""
        pos = table.positions.get(name)
        if pos is None:
            pos = len(table.fields)
            self.db.execute("INSERT INTO _replica_field VALUES (?, ?, ?)", (table.tbl, pos, name))
            table.fields.append(name)
            table.refresh()
        return pos

    def table(self, collection: str) -> catalog.Table:
        """The collection of this name, made without a local table if it is new."""
        found = self.by_name.get(collection)
        if found is None:
            cursor = self.db.execute("INSERT INTO _replica_table(collection) VALUES (?)", (collection,))
            assert cursor.lastrowid is not None
            found = catalog.Table(cursor.lastrowid, collection, False, "", 0, [], None)
            self.tables[found.tbl] = self.by_name[collection] = found
        return found


def _tolerant(data: bytes) -> str | IllFormedText:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return IllFormedText(data)
