"""One batch of rows: mapped, matched with what is here, and written in one transaction, with the run's own record.

A row that cannot be is taken out and the batch tried again, so that the others are written as if it had not been there.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from protocol.collector import uncollected
from protocol.record import fold
from replica.exchange.importing import ledger, runs, telling
from replica.exchange.importing.deletes import Deletes, Gone
from replica.exchange.importing.ledger import DUPLICATE, LATER, REJECTED, Aside
from replica.exchange.importing.outcome import Outcome
from replica.exchange.importing.places import Place
from replica.exchange.importing.recall import Recall
from replica.exchange.importing.resolve import Resolved, Resolver
from replica.exchange.importing.runs import Run
from replica.exchange.importing.seen import First, Seen
from replica.exchange.importing.waiting import Waiting
from replica.exchange.importing.work import Keys, Work
from replica.exchange.maps.mapmodel import Mapped, Problem, Target
from replica.exchange.rows import Batch
from replica.store.core import Collision, Core
from replica.store.store import Store
from replica.store.upsert import Conflict, Fate, Upserted, upsert

KEY_SHOWN = 60
"""Characters of a key that a sentence shows."""

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
    name, given those of the files before. `deletes`: its rows that say that a record was deleted, if it may have such.
    `owners`: of the rows of several files, the file of each target."""

    number: int
    mapper: MapsRows
    stamps: Stamps
    find: Callable[[Core, dict[str, Place]], dict[str, Place]]
    deletes: Deletes | None = None
    owners: tuple[int, ...] = ()

    def place(self, places: dict[int, dict[str, Place]], target: int) -> Place:
        """Where the records of a target go."""
        owner = self.owners[target] if self.owners else self.number
        return places[owner][fold(self.mapper.targets[target].collection)]


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
        for file in self._files:
            if file.deletes is not None:
                file.deletes.close()

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
            self._take(file, batch, known=known, again=False)

    def take_again(self, file: File, batch: Batch) -> None:
        """Take rows that waited: what is not here now never comes."""
        self._take(file, batch, known=False, again=True)

    def wait(self, waiting: Waiting, file: File, batch: Batch) -> None:
        """Note which records the rows make, and to which they refer."""
        mapped = file.mapper.map(batch)[0]
        waiting.take(file.number, batch.numbers, mapped, file.mapper.targets, self._places.get(file.number, {}))

    def _take(self, file: File, batch: Batch, *, known: bool, again: bool) -> None:
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
        if file.deletes is not None:
            work.marked, wrong = file.deletes.marks(batch)
            for i, reason in wrong.items():
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
                    (work.reasons if again else work.later).setdefault(i, []).extend(waits)

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
                    what = f"the key {_short(text)} was in line {first.line} already, with other values: that one counts"
                    differing.setdefault(source, []).append(what)
        for row in {s for m in work.mapped for s in m.sources} - new - work.reasons.keys():
            work.duplicates[row] = "; ".join(differing.get(row, ()))
        if work.marked and file.deletes is not None:
            marked = [i for i in work.marked if i not in work.reasons]
            work.duplicates.update(dict.fromkeys(file.deletes.repeated(work.batch, marked), ""))

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
        if work.marked and file.deletes is not None:
            file.deletes.remember(work.batch, [i for i in work.marked if i not in rejected])

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
        marked = [i for i in work.marked if not work.out(i)]
        if marked or any(not work.out(s) for m in work.mapped for s in m.sources):
            # Of all files: their records may refer to each other in any order.
            places = places or self._find(core)
            self._recall.look(core, places)
            done = self._upsert(core, file, work, places)
        gone = self._delete(core, file, work.batch, marked, work.stamps, places) if marked else Gone()
        if gone.reasons:
            raise _Excluded(gone.reasons)
        fates = telling.fates(done, gone)
        counts = telling.buckets(self._outcome, work, fates)
        asides = self._asides(file, work)
        changed = any(f in {Fate.CREATED, Fate.UPDATED} for f in fates.values())
        if changed or self.written:  # Position and counts stay in step.
            whole = work.part.numbers if work.part is not None else work.batch.numbers
            numbers = [*whole, *(b.number for b in work.batch.broken)]
            if not work.again:
                self._run.position = f"{file.number}:{max(numbers, default=0)}"
            self._run.counts = counts
            self._note_run(core, places)
        if work.part is not None:
            self._recall.note(core, work.part, telling.marks(done))
        if asides or work.again:
            ledger.forget_rows(core, self._run.id, file.number, work.batch.numbers if work.again else ())
            ledger.keep(core, self._run.id, asides)

        def committed() -> None:
            self._places = places
            self.written = self.written or changed
            self._outcome.counts = counts
            if not work.again:
                self._outcome.read += len(work.batch.rows) + len(work.batch.broken)
            if work.part is not None and work.part.known:
                self._tell_known(file.number, work.part.known)
            telling.tell(self._outcome, work.batch, done, gone, self._place(file, places).table if marked else "")

        return committed

    def _note_run(self, core: Core, places: dict[int, dict[str, Place]]) -> None:
        known = {fold(k.collection): k for k in self._run.collections}
        for name, place in ((n, p) for some in places.values() for n, p in some.items()):
            known[name] = place.known(self._run.source, known.get(name))
        self._run.collections = list(known.values())
        runs.write(core, self._run)

    def delete(self, file: File, batch: Batch) -> None:
        """Delete what marked rows name, before any other row; what comes of those rows is told when they are taken."""
        assert file.deletes is not None
        marked, _ = file.deletes.marks(batch)
        stamps, late = file.stamps(batch)
        rows = [i for i in marked if i not in late]
        if rows:
            with self._store.transaction() as core:
                places = self._places or self._find(core)
                wrote = self._delete(core, file, batch, rows, stamps, places).wrote
                if wrote:
                    self._note_run(core, places)
            self._places, self.written = places, self.written or wrote

    def _delete(
        self, core: Core, file: File, batch: Batch, rows: Sequence[int], stamps: Sequence[bytes],
        places: dict[int, dict[str, Place]],
    ) -> Gone:  # fmt: skip
        assert file.deletes is not None
        return file.deletes.take(core, self._place(file, places), batch, rows, stamps, self._run.id)

    @staticmethod
    def _place(file: File, places: dict[int, dict[str, Place]]) -> Place:
        """Of the rows that say that a record was deleted."""
        assert file.deletes is not None
        return places[file.number][file.deletes.collection]

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
        parts = []
        for mapped in work.mapped:
            place = file.place(places, mapped.target)
            repeated = work.repeated.get(mapped.target, set())
            left: Sequence[int] = range(len(mapped.sources))
            if work.outs or repeated:
                left = [i for i, s in enumerate(mapped.sources) if not work.out(s) and i not in repeated]
            if left:
                parts.append((place, mapped, left))
                resolver.expect(core, place, mapped, left, self._pardoned)
        ready = [resolver.resolve(core, *part, work.stamps, self._pardoned) for part in parts]
        reasons, later, twice = (_merged([getattr(r, n) for r in ready]) for n in ("reasons", "later", "twice"))
        if reasons or later:
            raise _Excluded(reasons, {**resolver.fallen(reasons.keys() | later.keys()), **later})
        if twice:
            raise _Excluded(twice, beside=True)
        for resolved in ready:
            try:
                upserted = upsert(core, resolved.rows, self._run.id, self._own, self._recall.fates)
                refused = upserted.reasons
            except Conflict as conflict:
                self._recall.give_up()
                refused = conflict.reasons
            if refused:
                reasons = _by_row(resolved, refused)
                raise _Excluded(reasons, resolver.fallen(reasons))
            done.append((resolved, upserted))
        return done

    # --- what is told -------------------------------------------------------------------------------------------------

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
        telling.records(self._outcome, place.table)["unchanged"] += count


def _merged(some: Sequence[dict[int, list[str]]]) -> dict[int, list[str]]:
    """What there is to say of each row, of all its records."""
    merged: dict[int, list[str]] = {}
    for said in some:
        for row, reasons in said.items():
            merged.setdefault(row, []).extend(reasons)
    return merged


def _by_row(resolved: Resolved, reasons: dict[int, str]) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for i, reason in reasons.items():
        found.setdefault(resolved.sources[i], []).append(reason)
    return found


def _short(key: str) -> str:
    return repr(key) if len(key) <= KEY_SHOWN else f"{key[:KEY_SHOWN]!r}… ({len(key):,} characters)"
