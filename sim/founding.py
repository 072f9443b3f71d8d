"""A node whose file begins as a copy of another's: all nodes of a world adopt the same tables, which takes long.

The copy becomes what it would be if the node had been founded and had adopted the tables by itself, so that no node, and
no disk fault, can tell the difference. One test:

1. A file made by copying says in every table what one says that was made by itself.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from protocol.record import pack_id
from replica.store import ddl
from replica.store.leap import leap
from replica.store.state import key_of
from replica.store.store import Store


def copied(founder: Path, path: Path, name: str, now_ms: Callable[[], int], random: Callable[[int], bytes]) -> None:
    """Make the file of another member from that of the founder, who has adopted its tables, wrote nothing, and does not
    run. `now_ms` and `random` are drawn from as `initialize` does."""
    shutil.copyfile(founder, path)
    with Store(path, now_ms=now_ms, random=random) as store, store.transaction() as core:
        old = key_of(core, core.by_name[ddl.NODES], pack_id([core.clock.node]))
        core.db.execute("DELETE FROM _replica_record WHERE key = ?", (old,))
        core.db.execute("DELETE FROM _replica_extra WHERE key = ?", (old,))
        core.db.execute("DELETE FROM _replica_history")
        core.db.execute("INSERT INTO _replica_history VALUES (1, x'', x'', x'')")
        core.dirty.touch(old, -1)
        core.toggled.lose()
        core.clock.node = random(8)
        settings = {"node": core.clock.node, "name": name, "founder": 0, "made_ms": now_ms()}
        for setting, value in settings.items():
            core.set_meta(setting, value)
        ddl.introduce(core)
        for table in core.tables.values():
            if table.shape is not None and table.shape.autoincrement:
                leap(core, table)
