"""`replica` on the workload of the peers' folder, under the rules of its README: prints one JSON line.

    PYTHONPATH=<the peers' folder> PEERS_DATA=<its data> python driver.py DIR

A and B are two processes, as on two machines; a proxy between them, whose work is in the times too, counts every byte.
WAL and synchronous=NORMAL, as the floors have. W1 is ready to sync when it ends. Each sync dials anew: times and bytes
hold the connection and the upgrade. `wait`: what B waited for a core beyond what A and the proxy used meanwhile.
"""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from time import process_time
from typing import Any

from replica.store.store import Store, initialize
from tests.bench.contacts import CREATE, FIELDS
from tests.bench.peer import Peer
from tests.bench.proxy import Proxy

common: Any = import_module("common")
"""The peers' folder's own: reader, clock, checks."""

_Phases = dict[str, Any]


def _write(path: Path) -> _Phases:
    """W1 into a new store: batches of 1,000, then updates, each a transaction of its own."""
    assert list(FIELDS) == common.FIELDS, "the tables are the same"
    initialize(path, path.stem)
    out = {}
    with Store(path, durable=False) as store:
        store.execute(CREATE)
        store.adopt()
        clock = common.Clock()
        for batch in common.batches():
            with clock:
                store.put_many("contacts", [tuple(record.values()) for record in batch])
        with clock:
            store.root()  # What is known of the last batches waits till somebody asks: only then it is ready to sync.
        out["w1_insert"] = clock.res()
        clock = common.Clock()
        with clock:
            for i, field, value in common.EDITS["w1"]:
                store.execute(f"UPDATE contacts SET {field} = ? WHERE id = ?", (value, common.IDS[i]))
        out["w1_update"] = clock.res()
    out["disk"] = common.size_of(str(path))
    return out


def _waited(pid: int) -> float:
    """Seconds that the threads of a process waited for a core."""
    stats = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(stat.read_text(encoding="ascii").split()[1]) for stat in stats) / 1e9


def _edit(peer: Peer, edits: Sequence[Sequence[Any]]) -> None:
    peer.tell("edit", [[field, value, common.IDS[i]] for i, field, value in edits])


class _Pair:
    """A serves, B dials over the proxy."""

    def __init__(self, server: Peer, client: Peer, proxy: Proxy) -> None:
        self._server, self._client, self._proxy = server, client, proxy

    def _cpu(self) -> tuple[float, float]:
        """CPU seconds so far: of B, and of A and the proxy."""
        return self._client.measures()["cpu_s"], self._server.measures()["cpu_s"] + process_time()

    def sync(self) -> _Phases:
        """One sync, measured."""
        clock, waited = common.Clock(), _waited(self._client.pid)
        client, others = self._cpu()
        with clock:
            report = self._client.sync(self._proxy.url)
        waited = _waited(self._client.pid) - waited
        talk = self._proxy.talk()
        client, others = (after - before for after, before in zip(self._cpu(), (client, others), strict=True))
        done: _Phases = clock.res(bytes=talk.total, msgs=len(talk.log), payload=talk.payload, trips=report.round_trips)
        peaks = [peer.measures()["rss_mb"] for peer in (self._server, self._client)]
        done |= {"cpu": client + others, "wait": max(0.0, waited - others), "rss_mb": round(sum(peaks))}
        return done


class _Side:
    """What any program sees in a file."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def get(self, i: int, field: str) -> object:
        """A field of a contact."""
        return self._db.execute(f"SELECT {field} FROM contacts WHERE id = ?", (common.IDS[i],)).fetchone()[0]


def _meet(a: Path, b: Path, check: Callable[[Callable[..., Any]], float]) -> _Phases:
    """W2 to W5."""
    edits, out = common.EDITS, _Phases()
    with Peer(a, durable=False) as server, Peer(b, durable=False) as client, Proxy(server.serve()) as proxy:
        pair = _Pair(server, client, proxy)
        out["w2"] = pair.sync()
        _edit(server, edits["w3_a"])
        _edit(client, edits["w3_b"])
        out["w3"] = pair.sync()
        out["w3_ok"] = check(common.w3_ok)
        out["w4"] = pair.sync()
        _edit(server, [(i, "phone", phone) for i, phone, _ in edits["w5"]])
        _edit(client, [(i, "status", status) for i, _, status in edits["w5"]])
        out["w5"] = pair.sync()
        out["w5_both"] = check(common.w5_both)
    return out


def main(folder: Path) -> None:
    """Run it below this folder."""
    a, b = folder / "a.db", folder / "b.db"
    out = _write(a)
    with Store(a) as store:
        initialize(b, b.stem, store.secrets())

    def check(count: Callable[..., Any]) -> float:
        with closing(sqlite3.connect(a)) as one, closing(sqlite3.connect(b)) as other:
            return float(count(_Side(one), _Side(other)))

    out |= _meet(a, b, check)
    setup = "WAL, synchronous=NORMAL; two processes and a counting proxy, websocket; field by field, roots equal"
    common.emit("replica", version("replica"), setup, **out)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
