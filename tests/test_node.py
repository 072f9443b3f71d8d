"""Nodes on real files, over real sockets on loopback, in one process."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import replica
from protocol.errors import PeerFault, PeerRefused
from protocol.keys import Secrets
from replica import Node, RecordChange, invite
from replica.errors import NotAStore, UsageError
from replica.store.store import Store
from tests.nodes import make_pair, program, rows_of, serving


async def test_two_nodes_meet_and_are_proven_equal(tmp_path: Path) -> None:
    hq, laptop = make_pair(tmp_path, rows=500)
    async with serving(hq) as (_, url), Node(laptop) as node:
        first = await node.sync(url)
        assert first.in_sync
        assert first.held == 0
        assert rows_of(hq) == rows_of(laptop)
        again = await node.sync(url)
    assert (again.outcome, again.sent, again.received, again.round_trips) == ("in sync", 0, 0, 1)
    proofs = 32 + 16  # The client's in PROBE, and the server's in SAME.
    assert again.bytes_in + again.bytes_out <= 64 + proofs


async def test_a_node_that_was_closed_says_so(tmp_path: Path) -> None:
    _, laptop = make_pair(tmp_path)
    async with Node(laptop) as node:
        await node.query("SELECT 1")
    with pytest.raises(UsageError, match="the node is closed"):
        await node.query("SELECT 1")


ENDLESS = "WITH RECURSIVE n(x) AS (SELECT meet() UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n"


class Meeting:
    """What a query calls, or is given as a value: the test hears that it is there, and lets it go on."""

    def __init__(self) -> None:
        self._there, self._loop, self._go = asyncio.Event(), asyncio.get_running_loop(), threading.Event()

    def __call__(self) -> int:
        self._loop.call_soon_threadsafe(self._there.set)
        assert self._go.wait(60)
        return 1

    def __conform__(self, _: object) -> int:
        return self()

    async def there(self) -> None:
        await self._there.wait()

    def go_on(self) -> None:
        self._go.set()


async def _meeting(node: Node) -> Meeting:
    await node.query("SELECT 1")
    assert node._reader is not None
    meeting = Meeting()
    await node._reader.create_function("meet", 0, meeting)
    return meeting


@pytest.mark.parametrize("runs", [True, False])
async def test_a_query_whose_caller_gives_up_ends(tmp_path: Path, runs: bool) -> None:
    hq, _ = make_pair(tmp_path, rows=1)
    async with Node(hq) as node:
        meeting = await _meeting(node)
        waits = node.query(ENDLESS) if runs else node.query(ENDLESS.replace("meet()", "?"), [meeting])
        query = asyncio.create_task(waits)
        await meeting.there()
        query.cancel()
        await asyncio.wait([query])
        meeting.go_on()
        async with asyncio.timeout(30):
            assert await node.query("SELECT name FROM contacts") == [("Name 0",)]


async def test_who_gives_up_a_query_that_waits_ends_none_that_runs(tmp_path: Path) -> None:
    hq, _ = make_pair(tmp_path, rows=1)
    async with Node(hq) as node:
        meeting = await _meeting(node)
        running, waiting = (asyncio.create_task(node.query(sql)) for sql in ("SELECT meet(), name FROM contacts", ENDLESS))
        await meeting.there()
        waiting.cancel()
        await asyncio.wait([waiting])
        meeting.go_on()
        async with asyncio.timeout(30):
            assert await running == [(1, "Name 0")]
            assert await node.query("SELECT 1") == [(1,)]


async def test_closing_ends_the_query_that_runs(tmp_path: Path) -> None:
    hq, _ = make_pair(tmp_path, rows=1)
    async with asyncio.timeout(30), Node(hq) as node:
        meeting = await _meeting(node)
        query = asyncio.create_task(node.query(ENDLESS))
        await meeting.there()
        meeting.go_on()
    with pytest.raises(UsageError, match="the node is closed"):
        await query


@pytest.mark.parametrize("turns", range(1, 12))
async def test_closing_that_is_cancelled_leaves_no_thread(tmp_path: Path, turns: int) -> None:
    hq, _ = make_pair(tmp_path, rows=1)
    node = await Node(hq).start()
    await node.execute("UPDATE contacts SET phone = '1' WHERE id = 'c000000'")
    await node.query("SELECT 1")
    await node.serve("127.0.0.1", 0, plaintext=True)
    closing = asyncio.create_task(node.close())
    for _ in range(turns):
        await asyncio.sleep(0)
    closing.cancel()
    await asyncio.gather(closing, return_exceptions=True)
    for thread in (node._thread, node._reader):
        assert thread is not None
        await asyncio.to_thread(thread.join)


def test_a_program_ends_though_its_node_was_never_closed(tmp_path: Path) -> None:
    hq, _ = make_pair(tmp_path, rows=1)
    text = f"""
