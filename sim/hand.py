"""A world that is driven by hand, step by step, in virtual time: what a test calls, with pytest or without.

    with Hand(seed=1) as world:
        hq, laptop = world.node("hq", SCHEMA), world.node("laptop")
        ...
        world.assert_converged()

Time stands still but for `run_for`, `assert_converged` and `put`. One test each:

1. What the oracle objects to is raised by whatever comes next, with the seed, the last events, and how to replay it.
2. The same seed and the same steps are the same world.
3. `assert_converged` says what differs and why (sim.apart); it heals nothing.
4. However it ends, nothing is left.
5. An argument that makes no sense is refused by its name, before anything happens.
6. A table that cannot be replicated is refused, unless the test says that it shall stay where it is.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from protocol import limits
from protocol.errors import ReplicaError
from protocol.record import fold
from replica.errors import UsageError
from replica.store.catalog import user_tables
from sim.allowed import NAME_MAX, SKEW_S_MAX, must_be_number
from sim.apart import apart
from sim.member import Member
from sim.scenario import EVERYWHERE, MINOR_MAX, PARAMETERS, WORKLOAD, Event, Place, Scenario, _event
from sim.theirs import left_out, theirs
from sim.wording import FOREVER_S
from sim.world import PATIENCE_S, World

if TYPE_CHECKING:
    from sim.machine import Machine

EVERY_S = (0.1, 604_800)
"""A node dials that often at most, and that seldom: `assert_converged` waits for several meetings."""

NETWORK = frozenset({"partition", "block", "slow", "frames", "deaf"})
"""Faults that `heal` ends."""

DOWN = frozenset({"down", "off", "suspend"})

FAULTS = sorted(set(PARAMETERS) - WORKLOAD)

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


class Hand:
    """A world that a test drives. Also without pytest: `with Hand(seed=1) as world: …`"""

    def __init__(self, seed: int, replay: str = "") -> None:
        """`replay`: what a person types to have this world again."""

        self.seed, self.replay = seed, replay or f"Hand({seed})"
        self.world = World(Scenario(seed, (), duration_s=3_600.0), keep=False)
        self.world.by_hand = True
        self._members: dict[str, Member] = {}
        self._tables: Path | None = None
        self._local: set[str] = set()
        """Tables that shall stay where they are."""
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
        minor: int = limits.MINOR,
        local: Collection[str] = (),
        foreign_keys: bool = False,
    ) -> Member:
        """Add a machine that runs from now on. The first founds the group, with the tables that `schema` makes, or a copy
        of the file `db`. A later one joins with a copy of the same, or of its own, or `empty`. It dials `peers` (the
        first machine, if they are not given; one may be added later, before `assert_converged`) every so many seconds.
        It speaks this `minor` version of the protocol: 0 is an older node, one more than ours a later one.

        A table that cannot be replicated is refused with the engine's reason, unless it is named in `local`: then it
        stays on each machine, in all this world. `foreign_keys`: what people write there with `sql` must keep them, as
        with `PRAGMA foreign_keys = ON`, which holds for a connection, not for a file; what the engine writes need not."""

        if (
            not isinstance(name, str)
            or not 0 < len(name) <= NAME_MAX
            or not name.isprintable()
            or name in self._members
        ):
            raise UsageError(f"a node needs a name of its own, of 1 to {NAME_MAX} printable characters, not {name!r}")
        must_be_number("every", every, *EVERY_S)
        must_be_number("minor", minor, 0, MINOR_MAX)
        if not isinstance(minor, int):
            raise UsageError(f"minor must be a whole number, not {minor!r}")
        _names("peers", peers or ())
        _names("local", local)
        if name in (peers or ()):
            raise UsageError(f"peers: {name} cannot dial itself")
        if empty and (schema or db or not self._members):
            raise UsageError("an empty node is a later one without tables")
        stay = self._local | set(map(fold, local))
        tables = None if empty else self._make(schema, db, stay, foreign_keys)
        self._local = stay
        dials = tuple(peers) if peers is not None else tuple(list(self._members)[:1])
        with self.alone():
            machine = self.world.add(Place(name, dials, float(every), minor=minor), tables)
        return self._enter(machine, foreign_keys)

    def _enter(self, machine: Machine, foreign_keys: bool) -> Member:
        member = self._members[machine.name] = Member(self, machine, foreign_keys)
        return member

    def _make(self, schema: str, db: str | Path, stay: set[str], foreign_keys: bool) -> Path:
        """A file with these tables, of which some are to stay where they are."""
        if schema and db:
            raise UsageError("either schema or db")
        if not schema and not db:
            if self._tables is None:
                raise UsageError("the first node needs schema=SQL or db=file")
            return self._tables
        if db and not Path(db).is_file():
            raise UsageError(f"{db} is no file")
        path = self.world.folder / f"tables{len(list(self.world.folder.glob('tables*')))}.db"
        with closing(sqlite3.connect(path, isolation_level=None)) as made:
            if db:
                with closing(theirs(db)) as own:
                    own.backup(made)
            made.execute("PRAGMA journal_mode = DELETE")
            keys = made.execute("PRAGMA foreign_keys").fetchone()
            try:
                made.executescript(schema)
            except (sqlite3.Error, TypeError, ValueError) as error:
                raise UsageError(f"schema: {error}") from None
            if not foreign_keys and made.execute("PRAGMA foreign_keys").fetchone() != keys:
                raise UsageError("schema: PRAGMA foreign_keys holds for a connection: say node(…, foreign_keys=True)")
            refused = left_out(made)
            for name in user_tables(made):
                if fold(name) in stay and name not in refused:
                    raise UsageError(f"local: table {name!r} is replicated, as all that can be are")
                if fold(name) not in stay and name in refused:
                    raise UsageError(f"{refused[name]}; or name it in local=({name!r},), and it stays on each machine")
        self._tables = self._tables or path
        return path

    def clone(self, name: str, to: str) -> Member:
        """Copy a machine with everything on it. Both run; the copy also dials the original."""
        self.fault("clone", name, to=to)
        return self._members[to]

    def crash(self, name: str, how: str = "kill") -> None:
        """Kill the node's process ("kill"), or cut the machine's power ("power"). It stays down until `start`."""
        self.fault("crash", name, how=how)

    def start(self, name: str) -> None:
        """A machine that is down, off or asleep runs again."""
        machine = self._machine(name)
        with self.alone():
            self.world.lasting.end(DOWN, name)
            if not machine.on or machine.process is None:
                machine.power_on()

    def backup(self, name: str) -> None:
        """Keep a copy of the disk."""
        self.fault("backup", name)

    def restore(self, name: str) -> None:
        """Put the copy back; the node starts again on it."""
        self.fault("restore", name)

    def skew(self, name: str, seconds: float) -> None:
        """Its clock is wrong by this from now on (ahead, if it is positive; 0: right)."""
        must_be_number("seconds", seconds, -SKEW_S_MAX, SKEW_S_MAX)
        clock = self._machine(name).clock
        self.fault("step", name, ms=round(seconds * 1000) - (clock.now_ms() - clock.true_ms()))

    # --- network, and any fault ---------------------------------------------------------------------------------------

    def partition(self, groups: Sequence[Sequence[str]]) -> None:
        """From now on only machines of one group hear each other, until `heal` or the next partition."""
        if not isinstance(groups, list | tuple) or not groups:
            raise UsageError(f'groups must be lists of names as [["a"], ["b", "c"]], not {groups!r}')
        for group in groups:
            _names("groups", group)
            for name in group:
                self._machine(name)
        event = self._event("partition", groups=[list(group) for group in groups])
        with self.alone():
            self.world.lasting.end({"partition"})
            self.world.strike(event)

    def heal(self) -> None:
        """Every fault of the network ends. Machines, disks and clocks stay as they are."""
        with self.alone():
            self.world.note("", "heal", "the network")
            self.world.lasting.end(NETWORK)
            for link in self.world.network._links.values():
                link.cut_after = 0

    def end(self, kind: str, name: str = "") -> None:
        """End this kind of fault, on this machine or everywhere, before its time. Those of the network end everywhere."""
        if kind not in FAULTS:
            raise UsageError(f"{kind!r} is no kind of fault; there are {', '.join(FAULTS)}")
        if name:
            self._machine(name)
            if kind in EVERYWHERE:
                raise UsageError(f"{kind} is a fault of the network: it ends everywhere, so name no node")
        with self.alone():
            self.world.lasting.end({kind, *(DOWN if kind == "crash" else ())}, name)

    def fault(self, kind: str, name: str = "", **with_: Any) -> None:
        """Any fault of `sim.scenario.PARAMETERS`. Without `for_s` it lasts until `end`. A fault of the network is one of
        all links between this machine (any, if none is named) and the others, unless `links` says which."""

        event = self._event(kind, name, **with_)
        machine = self._machine(name) if name else None
        if kind == "restore" and machine and (machine.backup is None or not machine.on):
            raise UsageError(f"{name} is off" if machine.backup is not None else f"there is no backup of {name}")
        with self.alone():
            self.world.strike(event)
        if kind == "clone":
            self._enter(self.world.machines[str(event.with_["to"])], self._members[name].foreign_keys)

    def _event(self, kind: str, name: str = "", **with_: Any) -> Event:
        """What is to happen now. Raises UsageError if it cannot."""
        if kind not in FAULTS:
            why = "is no fault: use sql() and put() of a node" if kind in WORKLOAD else "is no kind of fault"
            raise UsageError(f"{kind!r} {why}; there are {', '.join(FAULTS)}")
        known = PARAMETERS[kind]
        if odd := set(with_) - known:
            raise UsageError(f"{kind} has no parameter {min(odd)!r}; it has {', '.join(sorted(known)) or 'none'}")
        if name:
            self._machine(name)
        if "links" in known and "links" not in with_:
            pairs = [(a, b) for a in self._members for b in self._members if a != b]
            with_["links"] = [[a, b] for a, b in pairs if name in {"", a, b}]
        usual = {"for_s": FOREVER_S, **DEFAULTS.get(kind, {})}
        with_ = {**{k: v for k, v in usual.items() if k in known}, **with_}
        if isinstance(with_.get("sql"), str):
            with_["sql"] = [with_["sql"]]
        node = "" if kind in EVERYWHERE else name
        return _event({"at": self.now, "kind": kind, "node": node, **with_}, set(self._members), "world.fault")

    # --- time and truth -----------------------------------------------------------------------------------------------

    def run_for(self, seconds: float) -> None:
        """Let virtual time pass."""
        must_be_number("seconds", seconds, 0)
        self.check()
        self.world.run_for(seconds)
        self.check()

    def assert_converged(self, within: float | None = None) -> None:
        """All machines become equal within so many virtual seconds (by default, a bound that follows from how often they
        meet), nothing is lost, wrong or damaged, and no rows stand where nobody replicates them. Heals and starts
        nothing by itself. Raises AssertionError."""
        world = self.world
        assert self._members, "there is no node in this world"
        if within is None:
            within = 2 * world.bound_s + PATIENCE_S + 2 * world.scenario.poll_s
        must_be_number("within", within, 0)
        for name, machine in world.machines.items():
            if strangers := set(machine.place.peers) - set(self._members):
                raise UsageError(f"peers: {name} dials {min(strangers)!r}, and there is no such node")
        self.check()
        began, step = self.now, min(m.place.every_s for m in world.machines.values()) / 4
        while not self._equal():
            left = began + within - self.now
            if left <= 1e-6:
                raise AssertionError(apart(self, self.now - began))
            self.run_for(min(step, left))
        with self.alone():
            try:
                world.oracle.final(list(world.machines.values()))
            except (ReplicaError, sqlite3.Error) as error:
                world.fail("oracle", "", f"the last look failed: {error!r}")
        for name, member in self._members.items():
            for table, why in member.unreplicated().items():
                if fold(table) not in self._local:
                    text = f"table {table!r} has rows on {name}, and no other node gets them"
                    raise AssertionError(f"{text}: {why}; name it in local=({table!r},) of node(), if that is meant")

    def _equal(self) -> bool:
        with self.alone():
            return self.world.looks.equal()

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


def _names(argument: str, names: object) -> None:
    """A str is a list of letters, too: not what is meant."""
    if isinstance(names, str) or not isinstance(names, Collection) or not all(isinstance(name, str) for name in names):
        raise UsageError(f"{argument} must be a list of names, not {names!r}")
