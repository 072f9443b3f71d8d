"""What is counted from outside is what passed."""

from __future__ import annotations

import asyncio
import socket
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode

import replica
from replica.sync_report import SyncReport
from tests.bench.proxy import Proxy
from tests.bench.wire import RECORDS, Heard, Stream, Talk
from tests.nodes import make_pair, program, serving

REQUEST = b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"
SIZES = st.sampled_from([0, 1, 2, 3, 125, 126, 127, 65_535, 65_536])


def framed(opcode: Opcode, payload: bytes, *, masked: bool, fin: bool = True) -> bytes:
    return Frame(opcode, payload, fin).serialize(mask=masked)


@given(st.lists(st.tuples(SIZES, st.integers(0, 127)), max_size=5), st.booleans(), st.data())
def test_cuts_do_not_matter(messages: list[tuple[int, int]], masked: bool, data: st.DataObject) -> None:
    payloads = [(bytes((0x92, kind)) + b"\0" * size)[:size] for size, kind in messages]
    whole = REQUEST
    for payload in payloads:
        whole += framed(Opcode.BINARY, payload, masked=masked) + framed(Opcode.PING, b"ping", masked=masked)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=8)))
    log: list[Heard] = []
    stream = Stream(1, log)
    for a, b in pairwise([0, *cuts, len(whole)]):
        stream.feed(whole[a:b])
    assert log == [Heard(1, kind if size >= 2 else -1, size) for size, kind in messages]
    assert stream.upgrade == len(REQUEST)
    assert stream.payload == sum(map(len, payloads))
    assert stream.upgrade + stream.framing + stream.payload == stream.total == len(whole)


def test_every_byte_counts_even_of_a_message_in_parts_and_of_a_cut() -> None:
    log: list[Heard] = []
    stream = Stream(0, log)
    start = REQUEST + framed(Opcode.BINARY, b"\x92\x06abc", masked=True, fin=False)
    parts = start + framed(Opcode.CONT, b"\x92\x07", masked=True)
    for at in range(len(parts)):
        stream.feed(parts[at : at + 1])
    stream.feed(b"\x82")
    assert log == [Heard(0, 6, 5), Heard(0, 6, 2)]
    assert (stream.payload, stream.total) == (7, len(parts) + 1)


@pytest.mark.parametrize(
    ("log", "before", "whole", "finding"),
    [
        ([(0, 1), (1, 1)], 1, 1, 20),
        ([(0, 1), (1, 1), (0, RECORDS), (0, 7), (1, 8)], 1, 2, 20),
        ([(0, 1), (1, 1), (1, RECORDS), (1, 7), (0, RECORDS), (0, 7)], 0.5, 1.5, 30),
        ([], 0, 0, 0),
    ],
)
def test_turns_are_counted_until_records_flow(
    log: list[tuple[int, int]], before: float, whole: float, finding: int
) -> None:
    talk = Talk([Heard(side, kind, 10) for side, kind in log])
    assert (talk.round_trips_before_records(), talk.round_trips(), talk.finding()) == (before, whole, finding)


async def test_the_proxy_counts_what_both_ends_count(tmp_path: Path) -> None:
    hq, laptop = make_pair(tmp_path, rows=300)
    async with serving(hq) as (node, url), replica.open(laptop) as other:
        theirs: asyncio.Queue[SyncReport] = asyncio.Queue()
        node.on_session = theirs.put_nowait
        with Proxy(url) as proxy:
            for _ in range(2):
                report = await other.sync(proxy.url)
                talk = await asyncio.to_thread(proxy.talk)
                assert report.in_sync
                assert (talk.out.payload, talk.back.payload) == (report.bytes_out, report.bytes_in)
                assert talk.round_trips() == report.round_trips
                assert talk.upgrade > 200
                assert talk.total > talk.upgrade + talk.payload
                assert ("records" in talk.by_kind()) == (report.received > 0)
                seen = await theirs.get()
                assert (talk.out.payload, talk.back.payload) == (seen.bytes_in, seen.bytes_out)
    with program(laptop) as db:
        assert db.execute("SELECT count(*) FROM contacts").fetchone() == (300,)


async def test_a_cut_ends_the_talk_and_is_counted(tmp_path: Path) -> None:
    hq, _ = make_pair(tmp_path)
    async with serving(hq) as (_, url):
        with Proxy(url) as proxy:
            host, port = proxy.url.removeprefix("ws://").split(":")
            with socket.create_connection((host, int(port))) as raw:
                raw.sendall(REQUEST[:-4])
            talk = await asyncio.to_thread(proxy.talk)
    assert talk.out.total == len(REQUEST) - 4
    assert talk.out.upgrade == 0
