"""What each kind of fault does to a world, and how it ends. A fault that lasts leaves an undo with the world, which is
called when its time is over or when everything heals, whichever is first. Each leaves a band in the result, of a moment
if it does not last, so that the story tells of it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from protocol.hlc import COUNTER_MAX
from sim.disk import Crash
from sim.result import Band
from sim.scenario import Event
from sim.wording import said, wording

if TYPE_CHECKING:
    from sim.machine import Machine
    from sim.world import World

FAR_MS = 86_400_000
"""A clock so far ahead of the truth could lawfully take in a hostile node's stamps from the future."""


def strike(world: World, event: Event) -> None:
    """Let it happen."""
    if event.node and event.node not in world.machines:
        world.note(event.node, event.kind, "there is no such node")
        _nothing(world, event, "there is no such node")
        return
    world.note(event.node, event.kind, str(event), said(event))
    world.reach_states(event.kind, _concerned(world, event))
    KINDS[event.kind](world, event)


def _concerned(world: World, event: Event) -> list[str]:
    if event.node:
        return [event.node]
    if event.kind == "partition":
        return list(world.machines)
    return sorted({name for link in event.with_["links"] for name in link})


def _last(world: World, event: Event, text: str, undo: Callable[[], None]) -> None:
    seconds = float(event.with_["for_s"])
    groups = tuple(map(tuple, event.with_.get("groups", ())))
    band = Band(event.node, event.kind, event.at, event.at + seconds, text, groups)
    world.lasts(band, seconds, undo)


def _happened(world: World, event: Event, text: str) -> Band:
    """What does not last."""
    band = Band(event.node, event.kind, event.at, event.at, text)
    world.result.bands.append(band)
    return band


def _nothing(world: World, event: Event, why: str) -> None:
    """It changed nothing."""
    node = event.node if event.node in world.machines else ""
    world.result.bands.append(Band(node, "nothing", event.at, event.at, f"{event.kind} of {event.node} ({why})"))


# --- the network --------------------------------------------------------------------------------------------------------


def _links(event: Event) -> list[tuple[str, str]]:
    return [(a, b) for a, b in event.with_["links"]]


def _partition(world: World, event: Event) -> None:
    groups: list[list[str]] = event.with_["groups"]
    named = {name for group in groups for name in group}
    groups = [*groups, [name for name in world.machines if name not in named]]
    links = [(a, b) for one in groups for two in groups if one is not two for a in one for b in two]
    world.network.block(links)
    _last(world, event, " | ".join(" ".join(g) for g in groups if g), lambda: world.network.unblock(links))


def _block(world: World, event: Event) -> None:
    links = _links(event)
    world.network.block(links)
    _last(world, event, wording(event), lambda: world.network.unblock(links))


def _slow(world: World, event: Event) -> None:
    links = _links(event)
    usual = world.scenario.latency_s
    for a, b in links:
        link = world.network.link(a, b)
        link.bytes_per_s, link.latency_s = event.with_["bytes_per_s"], event.with_["latency_s"]

    def undo() -> None:
        for a, b in links:
            link = world.network.link(a, b)
            link.bytes_per_s, link.latency_s = float("inf"), usual

    _last(world, event, wording(event), undo)


def _frames(world: World, event: Event) -> None:
    links = _links(event)
    for a, b in links:
        link = world.network.link(a, b)
        link.how, link.share = event.with_["how"], event.with_["share"]

    def undo() -> None:
        for a, b in links:
            world.network.link(a, b).how = None

    _last(world, event, wording(event), undo)


def _cut(world: World, event: Event) -> None:
    world.network.cut(_links(event))
    _happened(world, event, wording(event))


def _deaf(world: World, event: Event) -> None:
    world.network.deaf.add(event.node)
    _last(world, event, "reads nothing", lambda: world.network.hear(event.node))


# --- clocks -------------------------------------------------------------------------------------------------------------


def _tell_clock(world: World, machine: Machine) -> None:
    """This clock is about to change: the node may have stamped by it where no record changed, of which nobody is told."""
    world.oracle.clock_moved(machine.clock.now_ms())


