"""One batch of rows: mapped, matched with what is here, and written in one transaction, with the run's own record.

A row that cannot be is taken out and the batch tried again, so that the others are written as if it had not been there.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from protocol.record import fold
from replica.exchange.importing import ledger, runs
from replica.exchange.importing.ledger import DUPLICATE, LATER, REJECTED, Aside
from replica.exchange.importing.outcome import SHOWN_MAX, Difference, Outcome
from replica.exchange.importing.places import Place
from replica.exchange.importing.recall import Recall
from replica.exchange.importing.resolve import Resolved, Resolver
from replica.exchange.importing.runs import Run
from replica.exchange.importing.seen import First, Seen
from replica.exchange.importing.work import Keys, Work
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
    """One file of a run. `find`: finds or makes the tables of its targets, by folded
    name, given those of the files before."""

    number: int
    mapper: MapsRows
    stamps: Stamps
    find: Callable[[Core, dict[str, Place]], dict[str, Place]]


class _Excluded(Exception):
    """Rows of the batch that must be left out: why, or for what they wait."""

    def __init__(
        self, reasons: dict[int, list[str]], later: dict[int, list[str]] | None = None, *, beside: bool = False
    ) -> None:
        """`beside`: only because of other rows of the batch, which may be left out in their turn."""
        super().__init__("some rows cannot be")
        self.reasons, self.later, self.beside = reasons, later or {}, beside


class Batching:
    """Of one run. Close it when done."""

    def __init__(
        self, store: Store, run: Run, files: Sequence[File], outcome: Outcome, on_deleted: str, recall: Recall
    ) -> None:
        self._store, self._run, self._files, self._outcome, self._on_deleted = store, run, files, outcome, on_deleted
        self._recall = recall
        self._own = bytes.fromhex(run.stamp)
        self._seen: dict[tuple[int, str], Seen] = {}
        self._places: dict[int, dict[str, Place]] = {}
        self._pardoned: frozenset[bytes] | None = None
        self.written = bool(run.collections)
        """Whether the run stands in the table of runs."""

    def close(self) -> None:
        """Let go of what was remembered."""
        for seen in self._seen.values():
            seen.close()

    def all_unchanged(self) -> bool:
        """Whether all rows of all files are known to be here already: then they count, and need not be taken."""
        if not self._recall.hopeful:
            return False
        with self._store.transaction() as core:
            self._places = self._find(core)
            self._recall.look(core, self._places)
            counts = self._recall.all_same(core)
        for number, count in (counts or {}).items():
            self._outcome.counts["unchanged"] += count
            self._tell_known(number, count)
        return counts is not None

    # --- a batch ------------------------------------------------------------------------------------------------------

    def take(self, file: File, batch: Batch, *, known: bool = False) -> None:
        """Take the rows of a batch. `known`: they are in already, only their keys count."""
        with uncollected():
            self._take(file, batch, known=known, again=False, final=False)

    def take_again(self, file: File, batch: Batch, *, final: bool) -> None:
        """Take rows that waited. `final`: what they wait for never comes."""
        self._take(file, batch, known=False, again=True, final=final)

    def _take(self, file: File, batch: Batch, *, known: bool, again: bool, final: bool) -> None:
        part = None
        if not (known or again):
            with self._store.transaction() as core:
                part = self._recall.part(core, file.number, batch)
            batch = part.batch if part is not None else batch
        mapped, problems = file.mapper.map(batch)
        stamps, late = file.stamps(batch)
        work = Work(batch, mapped, stamps, again, part)
        work.keys = [Keys.of(file.mapper.targets[m.target], m, batch) for m in mapped]
        for i, some in problems.items():
            work.reasons[i] = [f"{p.field}: {p.message}" if p.field else p.message for p in some]
        for i, reason in late.items():
            work.reasons.setdefault(i, []).append(reason)
        if known:
            with self._store.transaction() as core:
                rejected = ledger.rejected(core, self._run.id, file.number, batch.numbers)
            work.reasons.update({i: [] for i, number in enumerate(batch.numbers) if number in rejected})
            self._find_duplicates(file, work)
            self._remember(file, work, work.reasons)
            return
        while True:
            try:
                if not again:
                    self._find_duplicates(file, work)
                self._commit(file, work)
                work.reasons.update(work.beside)
                if not again:
                    self._remember(file, work, work.reasons)
                return
            except _Excluded as out:
                if out.beside:
                    work.beside.update(out.reasons)
                    continue
                work.beside.clear()
                for i, some_reasons in out.reasons.items():
                    work.reasons.setdefault(i, []).extend(some_reasons)
                for i, waits in out.later.items():
                    (work.reasons if final else work.later).setdefault(i, []).extend(waits)

    def _find_duplicates(self, file: File, work: Work) -> None:
        """The first row of a file that names a record makes it, if it is not rejected. A row all of whose records were there
        before is a duplicate; an account that stands in the row of each of its contacts makes none of them one."""
        work.duplicates.clear()
        new: set[int] = set()
        differing: dict[int, list[str]] = {}
        for mapped, keys in zip(work.mapped, work.keys, strict=True):
            seen = self._seen.setdefault((file.number, fold(file.mapper.targets[mapped.target].collection)), Seen())
            here: dict[str, First] = {}
            repeated = work.repeated[mapped.target] = set()
            known = seen.look(keys.texts)
            if not work.reasons and not any(known) and len(set(keys.texts)) == len(keys.texts):
                new.update(mapped.sources)
                continue
            for record, (text, before) in enumerate(zip(keys.texts, known, strict=True)):
                source = mapped.sources[record]
                if source in work.reasons:
                    continue
                first = before or here.get(text)
                if first is None:
                    new.add(source)
                    if text:
                        here[text] = First(keys.lines[record], keys.hashes[record])
                    continue
                repeated.add(record)
                self._recall.share(file.number, first.line)
                if first.hash != keys.hashes[record]:
                    what = f"the key {text!r} was in line {first.line} already, with other values: that one counts"
                    differing.setdefault(source, []).append(what)
        for row in {s for m in work.mapped for s in m.sources} - new - work.reasons.keys():
            work.duplicates[row] = "; ".join(differing.get(row, ()))

    def _remember(self, file: File, work: Work, rejected: Collection[int]) -> None:
        """The keys of rows that are in, or may still come in."""
        for mapped, keys in zip(work.mapped, work.keys, strict=True):
            seen = self._seen.setdefault((file.number, fold(file.mapper.targets[mapped.target].collection)), Seen())
            repeated = work.repeated[mapped.target]
            if not (rejected or repeated):
                seen.keep(keys.texts, keys.lines, keys.hashes)
            else:
                good = [i for i, s in enumerate(mapped.sources) if s not in rejected and i not in repeated]
                some = [(keys.texts[i], keys.lines[i], keys.hashes[i]) for i in good]
                seen.keep([t for t, _, _ in some], [n for _, n, _ in some], [h for _, _, h in some])

    # --- its transaction ----------------------------------------------------------------------------------------------

    def _commit(self, file: File, work: Work) -> None:
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

    def _write(self, core: Core, file: File, work: Work) -> Callable[[], None]:
        """Write it all. Returns what to do once it is committed."""
        done: list[tuple[Resolved, Upserted]] = []
        places = self._places
        if any(not work.out(s) for m in work.mapped for s in m.sources):
            # Of all files: their records may refer to each other in any order.
            places = places or self._find(core)
            self._recall.look(core, places)
            done = self._upsert(core, file, work, places)
        fates = _fates(done)
        counts = self._counts(work, fates)
        asides = self._asides(file, work)
        changed = any(f in {Fate.CREATED, Fate.UPDATED} for f in fates.values())
        if changed or self.written:  # Position and counts stay in step.
            whole = work.part.numbers if work.part is not None else work.batch.numbers
            numbers = [*whole, *(b.number for b in work.batch.broken)]
            if not work.again:
                self._run.position = f"{file.number}:{max(numbers, default=0)}"
            self._run.counts = counts
            known = {fold(k.collection): k for k in self._run.collections}
            for name, place in ((n, p) for some in places.values() for n, p in some.items()):
                known[name] = place.known(self._run.source, known.get(name))
            self._run.collections = list(known.values())
            runs.write(core, self._run)
        if work.part is not None:
            self._recall.note(core, work.part, _marks(done))
        if asides or work.again:
            ledger.forget_rows(core, self._run.id, file.number, work.batch.numbers if work.again else ())
            ledger.keep(core, self._run.id, asides)

        def committed() -> None:
            self._places = places
            self.written = self.written or changed
            self._outcome.counts = counts
            self._tell(file, work, done)

        return committed

    def _find(self, core: Core) -> dict[int, dict[str, Place]]:
        found: dict[int, dict[str, Place]] = {}
        for file in self._files:
            found[file.number] = file.find(core, {name: p for some in found.values() for name, p in some.items()})
        return found

    def _upsert(
        self, core: Core, file: File, work: Work, places: dict[int, dict[str, Place]]
    ) -> list[tuple[Resolved, Upserted]]:
        if self._pardoned is None:
            self._pardoned = runs.pardoned(core)
        every = {name: place for some in places.values() for name, place in some.items()}
        resolver = Resolver(self._run.source, every, self._on_deleted)
        done = []
        for mapped in work.mapped:
            place = places[file.number][fold(file.mapper.targets[mapped.target].collection)]
            repeated = work.repeated.get(mapped.target, set())
            left: Sequence[int] = range(len(mapped.sources))
            if work.outs or repeated:
                left = [i for i, s in enumerate(mapped.sources) if not work.out(s) and i not in repeated]
            if not left:
                continue
            resolved = resolver.resolve(core, place, mapped, left, work.stamps, self._pardoned)
            if resolved.reasons or resolved.later:
                raise _Excluded(resolved.reasons, resolved.later)
            if resolved.twice:
                raise _Excluded(resolved.twice, beside=True)
            try:
                upserted = upsert(core, resolved.rows, self._run.id, self._own, self._recall.fates)
            except Conflict as conflict:
                self._recall.give_up()
                raise _Excluded(_by_row(resolved, conflict.reasons)) from None
            if upserted.reasons:
                raise _Excluded(_by_row(resolved, upserted.reasons))
            done.append((resolved, upserted))
        return done

    # --- what is told -------------------------------------------------------------------------------------------------

    def _counts(self, work: Work, fates: dict[int, Fate]) -> dict[str, int]:
        counts = dict(self._outcome.counts)
        counts["unchanged"] += work.part.known if work.part is not None else 0
        counts["rejected"] += len(work.reasons.keys() | work.beside.keys()) + len(work.batch.broken)
        if not work.outs and len(fates) == len(work.batch.rows):
            some = list(fates.values())
            for fate, bucket in _BUCKET.items():
                counts[bucket] += some.count(fate)
            return counts
        for row in range(len(work.batch.rows)):
            if row in work.reasons or row in work.later or row in work.beside:
                continue
            if row in work.duplicates:
                counts["duplicate"] += 1
            else:
                counts[_BUCKET[fates.get(row, Fate.UNCHANGED)]] += 1
        return counts

    def _asides(self, file: File, work: Work) -> list[Aside]:
        batch, trees = work.batch, work.batch.trees
        asides = [Aside(file.number, b.number, b.line, REJECTED, (), (b.reason,), b.raw) for b in batch.broken]
        kinds = [(REJECTED, work.reasons), (REJECTED, work.beside), (LATER, work.later)]
        kinds.append((DUPLICATE, {i: [why] for i, why in work.duplicates.items() if why}))
        told: set[int] = set()
        for kind, some in kinds:
            for i, reasons in some.items():
                if i not in told:
                    told.add(i)
                    place = (file.number, batch.numbers[i], batch.lines[i])
                    asides.append(Aside(*place, kind, batch.rows[i], tuple(reasons), "", trees[i] if trees else None))
        return asides

    def _tell_known(self, file: int, count: int) -> None:
        """So many rows of a file of one collection are unchanged."""
        ((_, place),) = self._places[file].items()
        self._outcome.read += count
        self._outcome.records.setdefault(place.table, _no_records())["unchanged"] += count

    def _tell(self, file: File, work: Work, done: Sequence[tuple[Resolved, Upserted]]) -> None:
        outcome = self._outcome
        if not work.again:
            outcome.read += len(work.batch.rows) + len(work.batch.broken)
        if work.part is not None and work.part.known:
            self._tell_known(file.number, work.part.known)
        for resolved, upserted in done:
            counts = outcome.records.setdefault(resolved.place.table, _no_records())
            for fate, bucket in _BUCKET.items():
                counts[bucket] += upserted.fates.count(fate)
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
        if not fates and len(set(resolved.sources)) == len(resolved.sources):
            fates = dict(zip(resolved.sources, upserted.fates, strict=True))
            continue
        for source, fate in zip(resolved.sources, upserted.fates, strict=True):
            fates[source] = min(fate, fates.get(source, fate))
    return fates


def _no_records() -> dict[str, int]:
    return {"created": 0, "updated": 0, "unchanged": 0}


def _marks(done: Sequence[tuple[Resolved, Upserted]]) -> dict[int, bytes]:
    """Row of the batch -> mark of its record, of rows that make one record each."""
    if len(done) != 1 or len(set(done[0][0].sources)) < len(done[0][0].sources):
        return {}
    return {done[0][0].sources[i]: mark for i, mark in done[0][1].marks.items()}


def _by_row(resolved: Resolved, reasons: dict[int, str]) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for i, reason in reasons.items():
        found.setdefault(resolved.sources[i], []).append(reason)
    return found


def _difference(work: Work, resolved: Resolved, upserted: Upserted, i: int) -> Difference:
    columns = {fold(n): (n, values[i]) for n, values in resolved.rows.columns.items()}
    before = upserted.before.get(i)
    after = {n: v for n, v in columns.values() if v is not MISSING}
    if before is not None:
        after = {columns[n][0]: columns[n][1] for n in before if n in columns}
        before = {columns[n][0]: v for n, v in before.items() if n in columns}
    line = work.batch.lines[resolved.sources[i]]
    return Difference(resolved.place.table, resolved.texts[i], line, dict(before or {}), after)
