"""Who a store is: a new identity for a copy, so that it never issues a stamp that the original issues too.

Its clock goes on from where it was: whatever the copy holds is older than what it will write. Nothing was issued under the
new id, so any stamp of it that comes from elsewhere is a clone's; stamps of the old id are another node's, like any
peer's. The copy counts AUTOINCREMENT rows in a range of its own. What is known of peers stays: whom they are, where, and
when both were equal; counts and outcomes were the original's.

Each node tells the group its name, in a record under its id, as soon as it has one. So an id in which bits have flipped
has no such record. What was written under it harms nobody, since no other node has it, but nobody knows whose it is.
"""

from __future__ import annotations

from protocol.hlc import NODE_BYTES, Clock
from protocol.record import pack_id
from replica.store import ddl
from replica.store.core import Core
from replica.store.leap import leap
from replica.store.shadow import load_shadows
from replica.store.state import key_of


def introduced(core: Core) -> bool:
    """Whether a record says the name of this node, under the id that it has."""
    system = core.by_name.get(ddl.NODES)
    return system is not None and bool(load_shadows(core, [key_of(core, system, pack_id([core.meta("node")]))]))


def renew(core: Core, name: str) -> tuple[bytes, bytes]:
    """Make this store another node, of this name, in the caller's transaction, with nothing left to absorb. Returns the old
    id and the new one."""
    old, new = core.clock.node, core.random(NODE_BYTES)
    core.clock = Clock(new, core.clock.last)
    settings: dict[str, object] = {
        "node": new, "name": name, "issued": b"", "clone": "", "founder": 0, "made_ms": core.now_ms(),
    }  # fmt: skip
    for setting, value in settings.items():
        core.set_meta(setting, value)
    core.db.execute("UPDATE _replica_peer SET outcome = 'not met since the restore', sent = 0, received = 0")
    for table in core.tables.values():
        if table.shape is not None and table.shape.autoincrement:
            table.leap = 0
            leap(core, table)
    ddl.introduce(core)
    return old, new
