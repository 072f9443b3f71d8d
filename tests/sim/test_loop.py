"""The loop of a world: time that jumps, processes that die, and a fence around it."""

from __future__ import annotations

import asyncio
import gc
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing, contextmanager
from contextvars import copy_context
from random import Random
from typing import Any

import pytest

from sim.loop import CURRENT, TASKS, Fenced, Loop, Process, fence


@contextmanager
def running(seed: int = 0, *, shuffle: bool = True) -> Iterator[Loop]:
    with closing(Loop(Random(seed), shuffle=shuffle)) as loop, fence({}):
        yield loop


def begin(loop: Loop, process: Process, work: Callable[[], Coroutine[Any, Any, None]]) -> list[asyncio.Task[None]]:
    context, tasks = copy_context(), []
    context.run(CURRENT.set, process)
    loop.call_soon(lambda: tasks.append(loop.create_task(work(), context=context)), context=context)
    return tasks


def run_until(loop: Loop, when: float) -> None:
    loop.call_at(when, loop.stop)
    loop.run_forever()


def order(seed: int, *, shuffle: bool = True) -> list[str]:
    said = []
    with running(seed, shuffle=shuffle) as loop:

        def worker(name: str) -> Callable[[], Coroutine[Any, Any, None]]:
            async def work() -> None:
                for turn in range(4):
                    said.append(f"{name}{turn}")
                    await asyncio.sleep(1)

            return work

        kept = [begin(loop, Process(name), worker(name)) for name in "abcd"]
        run_until(loop, 100)
        assert all(task.done() for tasks in kept for task in tasks)
    return said


def test_hours_take_no_time_and_the_same_seed_gives_the_same_order() -> None:
    began = time.monotonic()
    with running() as loop:
        loop.run_until_complete(asyncio.wait_for(_sleep(36_000), 40_000))
        assert loop.time() == 36_000
    assert time.monotonic() - began < 5
    assert order(1) == order(1)
    assert len({tuple(order(seed)) for seed in range(8)}) > 4
    assert order(3, shuffle=False) == order(4, shuffle=False)
    assert order(3, shuffle=False)[:4] == ["a0", "b0", "c0", "d0"]


async def _sleep(seconds: float) -> None:
    await asyncio.sleep(seconds)


def test_callbacks_of_one_process_keep_their_order() -> None:
    for seed in range(10):
        said: list[int] = []
        with running(seed) as loop:
            contexts = [copy_context(), copy_context()]
            for context, name in zip(contexts, "ab", strict=True):
                context.run(CURRENT.set, Process(name))
            for n in range(20):
                loop.call_soon(said.append, n, context=contexts[n % 2])
            run_until(loop, 1)
        assert [n for n in said if n % 2] == list(range(1, 20, 2))
        assert [n for n in said if not n % 2] == list(range(0, 20, 2))


def test_a_dead_process_runs_nothing_more() -> None:
    said: list[str] = []
    with running() as loop:
        process = Process("a")

        async def work() -> None:
            try:
                said.append("begun")
                await asyncio.sleep(10)
                said.append("never")
            finally:
                said.append("finally")

        tasks = begin(loop, process, work)
        run_until(loop, 5)
        process.dead = True
        tasks[0].cancel()
        run_until(loop, 50)
        assert said == ["begun"]
        tasks[0]._log_destroy_pending = False  # type: ignore[attr-defined]
        tasks[0].get_coro().close()


def test_what_a_dead_process_was_doing_is_not_ended_by_the_garbage_collector() -> None:
    said: list[str] = []

    async def work() -> None:
        try:
            await asyncio.get_running_loop().create_future()  # Nobody else knows of it.
        finally:
            said.append("ended")

    with running() as loop:
        loop.set_exception_handler(lambda _, context: said.append(context["message"]))
        process = Process("a")
        begin(loop, process, work).clear()
        run_until(loop, 1)
        process.dead = True
        gc.collect()
        run_until(loop, 2)
        assert said == []
        loop._tasks[0]._log_destroy_pending = False  # type: ignore[attr-defined]


