"""What lasts ends once, and does not need who began it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from contextvars import copy_context
from random import Random

import pytest

from sim.lasting import Lasting
from sim.loop import CURRENT, Loop, Process, fence
from sim.result import Band
from sim.scenario import Event
from sim.world import World
from tests.sim.worlds import small


@pytest.fixture
def loop() -> Iterator[Loop]:
    with closing(Loop(Random(0))) as made, fence({}):
        yield made


def begin(lasting: Lasting, kind: str, node: str, seconds: float, said: list[str]) -> Band:
    band = Band(node, kind, 0.0, seconds)
    lasting.begin(band, seconds, lambda: said.append(f"undo {kind} {node}"))
    return band


def run_until(loop: Loop, when: float) -> None:
    loop.call_at(when, loop.stop)
    loop.run_forever()


@pytest.mark.parametrize("by_hand", [True, False])
def test_it_ends_once_however_often_it_is_ended(loop: Loop, *, by_hand: bool) -> None:
    said: list[str] = []
    lasting = Lasting(loop, lambda band: said.append(f"end {band.kind} {band.node}"))
    band = begin(lasting, "full", "a", 30.0, said)
    run_until(loop, 10)
    assert (lasting.bands, said) == ([band], [])
    if by_hand:
        lasting.end({"full"})
        lasting.end({"full"})
    run_until(loop, 40)
    lasting.end_all()
    assert said == ["end full a", "undo full a"]
    assert band.end == (10 if by_hand else 30)
    assert not lasting.bands


def test_by_hand_ends_what_is_named(loop: Loop) -> None:
    said: list[str] = []
    lasting = Lasting(loop, lambda _: None)
    for kind, node in (("full", "a"), ("full", "b"), ("block", ""), ("deaf", "a")):
        begin(lasting, kind, node, 1e6, said)
    lasting.end({"full", "block"}, "b")
    assert said == ["undo full b"]
    lasting.end({"full", "block"})
    assert said == ["undo full b", "undo full a", "undo block "]
    assert [(band.kind, band.node) for band in lasting.bands] == [("deaf", "a")]
    lasting.end_all()
    assert said[3:] == ["undo deaf a"]


def test_its_end_outlives_the_process_in_which_it_began(loop: Loop) -> None:
    said: list[str] = []
    lasting = Lasting(loop, lambda _: None)
    process, context = Process("a"), copy_context()
    context.run(CURRENT.set, process)
    loop.call_at(5.0, begin, lasting, "down", "a", 10.0, said, context=context)
    run_until(loop, 6)
    process.dead = True
    run_until(loop, 20)
    assert said == ["undo down a"]


def test_faults_end_when_everything_heals_and_by_hand() -> None:
    world = World(small())
    try:
        world.start()
        world.run_for(5)
        with world._alone():
            for event in (
                Event(5, "block", "", {"links": [["a", "b"]], "for_s": 1e6}),
                Event(5, "full", "a", {"for_s": 1e6}),
                Event(5, "full", "b", {"for_s": 1e6}),
            ):
                world.strike(event)
            assert world.network.blocked("a", "b")
            world.lasting.end({"full"}, "a")
            assert sorted((b.kind, b.node) for b in world.lasting.bands) == [("block", ""), ("full", "b")]
            world.lasting.end({"block"})
        assert not world.network.blocked("a", "b")
        world.heal()
        assert not world.lasting.bands
        world.converge()
        assert world.finish().ok
    finally:
        world.close()
