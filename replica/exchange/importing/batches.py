"""One batch of rows: mapped, matched with what is here, and written in one transaction, with the run's own record.

A row that cannot be is taken out and the batch tried again, so that the others are written as if it had not been there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from protocol.record import fold
from replica.exchange.importing import ledger, runs
from replica.exchange.importing.identity import externals
from replica.exchange.importing.ledger import DUPLICATE, LATER, REJECTED, Aside
from replica.exchange.importing.outcome import SHOWN_MAX, Difference, Outcome
from replica.exchange.importing.places import Place
from replica.exchange.importing.resolve import Resolved, Resolver
from replica.exchange.importing.runs import Run
from replica.exchange.importing.seen import Seen
from replica.exchange.maps.mapmodel import Mapped, Problem, Target
from replica.exchange.rows import MISSING, Batch
from replica.store.core import Collision, Core, uncollected
from replica.store.store import Store
from replica.store.upsert import Conflict, Fate, Upserted, upsert

Stamps = Callable[[Batch], tuple[list[bytes], dict[int, str]]]
"""The stamp of each row of a batch, and why it has none, by index."""


class MapsRows(Protocol):
    """What a mapper does."""

    targets: tuple[Target, ...]

    def map(self, batch: Batch) -> tuple[list[Mapped], dict[int, list[Problem]]]:
        """Records, and problems by index of the row."""


@dataclass(slots=True)
class File:
    """One file of a run. `find`: finds or makes the tables of its targets, by folded name."""

    number: int
    mapper: MapsRows
    stamps: Stamps
    find: Callable[[Core], dict[str, Place]]


class _Excluded(Exception):
    """Rows of the batch that must be left out: why, or for what they wait."""

    def __init__(self, reasons: dict[int, list[str]], later: dict[int, list[str]]) -> None:
        super().__init__("some rows cannot be")
        self.reasons, self.later = reasons, later


@dataclass(slots=True)
class _Work:
    """A batch under way. By index of the row: why it is rejected, for what it waits, of which row it is a duplicate (empty:
    with the same values)."""

    batch: Batch
    mapped: list[Mapped]
    stamps: list[bytes]
    again: bool
    reasons: dict[int, list[str]] = field(default_factory=dict)
    later: dict[int, list[str]] = field(default_factory=dict)
    duplicates: dict[int, str] = field(default_factory=dict)
    repeated: dict[int, set[int]] = field(default_factory=dict)
    """Target -> indexes of records that an earlier row made already."""

    def out(self, row: int) -> bool:
        """Whether a row is left out."""
        return row in self.reasons or row in self.later or row in self.duplicates


class Batching:
    """Of one run. Close it when done."""

    def __init__(self, store: Store, run: Run, outcome: Outcome, on_deleted: str) -> None:
        self._store, self._run, self._outcome, self._on_deleted = store, run, outcome, on_deleted
        self._own = bytes.fromhex(run.stamp)
        self._seen: dict[str, Seen] = {}
        self._places: dict[str, Place] = {}
        self._found: set[int] = set()
        self._pardoned: frozenset[bytes] | None = None
        self.written = bool(run.collections)
        """Whether the run stands in the table of runs."""

    def close(self) -> None:
        """Let go of what was remembered."""
        for seen in self._seen.values():
            seen.close()

    # --- a batch ------------------------------------------------------------------------------------------------------

    def take(self, file: File, batch: Batch, *, known: bool = False) -> None:
        """Take the rows of a batch. `known`: they are in already, only their keys count."""
        with uncollected():
            self._take(file, batch, known=known, again=False, final=False)

    def take_again(self, file: File, batch: Batch, *, final: bool) -> None:
        """Take rows that waited. `final`: what they wait for never comes."""
        self._take(file, batch, known=False, again=True, final=final)

    def _take(self, file: File, batch: Batch, *, known: bool, again: bool, final: bool) -> None:
        mapped, problems = file.mapper.map(batch)
        stamps, late = file.stamps(batch)
        work = _Work(batch, mapped, stamps, again)
        for i, some in problems.items():
            work.reasons[i] = [f"{p.field}: {p.message}" if p.field else p.message for p in some]
        for i, reason in late.items():
            work.reasons.setdefault(i, []).append(reason)
        if not again:
            self._find_duplicates(file, work)
        if known:
            return
        while True:
            try:
                self._commit(file, work)
                return
            except _Excluded as out:
                for i, some_reasons in out.reasons.items():
                    work.reasons.setdefault(i, []).extend(some_reasons)
                for i, waits in out.later.items():
                    (work.reasons if final else work.later).setdefault(i, []).extend(waits)

    def _find_duplicates(self, file: File, work: _Work) -> None:
        """The first row that names a record makes it. A row all of whose records were there before in this run is a
        duplicate; an account that stands in the row of each of its contacts makes none of them one."""
        new: set[int] = set()
        differing: dict[int, list[str]] = {}
        for mapped in work.mapped:
            target = file.mapper.targets[mapped.target]
            names = [f.name for f in target.fields]
            texts = externals([mapped.columns[names.index(n)] for n in target.key])
            lines = [work.batch.lines[s] for s in mapped.sources]
            hashes = list(map(hash, zip(*mapped.columns, strict=True)))
            out = [work.out(s) for s in mapped.sources]
            texts = ["" if o else t for t, o in zip(texts, out, strict=True)] if any(out) else texts
            seen = self._seen.setdefault(fold(target.collection), Seen())
            repeated = work.repeated[mapped.target] = set()
            for record, first in enumerate(seen.add(texts, lines, hashes)):
                if first is None:
                    new.add(mapped.sources[record])
                    continue
                repeated.add(record)
                if first.hash != hashes[record]:
                    what = f"the key {texts[record]!r} was in line {first.line} already, with other values: that one counts"
                    differing.setdefault(mapped.sources[record], []).append(what)
        for row in {s for m in work.mapped for s in m.sources} - new:
            work.duplicates[row] = "; ".join(differing.get(row, ()))

    # --- its transaction ----------------------------------------------------------------------------------------------

    def _commit(self, file: File, work: _Work) -> None:
        for bold in (True, False):
            try:
                with self._store.transaction() as core:
                    core.bold = bold
                    try:
                        after = self._write(core, file, work)
                    finally:
                        core.bold = False
                break
            except Collision:
                continue
        after()

    def _write(self, core: Core, file: File, work: _Work) -> Callable[[], None]:
        """Write it all. Returns what to do once it is committed."""
        done: list[tuple[Resolved, Upserted]] = []
        places: dict[str, Place] = {}
        if any(not work.out(s) for m in work.mapped for s in m.sources):
            places = dict(self._places) if file.number in self._found else {**self._places, **file.find(core)}
            done = self._upsert(core, file, work, places)
        fates = _fates(done)
        counts = self._counts(work, fates)
        asides = self._asides(file, work)
        changed = any(f in {Fate.CREATED, Fate.UPDATED} for f in fates.values())
        if changed or self.written:  # Position and counts stay in step.
            numbers = [*work.batch.numbers, *(b.number for b in work.batch.broken)]
            if not work.again:
                self._run.position = f"{file.number}:{max(numbers, default=0)}"
            self._run.counts = counts
            known = {fold(k.collection): k for k in self._run.collections}
            known.update({name: p.known(self._run.source) for name, p in places.items()})
            self._run.collections = list(known.values())
            runs.write(core, self._run)
        if asides or work.again:
            ledger.forget_rows(core, self._run.id, file.number, work.batch.numbers if work.again else ())
            ledger.keep(core, self._run.id, asides)

        def committed() -> None:
            self._places.update(places)
            if places:
                self._found.add(file.number)
            self.written = self.written or changed
            self._outcome.counts = counts
            self._tell(work, done)

        return committed

    def _upsert(self, core: Core, file: File, work: _Work, places: dict[str, Place]) -> list[tuple[Resolved, Upserted]]:
        if self._pardoned is None:
            self._pardoned = runs.pardoned(core)
        resolver = Resolver(self._run.source, places, self._on_deleted)
        done = []
        for mapped in work.mapped:
            place = places[fold(file.mapper.targets[mapped.target].collection)]
            repeated = work.repeated.get(mapped.target, set())
            left = [i for i, s in enumerate(mapped.sources) if not work.out(s) and i not in repeated]
            if not left:
                continue
            resolved = resolver.resolve(core, place, mapped, left, work.stamps, self._pardoned)
            if resolved.reasons or resolved.later:
                raise _Excluded(resolved.reasons, resolved.later)
            try:
                upserted = upsert(core, resolved.rows, self._run.id, self._own)
            except Conflict as conflict:
                raise _Excluded(_by_row(resolved, conflict.reasons), {}) from None
            if upserted.reasons:
                raise _Excluded(_by_row(resolved, upserted.reasons), {})
            done.append((resolved, upserted))
        return done

    # --- what is told -------------------------------------------------------------------------------------------------

    def _counts(self, work: _Work, fates: dict[int, Fate]) -> dict[str, int]:
        counts = dict(self._outcome.counts)
        counts["rejected"] += len(work.reasons) + len(work.batch.broken)
        for row in range(len(work.batch.rows)):
            if row in work.reasons or row in work.later:
                continue
            if row in work.duplicates:
                counts["duplicate"] += 1
            else:
                counts[_BUCKET[fates.get(row, Fate.UNCHANGED)]] += 1
        return counts

    def _asides(self, file: File, work: _Work) -> list[Aside]:
        batch, trees = work.batch, work.batch.trees
        asides = [Aside(file.number, b.number, b.line, REJECTED, (), (b.reason,), b.raw) for b in batch.broken]
        kinds = [(REJECTED, work.reasons), (LATER, work.later)]
        kinds.append((DUPLICATE, {i: [why] for i, why in work.duplicates.items() if why}))
        told: set[int] = set()
        for kind, some in kinds:
            for i, reasons in some.items():
                if i not in told:
                    told.add(i)
                    place = (file.number, batch.numbers[i], batch.lines[i])
                    asides.append(Aside(*place, kind, batch.rows[i], tuple(reasons), "", trees[i] if trees else None))
        return asides

    def _tell(self, work: _Work, done: Sequence[tuple[Resolved, Upserted]]) -> None:
        outcome = self._outcome
        if not work.again:
            outcome.read += len(work.batch.rows) + len(work.batch.broken)
        for resolved, upserted in done:
            counts = outcome.records.setdefault(resolved.place.table, {"created": 0, "updated": 0, "unchanged": 0})
            for bucket in ("created", "updated", "unchanged"):
                counts[bucket] += sum(1 for f in upserted.fates if _BUCKET[f] == bucket)
            outcome.newer += upserted.fates.count(Fate.NEWER)
            outcome.deleted += upserted.fates.count(Fate.DELETED)
            for i, fate in enumerate(upserted.fates):
                if len(outcome.differences) >= SHOWN_MAX:
                    break
                if fate in {Fate.CREATED, Fate.UPDATED}:
                    outcome.differences.append(_difference(work, resolved, upserted, i))


_BUCKET = {
    Fate.CREATED: "created",
    Fate.UPDATED: "updated",
    Fate.UNCHANGED: "unchanged",
    Fate.NEWER: "unchanged",
    Fate.DELETED: "unchanged",
}


def _fates(done: Sequence[tuple[Resolved, Upserted]]) -> dict[int, Fate]:
    """What came of each row: the most that came of one of its records."""
    fates: dict[int, Fate] = {}
    for resolved, upserted in done:
        for source, fate in zip(resolved.sources, upserted.fates, strict=True):
            fates[source] = min(fate, fates.get(source, fate))
    return fates


def _by_row(resolved: Resolved, reasons: dict[int, str]) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for i, reason in reasons.items():
        found.setdefault(resolved.sources[i], []).append(reason)
    return found


def _difference(work: _Work, resolved: Resolved, upserted: Upserted, i: int) -> Difference:
    columns = {fold(n): (n, values[i]) for n, values in resolved.rows.columns.items()}
    before = upserted.before.get(i)
    after = {n: v for n, v in columns.values() if v is not MISSING}
    if before is not None:
        after = {columns[n][0]: columns[n][1] for n in before if n in columns}
        before = {columns[n][0]: v for n, v in before.items() if n in columns}
    line = work.batch.lines[resolved.sources[i]]
    return Difference(resolved.place.table, resolved.texts[i], line, dict(before or {}), after)