def test_a_process_dies_before_the_step_that_was_named() -> None:
    for at in range(2, 7):
        with running() as loop:
            process = Process("a")
            said: list[float] = []
            process.dies_at = at

            def die(process: Process = process) -> None:
                process.dead = True

            async def work(said: list[float] = said, loop: Loop = loop) -> None:
                while True:
                    said.append(loop.time())
                    await asyncio.sleep(1)

            process.die = die
            tasks = begin(loop, process, work)
            run_until(loop, 100)
            assert process.steps == at
            assert len(said) < at
            for task in tasks:
                task._log_destroy_pending = False  # type: ignore[attr-defined]
                task.get_coro().close()


def test_a_stopped_process_goes_on_where_it_stood() -> None:
    with running() as loop:
        process, said = Process("a"), []

        async def work() -> None:
            for _ in range(3):
                await asyncio.sleep(1)
                said.append(loop.time())

        begin(loop, process, work)
        run_until(loop, 1.5)
        process.stopped = True
        run_until(loop, 50)
        assert said == [1.0]
        loop.resume(process)
        run_until(loop, 60)
        assert said == [1.0, 50.0, 51.0]


def test_what_is_cancelled_is_not_called() -> None:
    said: list[str] = []
    with running() as loop:
        soon, late = loop.call_soon(said.append, "soon"), loop.call_later(5, said.append, "late")
        assert (late.when(), late.cancelled()) == (5, False)
        soon.cancel()
        late.cancel()
        assert soon.cancelled()
        assert late.cancelled()
        loop.call_at(7, said.append, "kept")
        run_until(loop, 10)
    assert said == ["kept"]


def test_tasks_that_have_ended_are_forgotten() -> None:
    async def many() -> list[int]:
        waits = [asyncio.create_task(asyncio.sleep(10_000)) for _ in range(TASKS)]
        sizes = []
        for _ in range(6 * TASKS):
            await asyncio.create_task(asyncio.sleep(0))
            sizes.append(len(loop._tasks))
        for wait in waits:
            wait.cancel()
        return sizes

    with running() as loop:
        sizes = loop.run_until_complete(many())
    assert TASKS < max(sizes) <= 2 * (TASKS + 2)


def test_threads_sockets_and_sleeps_raise() -> None:
    sleep, start = time.sleep, threading.Thread.start
    with running() as loop:
        with pytest.raises(Fenced, match="a thread"):
            threading.Thread(target=print).start()
        with closing(socket.socket()) as real:
            with pytest.raises(Fenced, match="a socket"):
                real.connect(("127.0.0.1", 9))
            with pytest.raises(Fenced, match="a socket"):
                real.bind(("127.0.0.1", 0))
        with pytest.raises(Fenced, match="sleep"):
            time.sleep(0)
        with pytest.raises(Fenced, match="signal"):
            loop.add_signal_handler(2, print)
    assert (time.sleep, threading.Thread.start) == (sleep, start)


def test_the_fence_falls_also_after_an_error() -> None:
    sleep = time.sleep
    with pytest.raises(KeyError), fence({(asyncio, "wait"): print}):
        assert asyncio.wait is print  # type: ignore[comparison-overlap]
        raise KeyError
    assert time.sleep is sleep
    assert asyncio.wait is not print  # type: ignore[comparison-overlap]


def test_a_world_in_which_nothing_can_happen_says_so() -> None:
    with running() as loop, pytest.raises(Fenced, match="nothing will ever happen"):
        loop.run_forever()


def test_an_executor_runs_at_once_in_the_one_thread() -> None:
    with running() as loop:

        async def work() -> None:
            assert await loop.run_in_executor(None, threading.get_ident) == threading.get_ident()
            with pytest.raises(ZeroDivisionError):
                await loop.run_in_executor(None, divmod, 1, 0)

        loop.run_until_complete(work())