def _step(world: World, event: Event) -> None:
    machine = world.machines[event.node]
    _tell_clock(world, machine)
    machine.clock.step(int(event.with_["ms"]))
    _happened(world, event, wording(event))


def _drift(world: World, event: Event) -> None:
    world.machines[event.node].clock.drift(float(event.with_["ppm"]))
    _happened(world, event, wording(event))


def _freeze(world: World, event: Event) -> None:
    machine = world.machines[event.node]

    def undo() -> None:
        _tell_clock(world, machine)
        machine.clock.freeze(False)

    machine.clock.freeze(True)
    _last(world, event, "the clock stands still", undo)


def _counter(world: World, event: Event) -> None:
    """As after a burst of 65,535 events within this millisecond."""
    machine = world.machines[event.node]
    full = ((machine.clock.now_ms() << 16) | COUNTER_MAX).to_bytes(8, "big")
    try:
        with machine.disk.unharmed():
            machine.write(
                [f"UPDATE _replica_meta SET value = x'{full.hex()}' WHERE name = 'clock' AND value < x'{full.hex()}'"]
            )
        world.oracle.clock_moved(machine.clock.now_ms())
        _happened(world, event, "")
    except sqlite3.Error as error:
        world.note(event.node, "counter", f"not now: {error}")
        _nothing(world, event, str(error))


# --- machines -----------------------------------------------------------------------------------------------------------


def _suspend(world: World, event: Event) -> None:
    machine = world.machines[event.node]
    process = machine.process
    if process is None or not machine.on:
        _nothing(world, event, "it was down already")
        return
    process.stopped, machine.on = True, False
    world.network.turn_off(event.node)

    def wake() -> None:
        machine.on = True
        world.network.turn_on(event.node)
        if process is machine.process:
            world.loop.resume(process)
        elif machine.wanted:
            machine.boot()

    _last(world, event, "asleep", wake)


def _crash(world: World, event: Event) -> None:
    machine = world.machines[event.node]
    how, what, at = event.with_["how"], event.with_["what"], int(event.with_["at_step"])
    machine.down_s = float(event.with_["for_s"])
    if machine.how_hostile and not at:
        how = "kill"  # What it writes goes past the disk, which would lose it all.
    machine.how_dies = how
    if what == "await" and at and machine.process is not None:
        machine.process.dies_at = machine.process.steps + at
        machine.doomed["await"] = _happened(world, event, wording(event))
    elif what in {"sql", "commit"} and at:
        machine.disk.crash_at(what, at, how)
        machine.doomed["disk"] = _happened(world, event, wording(event))
    else:
        machine.disk.crash(how)
        machine.died("now", crashed=True)


def _off(world: World, event: Event) -> None:
    """The process is ended in order, and the machine is shut down."""
    machine = world.machines[event.node]
    if machine.process is None or not machine.on:
        _nothing(world, event, "it was down already")
        return
    machine.stop(silent=False)
    machine.on = False
    world.network.turn_off(event.node)
    _last(world, event, "switched off", machine.power_on)


# --- disks --------------------------------------------------------------------------------------------------------------


def _full(world: World, event: Event) -> None:
    disk = world.machines[event.node].disk
    disk.fill(True)
    world.shaky.add(event.node)
    _last(world, event, "disk full", lambda: disk.fill(False))


def _ioerror(world: World, event: Event) -> None:
    disk = world.machines[event.node].disk
    seconds = float(event.with_["for_s"])
    disk.fail_at(int(event.with_["at_step"]), bool(event.with_["late"]), seconds > 0)
    world.shaky.add(event.node)
    if seconds:
        _last(world, event, wording(event), disk.heal)
    else:
        _happened(world, event, wording(event))


