"""What a sync costs: two processes on loopback, real files, FULL durability on both."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from replica.store.store import Store, initialize
from tests.bench.contacts import contacts, edits
from tests.bench.figure import Figure, median, tell
from tests.bench.local import new_store, plain
from tests.bench.peer import Peer

PROOF_BYTES = 32
"""In the client's HELLO; the server's is in its answer to the upgrade."""

_BLOCK = "longest time that either event loop stood still"
CHUNK = 100_000
EQUAL_SESSIONS = 5


def _fill(path: Path, count: int) -> list[str]:
    """Make a store with so many contacts; returns their ids."""
    ids = []
    source = contacts(count)
    with new_store(path) as store:
        while rows := list(itertools.islice(source, CHUNK)):
            store.put_many("contacts", rows)
            ids += [row[0] for row in rows]
    return ids


def _join(path: Path, other: Path) -> None:
    """Make an empty store in the other's group."""
    with Store(other) as store:
        initialize(path, path.stem, store.secrets())


def _change(peer: Peer, changes: list[tuple[str, str, str]]) -> None:
    """Let another program write these changes, and the node take them in."""
    with closing(plain(peer.path)) as db:
        db.execute("BEGIN IMMEDIATE")
        for field, value, id_ in changes:
            db.execute(f"UPDATE contacts SET {field} = ? WHERE id = ?", (value, id_))
        db.execute("COMMIT")
    peer.tell("absorb")


def _beside_records(measures: dict[str, Any]) -> int:
    return sum(size for kind, size in measures["bytes"].items() if kind != "records")


def first(folder: Path, count: int) -> Iterator[Figure]:
    """A new node's first sync with one that has the contacts; then changes of a hundredth of them on each side, which
    both had absorbed; then nothing new. Two processes on loopback, real files, FULL on both, websocket payload, medians
    of 3; times with the upgrade unless said."""
    a, paths = folder / "a.db", [folder / f"b{run}.db" for run in range(3)]
    ids = _fill(a, count)
    rates, blocks, memory, wire = [], [], [], []
    for path in paths:
        _join(path, a)
        with Peer(a) as server, Peer(path) as client:
            report = client.sync(server.serve())
            both = [server.measures(), client.measures()]
        rates.append(count / report.seconds)
        wire.append((report.bytes_in + report.bytes_out) / 1e6)
        blocks.append(max(m["block_ms"] for m in both))
        memory.append(sum(m["rss_mb"] for m in both))
        shown = ", ".join(f"{m['block_ms']:.0f} ms blocked and {m['rss_mb']:.0f} MB" for m in both)
        tell(f"first sync: {report.seconds:.2f} s; server, client: {shown}")
    yield Figure("first.rate", median(rates), "records/s", f"{count:,} contacts", 8_000, 20_000, more=True)
    yield Figure("first.wire", median(wire), "MB", "both directions", 13 * count / 100_000)
    yield Figure("first.block", median(blocks), "ms", _BLOCK, 50)
    yield Figure("first.memory", median(memory), "MB", "peak RSS of both processes together", 150)
    with Peer(a) as server, Peer(paths[0]) as client:
        url = server.serve()
        client.sync(url)
        yield from _both_ways(server, client, url, ids)
        yield from _equal(server, client, url, f"equal_{count // 1000}k", count)


def _both_ways(server: Peer, client: Peer, url: str, ids: list[str]) -> Iterator[Figure]:
    each = len(ids) // 100
    seconds, sizes, payload = [], [], []
    changes = edits(ids, each, 6, 2)
    for _ in range(3):
        ours, theirs = changes.pop(), changes.pop()
        _change(server, ours)
        _change(client, theirs)
        report = client.sync(url)
        assert (report.sent, report.received) == (each, each)
        seconds.append(report.seconds)
        sizes.append((report.bytes_in + report.bytes_out) / 1e3)
        payload.append(sum(len(i) + len(f) + len(v.encode()) for f, v, i in (*ours, *theirs)) / 1e3)
    how = f"{each:,} + {each:,} one-field changes"
    yield Figure("both_ways.time", median(seconds), "s", how, 0.5)
    how = f"ids, field names and values alone are {median(payload):.0f} kB"
    yield Figure("both_ways.wire", median(sizes), "kB", how, 450 * each / 1000)


def _equal(server: Peer, client: Peer, url: str, name: str, count: int) -> Iterator[Figure]:
    times, whole = [], []
    for _ in range(EQUAL_SESSIONS):
        report = client.sync(url)
        times.append(client.measures()["session_ms"])
        whole.append(report.seconds * 1000)
        size = report.bytes_in + report.bytes_out - PROOF_BYTES
    yield Figure(f"{name}.round_trips", report.round_trips, "", f"{count:,} equal records, after the upgrade", 1)
    yield Figure(f"{name}.bytes", size, "B", "both directions, beside the proofs", 250)
    how = f"after the upgrade; {median(whole):.0f} ms with it and with noting on disk that they met"
    yield Figure(f"{name}.time", median(times), "ms", how, 10)


def million(folder: Path, count: int) -> Iterator[Figure]:
    """The same contacts, but many: a first sync and its memory, equal copies, and a thousand scattered changes. One run."""
    a, b = folder / "a.db", folder / "b.db"
    ids = _fill(a, count)
    tell(f"large: {count:,} contacts stored, {a.stat().st_size / 1e6:.0f} MB")
    _join(b, a)
    name = "million" if count == 1_000_000 else f"{count // 1000}k"
    with Peer(a) as server, Peer(b) as client:
        url = server.serve()
        report = client.sync(url)
        told = [server.measures(), client.measures()]
        yield Figure(f"{name}.rate", count / report.seconds, "records/s", f"{count:,} contacts into a new node")
        for side, m in zip(("server", "client"), told, strict=True):
            yield Figure(f"{name}.memory_{side}", m["rss_mb"], "MB", "peak RSS in that sync", 300)
        yield Figure(f"{name}.block", max(m["block_ms"] for m in told), "ms", _BLOCK, 50)
    with Peer(a) as server, Peer(b) as client:
        url = server.serve()
        client.sync(url)
        yield from _equal(server, client, url, f"equal_{name}", count)
        _change(server, edits(ids, 1_000, 1, 3)[0])
        client.measures()
        report = client.sync(url)
        measures = client.measures()
        assert report.received == 1_000
        shown = ", ".join(f"{kind} {size:,}" for kind, size in measures["bytes"].items() if size)
        how = f"to find 1,000 changed records; bytes: {shown}"
        yield Figure(f"{name}.find", _beside_records(measures) / 1e3, "kB", how, 140)
        yield Figure(f"{name}.find_time", report.seconds, "s", f"that sync, {report.round_trips} round trips")
