"""`replica export`: a collection, what changed in it, or a SELECT, into a file of any format.

One test each:

1. The old file stays until the new one is whole: an error or Ctrl-C leaves it as it was.
2. With `--json`, standard output is one JSON document.
3. Two nodes that hold the same write the same bytes.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from functools import partial

from replica import show
from replica.errors import UsageError
from replica.exchange import runs
from replica.exchange.exporting import Asked, Reverse, Summary, export
from replica.exchange.plan import is_select
from replica.exchange.rows import WriteOptions, Writer
from replica.exchange.since import moment
from replica.progress import Bar
from replica.store.store import Store
from replica.words import clean

OK = 0
ENCODING_FOR_EXCEL = "utf-8-sig"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """All arguments of `replica export`."""
    parser.add_argument("file", metavar="FILE", help="the SQLite database")
    parser.add_argument("what", metavar="COLLECTION", help='a table, or "SELECT …"')
    parser.add_argument("out", metavar="OUT", help="the file to write, - for standard output; .gz and .zst are packed")
    parser.add_argument("--format", metavar="F", help="csv, tsv, json, jsonl, xml, xlsx, parquet or vcard (default: by OUT)")
    parser.add_argument("--map", metavar="MAP", help="a map, read backwards")
    parser.add_argument("--for-excel", action="store_true", help="for a person who opens it in Excel")
    parser.add_argument("--encoding", metavar="E", default="utf-8", help="default: %(default)s")
    parser.add_argument("--delimiter", metavar="D", default=",", help="default: %(default)s")
    parser.add_argument("--since", metavar="RUN|TIME", help="what changed or was deleted since then")
    parser.add_argument("--with-ids", action="store_true", help="with the record ids that an import made up")
    parser.add_argument("--json", action="store_true", help="print one JSON document about the export")


def run(options: argparse.Namespace) -> int:
    """Write the file, and say what is in it."""
    if options.json and options.out == "-":
        raise UsageError("standard output cannot hold both the rows and --json: name a file")
    if is_select(options.what) and (options.since is not None or options.with_ids):
        raise UsageError("--since and --with-ids are of a table: a SELECT says itself what it wants")
    with Store(options.file) as store:
        since_ms = moment(options.since, partial(runs.began, store)) if options.since is not None else None
        summary, format_, size = _export(store, options, since_ms)
    if options.json:
        _print_json(options, summary, format_, size)
    else:
        _print(options, summary, format_, size)
    return OK
