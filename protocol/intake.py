"""Joining the peer's records, and what comes of it.

A side that has records to send too, which it knows without the peer's, need not join those first: the last ones of the
peer's turn wait here until ours are sent. So both sides join at the same time. Only a batch that is not full waits, since
a full one is hardly the last; and only one, so that a peer can make us keep no more than that beside the one that it says.
SPEC section 10.1. One test each:

1. What waits is joined before our turn ends, so that END tells of it; and when the session ends early.
2. One batch waits at most, and none that is full, by its records or by its bytes.
3. What the peer's records overwrite is not sent to it, and if nothing else is to be sent, nothing waits.
"""

from __future__ import annotations

from collections.abc import Sequence

from protocol import limits
from protocol.descent import Agenda, Port
from protocol.messages import Records
from protocol.outcome import Outcome
from protocol.record import Delta


class Intake:
    """What one side of a session joins."""

    def __init__(self, store: Port, agenda: Agenda, outcome: Outcome) -> None:
        self._store, self._agenda, self._outcome = store, agenda, outcome
        self._waiting: Records | None = None
        self.changed = 0
        """Records that changed in this round. The caller begins anew."""
        self.refused, self.reasons = 0, list[str]()
        """Records that were put off or refused in this session, and some of the reasons."""

    @property
    def empty(self) -> bool:
        """Nothing waits."""
        return self._waiting is None

    def take(self, message: Records, now_ms: int, *, later: bool) -> None:
        """Join records. `later`: they may wait for `settle`. Raises Malformed, as that does."""
        self.settle(now_ms)
        self._waiting = message
        if not later or _full(message.records):
            self.settle(now_ms)

    def settle(self, now_ms: int) -> None:
        """Join what waits. Raises Malformed, and nothing of it changes anything, if one of these is no record."""
        message, self._waiting = self._waiting, None
        if message is None:
            return
        applied, outcome = self._store.apply(message.records, now_ms), self._outcome
        outcome.received += len(message.records)
        outcome.changed += applied.changed
        outcome.held += applied.held
        self.changed += applied.changed
        for refusal in applied.refused:
            self.refused += self._agenda.refuse(refusal)
            if len(self.reasons) < limits.REASONS_MAX and refusal.reason not in self.reasons:
                self.reasons.append(refusal.reason)


def _full(records: Sequence[Delta]) -> bool:
    """Whether one more like these would not fit into a first batch: then there may well be more."""
    count = len(records)
    if count >= limits.BATCH_RECORDS_MAX:
        return True
    return sum(map(Delta.size, records)) * (count + 1) > limits.BATCH_BYTES_FIRST * count
