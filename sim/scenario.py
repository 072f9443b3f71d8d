"""A scenario: everything that will happen to a world, written down before it begins.

A run is a function of its scenario alone. A seed draws one (`sim.draw`), a person writes one as TOML, and shrinking
takes things out of one. Times are virtual seconds since the start. One test each:

1. What is written as TOML is read as the same scenario.
2. A file with a mistake is refused with its place in words; so is one that says what cannot happen, which would pass for
   something that was survived.
3. A file that does not end is refused.
"""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from protocol import limits
from replica.errors import UsageError
from sim.allowed import FINITE_MAX, SKEW_S_MAX, must_be_allowed, must_be_number

WORKLOAD = frozenset({"write", "put"})
"""Kinds of event that are people's work; all others are faults."""

HINTS = ("on", "off", "wrong")
SIZES = ("usual", "small")
THROUGH = ("file", "node")

SETTINGS = (
    "seed", "duration_s", "start_ms", "latency_s", "poll_s", "shuffle", "hints", "sizes", "through", "bug", "db", "schema",
)  # fmt: skip
"""Of a scenario, in the order in which a file says them."""

FILE_BYTES_MAX = 64 << 20
"""Of a scenario."""

ROLES = ("node", "hq", "branch", "seller")

CLOCK_MS_MAX = 1 << 46
"""A clock shows 1970 to 4199."""

END_S_MAX = 1e11
"""Of virtual time: 3,000 years."""

MINOR_MAX = 9_999
"""What a node can say of its minor version."""

PARAMETERS: dict[str, frozenset[str]] = {
    # Work. `sql`: statements of one transaction of another program. `rows`: [table, [key, …]] of the rows that they are
    # about. `table`, `json`: rows put through the node.
    "write": frozenset({"sql", "rows"}),
    "put": frozenset({"table", "json", "rows"}),
    # Network. `groups`: nodes of one group hear each other only. `links`: [from, to] pairs, one way.
    "partition": frozenset({"groups", "for_s"}),
    "block": frozenset({"links", "for_s"}),
    "slow": frozenset({"links", "for_s", "bytes_per_s", "latency_s"}),
    "frames": frozenset({"links", "for_s", "how", "share"}),
    "cut": frozenset({"links"}),
    "deaf": frozenset({"for_s"}),
    # Clocks.
    "step": frozenset({"ms"}),
    "drift": frozenset({"ppm"}),
    "freeze": frozenset({"for_s"}),
    "counter": frozenset(),
    # The machine. `how`: "kill" (the kernel lives) or "power". `at_step`: after so many steps of `what` ("await", "sql",
    # "commit"); 0: now.
    "suspend": frozenset({"for_s"}),
    "crash": frozenset({"how", "what", "at_step", "for_s"}),
    "off": frozenset({"for_s"}),
    # The disk.
    "full": frozenset({"for_s"}),
    "ioerror": frozenset({"at_step", "for_s", "late"}),
    "rot": frozenset({"what"}),
    # Copies.
    "clone": frozenset({"to"}),
    "backup": frozenset(),
    "restore": frozenset(),
    # Software.
    "schema": frozenset({"sql"}),
    "version": frozenset({"for_s"}),
    "hostile": frozenset({"how", "for_s"}),
}
"""Kinds of event, and the parameters of each."""

_NUMBER = (int, float)
SHAPES: dict[str, tuple[type, ...]] = {
    "for_s": _NUMBER, "bytes_per_s": _NUMBER, "latency_s": _NUMBER, "share": _NUMBER, "ppm": _NUMBER, "every_s": _NUMBER,
    "at": _NUMBER, "ms": (int,), "at_step": (int,), "skew_ms": (int,), "minor": (int,), "late": (bool,),
    "how": (str,), "what": (str,), "to": (str,), "table": (str,), "json": (str,), "name": (str,), "role": (str,),
    "sql": (list,), "rows": (list,), "groups": (list,), "links": (list,), "peers": (list,), "online": (list,),
}  # fmt: skip
"""Settings of nodes and events, and what each must be."""

EVERYWHERE = frozenset({"partition", "block", "slow", "frames", "cut"})
"""Events of the network: they have no node."""


@dataclass(frozen=True, slots=True)
class Place:
    """A node at the start. `peers`: names of those it dials, every `every_s` seconds; `online`: (from, to) seconds in
    which its network works, everything if empty; its clock is wrong by `skew_ms`; it speaks the `minor` version of the
    protocol (sim.minors)."""

    name: str
    peers: tuple[str, ...] = ()
    every_s: float = 60.0
    skew_ms: int = 0
    online: tuple[tuple[float, float], ...] = ()
    role: str = "node"
    minor: int = limits.MINOR


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happens. `with_` holds the parameters that PARAMETERS names for the kind."""

    at: float
    kind: str
    node: str = ""
    with_: dict[str, Any] = field(default_factory=dict)

    @property
    def work(self) -> bool:
        """Whether it is people's work, and no fault."""
        return self.kind in WORKLOAD

    def __str__(self) -> str:
        rest = " ".join(f"{k}={json.dumps(v, ensure_ascii=False)}" for k, v in self.with_.items())
        return f"{self.at:.3f} {self.node} {self.kind} {rest}"[:200]


