"""Peer-to-peer, offline-first replication for the tables of a CRM in SQLite.

`open` gives an asynchronous node; `Store` is the synchronous store for scripts; `initialize` makes a file part of a
group. The command line does the same: `replica --help`.
"""

from protocol.errors import OurFault, PeerFault, ReplicaError
from replica.node import Node, RecordChange, open
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
