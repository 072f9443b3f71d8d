"""Peer-to-peer, offline-first replication for the tables of a CRM in SQLite.

`open` gives an asynchronous node; `Store` is the synchronous store for scripts; `initialize` makes a file part of a
group. The command line does the same: `replica --help`.
"""

from typing import TYPE_CHECKING, Any

from protocol.errors import OurFault, PeerFault, ReplicaError
from replica.store.store import Store, initialize
from replica.sync_report import SyncReport

if TYPE_CHECKING:
    from replica.node import Node, RecordChange, open

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


def __getattr__(name: str) -> Any:
    """A node brings a network with it, which takes longer to import than most commands to run: it is imported on use."""
    if name in {"Node", "RecordChange", "open"}:
        from replica import node

        return getattr(node, name)
    raise AttributeError(f"module 'replica' has no attribute {name!r}")
