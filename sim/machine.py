"""One machine: a disk, a clock, a place in the network, the process of the real node, and the people who use it.

The process dies with its callbacks, its connections to other machines and its file handles; what is left is what the disk
keeps. People write with plain SQL whether the node runs or not. One test each:

1. A node that is killed at any await or statement starts again on what its disk kept.
2. People's writes do not need the node, but the machine.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Callable, Coroutine, Sequence
from contextlib import closing
from contextvars import Context, copy_context
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from protocol import limits
from protocol.errors import ReplicaError
from protocol.keys import INSTANCE_BYTES, Secrets
from protocol.outcome import ENDINGS
from protocol.session import Session
from replica.errors import StoreError
from replica.host import Host
from replica.keep import keep_in_sync
from replica.node import Node
from replica.store.catalog import quote
from replica.store.changes import Change
from replica.store.store import Store, initialize
from replica.sync_report import SyncReport
from sim.clock import WallClock
from sim.disk import Crash, Disk, Image
from sim.hints import ON, WRONG, Hinted
from sim.hostile import attack
from sim.loop import CURRENT, Process
from sim.result import Band, Sync, Work
from sim.scenario import Event, Place
from sim.small import NODE
from sim.through import Through
from sim.wording import fell

if TYPE_CHECKING:
    from sim.world import World

PORT = 8470
RETRY_S = 20.0
"""A node that could not open its file tries again: as a service manager would."""
PROGRAM_WRITES = 8
"""Transactions after which people close the program that they write with."""
MS = 0.001
ASKED = 0.7
"""Share of single statements that go through the node, where people write so."""
MISTAKEN = 0.6
"""Share of nodes whose hints are wrong, where some are."""


class Machine:
    """See above. `store` is only there while the node runs."""

    def __init__(self, world: World, place: Place, folder: Path) -> None:
        self.world, self.place, self.name = world, place, place.name
        folder.mkdir()
        self.clock = WallClock(world.loop.time, world.scenario.start_ms, place.skew_ms)
        self._random = world.stream(f"disk {place.name}")
        self.chance = world.stream(f"node {place.name}")
        self.disk = Disk(
            folder,
            self._random,
            self.clock.now_ms,
            decide=world.trace.decide,
            keep_synced=world.has("power", place.name),
        )
        self.host = Host(self.clock.now_ms, self.chance.randbytes, self.disk.connect)
        self.process: Process | None = None
        self.node: Node | None = None
        self.on = True
        """Powered, and not asleep."""
        self.wanted = False
        """Whether the node's process should run."""
        self.busy_until = 0.0
        self._tasks: list[asyncio.Task[None]] = []
        """Kept from the garbage collector: the loop remembers tasks weakly."""
        self._graves: list[tuple[Process, Node | None]] = []
        self._context: Context = copy_context()
        self._errors = world.stream(f"hints {place.name}")
        doubtful = world.scenario.hints == WRONG and self._errors.random() < MISTAKEN
        self.hints = ON if world.scenario.hints == WRONG and not doubtful else world.scenario.hints
        self.how_hostile = ""
        self._liar: Store | None = None
        """What a hostile node has open: the disk does not know of it."""
        self.how_dies, self.down_s = "kill", 0.0
        self.doomed: dict[str, Band] = {}
        """Crashes that are to come at some step of it: told as what they are when they come."""
        self.backup: Image | None = None
        self._program: sqlite3.Connection | None = None
        """What people write through, while it is open."""
        self.written = self.jobs = 0
        """Transactions of people, and what the node's threads have done."""
        self._through, self._habits = Through(self), world.stream(f"through {place.name}")

    # --- the file -----------------------------------------------------------------------------------------------------

    def found(self, secrets: Secrets | None, *, adopt: bool) -> Secrets:
        """Make the file part of the group, with what tables it has."""
        initialize(self.disk.path, self.name, secrets, now_ms=self.clock.now_ms, random=self.chance.randbytes)
        with self.offline() as store:
            if adopt:
                store.adopt()
            return store.secrets()

    def offline(self) -> Store:
        """The store, opened beside the node or without it, by the world: nothing happens to it meanwhile."""
        return Store(self.disk.path, now_ms=self.clock.now_ms, random=self.chance.randbytes)

    def contents(self, tables: Sequence[str]) -> list[tuple[str, ...]]:
        """How these tables are defined, and every row of them, each value as Python writes it."""
        found: list[tuple[str, ...]] = []
        with closing(sqlite3.connect(self.disk.path)) as db:
            db.text_factory = lambda data: data.decode(errors="backslashreplace")  # Bits may have flipped.
            for name in tables:
                found += db.execute("SELECT name, sql FROM sqlite_master WHERE tbl_name = ? COLLATE NOCASE", (name,))
                found += [tuple(map(repr, row)) for row in db.execute(f"SELECT * FROM {quote(name)}")]
        return found

    def verify(self) -> list[str]:
        """What is wrong with the file."""
        try:
            with self.offline() as store:
                return store.verify()
        except (StoreError, sqlite3.DatabaseError) as error:
            return [str(error)]

    @property
    def store(self) -> Store:
        """The node's own."""
        assert self.node is not None
        return self.node.store

    @property
    def ready(self) -> bool:
        """Whether the node runs and has opened its file."""
        return self.node is not None and self.node._store is not None and self.process is not None

    # --- the process ----------------------------------------------------------------------------------------------------

    def boot(self) -> None:
        """Start the node."""
        self.wanted = True
        if self.process is not None or not self.on:
            return
        self.process = process = Process(self.name)
        process.die = lambda: self.died("await")
        self._context = copy_context()
        self._context.run(CURRENT.set, process)
        self._begin(self._attack if self.how_hostile else self._life)

    def _begin(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        def begin() -> None:
            task = self.world.loop.create_task(work(), context=self._context)
            task.add_done_callback(self._ended)
            self._tasks.append(task)

        self.world.loop.call_soon(begin, context=self._context)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.remove(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.world.fail("crash", self.name, f"the program ended: {error!r}")

    async def _life(self) -> None:
        while True:
            poll_s = self.world.scenario.poll_s
            node = self.node = Hinted(
                self.disk.path, self.host, poll_s, self.hints, self._errors, self._found, self.place.minor
            )
            try:
                await node.start()
                break
            except (StoreError, sqlite3.Error) as error:
                self.node = None
                self.world.note(self.name, "trouble", f"the file does not open: {error}")
                await asyncio.sleep(RETRY_S)
        with self.disk.unharmed():
            self.world.oracle.opened(self.name, node.store)
        node.store.listen(self._committed)
        node.on_session = self._served
        await node.serve(self.name, PORT, plaintext=True)
        self.world.note(self.name, "up")
        peers = [p for p in self.place.peers if p != self.name]
        await asyncio.gather(*(self._keep(node, peer) for peer in peers), asyncio.Event().wait())

    async def _keep(self, node: Node, peer: str) -> None:
        every = self.place.every_s
        await asyncio.sleep(self.chance.random() * every)
        began = self.world.loop.time()

        def report(done: SyncReport) -> None:
            nonlocal began
            self._met(peer, began, done)
            began = self.world.loop.time()

        await keep_in_sync(node, f"ws://{peer}:{PORT}", every, report)

    async def _attack(self) -> None:
        store = self._liar = self.offline()
        self.world.oracle.opened(self.name, store)
        store.listen(lambda changes: self.world.oracle.committed(self.name, store, changes))
        try:
            while True:
                peer = self.chance.choice([n for n in self.world.machines if n != self.name])
                random = Random(self.chance.getrandbits(64))
                url, instance = f"ws://{peer}:{PORT}", random.randbytes(INSTANCE_BYTES)
                clock = self.clock
                done = await attack(url, store, self.how_hostile, random, clock.now_ms, instance, clock.true_ms)
                self.world.note(self.name, "attack", f"{self.how_hostile} on {peer}: {done}")
                self.world.reach("hostile", self.how_hostile)
                await asyncio.sleep(15 + 30 * random.random())
        finally:
            store.close()

    def _committed(self, changes: list[Change]) -> None:
        with self.disk.unharmed():
            if self.disk.untold:  # The engine tells of no commit that failed, as far as it knows.
                self.disk.untold = False
                self.world.oracle.scan(self.name, self.store)
            self.world.oracle.committed(self.name, self.store, changes)

    def _met(self, peer: str, began: float, done: SyncReport) -> None:
        now = self.world.loop.time()
        began = max(began, now - done.seconds) if done.seconds else now
        sync = Sync(began, now, self.name, peer, done.outcome, done.sent, done.received, done.bytes_out, done.bytes_in,
                    done.text)  # fmt: skip
        self.world.synced(sync, done.root[:8])

    def _served(self, done: SyncReport) -> None:
        self.world.note(self.name, "served", f"{done.outcome} {done.root[:8]}")
        self.world.session_ended(done.outcome)

    def _found(self, session: Session) -> None:
        """How a session of the node found what differs, and where it ended."""
        done = session.outcome
        if done.in_sync:
            self.world.agreed(self.name, session.handshake, done.root)
        if done.code in ENDINGS:
            ways = [done.way.value, "trie" if done.rounds else "", "misled" if done.misled else ""]
            found = ", ".join(filter(None, ways)) or "equal"
            self.world.reach(f"hints {self.world.scenario.hints}", found)
            low, high = sorted(session.handshake[2:])
            if (low, high) != (limits.MINOR, limits.MINOR):
                self.world.reach(f"minors {low} and {high}", found)

    def stop(self, *, silent: bool = False) -> None:
        """The process dies, now and without a word of its own. `silent`: so does the kernel."""
        process, self.process = self.process, None
        if process is None:
            return
        process.dead = True
        process.parked.clear()
        for future in list(process.unheard):
            future.exception()  # Else it counts as an error that nobody heard of, when it is collected.
        self.world.network.kill(process, silent=silent)
        self._graves.append((process, self.node))
        if self.node is not None:
            for thread in (self.node._thread, self.node._reader):
                if thread is not None:
                    thread._connection = None
        self.node = None
        if self._liar is not None:
            self._liar.close()
        self._liar = None
        self.disk.close_all()
        self._through.died()
        self._through = Through(self)
        self.busy_until = 0.0

    def fallen(self, how: str) -> None:
        """What follows a crash: the disk has what it kept."""
        self.stop(silent=how == "power")
        self.disk.recover()

    def died(self, where: str, *, crashed: bool = False) -> None:
        """A fault felled it: it is down for a while. `crashed`: its disk knows already."""
        world, how = self.world, self.how_dies
        if where == "await":
            self.disk.crash(how)
        self.fallen(how)
        world.note(self.name, "down", f"{how} at {where}", fell(how, where))
        if where != "now" and (told := self.doomed.pop("await" if where == "await" else "disk", None)):
            world.result.bands.remove(told)
        self.on = False
        if how == "power":
            world.network.turn_off(self.name)
        now = world.loop.time()
        band = Band(self.name, "down", now, now + self.down_s, fell(how, where))
        world.lasts(band, self.down_s, self.power_on)
        world.reach("crash", f"at {where}" if not crashed else "now")

    def power_on(self) -> None:
        """It runs again, or anew."""
        self.on = True
        self.world.network.turn_on(self.name)
        self.boot()

    def submit(self, run: Any) -> None:
        """Run a function of the store's thread, when that is free and the disk has done it."""
        loop = self.world.loop
        took = self._random.expovariate(1.0) * 2 * MS
        self.busy_until = max(loop.time(), self.busy_until) + took
        loop.call_at(self.busy_until, run)

    # --- people ---------------------------------------------------------------------------------------------------------

    def work(self, event: Event) -> None:
        """People write something, if the machine is on."""
        if not self.on or self.how_hostile:
            self.world.worked(Work(event.at, self.name, event.kind, False, tried=False), "nobody is there")
            return
        if event.kind == "put":
            self._put(event)
            return
        rows = [(str(table), tuple(key)) for table, key in event.with_["rows"]]
        tables = tuple(dict.fromkeys(table for table, _ in rows))
        if self._asks_node(event) and (node := self.node) is not None:
            self._begin(lambda: self._through.execute(node, event, rows))
            return
        try:
            seen = self.write(event.with_["sql"], rows)
        except Crash:
            self.died("a user's statement")
            self.world.oracle.user_unsure(self.name, rows)
        except (sqlite3.Error, sqlite3.Warning) as error:
            text = f"{event.with_['sql'][0][:80]}: {error}"
            self.world.worked(Work(event.at, self.name, event.kind, False, tables), text)
        else:
            with self.disk.unharmed():
                self.world.oracle.user_wrote(self.name, seen)
            self.world.worked(Work(event.at, self.name, event.kind, True, tables), event.with_["sql"][0][:80])

    def _asks_node(self, event: Event) -> bool:
        """Whether these people write this through the node."""
        one = self.world.scenario.through == NODE and self.ready and len(event.with_["sql"]) == 1
        return one and self._habits.random() < ASKED

    def write(self, statements: Sequence[str], rows: Sequence[tuple[str, tuple[Any, ...]]] = ()) -> list[Any]:
        """One transaction of another program. Returns what it then sees in these rows. Raises sqlite3.Error."""
        db = self._program if self._program in self.disk.opened else self.disk.foreign()
        self._program, self.written = None, self.written + 1
        try:
            db.execute("BEGIN IMMEDIATE")
            for statement in statements:
                db.execute(statement)
            db.execute("COMMIT")
            with self.disk.unharmed():
                return [(table, key, self.row(db, table, key)) for table, key in rows]
        finally:
            if db.in_transaction or self.written % PROGRAM_WRITES == 0:
                db.close()
            else:
                self._program = db

    @staticmethod
    def row(db: sqlite3.Connection, table: str, key: tuple[Any, ...]) -> dict[str, Any] | None:
        """What stands in the row of this key."""
        info = db.execute("SELECT name, pk FROM pragma_table_xinfo(?) WHERE hidden = 0", (table,)).fetchall()
        names = [name for name, _ in info]
        keys = [name for name, _ in sorted((i for i in info if i[1]), key=lambda i: i[1])]
        if len(keys) != len(key):
            return None
        where = " AND ".join(f"{quote(k)} = ?" for k in keys)
        columns = ", ".join(map(quote, names))
        row = db.execute(f"SELECT {columns} FROM {quote(table)} WHERE {where}", key).fetchone()
        return dict(zip(names, row, strict=True)) if row else None

    def _put(self, event: Event) -> None:
        node = self.node
        if not self.ready or node is None:
            self.world.worked(Work(event.at, self.name, "put", False, tried=False), "the node does not run")
            return
        rows, tables = json.loads(event.with_["json"]), (str(event.with_["table"]),)
        keys = [(str(table), tuple(key)) for table, key in event.with_["rows"]]

        async def put() -> None:
            try:
                with self._through.asking(keys):
                    await node.put_many(event.with_["table"], rows)
            except (ReplicaError, sqlite3.Error) as error:
                self.world.worked(Work(event.at, self.name, "put", False, tables), str(error))
            else:
                self._through.acknowledged(keys)
                self.world.worked(Work(event.at, self.name, "put", True, tables), f"{len(rows)} rows")

        self._begin(put)
