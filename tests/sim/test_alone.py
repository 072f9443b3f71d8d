"""A world alone in its process: fenced, in whatever loop, and its errors are told."""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
import threading
import time
from collections.abc import Callable

import pytest

from sim.alone import _execute
from sim.loop import Fenced
from sim.result import Result
from sim.world import World
from tests.sim.worlds import run, small


def bind() -> None:
    with socket.socket() as real:
        real.bind(("127.0.0.1", 0))


@pytest.mark.parametrize(
    "action",
    [lambda: threading.Thread(target=print).start(), bind, lambda: time.sleep(0)],
    ids=["thread", "socket", "sleep"],
)
def test_whoever_reaches_for_the_real_world_is_fenced(action: Callable[[], None]) -> None:
    raised: list[BaseException] = []

    def reach() -> None:
        try:
            action()
        except Fenced as error:
            raised.append(error)

    world = World(small())
    world.loop.call_at(10, reach)
    assert world.run().ok
    assert len(raised) == 1


def test_a_world_lives_inside_a_running_loop_too() -> None:
    async def outer() -> Result:
        return run(small())

    assert asyncio.run(outer()).digest == run(small()).digest


def test_an_error_that_nobody_expected_is_a_violation() -> None:
    def broken() -> None:
        raise ZeroDivisionError("in a callback")

    for breaks in (broken, lambda: logging.getLogger("replica").error("in a log")):
        world = World(small())
        world.loop.call_at(10, breaks)
        result = world.run()
        assert result.violation is not None
        assert result.violation.invariant == "crash"
        assert "in a" in result.violation.text


@pytest.mark.parametrize("dies", [True, False])
def test_what_was_to_be_told_to_a_process_that_died_is_no_violation(dies: bool) -> None:
    world = World(small())

    def fail() -> None:
        raise ZeroDivisionError

    def answer() -> None:
        machine = world.machines["a"]
        process = machine.process
        assert process is not None
        future = world.loop.create_future()
        _execute(machine, process, future, fail)
        if dies:
            machine.stop()
            machine.power_on()

    world.loop.call_at(10, answer)
    world.loop.call_at(11, gc.collect)
    violation = world.run().violation
    assert (violation is None) == dies
    assert violation is None or "never retrieved" in violation.text
