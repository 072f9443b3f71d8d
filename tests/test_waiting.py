"""Writes that wait for the store's thread go together, in order; a caller may give up."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from protocol.errors import OurFault
from replica import Node
from replica.errors import RowRefused, UsageError
from replica.store.together import Done, Write
from replica.store_thread import StoreThread
from tests.nodes import make_pair, rows_of


@asynccontextmanager
async def held_up(node: Node) -> AsyncIterator[list[int]]:
    """The store's thread is kept busy until the end of the block. Yields how many writes went together, each time."""
    free, sizes = threading.Event(), list[int]()
    together = node.store.together

    def counted(writes: Sequence[Write]) -> list[Done]:
        sizes.append(len(writes))
        return together(writes)

    node.store.together = counted  # type: ignore[method-assign]
    busy = asyncio.create_task(node.call(free.wait))
    await asyncio.sleep(0)
    try:
        yield sizes
        await asyncio.sleep(0)  # All tasks have asked by now.
    finally:
        free.set()
        await busy


def contact(n: int) -> list[tuple[str, str, str, str]]:
    return [(f"n{n:03}", "name", "1", "")]


async def test_writes_that_wait_share_a_transaction(tmp_path: Path) -> None:
    hq, _ = make_pair(tmp_path, rows=3)
    async with Node(hq) as node:
        async with held_up(node) as sizes:
            writers = [asyncio.create_task(node.put_many("contacts", contact(n))) for n in range(32)]
            edit = asyncio.create_task(node.execute("UPDATE contacts SET name = 'x' RETURNING id"))
        assert await asyncio.gather(*writers) == [1] * 32
        assert len(await edit) == 35
        assert sizes == [33]
        assert await node.put_many("contacts", contact(99)) == 1
        assert sizes == [33, 1]
        assert await node.verify() == []


async def test_they_run_in_the_order_in_which_they_were_asked_for(tmp_path: Path) -> None:
    hq, _ = make_pair(tmp_path, rows=1)
    async with Node(hq) as node:
        async with held_up(node) as sizes:
            tasks = [
                asyncio.create_task(node.execute("UPDATE contacts SET notes = notes || ? RETURNING notes", [f" {n}"]))
                for n in range(300)
            ]
        notes: list[Any] = [rows[0][0] for rows in await asyncio.gather(*tasks)]
        assert sizes == [256, 44]
    assert all(note.endswith(f" {n - 1} {n}" if n else " 0") for n, note in enumerate(notes))


async def test_writes_that_go_together_change_threads_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hq, _ = make_pair(tmp_path)
    async with Node(hq) as node:
        posts, post = list[object](), StoreThread.post

        def counted(thread: StoreThread, function: Callable[[], object]) -> asyncio.Future[object]:
            posts.append(function)
            return post(thread, function)

        monkeypatch.setattr(StoreThread, "post", counted)
        async with held_up(node) as sizes:
            posts.clear()
            tasks = [asyncio.create_task(node.put_many("contacts", contact(n))) for n in range(600)]
        assert await asyncio.gather(*tasks) == [1] * 600
        assert len(posts) == len(sizes) == 3


async def test_a_write_to_a_closed_node_is_refused_and_leaves_nothing_that_waits(tmp_path: Path) -> None:
    hq, _ = make_pair(tmp_path)
    node = Node(hq)
    with pytest.raises(UsageError, match="not open"):
        await node.put_many("contacts", contact(1))
    async with node:
        assert await node.put_many("contacts", contact(2)) == 1
    with pytest.raises(UsageError, match="the node is closed"):
        await node.put_many("contacts", contact(3))
    assert [row[0] for row in rows_of(hq)] == ["n002"]


async def test_no_write_overtakes_another_call(tmp_path: Path) -> None:
    hq, _ = make_pair(tmp_path)
    async with Node(hq) as node:
        async with held_up(node) as sizes:
            many = [(f"n{n:03}", "many", "1", "") for n in range(600)]
            first = [asyncio.create_task(node.put_many("contacts", contact(n))) for n in (7, 8)]
            large = asyncio.create_task(node.put_many("contacts", many))
            after = [asyncio.create_task(node.put_many("contacts", contact(n))) for n in (9, 10, 11)]
            count = asyncio.create_task(node.call(node.store.query, "SELECT count(*) FROM contacts"))
            last = asyncio.create_task(node.put_many("contacts", contact(700)))
        await asyncio.gather(*first, large, *after, last)
        assert await count == [(600,)]
        assert sizes == [2, 3, 1]
        names = {row[0]: row[1] for row in rows_of(hq)}
    assert [names[f"n{n:03}"] for n in (7, 8, 9, 10, 11, 12)] == ["many"] * 2 + ["name"] * 3 + ["many"]


