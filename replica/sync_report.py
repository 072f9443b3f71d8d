"""How a sync went, for programs and for people."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from protocol import limits
from protocol.errors import ReplicaError
from protocol.outcome import IN_SYNC, Outcome

if TYPE_CHECKING:
    from replica.transport import Traffic


@dataclass(frozen=True, slots=True)
class SyncReport:
    """How a sync went. `outcome` is "in sync" when both roots were equal; `held` counts the live records that no table
    shows here now; bytes are websocket payload."""

    url: str
    peer: str
    outcome: str
    text: str
    sent: int
    received: int
    changed: int
    held: int
    refused: int
    reasons: list[str]
    bytes_out: int
    bytes_in: int
    round_trips: int
    found_by: str
    """How what differs was found: by stream, news, sketch or list; by the trie; or by both, one after the other."""
    seconds: float
    root: str
    count: int
    offset_ms: int
    version: str
    """The newest version of the protocol that the peer speaks, as "2.1"."""

    @property
    def in_sync(self) -> bool:
        """Both roots were equal."""
        return self.outcome == IN_SYNC

    @property
    def failed(self) -> bool:
        """The session did not come to its end."""
        return not self.root

    @staticmethod
    def failure(url: str, error: ReplicaError) -> SyncReport:
        """The report of a sync that failed."""
        if isinstance(error.report, SyncReport):
            return replace(error.report, outcome=error.code, text=str(error), root="")
        return SyncReport(url, "", error.code, str(error), 0, 0, 0, 0, 0, [], 0, 0, 0, "", 0.0, "", 0, 0, "")

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self)

    @staticmethod
    def of(url: str, out: Outcome, traffic: Traffic, seconds: float) -> SyncReport:
        """The report of a session, however it ended."""
        return SyncReport(
            url=url,
            peer=out.peer.name if out.peer else "",
            outcome=out.code,
            text=out.text,
            sent=out.sent,
            received=out.received,
            changed=out.changed,
            held=out.held,
            refused=out.refused,
            reasons=out.reasons,
            bytes_out=traffic.sent,
            bytes_in=traffic.received,
            round_trips=out.round_trips,
            found_by=", ".join(filter(None, (out.way.value, "trie" if out.rounds else ""))),
            seconds=round(seconds, 3),
            root=out.root.hex(),
            count=out.count,
            offset_ms=out.offset_ms,
            version=f"{limits.VERSION}.{out.peer.minor}" if out.peer else "",
        )
