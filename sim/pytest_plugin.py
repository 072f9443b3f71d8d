"""A pytest fixture for users: does your application's schema survive bad networks, crashes and wrong clocks?

    def test_two_people_edit_one_contact(world):
        hq, laptop = world.node("hq", SCHEMA), world.node("laptop")
        world.partition([["hq"], ["laptop"]])
        ...
        world.heal()
        world.assert_converged()

`world` is a `Hand`: a world (sim.world) of real nodes that a test drives step by step, in virtual time. Time stands still
but for `run_for`, `assert_converged` and `put`. One test each:

1. What the oracle objects to fails the test, with the seed, the last events, and how to replay it.
2. The same test has the same world every time, unless another seed is given.
3. `assert_converged` says what differs and why; it heals nothing.
4. Whatever a test does, nothing is left when it ends.
5. A test run that does not use it pays nothing: everything is imported on first use.

PYTEST_DONT_REWRITE: tests import `Hand` for its type before pytest registers the plugin.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

if TYPE_CHECKING:
    import sqlite3

    from replica.store.store import Store
    from sim.machine import Machine

_T = TypeVar("_T")

FOREVER_S = 1e9
"""A fault without `for_s` lasts until it is ended."""

NETWORK = frozenset({"partition", "block", "slow", "frames", "deaf"})
"""Faults that `heal` ends."""

DOWN = frozenset({"down", "off", "suspend"})

WAIT_S = 120.0
"""Virtual seconds in which a node that runs should have opened its file."""

SHOWN = 10
"""Differing records told by `assert_converged`."""

DEFAULTS: dict[str, dict[str, Any]] = {
    "slow": {"bytes_per_s": 8_192.0, "latency_s": 0.5},
    "frames": {"how": "drop", "share": 0.1},
    "crash": {"how": "kill", "what": "await", "at_step": 0},
    "ioerror": {"at_step": 1, "late": False, "for_s": 0.0},
    "rot": {"what": "row"},
    "hostile": {"how": "garbage"},
}


class PromiseBroken(AssertionError):
    """The oracle found a promise broken: a fault of the engine, not of the test."""


class Down(RuntimeError):
    """Nobody can work there: the machine is off or asleep, or it died just now."""


class Member:
    """One machine of a world, with its node and its users."""

    def __init__(self, hand: Hand, machine: Machine) -> None:
        self._hand, self._machine = hand, machine
        self.name = machine.name

    @property
    def path(self) -> Path:
        """The database file."""
        return Path(self._machine.disk.path)

    def sql(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        """One statement of another program, as a transaction of its own. Raises Down and sqlite3.Error."""
        import sqlite3

        from sim.disk import Crash
        from sim.result import Work

        world, machine = self._hand.world, self._machine
        self._must_be_on()
        with self._hand.alone():
            at = world.loop.time()
            try:
                rows, seen = self._transaction(statement, parameters)
            except Crash:
                world.died(machine, "a user's statement")
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
            db.execute("BEGIN IMMEDIATE")
            with machine.disk.unharmed():
                (last,) = db.execute("SELECT coalesce(max(seq), 0) FROM _replica_outbox").fetchone()
            rows = [tuple(row) for row in db.execute(statement, parameters).fetchall()]
            with machine.disk.unharmed():
                touched = _touched(db, last)
            db.execute("COMMIT")
            with machine.disk.unharmed():
                return rows, [(table, key, machine._row(db, table, key)) for table, key in touched]

    def rows(self, table: str) -> list[dict[str, Any]]:
        """All rows of a table as a user sees them, ordered by key."""
        from replica.store.catalog import quote

        with self._machine.disk.unharmed(), closing(self._machine.disk.foreign()) as db:
            keys = db.execute("SELECT name FROM pragma_table_info(?) WHERE pk ORDER BY pk", (table,)).fetchall()
            order = ", ".join(quote(name) for (name,) in keys) or "rowid"
            cursor = db.execute(f"SELECT * FROM {quote(table)} ORDER BY {order}")
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def put(self, table: str, rows: Iterable[dict[str, Any]]) -> int:
        """Insert or update rows through the node, as `Node.put_many`. Waits for it. Raises Down and what that raises."""
        import sqlite3

        from protocol.errors import ReplicaError

        self._must_be_on()
        self._wait(lambda: self._machine.ready, WAIT_S)
        node, given = self._machine.node, [dict(row) for row in rows]
        assert node is not None
        done: list[int | Exception] = []

        async def put() -> None:
            try:
                done.append(await node.put_many(table, given))
            except (ReplicaError, sqlite3.Error) as error:
                done.append(error)

        self._machine._begin(put)
        self._wait(lambda: bool(done) or self._machine.node is not node, WAIT_S)
        if not done:
            raise Down(f"{self.name} went down before it had these rows")
        if isinstance(done[0], Exception):
            raise done[0]
        return done[0]

    def status(self) -> dict[str, Any]:
        """As `replica status` says it."""
        return self._ask(lambda store: store.status())

    def held(self) -> list[dict[str, Any]]:
        """Records that no table shows, each with its reason."""
        return self._ask(lambda store: store.held())

    def verify(self) -> list[str]:
        """What is wrong with the file; nothing, if all is well."""
        import sqlite3

        from replica.errors import StoreError

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


class Hand:
    """A world that a test drives. Also without pytest: `with Hand(seed=1) as world: …`"""

    def __init__(self, seed: int, replay: str = "") -> None:
        """`replay`: what a person types to have this world again."""
        from sim.scenario import Scenario
        from sim.world import World

        self.seed, self.replay = seed, replay or f"Hand({seed})"
        self.world = World(Scenario(seed, (), duration_s=3_600.0), keep=False)
        self.world.by_hand = True
        self._members: dict[str, Member] = {}
        self._tables: Path | None = None
        self._closed = False
        self.world.start()

    def __enter__(self) -> Hand:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def now(self) -> float:
        """Virtual seconds since the start."""
        return self.world.loop.time()

    # --- machines -----------------------------------------------------------------------------------------------------

    def node(
        self,
        name: str,
        schema: str = "",
        *,
        db: str | Path = "",
        peers: Sequence[str] | None = None,
        every: float = 30.0,
        empty: bool = False,
    ) -> Member:
        """Add a machine that runs from now on. The first founds the group, with the tables that `schema` makes, or a copy
        of the file `db`. A later one joins with a copy of the same, or of its own, or `empty`. It dials `peers` (the
        first machine, if they are not given) every so many seconds."""
        from replica.errors import UsageError
        from sim.scenario import Place

        if not name or name in self._members:
            raise UsageError(f"a node needs a name of its own, not {name!r}")
        if every <= 0:
            raise UsageError(f"every is {every}: a node dials after so many seconds")
        if empty and (schema or db or not self._members):
            raise UsageError("an empty node is a later one without tables")
        tables = None if empty else self._make(schema, db)
        dials = tuple(peers) if peers is not None else tuple(list(self._members)[:1])
        with self.alone():
            machine = self.world.add(Place(name, dials, float(every)), tables)
        return self._enter(machine)

    def _enter(self, machine: Machine) -> Member:
        member = self._members[machine.name] = Member(self, machine)
        return member

    def _make(self, schema: str, db: str | Path) -> Path:
        """A file with these tables."""
        import sqlite3

        from replica.errors import UsageError

        if schema and db:
            raise UsageError("either schema or db")
        if not schema and not db:
            if self._tables is None:
                raise UsageError("the first node needs schema=SQL or db=file")
            return self._tables
        if db and not Path(db).is_file():
            raise UsageError(f"{db} is no file")
        path = self.world.folder / f"tables{len(self._members)}.db"
        with closing(sqlite3.connect(path, isolation_level=None)) as made:
            if db:
                uri = f"{Path(db).absolute().as_uri()}?mode=ro"
                with closing(sqlite3.connect(uri, uri=True)) as own:
                    own.backup(made)
            made.execute("PRAGMA journal_mode = DELETE")
            made.executescript(schema)
        self._tables = self._tables or path
        return path

    def clone(self, name: str, to: str) -> Member:
        """Copy a machine with everything on it. Both run; the copy also dials the original."""
        if not to or to in self._members:
            from replica.errors import UsageError

            raise UsageError(f"the clone needs a name of its own, not {to!r}")
        self.fault("clone", name, to=to)
        return self._enter(self.world.machines[to])

    def crash(self, name: str, how: str = "kill") -> None:
        """Kill the node's process ("kill"), or cut the machine's power ("power"). It stays down until `start`."""
        self.fault("crash", name, how=how)

    def start(self, name: str) -> None:
        """A machine that is down, off or asleep runs again."""
        machine = self._machine(name)
        with self.alone():
            self.world.end(DOWN, name)
            if not machine.on or machine.process is None:
                self.world.power_on(machine)

    def backup(self, name: str) -> None:
        """Keep a copy of the disk."""
        self.fault("backup", name)

    def restore(self, name: str) -> None:
        """Put the copy back; the node starts again on it."""
        from replica.errors import UsageError

        machine = self._machine(name)
        if machine.backup is None or not machine.on:
            raise UsageError(f"{name} is off" if machine.backup is not None else f"there is no backup of {name}")
        self.fault("restore", name)

    def skew(self, name: str, seconds: float) -> None:
        """Its clock is wrong by this from now on (ahead, if it is positive; 0: right)."""
        clock = self._machine(name).clock
        self.fault("step", name, ms=round(seconds * 1000) - (clock.now_ms() - clock.true_ms()))

    # --- network, and any fault ---------------------------------------------------------------------------------------

    def partition(self, groups: Sequence[Sequence[str]]) -> None:
        """From now on only machines of one group hear each other, until `heal` or the next partition."""
        for name in (name for group in groups for name in group):
            self._machine(name)
        with self.alone():
            self.world.end({"partition"})
        self.fault("partition", groups=[list(group) for group in groups])

    def heal(self) -> None:
        """Every fault of the network ends. Machines, disks and clocks stay as they are."""
        with self.alone():
            self.world.note("", "heal", "the network")
            self.world.end(NETWORK)
            for link in self.world.network._links.values():
                link.cut_after = 0

    def end(self, kind: str, name: str = "") -> None:
        """End this kind of fault, on this machine or everywhere, before its time."""
        with self.alone():
            self.world.end({kind, *(DOWN if kind == "crash" else ())}, name)

    def fault(self, kind: str, name: str = "", **with_: Any) -> None:
        """Any fault of `sim.scenario.PARAMETERS`. Without `for_s` it lasts until `end`. A fault of the network is one of
        all links between this machine (any, if none is named) and the others, unless `links` says which."""
        from replica.errors import UsageError
        from sim.scenario import EVERYWHERE, PARAMETERS, WORKLOAD, _event

        known = PARAMETERS.get(kind, frozenset())
        if kind in WORKLOAD:
            raise UsageError(f"{kind} is no fault: use sql() and put() of a node")
        if name:
            self._machine(name)
        if "links" in known and "links" not in with_:
            pairs = [(a, b) for a in self._members for b in self._members if a != b]
            with_["links"] = [[a, b] for a, b in pairs if name in {"", a, b}]
        for a, b in with_.get("links", ()):
            self._machine(a), self._machine(b)
        usual = {"for_s": FOREVER_S, **DEFAULTS.get(kind, {})}
        with_ = {**{k: v for k, v in usual.items() if k in known}, **with_}
        if isinstance(with_.get("sql"), str):
            with_["sql"] = [with_["sql"]]
        if missing := known - set(with_):
            raise UsageError(f"{kind} needs {min(missing)}")
        node = "" if kind in EVERYWHERE else name
        event = _event({"at": self.now, "kind": kind, "node": node, **with_}, set(self._members), "world.fault")
        with self.alone():
            self.world.strike(event)

    # --- time and truth -----------------------------------------------------------------------------------------------

    def run_for(self, seconds: float) -> None:
        """Let virtual time pass."""
        self.check()
        self.world.run_for(seconds)
        self.check()

    def assert_converged(self, within: float | None = None) -> None:
        """All machines become equal within so many virtual seconds (by default, a bound that follows from how often they
        meet), and nothing is lost, wrong or damaged. Heals and starts nothing by itself. Raises AssertionError."""
        import sqlite3

        from protocol.errors import ReplicaError
        from sim.world import PATIENCE_S

        world = self.world
        assert self._members, "there is no node in this world"
        if within is None:
            within = 2 * world.bound_s + PATIENCE_S + 2 * world.scenario.poll_s
        self.check()
        began, step = self.now, min(m.place.every_s for m in world.machines.values()) / 4
        while not self._equal():
            left = began + within - self.now
            if left <= 1e-6:
                raise AssertionError(_apart(self, self.now - began))
            self.run_for(min(step, left))
        with self.alone():
            try:
                world.oracle.final(list(world.machines.values()))
            except (ReplicaError, sqlite3.Error) as error:
                world.fail("oracle", "", f"the last look failed: {error!r}")

    def _equal(self) -> bool:
        with self.alone():
            roots = self.world._roots()
        return len(roots) == len(self.world.machines) and len(set(roots.values())) == 1

    @property
    def digest(self) -> str:
        """Hash of all that happened: equal for two worlds that went the same way."""
        return self.world.trace.digest

    def check(self) -> None:
        """Raise PromiseBroken if the oracle objects."""
        if (bad := self.world.result.violation) is not None:
            where = f" on {bad.node}" if bad.node else ""
            text = f"{bad.invariant} was broken ({bad.meaning}){where}, {bad.at:.3f} s after the start: {bad.text}"
            raise PromiseBroken(f"{text}\n{self.story()}")

    def story(self) -> str:
        """The last events, the seed, and how to have them again."""
        lines = [str(line) for line in self.world.trace.recent]
        return "\n".join(["the last events:", *lines, f"seed {self.seed}; again: {self.replay}"])

    def _machine(self, name: str) -> Machine:
        from replica.errors import UsageError

        if name not in self._members:
            raise UsageError(f"there is no node {name!r}; there are {', '.join(self._members) or 'none'}")
        return self.world.machines[name]

    @contextmanager
    def alone(self) -> Iterator[None]:
        """In here nothing but the world runs, and time stands still. The oracle's objections are raised at the end."""
        self.check()
        with self.world._alone():
            yield
        self.check()

    def close(self) -> None:
        """End everything, and remove the files."""
        if not self._closed:
            self._closed = True
            self.world.close()


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


