"""What a node stands on: the machine's time, its chance, and its disk. A simulator passes another one."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass

from replica import system
from replica.store.connection import connect


@dataclass(frozen=True, slots=True)
class Host:
    """`now_ms`: wall clock, Unix milliseconds. `random_bytes`: so many bytes that nobody can guess. `connect`: opens a
    file as `replica.store.connection.connect` does. The network is that of the running event loop."""

    now_ms: Callable[[], int] = system.now_ms
    random_bytes: Callable[[int], bytes] = system.random_bytes
    connect: Callable[..., sqlite3.Connection] = connect