@dataclass(frozen=True, slots=True)
class Scenario:
    """A world and its fate. `schema`: SQL of the tables, or `db`: a file whose copy every node begins with."""

    seed: int
    places: tuple[Place, ...]
    events: tuple[Event, ...] = ()
    duration_s: float = 600.0
    schema: str = ""
    db: str = ""
    start_ms: int = 1_800_000_000_000
    latency_s: float = 0.02
    poll_s: float = 10.0
    shuffle: bool = True
    """Whether the order in which nodes run is drawn; else first come, first served."""
    hints: str = "on"
    """Memory and sketches of the nodes: "on", "off", or "wrong" on some of them (sim.hints)."""
    sizes: str = "usual"
    """Thresholds of the engine: "usual", or "small" (sim.small)."""
    through: str = "file"
    """What people's statements go through: the "file", as another program's, or, where that can be, the "node"."""
    bug: str = ""
    """A planted bug (sim.bugs)."""

    def without(self, events: set[int]) -> Scenario:
        """The same, but for the events with these numbers."""
        return replace(self, events=tuple(e for n, e in enumerate(self.events) if n not in events))

    @property
    def names(self) -> list[str]:
        """Of the nodes at the start."""
        return [place.name for place in self.places]

    # --- as a file --------------------------------------------------------------------------------------------------

    def to_toml(self) -> str:
        """As text that `from_toml` reads."""
        lines = [
            f"{name} = {_toml(getattr(self, name))}"
            for name in SETTINGS
        ]
        for place in self.places:
            lines += ["", "[[node]]"]
            lines += [
                f"{name} = {_toml(getattr(place, name))}"
                for name in ("name", "role", "peers", "every_s", "skew_ms", "online", "minor")
            ]
        for event in self.events:
            lines += ["", "[[event]]", f"at = {_toml(event.at)}", f"kind = {_toml(event.kind)}"]
            lines += [f"node = {_toml(event.node)}"] if event.node else []
            lines += [f"{name} = {_toml(value)}" for name, value in event.with_.items()]
        return "\n".join(lines) + "\n"

    @staticmethod
    def from_toml(text: str, name: str = "scenario") -> Scenario:
        """Read a scenario. Raises UsageError that names the mistake."""
        try:
            document = tomllib.loads(text)
        except (ValueError, RecursionError) as error:
            raise UsageError(f"{name}: no TOML: {error}") from None
        for what in ("node", "event"):
            entries = document.get(what, [])
            if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
                raise UsageError(f"{name}: {what} must be tables, each begun with [[{what}]]")
        places = tuple(_place(entry, f"{name}: node {n}") for n, entry in enumerate(document.pop("node", []), 1))
        if len({p.name for p in places}) < len(places) or not places:
            raise UsageError(f"{name}: it needs [[node]] tables, each with a name of its own")
        known = {p.name for p in places}
        for place in places:
            if strangers := set(place.peers) - known:
                raise UsageError(f"{name}: node {place.name} dials {min(strangers)}, which is no node")
        events = []
        for n, entry in enumerate(document.pop("event", []), 1):
            event = _event(entry, known, f"{name}: event {n}")
            if event.kind == "clone":
                known.add(str(event.with_["to"]))
            events.append(event)
        fields = {k: v for k, v in Scenario.__dataclass_fields__.items() if k not in {"places", "events"}}
        if unknown := set(document) - set(fields):
            raise UsageError(f"{name}: {min(unknown)!r} is no setting; there are {', '.join(sorted(fields))}")
        document.setdefault("seed", 0)
        for key, value in document.items():
            wanted = {"int": (int,), "float": _NUMBER, "str": (str,), "bool": (bool,)}[str(fields[key].type)]
            if not _is(value, wanted):
                raise UsageError(f"{name}: {key} is {value!r}, not {fields[key].type}")
        found = Scenario(places=places, events=tuple(sorted(events, key=lambda e: e.at)), **document)
        if found.duration_s <= 0 or found.latency_s < 0 or found.poll_s <= 0:
            raise UsageError(f"{name}: duration_s and poll_s must be above 0, and latency_s not below")
        if not 0 <= found.start_ms <= CLOCK_MS_MAX:
            raise UsageError(f"{name}: start_ms is {found.start_ms}: milliseconds since 1970, {CLOCK_MS_MAX} at most")
        for what, known_ones in (("hints", HINTS), ("sizes", SIZES), ("through", THROUGH)):
            if getattr(found, what) not in known_ones:
                raise UsageError(f"{name}: {what} can be {', '.join(known_ones)}, not {getattr(found, what)!r}")
        if late := [e for e in found.events if e.at > found.duration_s]:
            raise UsageError(f"{name}: {late[0].kind} at {late[0].at:g} s is after the end at {found.duration_s:g} s")
        return found

    @staticmethod
    def load(path: str | Path) -> Scenario:
        """Read a scenario file. Raises UsageError."""
        try:
            with Path(path).open("rb") as file:
                data = file.read(FILE_BYTES_MAX + 1)
            text = data.decode()
        except OSError as error:
            raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise UsageError(f"{path}: this is no scenario: it is not even text") from None
        if len(data) > FILE_BYTES_MAX:
            raise UsageError(f"{path}: this is no scenario: it has more than {FILE_BYTES_MAX >> 20} MB")
        return Scenario.from_toml(text, str(path))