# --- why not ----------------------------------------------------------------------------------------------------------


def _apart(hand: Hand, waited: float) -> str:
    """Roots, records and reasons in words."""
    world = hand.world
    with hand.alone():
        roots = world._roots()
        lines = [f"the nodes are not equal, {waited:.0f} s later"]
        lines += [
            f"  {n}: {'root ' + roots[n].hex()[:16] if n in roots else _not_ready(m)}"
            for n, m in world.machines.items()
        ]
        lines += ["differing records:", *_records(hand)]
    return "\n".join([*lines, "what may be the reason:", *_reasons(hand), hand.story()])


def _not_ready(machine: Machine) -> str:
    if not machine.on:
        return "is off or asleep"
    return "has yet to take in what was written" if machine.ready else "does not run"


def _records(hand: Hand) -> list[str]:
    from sim.truth import look, words

    found = {}
    for name, machine in hand.world.machines.items():
        if machine.ready:
            with machine.disk.unharmed(), machine.store._core.reading():
                found[name] = look(machine.store._core).records
    lines = []
    for rid in sorted({rid for records in found.values() for rid in records}):
        copies = {name: records.get(rid) for name, records in found.items()}
        if len({copy.encode() if copy is not None else b"" for copy in copies.values()}) > 1:
            lines.append(f"  {words(rid)}: {_versions(copies)}")
    more = len(lines) - SHOWN
    return [*lines[:SHOWN], *([f"  and {more} more"] if more > 0 else [])] or ["  none among the nodes that run"]


