"""What a sync costs: two processes on loopback, real files, FULL durability on both; bytes are counted on the socket."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from replica.store.store import Store, initialize
from replica.sync_report import SyncReport
from tests.bench.contacts import contacts, edits
from tests.bench.copies import twin
from tests.bench.figure import Figure, median, tell
from tests.bench.local import new_store, plain
from tests.bench.peer import Peer
from tests.bench.proxy import Proxy
from tests.bench.strangers import strangers
from tests.bench.wire import Talk

PROOF_BYTES = 32
"""In the client's HELLO; the server's is in its answer to the upgrade."""
SAME_PROOF_BYTES = 16
"""In the server's SAME: that the root is its own."""

_BLOCK = "longest time that either event loop stood still"
CHUNK = 100_000
EQUAL_SESSIONS = 5
RUNS = 3


def fill(path: Path, count: int) -> list[str]:
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


def _meet(client: Peer, proxy: Proxy) -> tuple[SyncReport, Talk]:
    report = client.sync(proxy.url)
    return report, proxy.talk()


def first(folder: Path, count: int) -> Iterator[Figure]:
    """A new node's first sync with one that has the contacts; then changes of a hundredth of them on each side, which
    both had absorbed; then nothing new. Two processes on loopback, real files, FULL on both, medians of 3; bytes are all
    that pass on the socket, the upgrade too, unless said; times with the upgrade unless said."""
    a, paths = folder / "a.db", [folder / f"b{run}.db" for run in range(RUNS)]
    ids = fill(a, count)
    rates, blocks, memory, wire, talk = [], [], [], [], Talk()
    for path in paths:
        _join(path, a)
        with Peer(a) as server, Peer(path) as client, Proxy(server.serve()) as proxy:
            report, talk = _meet(client, proxy)
            both = [server.measures(), client.measures()]
        rates.append(count / report.seconds)
        wire.append(talk.total / 1e6)
        blocks.append(max(m["block_ms"] for m in both))
        memory.append(sum(m["rss_mb"] for m in both))
        shown = ", ".join(f"{m['block_ms']:.0f} ms blocked and {m['rss_mb']:.0f} MB" for m in both)
        tell(f"first sync: {report.seconds:.2f} s; server, client: {shown}")
    yield Figure("first.rate", median(rates), "records/s", f"{count:,} contacts", 8_000, 20_000, more=True)
    yield from _one_core(folder, a, count)
    how = f"both directions; payload {talk.payload / 1e6:.2f} MB, upgrade {talk.upgrade} B"
    yield Figure("first.wire", median(wire), "MB", how, 11 * count / 100_000, 9 * count / 100_000)
    yield Figure("first.block", median(blocks), "ms", _BLOCK, 50)
    yield Figure("first.memory", median(memory), "MB", "peak RSS of both processes together", 150)
    with Peer(a) as server, Peer(paths[0]) as client, Proxy(server.serve()) as proxy:
        _meet(client, proxy)
        yield from _both_ways(server, client, proxy, ids)
        yield from _equal(client, proxy, f"equal_{count // 1000}k", count)
    yield from _both_ways_strangers(folder, a, ids)


def _one_core(folder: Path, a: Path, count: int) -> Iterator[Figure]:
    if not hasattr(os, "sched_getaffinity"):
        return
    core = min(os.sched_getaffinity(0))
    rates, shares = [], []
    for run in range(RUNS):
        path = folder / f"core{run}.db"
        _join(path, a)
        with Peer(a, core=core) as server, Peer(path, core=core) as client:
            url = server.serve()
            before = _cpu_seconds(server, client)
            seconds = client.sync(url).seconds
            rates.append(count / seconds)
            shares.append((_cpu_seconds(server, client) - before) / seconds)
    how = f"both ends on one core, of which they had {100 * median(shares):.0f} %"
    yield Figure("first.one_core", median(rates), "records/s", how, 15_000, more=True)


def _cpu_seconds(*peers: Peer) -> float:
    return sum(float(peer.measures()["cpu_s"]) for peer in peers)


def _both_ways(server: Peer, client: Peer, proxy: Proxy, ids: list[str]) -> Iterator[Figure]:
    each = len(ids) // 100
    seconds, times = [], []
    changes = edits(ids, each, 2 * RUNS, 2)
    for _ in range(RUNS):
        ours, theirs = changes.pop(), changes.pop()
        _change(server, ours)
        _change(client, theirs)
        report, talk = _meet(client, proxy)
        assert (report.sent, report.received) == (each, each)
        seconds.append(report.seconds)
        times.append(talk.total / _content(ours, theirs))
    how = f"{each:,} + {each:,} one-field changes, as acquaintances"
    yield Figure("both_ways.time", median(seconds), "s", how, 0.25)
    yield Figure("both_ways.wire", median(times), "x payload", _shown(talk, ours, theirs), 1.0, 0.7)


