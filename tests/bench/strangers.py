"""What it takes two copies that never met to find what differs: bytes on the socket and round trips, at any distance.

`d` records differ, half of them of either side's making; the name that the copy tells is one of them. *Scattered*: one
field of records all over the table was edited, so that each side has stamps that the other has not. *Newest*: records
that one side has and the other has not, all written last.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from statistics import mean

from replica.store.sketched import Sketched
from replica.store.store import Store
from tests.bench.contacts import contacts, edits
from tests.bench.copies import copy, twin
from tests.bench.figure import Figure, median, tell
from tests.bench.local import plain
from tests.bench.peer import Peer
from tests.bench.proxy import Proxy
from tests.bench.wire import Talk
from tests.protocol.meetings import FLOORS

PROOF_BYTES = 32
RUNS = 5


def strangers(folder: Path, base: Path, ids: list[str]) -> Iterator[Figure]:
    """Copies of a store with these records, at each distance: the mean of RUNS meetings, and the median of their round
    trips. Each has a sketch in its file, as after any long session: only bytes are measured. `base` must be closed; it
    stays as it is."""
    pair = twin(base, folder, "strangers")
    for path in pair:
        with Store(path) as store, store.transaction() as core:
            kept = Sketched(core)
            kept.now()
            kept.keep()
    fresh = list(itertools.islice(contacts(len(ids) + max(FLOORS)), len(ids), None))
    for differ, limit in FLOORS.items():
        for how in ("scattered", "newest"):
            halves = differ // 2, differ - differ // 2 - 1
            name = f"strangers.{how}_{f'{differ // 1000}k' if differ >= 1000 else differ}"
            talks = []
            for run in range(RUNS):
                left, right = copy(pair, folder, f"{how}-{differ}-{run}")
                if how == "scattered":
                    for path, half, side in zip((left, right), halves, (0, 1), strict=True):
                        _edit(path, ids[side::2], half, 5 + side + 2 * run)
                else:
                    _insert(left, fresh[: halves[0]])
                    _insert(right, fresh[halves[0] : sum(halves)])
                talks.append(_meet(left, right, name, halves[0]))
                for path in (left, right):
                    path.unlink()
            shown = f"to find them, beside the proofs; {mean(talk.total for talk in talks):,.0f} B in all"
            yield Figure(name, mean(talk.finding() - PROOF_BYTES for talk in talks), "B", shown, limit)
            trips = median([talk.round_trips_before_records() for talk in talks])
            yield Figure(f"{name}.trips", trips, "", "round trips until records flow", 1)


def _edit(path: Path, ids: list[str], count: int, seed: int) -> None:
    with Store(path) as store:
        with closing(plain(path)) as db:
            db.execute("BEGIN IMMEDIATE")
            for field, value, id_ in edits(ids, count, 1, seed)[0]:
                db.execute(f"UPDATE contacts SET {field} = ? WHERE id = ?", (value, id_))
            db.execute("COMMIT")
        store.absorb()


def _insert(path: Path, rows: list[tuple[str, ...]]) -> None:
    with Store(path) as store:
        store.put_many("contacts", rows)


def _meet(left: Path, right: Path, name: str, news: int) -> Talk:
    with Peer(left) as server, Peer(right) as client, Proxy(server.serve()) as proxy:
        report = client.sync(proxy.url)
        talk = proxy.talk()
    assert report.changed == news, f"{report.changed} records changed, not {news}"
    kinds = ", ".join(f"{kind} {size:,}" for kind, size in talk.by_kind().items())
    tell(f"{name}: {report.seconds:.2f} s, {talk.round_trips():g} round trips; {kinds}")
    return talk
