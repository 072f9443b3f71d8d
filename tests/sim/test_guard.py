"""Guards, with loops that never end. What is planted is found by a small limit, not by waiting."""

from __future__ import annotations

import itertools
import signal
import sys
import time
from contextlib import closing
from functools import partial

import pytest

from replica.store.store import Store
from sim.draw import draw
from sim.guard import HANG, Hung, Limit, limited, moving, place
from sim.scenario import Scenario
from sim.shrink import broken, once, shrink
from sim.world import World

STILL_S = 0.3


def spin(*_: object) -> None:
    """A callback that loops."""
    while True:
        pass


def stubborn(*_: object) -> None:
    """One that takes Hung for an error of its own, a few times."""
    for _again in range(3):
        try:
            spin()
        except BaseException:
            continue


def busy(cpu_s: float) -> None:
    end = time.process_time() + cpu_s
    while time.process_time() < end:
        pass


def small() -> Scenario:
    return draw(1, nodes=3, duration_s=60.0, faults=[])


@pytest.mark.parametrize("loop", [spin, stubborn])
def test_a_world_that_stands_still_is_told_with_the_place(loop: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Store, "absorb", loop)
    done = once(small(), still_s=STILL_S)
    bad = done.result.violation
    assert broken(done.result) == HANG
    assert bad is not None
    where = f"{__name__}.spin, called by sim.alone._execute"
    assert bad.text == f"virtual time stood still for 0.3 s of CPU, in {where}"
    assert signal.getsignal(signal.SIGPROF) == signal.SIG_DFL
    assert signal.getitimer(signal.ITIMER_PROF) == (0, 0)


def test_a_loop_of_callbacks_hangs_alike_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of them is over soon, and notes something; how many there are in a moment is for the CPU to say."""

    def again(world: World) -> None:
        world.note("", "again")
        world.loop.call_soon(again, world)

    start = World.start

    def planted(world: World) -> None:
        start(world)
        world.loop.call_at(12.5, again, world)

    monkeypatch.setattr(World, "start", planted)
    one, two = (once(small(), still_s=still_s).result for still_s in (STILL_S, 2 * STILL_S))
    assert one.violation is not None
    assert (broken(one), one.violation.at) == (HANG, 12.5)
    assert one.digest == two.digest
    assert one.lines[-1].text == HANG


def test_whoever_goes_on_may_take_long() -> None:
    told: list[str] = []
    steps = itertools.count()
    with moving(lambda: next(steps), told.append, 0.05):
        busy(0.3)
    assert not told


def test_too_much_cpu_ends_whoever_swallows_it() -> None:
    swallowed, limit = 0, Limit()
    with pytest.raises(Hung), limited(0.05, limit):
        for _ in range(2):
            try:
                spin()
            except Hung:
                swallowed += 1
        spin()
    assert swallowed == 2
    assert limit.place == f"{__name__}.spin"


def test_guards_nest() -> None:
    told: list[str] = []
    outer = Limit()
    with limited(0.1, outer):
        with pytest.raises(Hung), moving(lambda: 0, told.append, 10.0):
            spin()
        assert outer.place
        assert not told
    outer = Limit()
    with limited(10.0, outer):
        with pytest.raises(Hung), moving(lambda: 0, told.append, 0.05):
            spin()
        assert told
        assert not outer.place
        handler = signal.getsignal(signal.SIGPROF)
    assert signal.getsignal(signal.SIGPROF) == signal.SIG_DFL != handler
    assert signal.getitimer(signal.ITIMER_PROF) == (0, 0)


def test_a_place_is_the_innermost_function_and_the_innermost_of_ours() -> None:
    found: list[str] = []

    class Text:
        def replace(self, *_: str) -> str:
            found.append(place(sys._getframe()))
            return ""

    with closing(World(small())) as world:
        world.plain(Text())  # type: ignore[arg-type]
    name = "test_a_place_is_the_innermost_function_and_the_innermost_of_ours.<locals>.Text.replace"
    assert found == [f"{__name__}.{name}, called by sim.world.World.plain"]
    assert not place(None)


def test_a_hang_shrinks_to_a_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    def planted(store: Store, *_: object) -> None:
        spin()

    monkeypatch.setattr(Store, "absorb", planted)
    run = partial(once, still_s=0.1)
    done = shrink(small(), 20.0, run=run, hasty=run)
    assert broken(done.result) == HANG
    assert done.nodes == 1
    assert len(done.scenario.events) == 0