import asyncio, replica
async def main():
    node = await replica.open({str(hq)!r}).start()
    await node.query("SELECT 1")
    await node.execute("UPDATE contacts SET phone = 'kept' WHERE id = 'c000000'")
    raise SystemExit(3)
asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", text], timeout=60, check=False)
    assert done.returncode == 3
    assert "kept" in rows_of(hq)[0]


async def test_edits_of_different_fields_of_one_record_are_both_kept(tmp_path: Path) -> None:
    hq, laptop = make_pair(tmp_path, rows=10)
    async with serving(hq) as (_, url), Node(laptop) as node:
        await node.sync(url)
        with program(hq) as db:
            db.execute("UPDATE contacts SET phone = 'from hq' WHERE id = 'c000003'")
        await node.execute("UPDATE contacts SET name = ? WHERE id = ?", ["from laptop", "c000003"])
        assert (await node.sync(url)).in_sync
    expected = ("c000003", "from laptop", "from hq", "called, sent an offer, waits")
    assert rows_of(hq)[3] == rows_of(laptop)[3] == expected


async def test_only_what_differs_travels(tmp_path: Path) -> None:
    hq, laptop = make_pair(tmp_path, rows=2_000)
    async with serving(hq) as (_, url), Node(laptop) as node:
        await node.sync(url)
        await node.execute("UPDATE contacts SET phone = '1' WHERE id IN ('c000100', 'c001900')")
        report = await node.sync(url)
    assert (report.sent, report.received, report.outcome) == (2, 0, "in sync")
    assert report.bytes_out + report.bytes_in < 400
    assert report.round_trips == 2


async def test_several_peers_at_once(tmp_path: Path) -> None:
    hq, laptop = make_pair(tmp_path, rows=300)
    with Store(laptop) as store:
        secrets = store.secrets()
    files = [tmp_path / f"seller{n}.db" for n in range(6)]
    for file in files:
        replica.initialize(file, file.stem, secrets)

    async def meet(file: Path, url: str) -> None:
        async with Node(file) as node:
            await node.sync(url)
            await node.execute("INSERT INTO contacts(id, name) VALUES (?, ?)", [file.stem, file.stem])
            await node.sync(url)

    async with serving(hq) as (_, url):
        await asyncio.gather(*(meet(file, url) for file in files))
        for file in files:
            async with Node(file) as node:
                assert (await node.sync(url)).in_sync
    assert len(rows_of(hq)) == 306
    assert len({tuple(rows_of(file)) for file in [*files, hq]}) == 1


async def test_changes_are_reported_whoever_made_them(tmp_path: Path) -> None:
    hq, laptop = make_pair(tmp_path, rows=3)
    async with serving(hq) as (_, url), Node(laptop) as node:
        seen = node.changes()
        waiting = asyncio.ensure_future(anext(seen))
        await asyncio.sleep(0)
        await node.sync(url)
        first = await waiting
        assert (first.table, first.kind, first.remote) == ("contacts", "insert", True)
        for _ in range(2):
            await anext(seen)
        with program(laptop) as db:
            db.execute("DELETE FROM contacts WHERE id = 'c000001'")
        change = await anext(seen)
        assert (change.table, change.key, change.kind, change.remote) == ("contacts", ("c000001",), "delete", False)
        await seen.aclose()  # type: ignore[attr-defined]


