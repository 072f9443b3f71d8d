"""`replica export`: a collection, what changed in it, or a SELECT, into a file of any format.

One test each:

1. The old file stays until the new one is whole: an error or Ctrl-C leaves it as it was.
2. With `--json`, standard output is one JSON document.
3. Two nodes that hold the same write the same bytes.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

from protocol.hlc import millis
from replica import show
from replica.errors import UsageError
from replica.exchange.exporting.export import Asked, Reverse, Summary, export
from replica.exchange.exporting.plan import is_select
from replica.exchange.exporting.since import moment
from replica.exchange.formats.output import Output, open_output, refuse_same
from replica.exchange.importing import runs
from replica.exchange.rows import WriteOptions, Writer
from replica.progress import Bar
from replica.store.store import Store
from replica.words import clean, counted

OK = 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `replica export` after FILE; --json is every command's."""
    parser.add_argument("what", metavar="COLLECTION", help='a table, or "SELECT …"')
    parser.add_argument("out", metavar="OUT", help="the file to write, - for standard output; .gz and .zst are packed")
    parser.add_argument(
        "--format", metavar="F", help="csv, tsv, json, jsonl, xml, xlsx, parquet or vcard; default: by OUT"
    )
    parser.add_argument("--map", metavar="MAP", help="a map, read backwards")
    parser.add_argument("--for-excel", action="store_true", help="for a person who opens it in Excel")
    parser.add_argument("--encoding", metavar="E", default="utf-8", help="default: %(default)s")
    parser.add_argument("--delimiter", metavar="D", help="of CSV; default: a comma")
    parser.add_argument("--since", metavar="RUN|TIME", help="what changed or was deleted since then")
    parser.add_argument("--with-ids", action="store_true", help="with the record ids that an import made up")


def run(options: argparse.Namespace) -> int:
    """Write the file, and say what is in it."""
    refuse_same(options.out, "OUT", [options.file, *([options.map] if options.map else [])])
    if options.json and options.out == "-":
        raise UsageError("standard output cannot hold both the rows and --json: name a file")
    select = is_select(options.what)
    if select and (options.since is not None or options.with_ids):
        raise UsageError("--since and --with-ids are of a table: a SELECT says itself what it wants")
    reverse = None
    if options.map is not None:
        from replica.exchange.exporting import mapped
        from replica.exchange.formats.opening import output_format

        kind = output_format(options.out, options.format)
        reverse = mapped.reverse(options.map, None if select else options.what, kind, runs.known_in)
    with Store(options.file) as store:
        since_ms = moment(options.since, partial(_after, store)) if options.since is not None else None
        summary, format_, size = _export(store, options, reverse, since_ms)
    document = {
        "file": options.out,
        "format": format_,
        "fields": summary.fields,
        "rows": summary.rows,
        "deletes": summary.deletes,
        "bytes": size,
        "since_ms": since_ms,
        "moment_ms": summary.moment_ms,
        "notes": summary.notes,
    }
    if options.json:
        print(json.dumps(document, ensure_ascii=False, indent=2))
    else:
        _tell(document)
    return OK


def _after(store: Store, name: str) -> int | None:
    """The moment after the writes of a run (Unix ms), which are no change since it; None if there is no such run."""
    try:
        return millis(bytes.fromhex(runs.named(store, name).stamp)) + 1
    except (UsageError, ValueError):
        return None


def _export(
    store: Store, options: argparse.Namespace, reverse: Reverse | None, since_ms: int | None
) -> tuple[Summary, str, int]:
    """What was written, in which format, how many bytes."""
    from replica.exchange.formats.opening import output_format, writer_to

    format_ = output_format(options.out, options.format)
    name = "records" if is_select(options.what) else options.what
    delimiter = options.delimiter or ("\t" if format_ == "tsv" else ",")
    how = WriteOptions(options.encoding, delimiter, options.for_excel, name, nested=reverse is not None)
    asked = Asked(options.what, options.with_ids, since_ms, format_)
    with open_output(options.out) as out, Bar(options.json) as bar:
        counted = _Counted(out)

        def opened(fields: Sequence[str]) -> Writer:
            return writer_to(counted, fields, format_, how)

        summary = export(store, asked, runs.known_in, opened, reverse=reverse, progress=bar.count)
    size = os.path.getsize(options.out) if os.path.isfile(options.out) else counted.bytes
    return summary, format_, size


class _Counted:
    """An output that counts what is written to it, before it is packed."""

    def __init__(self, out: Output) -> None:
        self._out, self.bytes = out, 0

    def write(self, data: bytes) -> int:
        """Add bytes."""
        self.bytes += len(data)
        return self._out.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._out, name)


def _tell(document: dict[str, Any]) -> None:
    to = sys.stderr
    deleted = f", {document['deletes']} of them deletes" if document["deletes"] else ""
    size = f", {show.size(document['bytes'])}" if document["bytes"] else ""
    print(f"{clean(document['file'])}: {counted(document['rows'], 'row')}{deleted}{size} as {document['format']}", file=to)
    for note in document["notes"]:
        print(clean(note), file=to)
