"""What is told of a batch: counts of records by what came of them, and the first that differ."""

from __future__ import annotations

from collections.abc import Sequence

from protocol.record import fold
from replica.exchange.importing.deletes import Gone
from replica.exchange.importing.outcome import SHOWN_MAX, Difference, Outcome
from replica.exchange.importing.resolve import Resolved
from replica.exchange.importing.work import Work
from replica.exchange.rows import MISSING, Batch
from replica.store.upsert import Fate, Upserted

Done = Sequence[tuple[Resolved, Upserted]]

BUCKET = {
    Fate.CREATED: "created",
    Fate.UPDATED: "updated",
    Fate.UNCHANGED: "unchanged",
    Fate.NEWER: "unchanged",
    Fate.DELETED: "unchanged",
}
"""What came of a record -> the bucket of its row."""


def fates(done: Done, gone: Gone) -> dict[int, Fate]:
    """What came of each row: the most that came of one of its records."""
    found = dict(gone.fates)
    for resolved, upserted in done:
        if not found and len(set(resolved.sources)) == len(resolved.sources):
            found = dict(zip(resolved.sources, upserted.fates, strict=True))
            continue
        for source, fate in zip(resolved.sources, upserted.fates, strict=True):
            found[source] = min(fate, found.get(source, fate))
    return found


def buckets(outcome: Outcome, work: Work, fates: dict[int, Fate]) -> dict[str, int]:
    """Those of all rows so far, with a batch and what came of its rows."""
    sums = dict(outcome.counts)
    sums["unchanged"] += work.part.known if work.part is not None else 0
    sums["rejected"] += len(work.reasons.keys() | work.beside.keys()) + len(work.batch.broken)
    if not work.outs and len(fates) == len(work.batch.rows):
        some = list(fates.values())
        for fate, bucket in BUCKET.items():
            sums[bucket] += some.count(fate)
        return sums
    for row in range(len(work.batch.rows)):
        if row in work.reasons or row in work.later or row in work.beside:
            continue
        if row in work.duplicates:
            sums["duplicate"] += 1
        else:
            sums[BUCKET[fates.get(row, Fate.UNCHANGED)]] += 1
    return sums


def marks(done: Done) -> dict[int, bytes]:
    """Row of the batch -> mark of its record, of rows that make one record each."""
    if len(done) != 1 or len(set(done[0][0].sources)) < len(done[0][0].sources):
        return {}
    return {done[0][0].sources[i]: mark for i, mark in done[0][1].marks.items()}


def records(outcome: Outcome, table: str) -> dict[str, int]:
    """Counts of the records of a table, by bucket."""
    return outcome.records.setdefault(table, {"created": 0, "updated": 0, "unchanged": 0})


def tell(outcome: Outcome, batch: Batch, done: Done, gone: Gone, table: str) -> None:
    """Add what came of a batch. `table`: that of the rows in `gone`."""
    for resolved, upserted in done:
        counts = records(outcome, resolved.place.table)
        for fate, bucket in BUCKET.items():
            counts[bucket] += upserted.fates.count(fate)
        outcome.newer += upserted.fates.count(Fate.NEWER)
        outcome.deleted += upserted.fates.count(Fate.DELETED)
        for i, fate in enumerate(upserted.fates):
            if len(outcome.differences) >= SHOWN_MAX:
                break
            if fate in {Fate.CREATED, Fate.UPDATED}:
                outcome.differences.append(_difference(batch, resolved, upserted, i))
    if gone.fates:
        counts = records(outcome, table)
        outcome.absent += gone.absent
        for i, fate in gone.fates.items():
            counts[BUCKET[fate]] += 1
            outcome.newer += fate is Fate.NEWER
            outcome.removed += fate is Fate.UPDATED
            if fate is Fate.UPDATED and len(outcome.differences) < SHOWN_MAX:
                outcome.differences.append(Difference(table, gone.texts[i], batch.lines[i], {}, {}))


def _difference(batch: Batch, resolved: Resolved, upserted: Upserted, i: int) -> Difference:
    columns = {fold(n): (n, values[i]) for n, values in resolved.rows.columns.items()}
    before = upserted.before.get(i)
    after = {n: v for n, v in columns.values() if v is not MISSING}
    if before is not None:
        after = {columns[n][0]: columns[n][1] for n in before if n in columns}
        before = {columns[n][0]: v for n, v in before.items() if n in columns}
    line = batch.lines[resolved.sources[i]]
    return Difference(resolved.place.table, resolved.texts[i], line, dict(before or {}), after)