def _is(value: object, wanted: tuple[type, ...]) -> bool:
    """Whether it is one of these; `true` is no number, and neither are `nan` and `inf`."""
    if isinstance(value, bool) or bool in wanted:
        return isinstance(value, bool) and bool in wanted
    return isinstance(value, wanted) and (float not in wanted or abs(value) <= FINITE_MAX)  # type: ignore[arg-type]


def _shapes(entry: dict[str, Any], where: str) -> None:
    for key, value in entry.items():
        if not _is(value, SHAPES[key]):
            raise UsageError(f"{where}: {key} is {value!r}, not {' or '.join(t.__name__ for t in SHAPES[key])}")


def _pairs(values: list[Any], kind: tuple[type, ...], where: str) -> None:
    for pair in values:
        if not isinstance(pair, list | tuple) or len(pair) != 2 or not all(_is(v, kind) for v in pair):
            raise UsageError(f"{where}: {pair!r} is no pair")


def _place(entry: dict[str, Any], where: str) -> Place:
    unknown = set(entry) - set(Place.__dataclass_fields__)
    if unknown or not isinstance(entry.get("name"), str):
        raise UsageError(f"{where}: {f'{min(unknown)!r} is no setting of a node' if unknown else 'it has no name'}")
    if not 0 < len(entry["name"]) <= 64 or not entry["name"].isprintable():
        raise UsageError(f"{where}: a node's name has 1 to 64 printable characters")
    _shapes(entry, where)
    _pairs(entry.get("online", []), _NUMBER, f"{where}: online")
    if not all(isinstance(peer, str) for peer in entry.get("peers", [])):
        raise UsageError(f"{where}: peers are names, not {entry['peers']!r}")
    if entry.get("every_s", 1) <= 0:
        raise UsageError(f"{where}: every_s is {entry['every_s']}: a node dials after so many seconds")
    if not 0 <= entry.get("minor", 0) <= MINOR_MAX:
        raise UsageError(f"{where}: minor is {entry['minor']}: a minor version is 0 to {MINOR_MAX}")
    if entry.get("role", "node") not in ROLES:
        raise UsageError(f"{where}: role can be {', '.join(ROLES)}, not {entry['role']!r}")
    must_be_number(f"{where}: skew_ms", entry.get("skew_ms", 0), -SKEW_S_MAX * 1000, SKEW_S_MAX * 1000)
    if entry["name"] in entry.get("peers", ()):
        raise UsageError(f"{where}: {entry['name']} dials itself")
    if odd := [pair for pair in entry.get("online", ()) if not 0 <= pair[0] < pair[1]]:
        raise UsageError(f"{where}: online from {odd[0][0]:g} to {odd[0][1]:g} s is no time")
    entry = {**entry, "peers": tuple(entry.get("peers", ()))}
    entry["online"] = tuple((float(a), float(b)) for a, b in entry.get("online", ()))
    return Place(**entry)


def _event(entry: dict[str, Any], known: set[str], where: str) -> Event:
    at, kind, node = entry.pop("at", None), entry.pop("kind", None), entry.pop("node", "")
    if not _is(at, _NUMBER) or not 0 <= at <= END_S_MAX:
        raise UsageError(f"{where}: `at` must be seconds since the start, not {at!r}")
    if not isinstance(node, str):
        raise UsageError(f"{where}: node must be a name, not {node!r}")
    if not isinstance(kind, str) or kind not in PARAMETERS:
        raise UsageError(f"{where}: {kind!r} is no kind of event; there are {', '.join(sorted(PARAMETERS))}")
    if unknown := set(entry) - PARAMETERS[kind]:
        raise UsageError(
            f"{where}: {kind} has no parameter {min(unknown)!r}; it has {', '.join(sorted(PARAMETERS[kind]))}"
        )
    if missing := PARAMETERS[kind] - set(entry):
        raise UsageError(f"{where}: {kind} needs {min(missing)!r}")
    _shapes(entry, where)
    _pairs(entry.get("links", []), (str,), f"{where}: links")
    if not all(isinstance(group, list) for group in entry.get("groups", [])):
        raise UsageError(f"{where}: groups are lists of names")
    strangers = {str(n) for group in (*entry.get("links", []), *entry.get("groups", [])) for n in group} - known
    if strangers:
        raise UsageError(f"{where}: {min(strangers)!r} is no node")
    if (kind not in EVERYWHERE) != bool(node) or (node and node not in known):
        raise UsageError(
            f"{where}: {kind} at node {node!r}: it needs the name of a node, network events none; the nodes are "
            f"{', '.join(sorted(known))}"
        )
    must_be_allowed(kind, entry, known, where)
    return Event(float(at), kind, node, entry)


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