def _rot(world: World, event: Event) -> None:
    """A bit of the disk flips while it is off; `verify` must find that; then it gets a fresh copy from its peers."""
    machine = world.machines[event.node]
    if not machine.on or machine.how_hostile:
        _nothing(world, event, "its disk was in use" if machine.on else "it was off")
        return
    machine.stop()
    with machine.disk.unharmed():
        with machine.offline() as store, store.transaction() as core:  # What is local is nobody's to verify.
            names = [table.shape.name for table in core.tables.values() if table.shape is not None]
        before = machine.contents(names)
        did = machine.disk.rot(event.with_["what"])
        found = machine.verify()
        harmless = not found and machine.contents(names) == before
    world.note(machine.name, "rot", f"{did}; found: {found[:1]}")
    if did and not found and not harmless:
        world.fail("I5", machine.name, f"{did}, and verify finds nothing")
    world.reach("rot", "found" if found else "harmless")
    if did:
        after = "it was found, and the node got a fresh copy" if found else "it did no harm"
        _happened(world, event, f"{did}; {after}")
    else:
        _nothing(world, event, f"no {event.with_['what']} could be spoiled just then")
    if found:
        machine.disk.wipe()
        world.oracle.replaced(machine.name)
        machine.found(world.secrets, adopt=False)
    machine.boot()


# --- copies -------------------------------------------------------------------------------------------------------------


def _clone(world: World, event: Event) -> None:
    world.clone(event.node, event.with_["to"])
    _happened(world, event, wording(event))


def _backup(world: World, event: Event) -> None:
    machine = world.machines[event.node]
    machine.backup = machine.disk.backup()
    _happened(world, event, "")


def _restore(world: World, event: Event) -> None:
    machine = world.machines[event.node]
    if machine.backup is None or not machine.on:
        why = "there is no backup" if machine.on else "the machine is off"
        world.note(event.node, "restore", why)
        _nothing(world, event, why)
        return
    machine.stop()
    machine.disk.restore(machine.backup)
    world.oracle.restored(event.node)
    _happened(world, event, "")
    machine.boot()


# --- software -----------------------------------------------------------------------------------------------------------


def _schema(world: World, event: Event) -> None:
    machine = world.machines[event.node]
    if not machine.on:
        world.note(event.node, "schema", "nobody is there")
        _nothing(world, event, "nobody was there")
        return
    try:
        machine.write(event.with_["sql"])
        _happened(world, event, wording(event))
    except Crash:
        _nothing(world, event, "the machine went down in the middle of it")
        machine.died("a user's statement", crashed=True)
    except sqlite3.Error as error:
        world.note(event.node, "schema", f"refused: {error}")
        _nothing(world, event, f"refused: {error}")


def _version(world: World, event: Event) -> None:
    world.network.other_version.add(event.node)
    world.network.hang_up(event.node)  # Another program: a connection that stands is of this one.
    _last(world, event, "another version", lambda: world.network.other_version.discard(event.node))


def _hostile(world: World, event: Event) -> None:
    machine = world.machines[event.node]
    ahead = _furthest(world.machines.values())
    if event.with_["how"] == "future" and ahead > FAR_MS:
        why = "a clock is so wrong that the future would be believed"
        world.note(event.node, "hostile", why)
        _nothing(world, event, why)
        return
    machine.stop()
    machine.how_hostile = event.with_["how"]
    machine.boot()

    def undo() -> None:
        machine.stop()
        machine.disk.sync()
        machine.how_hostile = ""
        machine.boot()

    _last(world, event, wording(event), undo)


def _furthest(machines: Iterable[Machine]) -> int:
    return max(machine.clock.now_ms() - machine.clock.true_ms() for machine in machines)


KINDS: dict[str, Callable[[World, Event], None]] = {
    "partition": _partition, "block": _block, "slow": _slow, "frames": _frames, "cut": _cut, "deaf": _deaf,
    "step": _step, "drift": _drift, "freeze": _freeze, "counter": _counter,
    "suspend": _suspend, "crash": _crash, "off": _off,
    "full": _full, "ioerror": _ioerror, "rot": _rot,
    "clone": _clone, "backup": _backup, "restore": _restore,
    "schema": _schema, "version": _version, "hostile": _hostile,
}  # fmt: skip
"""Every kind of fault in sim.scenario.PARAMETERS, and what does it."""
