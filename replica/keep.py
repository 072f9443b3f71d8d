"""Keep in sync with a peer: meet it again and again, until cancelled.

After a session it stays connected: the next begins there, and sooner if somebody has news (`bell`). A peer that cannot be
met is tried again after a second, then after two, four and so on, never more rarely than the interval. Waits vary by a
quarter, so that nodes which lost a peer together do not come back together. One test each:

1. Whatever a peer or the file does, the next try comes.
2. A failure is tried again soon, then more and more rarely.
"""

from __future__ import annotations

import asyncio
import sqlite3
import ssl
from collections.abc import Callable

from protocol.errors import PeerFault
from replica.bell import Subscriber
from replica.errors import StoreError
from replica.node import Node
from replica.sync_report import SyncReport
from replica.words import log

LATE_SECONDS = 2.0
"""Who is called comes within so many: hundreds may be called at once."""


async def keep_in_sync(
    node: Node,
    url: str,
    every_s: float,
    report: Callable[[SyncReport], None],
    *,
    tls: ssl.SSLContext | None = None,
) -> None:
    """Sync with the peer at `url` about every `every_s` seconds. `report` gets each meeting, failed ones too."""
    misses = 0
    stayed: list[Subscriber] = []
    while True:
        try:
            done = await node.sync(url, tls=tls, stay=stayed.append, over=stayed.pop() if stayed else None)
            misses = 0
        except PeerFault as error:
            done = SyncReport.failure(url, error)
            misses += 1
        except StoreError as error:
            log.warning("%s", error)
            done = SyncReport.failure(url, error)
            misses += 1
        except sqlite3.Error as error:  # What no StoreError is made of: a damaged definition, say.
            log.exception("syncing with %s failed; it is tried again", url)
            done = SyncReport.failure(url, StoreError(str(error)))
            misses += 1
        report(done)
        chance = node.host.random_bytes(1)[0] / 255
        wait_s = _wait(misses, every_s, chance)
        if stayed:
            await stayed[0].wait(wait_s, chance * min(LATE_SECONDS, every_s / 20))
        else:
            await asyncio.sleep(wait_s)


def _wait(misses: int, every_s: float, chance: float) -> float:
    wait = min(every_s, 2.0 ** min(misses - 1, 30)) if misses else every_s
    return wait * (0.75 + 0.5 * chance)