async def test_a_write_that_was_given_up_before_another_call_is_passed_over(tmp_path: Path) -> None:
    hq, _ = make_pair(tmp_path)
    async with Node(hq) as node:
        async with held_up(node) as sizes:
            given_up = asyncio.create_task(node.put_many("contacts", contact(1)))
            await asyncio.sleep(0)
            given_up.cancel()
            other = asyncio.create_task(node.call(node.store.root))
            tasks = [asyncio.create_task(node.put_many("contacts", contact(n))) for n in (2, 3)]
        assert await asyncio.gather(*tasks) == [1, 1]
        await other
        assert sizes == [2]


async def test_an_error_is_its_own_callers(tmp_path: Path) -> None:
    hq, _ = make_pair(tmp_path, rows=1)
    async with Node(hq) as node:
        async with held_up(node) as sizes:
            texts = ["INSERT INTO contacts(id) VALUES ('c000000')", "UPDATE contacts SET name = 'y'", "SELECT no"]
            tasks = [asyncio.create_task(node.execute(sql)) for sql in texts]
        refused, done, wrong = await asyncio.gather(*tasks, return_exceptions=True)
        assert sizes == [3]
        assert isinstance(refused, RowRefused)
        assert done == []
        assert "no such column" in str(wrong)
        with pytest.raises(OurFault):
            await node.execute("COMMIT")
    assert rows_of(hq) == [("c000000", "y", "+43 0", "called, sent an offer, waits")]


async def test_a_caller_who_gives_up_in_time_writes_nothing(tmp_path: Path) -> None:
    hq, _ = make_pair(tmp_path)
    async with Node(hq) as node:
        async with held_up(node) as sizes:
            tasks = [asyncio.create_task(node.put_many("contacts", contact(n))) for n in range(6)]
            await asyncio.sleep(0)
            for n in (0, 3):
                tasks[n].cancel()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert [isinstance(one, asyncio.CancelledError) for one in done] == [n in (0, 3) for n in range(6)]
        assert sizes == [4]
    assert [row[0] for row in rows_of(hq)] == ["n001", "n002", "n004", "n005"]


async def test_a_caller_who_gives_up_while_it_runs_takes_nothing_from_the_others(tmp_path: Path) -> None:
    hq, _ = make_pair(tmp_path)
    async with Node(hq) as node:
        began, go_on = threading.Event(), threading.Event()
        together = node.store.together

        def slow(writes: Sequence[Write]) -> list[Done]:
            began.set()
            go_on.wait()
            return together(writes)

        async with held_up(node) as _:
            node.store.together = slow  # type: ignore[method-assign]
            tasks = [asyncio.create_task(node.put_many("contacts", contact(n))) for n in range(4)]
            await asyncio.sleep(0)
        await asyncio.to_thread(began.wait)
        tasks[0].cancel()
        tasks[2].cancel()
        await asyncio.sleep(0)
        go_on.set()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert [one for one in done if not isinstance(one, BaseException)] == [1, 1]
        assert await node.verify() == []
    assert len(rows_of(hq)) == 4


async def test_if_running_them_fails_each_raises_that(tmp_path: Path) -> None:
    hq, _ = make_pair(tmp_path)
    async with Node(hq) as node:
        runs = []

        def broken(writes: Sequence[Write]) -> list[Done]:
            runs.append(len(writes))
            assert writes, "it looks for writes that nobody has any more"
            raise RuntimeError("the run")

        async with held_up(node) as _:
            together, node.store.together = node.store.together, broken  # type: ignore[method-assign]
            tasks = [asyncio.create_task(node.put_many("contacts", contact(n))) for n in range(3)]
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert [str(one) for one in done] == ["the run"] * 3
        assert runs == [3]
        node.store.together = together  # type: ignore[method-assign]
        assert await node.put_many("contacts", contact(9)) == 1


async def test_many_rows_do_not_wait_for_others(tmp_path: Path) -> None:
    hq, _ = make_pair(tmp_path)
    async with Node(hq) as node:
        async with held_up(node) as sizes:
            many = asyncio.create_task(node.put_many("contacts", [row for n in range(600) for row in contact(n)]))
            lazy = asyncio.create_task(node.put_many("contacts", (row for row in contact(700))))
        assert (await many, await lazy) == (600, 1)
        assert sizes == []
