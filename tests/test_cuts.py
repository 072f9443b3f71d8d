"""A line that is cut again and again: each sync brings more, and says what it brought."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from random import Random
from urllib.parse import urlsplit

import pytest

from replica import Node, SyncReport
from replica.transport import Unreachable
from tests.nodes import make_pair, program, rows_of, serving

ROWS, LINE = 3_000, 60_000


@asynccontextmanager
async def cutting(url: str, bytes_max: int) -> AsyncIterator[str]:
    """The address of a proxy before this one. Each connection through it ends after so many bytes."""

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, left: list[int]) -> None:
        with suppress(ConnectionError):
            while left[0] > 0 and (data := await reader.read(min(left[0], 8_192))):
                left[0] -= len(data)
                writer.write(data)
                await writer.drain()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = await asyncio.open_connection(urlsplit(url).hostname, urlsplit(url).port)
        left = [bytes_max]
        ways = [asyncio.create_task(carry(*ends, left)) for ends in ((reader, there[1]), (there[0], writer))]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        writer.close()
        there[1].close()

    async with await asyncio.start_server(connected, "127.0.0.1", 0) as proxy:
        yield f"ws://127.0.0.1:{proxy.sockets[0].getsockname()[1]}"


def fill(path: Path) -> None:
    """Contacts whose notes no batch makes smaller."""
    random = Random(5)
    with program(path) as db:
        rows = ((f"c{n:06}", None, None, random.randbytes(40).hex()) for n in range(ROWS))
        db.executemany("INSERT INTO contacts VALUES (?, ?, ?, ?)", rows)


@pytest.mark.parametrize("has_them", ["hq", "laptop"])
async def test_a_first_sync_goes_on_behind_each_cut(tmp_path: Path, has_them: str) -> None:
    hq, laptop = make_pair(tmp_path)
    reports = list[SyncReport]()
    async with serving(hq) as (_, url), Node(laptop) as node:
        await node.sync(url)
        fill(hq if has_them == "hq" else laptop)
        async with cutting(url, LINE) as bad:
            while len(reports) < 12 and not (reports and reports[-1].in_sync):
                try:
                    reports.append(await node.sync(bad))
                except Unreachable as error:
                    reports.append(SyncReport.failure(bad, error))
    assert rows_of(laptop) == rows_of(hq)
    assert len(rows_of(hq)) == ROWS
    *cut, last = reports
    assert len(cut) >= 2
    assert (last.outcome, last.found_by) == ("in sync", "trie")
    assert all(report.failed and report.peer == "hq" and report.seconds for report in cut)
    assert all(report.bytes_in + report.bytes_out > LINE / 3 for report in cut)
    carried = sum(report.received if has_them == "hq" else report.sent for report in reports)
    assert ROWS <= carried < 3 * ROWS
