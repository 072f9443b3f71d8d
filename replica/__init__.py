"""Peer-to-peer, offline-first replication for the tables of a CRM in SQLite.

`open` gives an asynchronous node; `Store` is the synchronous store for scripts; `initialize` makes a file part of a
group. The command line does the same: `replica --help`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from protocol.errors import OurFault, PeerFault, ReplicaError
    from replica.feed import RecordChange
    from replica.node import Node
    from replica.opening import open
    from replica.store.store import Store, initialize
    from replica.sync_report import SyncReport

__all__ = [
    "Node",
    "OurFault",
    "PeerFault",
    "RecordChange",
    "ReplicaError",
    "Store",
    "SyncReport",
    "initialize",
    "open",
]


_HOMES = {
    "Node": "replica.node", "RecordChange": "replica.feed", "open": "replica.opening",
    "OurFault": "protocol.errors", "PeerFault": "protocol.errors", "ReplicaError": "protocol.errors",
    "Store": "replica.store.store", "initialize": "replica.store.store", "SyncReport": "replica.sync_report",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    """Each name is imported on use: a node brings a network with it, which takes longer to import than most commands to run,
    and `replica.start` wants to be there before anything else."""
    if name not in _HOMES:
        raise AttributeError(f"module 'replica' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