async def test_reading_does_not_wait_for_a_writer(tmp_path: Path) -> None:
    hq, _ = make_pair(tmp_path, rows=3)
    async with Node(hq) as node:
        release = asyncio.Event()
        loop = asyncio.get_running_loop()
        busy = asyncio.create_task(node.call(lambda: asyncio.run_coroutine_threadsafe(release.wait(), loop).result()))
        assert await node.query("SELECT count(*) FROM contacts") == [(3,)]
        release.set()
        await busy


async def test_put_many_is_ready_to_sync(tmp_path: Path) -> None:
    hq, laptop = make_pair(tmp_path)
    async with serving(hq) as (server, url), Node(laptop) as node:
        await node.sync(url)
        assert await server.put_many("contacts", [{"id": f"p{n}", "name": str(n)} for n in range(50)]) == 50
        assert (await node.sync(url)).received == 50
        assert await node.verify() == []


async def test_another_group_is_refused_and_learns_nothing(tmp_path: Path) -> None:
    hq, _ = make_pair(tmp_path, rows=3)
    stranger = tmp_path / "stranger.db"
    replica.initialize(stranger, "stranger")
    async with serving(hq) as (_, url), Node(stranger) as node:
        with pytest.raises(PeerFault, match="another replication group, or the access key was changed"):
            await node.sync(url)
        status = await node.status()
    assert status["peers"] == []


async def test_a_node_does_not_sync_with_itself(tmp_path: Path) -> None:
    hq, _ = make_pair(tmp_path)
    async with serving(hq) as (node, url):
        with pytest.raises(PeerFault, match="back to this very node"):
            await node.sync(url)


async def test_of_two_nodes_that_dial_each_other_at_once_at_least_one_session_lives(tmp_path: Path) -> None:
    hq, laptop = make_pair(tmp_path, rows=200)
    async with serving(hq) as (one, to_one), serving(laptop) as (two, to_two):
        results = await asyncio.gather(one.sync(to_two), two.sync(to_one), return_exceptions=True)
    assert all(r.code == "busy" for r in results if isinstance(r, PeerRefused))
    assert any(not isinstance(r, BaseException) and r.in_sync for r in results)
    assert rows_of(hq) == rows_of(laptop)


async def test_a_node_may_meet_one_peer_twice_at_once(tmp_path: Path) -> None:
    hq, laptop = make_pair(tmp_path, rows=200)
    async with serving(hq) as (_, url), Node(laptop) as node:
        assert all(r.in_sync for r in await asyncio.gather(node.sync(url), node.sync(url)))


async def test_an_address_that_is_none_is_a_usage_error(tmp_path: Path) -> None:
    hq, _ = make_pair(tmp_path)
    async with Node(hq) as node:
        for url in ("127.0.0.1:99", "http://127.0.0.1:1", "ws://"):
            with pytest.raises(UsageError, match="no address of a node"):
                await node.sync(url)
        with pytest.raises(PeerFault, match="cannot be reached"):
            await node.sync("ws://127.0.0.1:1")


async def test_serving_other_machines_without_encryption_needs_a_word(tmp_path: Path) -> None:
    hq, _ = make_pair(tmp_path)
    async with Node(hq) as node:
        with pytest.raises(UsageError, match="reachable from other machines"):
            await node.serve("0.0.0.0", 0)


async def test_a_cloned_file_converges_and_is_reported(tmp_path: Path) -> None:
    hq, laptop = make_pair(tmp_path, rows=20)
    async with serving(hq) as (_, url):
        async with Node(laptop) as node:
            await node.sync(url)
            await node.execute("UPDATE contacts SET name = 'before' WHERE id = 'c000000'")
        clone = tmp_path / "clone.db"
        shutil.copy(laptop, clone)
        async with Node(laptop) as one, Node(clone) as two:
            await one.execute("UPDATE contacts SET name = 'one' WHERE id = 'c000001'")
            await two.execute("UPDATE contacts SET name = 'two' WHERE id = 'c000001'")
            await two.execute("UPDATE contacts SET name = 'two' WHERE id = 'c000002'")
            for node in (one, two, one, two):
                await node.sync(url)
            notices = [(await node.status())["notices"] for node in (one, two)]
            assert (await one.status())["node"] != (await two.status())["node"]
    assert any("another copy of this file" in n for notice in notices for n in notice)
    assert rows_of(hq) == rows_of(laptop) == rows_of(clone)


