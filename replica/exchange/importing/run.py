"""An import: the rows of files become records, in batches, each of which is one transaction.

A run has one stamp, of the moment when it began, unless the source says when each row changed. So a run that is
interrupted and goes on writes what it would have written at once, and what was edited here meanwhile stays. One test each:

1. Every row that is read ends in exactly one of five buckets.
2. An import of what is here already writes nothing.
3. A dry run reports what the real run would, for it is one: on a copy of the store that is thrown away.
4. Killed anywhere and resumed, a run ends with what it would have ended with.
5. A row that is rejected changes nothing, and stops no other.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid5

from protocol.hlc import millis
from protocol.keys import content_hash
from protocol.record import fold
from replica.errors import UsageError
from replica.exchange.formats import opening as formats
from replica.exchange.formats.files import open_input, spool
from replica.exchange.importing import ledger, runs
from replica.exchange.importing import recall as recalling
from replica.exchange.importing.asof import author, stamps
from replica.exchange.importing.batches import Batching, File
from replica.exchange.importing.deletes import Deletes, with_id
from replica.exchange.importing.identity import NAMESPACE
from replica.exchange.importing.joint import joined
from replica.exchange.importing.outcome import SHOWN_MAX, Outcome, Rejected
from replica.exchange.importing.places import Place, in_group, name_source, place
from replica.exchange.importing.recall import Recall
from replica.exchange.importing.rejects import write_rejects
from replica.exchange.importing.runs import Run
from replica.exchange.importing.theirs import Theirs
from replica.exchange.importing.waiting import Waiting
from replica.exchange.kept import Kept
from replica.exchange.maps.columns import Decision
from replica.exchange.maps.mapping import Mapping
from replica.exchange.rows import BATCH_ROWS, DELETED, Batch, Finding, Reader, ReadOptions, chars
from replica.store.connection import connect
from replica.store.core import Core
from replica.store.store import Store

Progress = Callable[[int, int, int], None]
"""(bytes read, of all, rows read)"""

KEEP_SECONDS = 86_400
"""How long rows that a run kept aside are known, for another import may be under way."""

CELLS = 250_000
CHARS = 8 << 20
"""Cells and characters of a batch, about: what is made of them on the way is several times as large."""

CACHE_KB = 32_768
"""Of the store's pages, while a batch is in memory beside them."""

_FLAT = frozenset({"csv", "tsv", "xlsx", "xls", "ods"})  # The others nest, or have a large library.
_TEXT = frozenset({"csv", "tsv", "xml", "vcard"})
"""Formats in which a cell is text, whatever it looks like."""


@dataclass(frozen=True, slots=True)
class Source:
    """One file: what it is, what its rows mean, and the text of the map that says so (empty: none)."""

    path: str
    mapping: Mapping
    options: ReadOptions = field(default_factory=ReadOptions)
    map: str = ""


@dataclass(frozen=True, slots=True)
class Options:
    """`source`: namespace of the external keys (None: the map's, else the first collection's name). `as_of`: column with the
    time when the source changed the row. `on_deleted`: keep, resurrect or new. `new_columns`: add, ignore or refuse.
    `rejects`: file for rejected rows. `max_errors`: rejected rows after which the run stops. `date`: order of dates that
    leave it open (DMY, MDY or YMD)."""

    source: str | None = None
    dry_run: bool = False
    as_of: str | None = None
    on_deleted: str = "keep"
    rejects: str | None = None
    resume: bool = False
    max_errors: int | None = None
    new_columns: str | None = None
    date: str | None = None


def run_import(store: Store, sources: Sequence[Source], options: Options, progress: Progress | None = None) -> Outcome:
    """Import files. Raises FileRefused, Unsure, MapRefused, UsageError or StoreError; what was finished is kept, and the run
    can be resumed."""
    if not options.dry_run:
        return _Import(store, sources, options, progress).run()
    with tempfile.TemporaryDirectory(prefix="replica-dry-run-") as folder:
        copy = Path(folder) / "copy.db"
        store.absorb()
        with closing(connect(store.path, readonly=True)) as db, closing(connect(copy, create=True)) as other:
            db.backup(other)
        with Store(copy, durable=False) as twin:
            return _Import(twin, sources, options, progress).run()


class _Stop(Exception):
    """Too many rows are rejected."""