def _both_ways_strangers(folder: Path, a: Path, ids: list[str]) -> Iterator[Figure]:
    each = len(ids) // 100
    seconds, times, changes = [], [], edits(ids, each, 2 * RUNS, 4)
    for run in range(RUNS):
        left, right = twin(a, folder, f"strangers{run}")
        ours, theirs = changes.pop(), changes.pop()
        with Peer(left) as server, Peer(right) as client, Proxy(server.serve()) as proxy:
            _change(server, ours)
            _change(client, theirs)
            report, talk = _meet(client, proxy)
        assert report.changed == each, f"{report.changed} records changed"
        seconds.append(report.seconds)
        times.append(talk.total / _content(ours, theirs))
    how = f"{each:,} + {each:,} one-field changes, as strangers"
    yield Figure("both_ways.strangers_time", median(seconds), "s", how, 0.25)
    yield Figure("both_ways.strangers_wire", median(times), "x payload", _shown(talk, ours, theirs), 1.7)


def _content(*changes: list[tuple[str, str, str]]) -> int:
    """What must travel at least: ids, field names and values."""
    return sum(len(i) + len(f) + len(v.encode()) for f, v, i in itertools.chain(*changes))


def _shown(talk: Talk, *changes: list[tuple[str, str, str]]) -> str:
    kinds = ", ".join(f"{kind} {size:,}" for kind, size in talk.by_kind().items())
    return f"{talk.total / 1e3:.0f} kB of {_content(*changes) / 1e3:.0f} kB; {talk.round_trips():g} round trips; {kinds}"


def _equal(client: Peer, proxy: Proxy, name: str, count: int) -> Iterator[Figure]:
    times, whole = [], []
    for _ in range(EQUAL_SESSIONS):
        report, talk = _meet(client, proxy)
        times.append(client.measures()["session_ms"])
        whole.append(report.seconds * 1000)
    yield Figure(f"{name}.round_trips", talk.round_trips(), "", f"{count:,} equal records, after the upgrade", 1)
    proofs = PROOF_BYTES + SAME_PROOF_BYTES
    how = f"payload of both directions, beside the proofs of {proofs} B; all, with the upgrade: {talk.total} B"
    yield Figure(f"{name}.bytes", talk.payload - proofs, "B", how, 64)
    yield Figure(f"{name}.time", median(times), "ms", "after the upgrade", 10)
    how = "with the upgrade, noting on disk that they met, and the report"
    yield Figure(f"{name}.whole", median(whole), "ms", how)


def million(folder: Path, count: int) -> Iterator[Figure]:
    """The same contacts, but many: strangers with some differences; a first sync and its memory; equal copies. One run."""
    a, b = folder / "a.db", folder / "b.db"
    ids = fill(a, count)
    tell(f"large: {count:,} contacts stored, {a.stat().st_size / 1e6:.0f} MB")
    yield from strangers(folder, a, ids)
    _join(b, a)
    name = "million" if count == 1_000_000 else f"{count // 1000}k"
    with Peer(a) as server, Peer(b) as client:
        report = client.sync(server.serve())
        told = [server.measures(), client.measures()]
        yield Figure(f"{name}.rate", count / report.seconds, "records/s", f"{count:,} contacts into a new node")
        for side, m in zip(("server", "client"), told, strict=True):
            yield Figure(f"{name}.memory_{side}", m["rss_mb"], "MB", "peak RSS in that sync", 300)
        yield Figure(f"{name}.block", max(m["block_ms"] for m in told), "ms", _BLOCK, 50)
    with Peer(a) as server, Peer(b) as client, Proxy(server.serve()) as proxy:
        _meet(client, proxy)
        yield from _equal(client, proxy, f"equal_{name}", count)
        _change(server, edits(ids, 1_000, 1, 3)[0])
        report, talk = _meet(client, proxy)
        assert report.received == 1_000
        kinds = ", ".join(f"{kind} {size:,}" for kind, size in talk.by_kind().items())
        how = f"to find 1,000 changed records of an acquaintance; payload: {kinds}"
        yield Figure(f"{name}.find", (talk.finding() - PROOF_BYTES) / 1e3, "kB", how, 140)
        yield Figure(f"{name}.find_time", report.seconds, "s", f"that sync, {talk.round_trips():g} round trips")