@pytest.mark.parametrize("where", ["replica.store.changes.CHANGES_MAX", "replica.feed.CHANGES_MAX"])
async def test_a_listener_hears_that_it_missed_some_of_very_many_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """In one transaction, or since it was too slow."""
    monkeypatch.setattr(where, 20)
    hq, _ = make_pair(tmp_path, rows=3)
    async with Node(hq) as node:
        seen = node.changes()
        first = asyncio.ensure_future(anext(seen))
        await asyncio.sleep(0)
        await node.execute("UPDATE contacts SET phone = 'first' WHERE id = 'c000001'")
        assert (await first).kind == "update"
        await node.put_many("contacts", [{"id": f"n{i}"} for i in range(50)])
        assert await anext(seen) == RecordChange("", (), "missed", False)
        await node.execute("UPDATE contacts SET phone = 'last' WHERE id = 'c000001'")
        rest = [await anext(seen)]
        while rest[-1].kind == "insert":
            rest.append(await anext(seen))
        assert len(rest) < 20
        assert (rest[-1].key, rest[-1].kind) == (("c000001",), "update")
        await seen.aclose()  # type: ignore[attr-defined]


async def test_open_makes_a_file_and_joins_by_invite(tmp_path: Path) -> None:
    async with replica.open(tmp_path / "a.db", name="a") as a:
        text = invite.encode(await a.invite("ws://hq:8470"))
    async with replica.open(tmp_path / "b.db", join=text) as b:
        assert (await b.status())["name"] == "b"
        assert (await b.status())["group"] == invite.decode(text).secrets.group.hex()


async def test_an_invite_of_another_group_is_refused_and_one_of_its_own_is_fine(tmp_path: Path) -> None:
    async with replica.open(tmp_path / "a.db") as a, replica.open(tmp_path / "other.db") as other:
        mine, theirs = [invite.encode(await node.invite()) for node in (a, other)]
    async with replica.open(tmp_path / "a.db", join=mine) as a:
        assert (await a.status())["name"] == "a"
    with pytest.raises(UsageError, match="is part of another replication group than the invite is for"):
        await replica.open(tmp_path / "a.db", join=theirs).start()
    with pytest.raises(UsageError, match="an invite begins with"):
        replica.open(tmp_path / "a.db", join="hello")


async def test_a_file_is_made_while_the_event_loop_runs_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made_in, make = list[int](), replica.initialize

    def initialize(*args: Any) -> None:
        made_in.append(threading.get_ident())
        make(*args)

    monkeypatch.setattr("replica.opening.initialize", initialize)
    node = replica.open(tmp_path / "a.db")
    assert not (tmp_path / "a.db").exists()
    async with node:
        assert made_in
        assert made_in[0] != threading.get_ident()


async def test_a_file_outside_any_group_says_what_to_do(tmp_path: Path) -> None:
    with program(tmp_path / "plain.db") as db:
        db.execute("CREATE TABLE t(x)")
    with pytest.raises(NotAStore, match="run `replica init"):
        await Node(tmp_path / "plain.db").start()
    await asyncio.sleep(0)


def test_an_invite_is_checked_before_it_is_used() -> None:
    with pytest.raises(UsageError, match="an invite begins with"):
        invite.decode("hello")
    good = invite.encode(invite.Invite(Secrets(b"g" * 16, b"d" * 32, b"a" * 32), "", "hq"))
    with pytest.raises(UsageError, match="damaged or cut short"):
        invite.decode(good[:-7])
    with pytest.raises(UsageError, match="damaged or cut short"):
        invite.decode(good + "!")
    assert invite.decode(" " + good + "\n").name == "hq"


async def test_a_node_opens_at_once_though_another_program_holds_the_file(tmp_path: Path) -> None:
    hq, _ = make_pair(tmp_path, rows=1)
    with program(hq) as db:
        db.execute("UPDATE contacts SET name = 'x'")
        db.commit()
        db.execute("BEGIN IMMEDIATE")
        async with asyncio.timeout(5), Node(hq) as node:
            assert await node.query("SELECT name FROM contacts") == [("x",)]
        db.execute("ROLLBACK")