class _Import:
    def __init__(self, store: Store, sources: Sequence[Source], options: Options, progress: Progress | None) -> None:
        with store.transaction() as core:
            self._sources = [replace(source, mapping=in_group(core, source.mapping)) for source in sources]
        self._store, self._options, self._progress = store, options, progress
        self._outcome = Outcome(dry_run=options.dry_run)
        self._source = options.source or next((s.mapping.source for s in self._sources if s.mapping.source), "")
        if not self._source:
            first = self._sources[0].mapping.collections[0].name
            known = runs.known(store, first)
            self._source = known.source if known is not None else fold(first)
        self._paths: list[str] = []
        self._digests: list[str] = []
        self._parts: list[str] = []
        self._readers: list[Reader] = []
        self._files: list[File] = []
        self._decided: list[tuple[list[Decision], list[Finding]]] = []

    def run(self) -> Outcome:
        with ExitStack() as stack:
            digest = self._open(stack)
            run = self._begin(digest)
            resumed = run.position != "0:0"
            at = tuple(map(int, run.position.split(":")))
            recall = self._recall(run, rows=not resumed)
            self._files = [self._file(recall, stack, number, source, run) for number, source in enumerate(self._sources)]
            batching = Batching(self._store, run, self._files, self._outcome, self._options.on_deleted, recall)
            stack.enter_context(closing(batching))
            try:
                if not batching.all_unchanged():
                    self._delete(batching)
                    self._take(batching, at if resumed else (-1, 0))
                    self._look_again(batching, run)
                self._end(batching, run, recall)
            except _Stop:
                self._stopped(run)
        return self._outcome

    def _delete(self, batching: Batching) -> None:
        """Delete what the files say was deleted, before what they say else: see `deletes`."""
        for reader, file in zip(self._readers, self._files, strict=True):
            if file.deletes is not None:
                for batch in _joined(reader.batches(), _rows(reader)):
                    batching.delete(file, batch)

    def _take(self, batching: Batching, known: tuple[int, ...]) -> None:
        """All rows of all files. `known`: the file and row up to which they are in."""
        for number, (reader, file) in enumerate(zip(self._readers, self._files, strict=True)):
            for batch in _joined(reader.batches(), _rows(reader)):
                last = max([*batch.numbers[-1:], *(b.number for b in batch.broken)], default=0)
                batching.take(file, batch, known=(number, last) <= known)
                self._look(reader)

    def _look(self, reader: Reader) -> None:
        if self._progress is not None:
            self._progress(*reader.progress(), self._outcome.read)
        if (most := self._options.max_errors) is not None and self._outcome.counts["rejected"] > most:
            raise _Stop

    # --- begin --------------------------------------------------------------------------------------------------------

    def _open(self, stack: ExitStack) -> str:
        """Open the files, and find out what they are. Returns the digest of them and of what they mean."""
        parts = []
        for source in self._sources:
            path = source.path
            if path == "-":
                path = stack.enter_context(_stdin_as_file())
            self._paths.append(path)
            self._digests.append(_digest(path))
            parts += [self._digests[-1], source.map, repr(source.mapping), repr(source.options)]
            reader = formats.open_sure(path, source.options)
            stack.callback(reader.close)
            self._readers.append(reader)
            where = f"{source.path}: " if len(self._sources) > 1 else ""
            self._outcome.findings += [where + told(f.what, f.value, f.confidence) for f in reader.findings]
            name = self._options.as_of
            if name is not None and name not in reader.fields:
                fields = ", ".join(reader.fields[:12])
                raise UsageError(f"{source.path} has no column {name!r} for --as-of; it has {fields}")
        said = (self._options.as_of, self._options.on_deleted, self._options.new_columns, self._options.date)
        self._parts = [*parts, repr(said)]
        return content_hash("\0".join(self._parts).encode("utf-8", "surrogatepass")).hex()

    def _recall(self, run: Run, *, rows: bool) -> Recall:
        """What an earlier run left of these files; `rows`: not only what was decided over them."""
        alone = self._options.on_deleted != "new" and not any(s.options.schema for s in self._sources)
        alone = alone and not any(DELETED in reader.fields for reader in self._readers)
        with self._store.transaction() as core:
            mark = recalling.mark([*self._parts, self._source])
            return Recall(core, mark, run.id, self._source, rows=rows and alone, same=self._same)

    def _same(self) -> bool:
        """Whether the files are still what they were."""
        return [_digest(path) for path in self._paths] == self._digests

    def _begin(self, digest: str) -> Run:
        """A run: the one to resume, or a new one."""
        options, outcome = self._options, self._outcome
        with self._store.transaction() as core:
            core.db.execute(f"PRAGMA cache_size = -{CACHE_KB}")
            node = core.clock.node.hex()
            waiting = [r for r in runs.read(core) if r.state == runs.RUNNING and r.node == node]
            same = [r for r in waiting if r.digest == digest and r.source == self._source]
            if options.resume and same:
                run = same[0]
                outcome.counts.update(run.counts)
                outcome.read = sum(run.counts.values()) + ledger.waiting(core, run.id)
                outcome.run = run.id
                return run
            if options.resume:
                outcome.notes.append("nothing to resume: no import of this file, so mapped, was interrupted here")
            elif same:
                row = same[0].position.partition(":")[2]
                outcome.notes.append(
                    f"run {same[0].id} of this file came to row {row} and was interrupted, or is "
                    "under way elsewhere; --resume goes on with it"
                )
            stamp = core.clock.tick(core.now_ms())
            seconds = millis(stamp) // 1000
            id_ = f"{seconds:08x}-{str(uuid5(NAMESPACE, f'run {stamp.hex()} {digest}'))[:4]}"
            ledger.forget_old(core, f"{max(0, seconds - KEEP_SECONDS):08x}", [r.id for r in waiting])
            files = ["standard input" if s.path == "-" else Path(s.path).name for s in self._sources]
            maps = "\n".join(s.map for s in self._sources if s.map)
            began = _iso(millis(stamp))
            return Run(id_, node, self._source, files, digest, maps, [], stamp.hex(), began, as_of=options.as_of or "")

    def _decide(self, recall: Recall, stack: ExitStack, number: int) -> tuple[list[Decision], list[Finding]]:
        """What the whole file says about what its values leave open."""
        known = recall.decided(number)
        if known is not None:
            return known
        kept = Kept(self._readers[number])
        stack.callback(kept.close)
        made = self._sources[number].mapping.decide(kept, self._options.date)
        if kept.whole:
            self._readers[number] = kept
        return made

    def _file(self, recall: Recall, stack: ExitStack, number: int, source: Source, run: Run) -> File:
        reader = self._readers[number]
        decisions, findings = self._decide(recall, stack, number)
        self._decided.append((decisions, findings))
        mapping = source.mapping.decided(decisions)
        self._outcome.findings += [told(f.what, f.value, f.confidence) for f in findings]
        deletes = None
        if DELETED in reader.fields:
            deletes = Deletes(reader.fields, mapping)
            known = runs.known(self._store, mapping.collections[0].name)
            mapping = with_id(mapping, known, reader.fields)
        theirs = mapping.mapper([f for f in reader.fields if not f.startswith(ledger.PREFIX)])
        mapper = Theirs(theirs, reader, deletes)
        stamp, column = bytes.fromhex(run.stamp), self._options.as_of
        if unused := [name for name in theirs.unused if name != column]:
            where = f"{source.path}: " if len(self._sources) > 1 else ""
            self._outcome.notes.append(f"{where}columns that nothing reads: {', '.join(unused)}")

        def of_run(batch: Batch) -> tuple[list[bytes], dict[int, str]]:
            return [stamp] * len(batch.rows), {}

        def of_rows(batch: Batch) -> tuple[list[bytes], dict[int, str]]:
            assert column is not None
            at = reader.fields.index(column)
            return stamps([row[at] for row in batch.rows], self._source, millis(stamp))

        def find(core: Core, earlier: dict[str, Place]) -> dict[str, Place]:
            found = {}
            if deletes is not None:
                deletes.check(core)
            for target in mapper.targets:
                made = place(
                    core, target, self._source, text=reader.format in _TEXT, new_columns=self._options.new_columns,
                    before=earlier.get(fold(target.collection)), mapped=bool(source.map),
                )  # fmt: skip
                if deletes is not None and made.id is not None:
                    made.told = next((i for i, f in enumerate(target.fields) if fold(f.name) == fold(made.id)), None)
                found[fold(target.collection)] = made
                note = f"{made.table} has no column for {', '.join(made.left_out)}: left out"
                if made.left_out and note not in self._outcome.notes:
                    self._outcome.notes.append(note)
            if column is not None:
                name_source(core, author(self._source), self._source)
            return found

        return File(number, mapper, of_run if column is None else of_rows, find, deletes)
    # --- end ----------------------------------------------------------------------------------------------------------

    def _look_again(self, batching: Batching, run: Run) -> None:
        """Take the rows that waited for others, each after those: what is not there then never comes."""
        waiting = Waiting()
        with self._store.transaction() as core:
            for part in ledger.kept(core, run.id, [ledger.LATER]):
                for number, file in enumerate(self._files):
                    if rows := [row for row in part if row.source == number]:
                        batching.wait(waiting, file, ledger.batch(rows))
        for parts in waiting.batches(BATCH_ROWS):
            with self._store.transaction() as core:
                kept = [(self._files[n], ledger.batch(ledger.some(core, run.id, n, some))) for n, some in parts]
            batching.take_again(*joined(kept))
            self._look(self._readers[parts[0][0]])

    def _end(self, batching: Batching, run: Run, recall: Recall) -> None:
        if self._outcome.read:
            with self._store.transaction() as core:
                recall.finish(core, self._decided, self._outcome.read)
        if batching.written:
            with self._store.transaction() as core:
                run.state, run.ended, run.counts = runs.FINISHED, _iso(core.now_ms()), dict(self._outcome.counts)
                runs.write(core, run)
                self._outcome.notes += runs.dangling(core, run)
            self._outcome.run = run.id
        self._tell_rejected(run)

    def _stopped(self, run: Run) -> None:
        outcome = self._outcome
        outcome.run = run.id if outcome.wrote else ""
        undo = f", or take it back: replica import undo {self._store.path} {run.id}" if outcome.wrote else ""
        outcome.stopped = (
            f"{outcome.counts['rejected']} rows were rejected, over --max-errors {self._options.max_errors}. What came "
            f"before is in. Mend the file and import it again{undo}"
        )
        self._tell_rejected(run)

    def _tell_rejected(self, run: Run) -> None:
        outcome = self._outcome
        with self._store.transaction() as core:
            for part in ledger.kept(core, run.id, [ledger.REJECTED, ledger.DUPLICATE], SHOWN_MAX):
                for row in part:
                    name = Path(self._sources[row.source].path).name if len(self._sources) > 1 else ""
                    outcome.rejected.append(Rejected(name, row.number, row.line, row.reasons))
                break
            if self._options.rejects is not None:
                fields = [reader.fields for reader in self._readers]
                outcome.rejects = write_rejects(core, run.id, fields, self._options.rejects)


