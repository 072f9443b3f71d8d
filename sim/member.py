"""One machine of a world that is driven by hand, as its users see it: statements, rows, and what the node says.

Virtual time stands still but for `put`, which waits for the node. One test each:

1. Nobody can work at a machine that is off, asleep, or dies meanwhile: that is Down, and no half of it is done.
2. What its users wrote in a way that a constraint refuses elsewhere is held, and said.
3. Foreign keys are enforced where the test asks for it, as an application would.
4. Tables that have rows and that the node does not replicate are known; it can be told to.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from protocol.errors import ReplicaError
from replica.errors import StoreError, UsageError
from replica.store.catalog import quote, user_tables
from sim.disk import Crash
from sim.result import Work
from sim.theirs import left_out

if TYPE_CHECKING:
    from replica.node import Node
    from replica.store.store import Store
    from sim.hand import Hand
    from sim.machine import Machine

_T = TypeVar("_T")

WAIT_S = 120.0
"""Virtual seconds in which a node that runs should have opened its file."""


class Down(RuntimeError):
    """Nobody can work there: the machine is off or asleep, or it died just now."""


class Member:
    """One machine of a world, with its node and its users."""

    def __init__(self, hand: Hand, machine: Machine, foreign_keys: bool) -> None:
        self._hand, self._machine, self.foreign_keys = hand, machine, foreign_keys
        self.name = machine.name

    @property
    def path(self) -> Path:
        """The database file."""
        return Path(self._machine.disk.path)

    def sql(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        """One statement of another program, as a transaction of its own, on a connection of its own: foreign keys are
        enforced if the node was made with `foreign_keys=True`. Raises Down and sqlite3.Error."""
        world, machine = self._hand.world, self._machine
        self._must_be_on()
        with self._hand.alone():
            at = world.loop.time()
            try:
                rows, seen = self._transaction(statement, parameters)
            except Crash:
                machine.died("a user's statement")
                raise Down(f"{self.name} died in this statement") from None
            except sqlite3.Error as error:
                world.worked(Work(at, self.name, "write", False), f"{statement[:80]}: {error}")
                raise
            if seen:
                with machine.disk.unharmed():
                    world.oracle.user_wrote(self.name, seen)
                world.worked(Work(at, self.name, "write", True), statement[:80])
        return rows

    def _transaction(self, statement: str, parameters: Sequence[object]) -> tuple[list[tuple[Any, ...]], list[Any]]:
        """What it returns, and the rows that it wrote: the oracle holds the engine to them."""
        machine = self._machine
        with closing(machine.disk.foreign()) as db:
            with machine.disk.unharmed():
                db.execute(f"PRAGMA foreign_keys = {self.foreign_keys:d}")
            db.execute("BEGIN IMMEDIATE")
            with machine.disk.unharmed():
                (last,) = db.execute("SELECT coalesce(max(seq), 0) FROM _replica_outbox").fetchone()
            rows = [tuple(row) for row in db.execute(statement, parameters).fetchall()]
            with machine.disk.unharmed():
                touched = _touched(db, last)
            db.execute("COMMIT")
            with machine.disk.unharmed():
                return rows, [(table, key, machine.row(db, table, key)) for table, key in touched]

    def unreplicated(self) -> dict[str, str]:
        """Tables that have rows and are not replicated here, and why."""
        with self._machine.disk.unharmed(), closing(self._machine.disk.foreign()) as db:
            shared = {name for (name,) in db.execute("SELECT local FROM _replica_table WHERE local > ''").fetchall()}
            reasons = left_out(db)
            others = [name for name in user_tables(db) if name not in shared]
            here = [name for name in others if db.execute(f"SELECT 1 FROM {quote(name)} LIMIT 1").fetchone()]
        return {name: reasons.get(name, "it was made after the node: adopt() it before it is written") for name in here}

    def rows(self, table: str) -> list[dict[str, Any]]:
        """All rows of a table as a user sees them, ordered by key."""

        with self._machine.disk.unharmed(), closing(self._machine.disk.foreign()) as db:
            keys = db.execute("SELECT name FROM pragma_table_info(?) WHERE pk ORDER BY pk", (table,)).fetchall()
            order = ", ".join(quote(name) for (name,) in keys) or "rowid"
            cursor = db.execute(f"SELECT * FROM {quote(table)} ORDER BY {order}")
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def put(self, table: str, rows: Iterable[dict[str, Any]]) -> int:
        """Insert or update rows through the node, as `Node.put_many`. Waits for it. Raises Down and what that raises."""
        given = [dict(row) for row in rows]
        return self._tell(lambda node: node.put_many(table, given))

    def adopt(self, *tables: str) -> None:
        """Replicate tables that were made since and are still empty, as `Node.adopt`: the oracle knows of no rows that came
        otherwise than by writing. Waits for it. Raises UsageError, Down and what that raises, TableRefused for one."""
        for table in tables:
            if self.rows(table):
                raise UsageError(f"{table} has rows already: adopt() it before it is written")
        self._tell(lambda node: node.adopt(tables))

    def _tell(self, work: Callable[[Node], Awaitable[_T]]) -> _T:
        """What the node makes of it, when it has."""
        self._must_be_on()
        self._wait(lambda: self._machine.ready, WAIT_S)
        node = self._machine.node
        assert node is not None
        done: list[_T] = []
        failed: list[Exception] = []

        async def tell() -> None:
            try:
                done.append(await work(node))
            except (ReplicaError, sqlite3.Error) as error:
                failed.append(error)

        self._machine._begin(tell)
        self._wait(lambda: bool(done or failed) or self._machine.node is not node, WAIT_S)
        if failed:
            raise failed[0]
        if not done:
            raise Down(f"{self.name} went down before it had done that")
        return done[0]

    def status(self) -> dict[str, Any]:
        """As `replica status` says it."""
        return self._ask(lambda store: store.status())

    def held(self) -> list[dict[str, Any]]:
        """Records that no table shows, each with its reason."""
        return self._ask(lambda store: store.held())

    def verify(self) -> list[str]:
        """What is wrong with the file; nothing, if all is well."""
        try:
            return self._ask(lambda store: store.verify())
        except (StoreError, sqlite3.DatabaseError) as error:
            return [str(error)]

    def _ask(self, action: Callable[[Store], _T]) -> _T:
        with self._hand.alone(), self._machine.disk.unharmed():
            if self._machine.ready:
                return action(self._machine.store)
            with self._machine.offline() as store:
                return action(store)

    def _must_be_on(self) -> None:
        if not self._machine.on or self._machine.how_hostile:
            raise Down(f"nobody can work at {self.name}: it is off, asleep, or in a stranger's hands")

    def _wait(self, until: Callable[[], bool], seconds: float) -> None:
        end = self._hand.now + seconds
        while not until():
            if self._hand.now > end:
                raise Down(f"{self.name} did not answer within {seconds:.0f} s")
            self._hand.run_for(0.02)


def _touched(db: sqlite3.Connection, last: int) -> list[tuple[str, tuple[Any, ...]]]:
    """Rows that the triggers noted after this number."""
    names = dict(db.execute("SELECT tbl, local FROM _replica_table WHERE local > ''").fetchall())
    found: dict[tuple[str, tuple[Any, ...]], None] = {}
    for _, tbl, _, _, *keys in db.execute("SELECT * FROM _replica_outbox WHERE seq > ?", (last,)).fetchall():
        if tbl in names:
            (width,) = db.execute("SELECT count(*) FROM pragma_table_info(?) WHERE pk", (names[tbl],)).fetchone()
            key = tuple(keys[:width])
            if None not in key:
                found[names[tbl], key] = None
    return list(found)
