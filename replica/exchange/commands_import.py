"""`replica import`: files into the tables of a store; and what earlier imports did."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import fields, replace
from pathlib import Path
from time import monotonic
from typing import Any

from replica import show
from replica.errors import UsageError
from replica.exchange.asking import asking
from replica.exchange.formats.output import refuse_same
from replica.exchange.importing.outcome import BUCKETS, Outcome
from replica.exchange.maps.mapping import Mapping
from replica.exchange.rows import ReadOptions
from replica.progress import Bar
from replica.store.store import Store
from replica.words import clean, counted

OK, REJECTED = 0, 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Of `replica import`."""
    parser.add_argument("sources", metavar="SOURCE", nargs="*", help="CSV, JSON, JSON Lines, XML, Excel, Parquet or vCard; "
                        "packed by gzip, zip or zstd; - for standard input")  # fmt: skip
    parser.add_argument("--collection", metavar="NAME", help="the table to import into; made if it is not there")
    parser.add_argument("--key", metavar="FIELD[,FIELD]", help="the fields that tell the source's records apart")
    parser.add_argument("--map", metavar="M", action="append", default=[], help="a map file, or the name of a ready map; "
                        "one for all sources, or one for each")  # fmt: skip
    parser.add_argument("--source", metavar="NAME", help="the system that the file is from: keys of different systems are "
                        "different (default: the map's, else the collection's name)")  # fmt: skip
    parser.add_argument("--dry-run", action="store_true", help="report what would happen, and change nothing")
    parser.add_argument("--as-of", metavar="COLUMN", help="when the source last changed the row: newer edits here stay")
    parser.add_argument("--on-deleted", choices=["keep", "resurrect", "new"], default="keep", help="rows of records that "
                        "were deleted here; default: %(default)s them so")  # fmt: skip
    parser.add_argument(
        "--blank", choices=["leave", "clear"], help="empty cells, in records that are here; default: leave"
    )
    parser.add_argument("--new-columns", choices=["add", "ignore", "refuse"], help="fields without a column (default: add "
                        "to tables that an import made, else refuse)")  # fmt: skip
    parser.add_argument(
        "--rejects", metavar="OUT.csv", help="write rejected rows there, with the reasons; mend and import"
    )
    parser.add_argument("--resume", action="store_true", help="go on with an import of this file that was interrupted")
    parser.add_argument("--max-errors", metavar="N", type=_count, help="stop when more rows than this are rejected")
    parser.add_argument("--format", help="csv, json, jsonl, xml, xlsx, xls, ods, parquet or vcard (default: find out)")
    parser.add_argument("--encoding", help="of a text, such as gb18030 (default: find out)")
    parser.add_argument("--delimiter", help="between cells; \\t for a tab (default: find out)")
    parser.add_argument("--quote", help="around cells (default: find out)")
    parser.add_argument("--header", metavar="LINE", type=int, help="line of the header, 0 if there is none")
    parser.add_argument("--decimal", choices=[".", ","], help="decimal mark of numbers")
    parser.add_argument("--date", type=str.upper, choices=["DMY", "MDY", "YMD"], help="order of dates such as 12/03/2021")
    parser.add_argument("--country", metavar="CC", help="country of phone numbers that do not say theirs, such as DE")
    parser.add_argument("--records", metavar="PATH", help="where the records are in JSON or XML, such as data.items")
    parser.add_argument("--sheet", help="name or number of the sheet")
    parser.add_argument("--schema", metavar="XSD", help="XML schema that the file must obey")
    parser.add_argument("--guarded", action="store_true", default=None, help="an apostrophe before = + - @ in a CSV file "
                        "is no part of the cell (default: find out)")  # fmt: skip


def _count(text: str) -> int:
    number = int(text)
    if number < 0:
        raise ValueError
    return number


def run(options: argparse.Namespace) -> int:
    """Import, or list or undo imports."""
    if options.file == "undo" and not Path("undo").exists():
        return _undo(options)
    if options.file == "runs" and not Path("runs").exists():
        return _runs(options)
    if options.rejects is not None:
        refuse_same(options.rejects, "--rejects", [options.file, *options.sources, *options.map])
    if not options.sources:
        raise UsageError("name the file to import: replica import FILE SOURCE --collection NAME --key FIELD")
    read = ReadOptions(**{f.name: getattr(options, f.name) for f in fields(ReadOptions)})
    with Store(options.file) as store:
        outcome = asking(
            read, options.date, lambda read, date: _import(store, options, read, date), silent=options.json
        )
    if options.json:
        print(json.dumps(outcome.as_json(), ensure_ascii=False, indent=2, default=_plain))
    else:
        tell(outcome, options.file)
    return REJECTED if outcome.rejected or outcome.counts["rejected"] or outcome.stopped else OK