def _digest(path: str) -> str:
    with open_input(path) as plain:
        return plain.digest()


def _rows(reader: Reader) -> int:
    """Rows of a batch: the more, the fewer times a page of the store is written; but memory is for cells."""
    cells = CELLS if reader.format in _FLAT else CELLS // 2  # A library takes as much again, or trees stand beside the rows.
    return max(1_000, min(5 * BATCH_ROWS, cells // max(1, len(reader.fields))))


def _joined(batches: Iterator[Batch], size: int) -> Iterator[Batch]:
    """Small batches as larger ones, of at least `size` rows, or of CHARS characters."""
    joined: Batch | None = None
    weight = 0
    for batch in batches:
        weight += chars(batch.rows) + sum(len(one.raw) for one in batch.broken)
        if joined is None:
            joined = Batch(list(batch.numbers), list(batch.lines), batch.rows, batch.broken, batch.trees)
        else:
            joined.numbers = [*joined.numbers, *batch.numbers]
            joined.lines = [*joined.lines, *batch.lines]
            joined.rows += batch.rows
            joined.broken += batch.broken
            joined.trees = joined.trees + batch.trees if joined.trees is not None and batch.trees is not None else None
        if len(joined.rows) + len(joined.broken) >= size or weight >= CHARS:
            yield joined
            joined, weight = None, 0
    if joined is not None:
        yield joined


def told(what: str, value: str, confidence: float) -> str:
    """A finding, for people."""
    return f"{what}: {value}" + (f" ({confidence:.0%} sure)" if confidence < 0.995 else "")


def _iso(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds")


@contextmanager
def _stdin_as_file() -> Iterator[str]:
    """Standard input as a file, which can be read twice."""
    with tempfile.TemporaryDirectory(prefix="replica-import-") as folder:
        path = Path(folder) / "standard-input"
        with path.open("wb") as out:
            spool(sys.stdin.buffer, out)
        yield str(path)
