"""What statements left is absorbed soon after them: in a pause, or late; and it is durable meanwhile."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from random import Random

import pytest

from protocol.errors import ReplicaError
from replica import Node
from replica.errors import StoreBusy
from replica.soon import LATE, QUIET_SECONDS, Soon
from replica.store.store import Store
from sim.loop import Loop, fence
from tests.nodes import make_pair


def times(work: Callable[[Soon], Awaitable[None]], error: Exception | None = None) -> list[float]:
    """When it was absorbed while this went on, in virtual seconds."""
    absorbed: list[float] = []

    async def absorb() -> None:
        absorbed.append(asyncio.get_running_loop().time())
        await asyncio.sleep(0)
        if error is not None:
            raise error

    async def run() -> None:
        soon = Soon(absorb)
        await work(soon)
        await asyncio.sleep(1_000)
        await soon.close()

    with closing(Loop(Random(0))) as loop, fence({}):
        loop.run_until_complete(run())
    return absorbed


async def write(soon: Soon, count: int, apart: float) -> None:
    for _ in range(count):
        soon.wrote()
        await asyncio.sleep(apart)


def test_a_pause_of_the_writers_is_used() -> None:
    assert times(lambda soon: write(soon, 1, 0)) == [QUIET_SECONDS]
    assert times(lambda soon: write(soon, 3, 1)) == [QUIET_SECONDS, 1 + QUIET_SECONDS, 2 + QUIET_SECONDS]
    assert times(lambda soon: write(soon, 5, 0.01)) == pytest.approx([0.08])


def test_writers_without_a_pause_do_not_put_it_off_for_long() -> None:
    absorbed = times(lambda soon: write(soon, 1_000, 0.001))
    assert absorbed == pytest.approx([LATE * QUIET_SECONDS * n for n in range(1, 11)])


def test_where_nothing_was_written_nothing_runs() -> None:
    assert times(lambda soon: write(soon, 0, 0)) == []


@pytest.mark.parametrize("error", [StoreBusy("locked"), RuntimeError("a bug")])
def test_a_failure_is_logged_and_the_next_write_brings_the_next_try(
    caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    with caplog.at_level(logging.WARNING):
        tries = times(lambda soon: write(soon, 2, 10), error)
    assert tries == [QUIET_SECONDS, 10 + QUIET_SECONDS, 1_020], "and once more at the end"
    assert len(caplog.records) == 1, "the same failure is told once"
    assert all((record.exc_info is None) == isinstance(error, ReplicaError) for record in caplog.records)


async def test_what_failed_is_tried_again_at_the_end(caplog: pytest.LogCaptureFixture) -> None:
    tries = 0

    async def absorb() -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise StoreBusy("locked")

    soon = Soon(absorb)
    soon.wrote()
    assert soon._task is not None
    with caplog.at_level(logging.WARNING):
        await soon._task
    assert tries == 1
    await soon.close()
    await soon.close()
    assert tries == 2


def test_a_write_while_it_absorbs_is_not_forgotten() -> None:
    at: list[float] = []

    async def run() -> None:
        async def absorb() -> None:
            at.append(asyncio.get_running_loop().time())
            if len(at) == 1:
                soon.wrote()

        soon = Soon(absorb)
        soon.wrote()
        await asyncio.sleep(1)

    with closing(Loop(Random(0))) as loop, fence({}):
        loop.run_until_complete(run())
    assert at == pytest.approx([QUIET_SECONDS, 2 * QUIET_SECONDS])


async def test_what_waits_is_on_the_disk_and_absorbed_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hq, _ = make_pair(tmp_path, rows=1)
    copy = tmp_path / "copy.db"
    monkeypatch.setattr("replica.soon.QUIET_SECONDS", 3_600)
    async with Node(hq) as node:
        before = await node.call(node.store.root)
        await node.execute("UPDATE contacts SET name = 'x'")
        for end in ("", "-wal"):
            shutil.copy(f"{hq}{end}", f"{copy}{end}")
    with Store(copy) as cut_off, Store(hq) as closed:
        assert (cut_off.status()["backlog"], closed.status()["backlog"]) == (1, 0)
        assert cut_off.query("SELECT name FROM contacts") == [("x",)]
        assert cut_off.root() == closed.root() != before, "whenever it is absorbed, its stamp is of its own moment"
        assert cut_off.verify() == closed.verify() == []


async def test_who_asks_does_not_wait_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hq, _ = make_pair(tmp_path, rows=1)
    monkeypatch.setattr("replica.soon.QUIET_SECONDS", 3_600)
    async with Node(hq) as node:
        before = await node.call(node.store.root)
        await node.execute("UPDATE contacts SET name = 'first'")
        assert await node.call(node.store.root) != before
        await node.execute("UPDATE contacts SET name = 'x'")
        await node.put_many("contacts", [{"id": "c000000", "phone": "y"}])
        why = await node.call(node.store.why, "contacts", ["c000000"])
        stamps = {field["field"]: field["stamp"] for field in why["fields"]}
        assert stamps["name"] < stamps["phone"], "what was written first is stamped first"
        assert await node.verify() == []


async def test_what_somebody_wrote_who_gave_up_is_absorbed(tmp_path: Path) -> None:
    hq, _ = make_pair(tmp_path, rows=300)
    async with Node(hq) as node:
        before = await node.call(node.store.root)
        statement = asyncio.create_task(node.execute("UPDATE contacts SET name = 'x'"))
        await asyncio.sleep(0)
        blocked = asyncio.create_task(node.call(lambda: None))
        statement.cancel()
        await asyncio.gather(statement, blocked, return_exceptions=True)
        assert node._soon._task is not None, "whether it was written, nobody knows here"
    with Store(hq) as store:
        names = store.query("SELECT count(DISTINCT name) FROM contacts")
        assert store.status()["backlog"] == 0
        assert (store.root() == before) == (names != [(1,)])