def _import(store: Store, options: argparse.Namespace, read: ReadOptions, date: str | None) -> Outcome:
    from replica.exchange.importing.run import Options, run_import

    chosen = Options(
        options.source, options.dry_run, options.as_of, options.on_deleted, options.rejects, options.resume,
        options.max_errors, options.new_columns, date,
    )  # fmt: skip
    sources = _sources(store, options, read)
    began = monotonic()
    with Bar(options.json, unit="B") as bar:

        def progress(done: int, of: int, rows: int) -> None:
            bar.count(f"{rows:,} rows", done, max(done, of))

        try:
            outcome = run_import(store, sources, chosen, progress)
        except KeyboardInterrupt:
            print(
                f"interrupted: the rows of finished parts, if any, are in; replica import {options.file} … --resume goes on",
                file=sys.stderr,
            )
            raise
    outcome.seconds = monotonic() - began
    return outcome


def _sources(store: Store, options: argparse.Namespace, read: ReadOptions) -> list[Any]:
    """Each file with its map."""
    from replica.exchange.importing import runs
    from replica.exchange.importing.run import Source
    from replica.exchange.maps import mapping

    names = options.sources
    if options.map and len(options.map) not in {1, len(names)}:
        raise UsageError(f"{len(options.map)} maps for {len(names)} sources: give one --map for all, or one for each")
    if not options.map:
        if not options.collection:
            raise UsageError("name the table to import into: --collection NAME (or a --map that names it)")
        known = runs.known(store, options.collection)
        key = options.key.split(",") if options.key else list(known.key) if known else []
        if not key:
            raise UsageError("name the fields that tell the source's records apart: --key FIELD[,FIELD]")
        made = mapping.plain(options.collection, key, options.blank or "leave")
        return [Source(name, made, read) for name in names]
    maps = [mapping.load(name) for name in options.map]
    texts = [Path(name).read_text(encoding="utf-8-sig") if Path(name).exists() else name for name in options.map]
    key = options.key.split(",") if options.key else None
    sources = []
    for i, name in enumerate(names):
        at = i if len(maps) > 1 else 0
        mine = _adapted(maps[at], options.collection, key, options.blank)
        merged = {f.name: getattr(read, f.name) for f in fields(ReadOptions)}
        theirs = {f.name: getattr(mine.read, f.name) for f in fields(ReadOptions)}
        both = ReadOptions(**{n: merged[n] if merged[n] is not None else theirs[n] for n in merged})
        if options.country:
            _check_country(options.country.upper())
            mine = replace(mine, country=options.country.upper())
        sources.append(Source(name, mine, both, texts[at]))
    return sources


def _check_country(country: str) -> None:
    from replica.exchange.maps.contact_types import countries

    if country not in countries():
        raise UsageError(f"{country!r} is no country of two letters, such as DE or CN")


def _adapted(found: Mapping, collection: str | None, key: list[str] | None, blank: str | None) -> Mapping:
    """The map with what the command line says instead of it."""
    changes: dict[str, Any] = {"name": collection, "key": tuple(key) if key else None, "blank": blank}
    changes = {name: value for name, value in changes.items() if value is not None}
    if len(found.collections) > 1 and changes.keys() & {"name", "key"}:
        raise UsageError("the map names several collections: --collection and --key would not say of which")
    return replace(found, collections=tuple(replace(c, **changes) for c in found.collections))


# --- what earlier imports did -----------------------------------------------------------------------------------------


def _undo(options: argparse.Namespace) -> int:
    from replica.exchange.importing.undo import undo

    if len(options.sources) != 2:
        raise UsageError(
            "say which run of which file: replica import undo FILE RUN (replica import runs FILE lists them)"
        )
    file, name = options.sources
    with Store(file) as store:
        done = undo(store, name)
    if options.json:
        print(json.dumps(done.as_json(), ensure_ascii=False, indent=2))
        return OK
    print(
        f"run {done.run} undone: {done.deleted} records deleted that it had made, {done.restored} as they were before"
    )
    if done.also:
        others = ", ".join(done.also)
        print(f"  records that it made stay: run {others} imported the same file, undo that as well")
    for kept in done.listed:
        what, by = f" {', '.join(kept.fields)}" if kept.fields else "", clean(", ".join(kept.by))
        did = "deleted and made again" if kept.again else "edited"
        print(f"  kept {clean(kept.collection)} {clean(', '.join(map(str, kept.key)))}:{clean(what)} {did} since by {by}")
    if done.kept + done.remade > len(done.listed):
        print(f"  … and {done.kept + done.remade - len(done.listed)} more that were edited or made again since")
    return OK