def _versions(copies: dict[str, Any]) -> str:
    """What each copy says, of the fields that differ."""
    from protocol.values import unpack_value

    live = {name: c for name, c in copies.items() if c is not None and c.live}
    said = [f"{'absent' if c is None else 'deleted'} on {name}" for name, c in copies.items() if name not in live]
    for field in sorted({f for c in live.values() for f in c.registers}):
        values = {name: c.registers.get(field) for name, c in live.items()}
        if len(set(values.values())) > 1:
            each = (f"{unpack_value(v[1])!r:.40} on {n}" if v else f"none on {n}" for n, v in values.items())
            said.append(f"{field} is {', '.join(each)}")
    return "; ".join(said) or "the same values, written at other times"


def _reasons(hand: Hand) -> list[str]:
    from protocol import limits

    world = hand.world
    found = [f"  {b.kind} {b.node}: {b.text} (until it is ended)".replace(" :", ":") for b in world._lasting.values()]
    for name, machine in world.machines.items():
        wrong = machine.clock.now_ms() - machine.clock.true_ms()
        if abs(wrong) > limits.DRIFT_MS_MAX:
            found.append(f"  the clock of {name} is {abs(wrong) / 1000:.0f} s {'ahead' if wrong > 0 else 'behind'}")
        others = [m for m in world.machines.values() if m is not machine]
        if (
            others
            and not {m.name for m in others} & set(machine.place.peers)
            and not any(name in m.place.peers for m in others)
        ):
            found.append(f"  {name} dials nobody, and nobody dials it")
    last = {(sync.client, sync.server): sync for sync in world.result.syncs}
    bad = [s for s in last.values() if s.kind != "in sync"]
    found += [
        f"  the last sync of {s.client} with {s.server}, at {s.end:.0f} s: {s.outcome} {s.text}".rstrip() for s in bad
    ]
    return found or ["  none is known: perhaps it only needs more time"]


