"""Reading records to send them: as many at a time as make about a batch, whatever their size. SPEC section 9.1."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from protocol import limits
from protocol.keys import Keys
from protocol.messages import Records
from protocol.record import Delta, Record
from protocol.values import pack_plain

if TYPE_CHECKING:
    from protocol.descent import Port

Sized = tuple[Delta, int]
"""A fragment as it travels, and its canonical size."""

Items = dict[bytes, set[bytes]]
"""Record key -> stamps: what the events of these stamps wrote in these records."""

SCAN = 512
"""Records read from the store at a time: few calls for SQLite, and little memory unless each is huge."""


class Reader:
    """Reads what one session sends, and learns how large the records are."""

    def __init__(self, store: Port, keys: Keys) -> None:
        self._store, self._keys = store, keys
        self._at_once, self._aim = 16, limits.BATCH_BYTES_FIRST

    def whole(self, keys: Sequence[bytes]) -> Iterator[Sized]:
        """Whole records, as they are sent: a few photos at a time, or hundreds of contacts."""
        while keys:
            part, keys = keys[: self._at_once], keys[self._at_once :]
            records = self._store.deltas(part)
            sizes = [record.size() for record in records]
            yield from zip(records, sizes, strict=True)
            self._were_read(len(part), sum(sizes))

    def parted(self, keys: Sequence[bytes]) -> Iterator[Record]:
        """Records of which parts are sent: as many at a time, since each is read whole."""
        while keys:
            part, keys = keys[: self._at_once], keys[self._at_once :]
            records = self._store.records(part)
            yield from records
            self._were_read(len(part), sum(map(Record.size, records)))

    def fragments(self, items: Items) -> Iterator[Sized]:
        """What these stamps wrote in these records, the schema first. What is gone by now is left out, and so is what is
        taken out of `items` before it is read."""
        keys = sorted(items)
        for start in range(0, len(keys), SCAN):
            part = [key for key in keys[start : start + SCAN] if key in items]
            known = self._store.stamps(part)
            yield from self.whole([key for key in part if known.get(key, set()) <= items[key]])
            for record in self.parted([key for key in part if key in known and not known[key] <= items.get(key, set())]):
                stamps = items.get(self._keys.record_key(pack_plain(record.collection), record.id), set())
                if stamps & record.stamps():  # Else what they want was overwritten meanwhile.
                    delta = record.delta(stamps)
                    yield delta, delta.size()

    def _were_read(self, count: int, size: int) -> None:
        """Learn how many to read next. Twice as many at most: behind small records of the schema come the photos."""
        self._at_once = max(1, min(SCAN, 2 * self._at_once, count * limits.BATCH_BYTES_AIM // max(size, 1)))

    def batches(self, records: Iterator[Sized]) -> Iterator[Records]:
        """These as messages of about BATCH_BYTES_AIM, or BATCH_RECORDS_MAX records. The session's first are smaller."""
        batch: list[Delta] = []
        size = 0
        for record, more in records:
            if batch and (size + more > self._aim or len(batch) == limits.BATCH_RECORDS_MAX):
                self._aim = min(self._aim * 3 // 2, limits.BATCH_BYTES_AIM)
                yield Records(tuple(batch))
                batch, size = [], 0
            batch.append(record)
            size += more
        if batch:
            yield Records(tuple(batch))