def _runs(options: argparse.Namespace) -> int:
    from replica.exchange.importing import runs

    if len(options.sources) != 1:
        raise UsageError("say of which file: replica import runs FILE")
    with Store(options.sources[0]) as store:
        found = runs.runs(store)
    if options.json:
        print(json.dumps([run.row() for run in found], ensure_ascii=False, indent=2))
    elif found:
        rows = [
            (r.id, r.began[:19], r.state, ", ".join(r.files), ", ".join(k.collection for k in r.collections),
             *(r.counts.get(b, 0) for b in BUCKETS))
            for r in found
        ]  # fmt: skip
        show.table(["run", "began", "state", "files", "collections", *BUCKETS], rows)
    else:
        print("no imports yet")
    return OK


# --- for people -------------------------------------------------------------------------------------------------------


def tell(outcome: Outcome, file: str) -> None:
    """Print an outcome."""
    for finding in outcome.findings:
        print(f"  {clean(finding)}")
    head = "dry run, nothing was changed: " if outcome.dry_run else ""
    rate = (
        f" in {outcome.seconds:.1f} s ({outcome.read / outcome.seconds:,.0f} a second)"
        if outcome.seconds >= 0.1
        else ""
    )
    print(f"{head}{counted(outcome.read, 'row', ',')} read{rate}")
    for bucket in BUCKETS:
        print(f"  {bucket:<10} {outcome.counts[bucket]:>9,}")
    if len(outcome.records) > 1:
        for name, counts in outcome.records.items():
            print(f"  {clean(name)}: " + ", ".join(f"{n:,} {bucket}" for bucket, n in counts.items()))
    if outcome.newer:
        print(f"  {outcome.newer:,} records were edited here after the file's time: those fields are kept")
    if outcome.deleted:
        print(f"  {outcome.deleted:,} records were deleted here: kept so (--on-deleted resurrect brings them back)")
    if outcome.removed:
        print(f"  {outcome.removed:,} records were deleted, as the file says")
    if outcome.absent:
        print(f"  {outcome.absent:,} records that were deleted elsewhere are not here")
    for note in outcome.notes:
        print(f"  {clean(note)}")
    if outcome.dry_run:
        _tell_differences(outcome)
    for row in outcome.rejected:
        where = f"{row.file} " if row.file else ""
        print(f"  {clean(where)}line {row.line}: {clean('; '.join(row.reasons))}")
    aside = outcome.counts["rejected"]
    if aside > len(outcome.rejected):
        print(f"  … and {aside - len(outcome.rejected):,} more rejected rows")
    if outcome.rejects and outcome.rejected:
        print(f"  rejected rows are in {clean(outcome.rejects)}: mend them there, and import that file")
    elif aside:
        print("  --rejects OUT.csv writes rejected rows with the reasons, to be mended and imported")
    if outcome.stopped:
        print(f"stopped: {clean(outcome.stopped)}")
    if outcome.run and not outcome.dry_run:
        print(f"run {outcome.run}; to take it back: replica import undo {clean(file)} {outcome.run}")


def _tell_differences(outcome: Outcome) -> None:
    for one in outcome.differences:
        key = clean(one.key)
        if not one.after:
            print(f"  line {one.line}: {clean(one.collection)} {key}: deleted")
        elif not one.before:
            said = ", ".join(f"{n} = {_short(v)}" for n, v in list(one.after.items())[:6] if v not in {None, ""})
            print(f"  line {one.line}: new {clean(one.collection)} {key}: {said}")
        else:
            said = ", ".join(f"{n}: {_change(v, one.after.get(n))}" for n, v in list(one.before.items())[:6])
            print(f"  line {one.line}: {clean(one.collection)} {key}: {said}")


def _change(before: object, after: object) -> str:
    return " -> ".join(map(_cut, show.apart(_text(before), _text(after), 40)))


def _short(value: object) -> str:
    return _cut(_text(value))


def _text(value: object) -> str:
    return "nothing" if value is None else clean(repr(value))


def _cut(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:37]}…"


def _plain(value: object) -> object:
    return f"x'{value.hex()}'" if isinstance(value, bytes) else str(value)