# --- pytest -----------------------------------------------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    """--world-seed, and the same in the ini file."""
    text = "seed of the `world` fixture; without it, each test has one of its own, always the same"
    parser.getgroup("replica").addoption("--world-seed", type=int, default=None, metavar="N", help=text)
    parser.addini("world_seed", text, default="")


def seed_of(config: pytest.Config, nodeid: str) -> int:
    """The option's, the ini file's, or one made from the test's name. Raises pytest.UsageError."""
    given = config.getoption("--world-seed", default=None)
    if given is not None:
        return int(given)
    try:
        ini = str(config.getini("world_seed") or "")
    except (KeyError, ValueError):
        ini = ""  # The fixture is used without the plugin's options.
    if ini:
        try:
            return int(ini)
        except ValueError:
            raise pytest.UsageError(f"world_seed is {ini!r}, not a whole number") from None
    return int.from_bytes(blake2b(nodeid.encode(), digest_size=4).digest(), "big")


@pytest.fixture
def world(request: pytest.FixtureRequest) -> Iterator[Hand]:
    """A world of real nodes in virtual time: see sim.pytest_plugin.Hand."""
    seed = seed_of(request.config, request.node.nodeid)
    with Hand(seed, f"pytest '{request.node.nodeid}' --world-seed {seed}") as hand:
        yield hand
        hand.check()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that failed otherwise also says what happened in its world."""
    report = yield
    hand = getattr(item, "funcargs", {}).get("world")
    if report.when == "call" and report.failed and isinstance(hand, Hand) and hand.world.result.violation is None:
        report.sections.append(("simulated world", hand.story()))
    return report
