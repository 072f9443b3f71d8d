"""The commands backup, backup-key, check-backup, restore, dump and load: for each, what adds its arguments to a parser, and
what runs it.

Exit codes are those of the command line: errors are raised, and rendered there.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from replica.backup.backup import Backup, backup, check
from replica.backup.keys import make_key, read_key
from replica.backup.restore import restore
from replica.libraries import library
from replica.progress import Bar
from replica.show import size, when
from replica.words import clean


def _add_key(parser: argparse.ArgumentParser, what: str) -> None:
    lock = parser.add_mutually_exclusive_group()
    lock.add_argument("--key-file", metavar="PATH", help=f"{what} the 32-byte key in this file (`replica backup-key PATH`)")
    lock.add_argument("--passphrase-file", metavar="PATH", help=f"{what} the passphrase in the first line of this file")


def add_backup_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `replica backup`."""
    parser.description = (
        "Copy a database into one file, while other programs may write it; verified, compressed, and encrypted if a key is "
        "given (AES-256-GCM). The backup holds all data and the secrets of the group: whoever has it and its key is a "
        "member. Without a key, whoever has it is."
    )
    parser.add_argument("file", metavar="FILE", help="the SQLite database")
    parser.add_argument("out", metavar="OUT", help="the backup; an older backup there is replaced when the new one is whole")
    _add_key(parser, "encrypt with")
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def backup_run(options: argparse.Namespace) -> int:
    """Run `replica backup`."""
    key = read_key(options.key_file, options.passphrase_file)
    with Bar(options.json) as bar:
        made = backup(options.file, options.out, key, progress=bar.at)
    if options.json:
        _print_json({"file": options.file, "out": options.out, **_as_json(made)})
        return 0
    lock = "encrypted" if made.encrypted else "NOT encrypted: whoever has it has all data and is a member of the group"
    print(f"{options.out}: {_words(made)}")
    print(f"verified; {size(made.bytes)}, {lock}")
    return 0


def add_backup_key_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `replica backup-key`."""
    parser.description = "Make a random key for backups. Keep a copy of it apart from them: nothing opens them without it."
    parser.add_argument("out", metavar="OUT", help="a new file: one line that may be printed and kept in a safe")
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def backup_key_run(options: argparse.Namespace) -> int:
    """Run `replica backup-key`."""
    make_key(options.out)
    if options.json:
        _print_json({"out": options.out})
    else:
        print(f"{options.out}: a new key. Keep a copy apart from the backups: without it, nothing opens them")
    return 0


def add_check_backup_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `replica check-backup`."""
    parser.description = (
        "Prove every byte of a backup, and that it unpacks to the database that was verified when it was made. Writes "
        "nothing."
    )
    parser.add_argument("backup", metavar="BACKUP")
    _add_key(parser, "it was encrypted with")
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def check_backup_run(options: argparse.Namespace) -> int:
    """Run `replica check-backup`."""
    key = read_key(options.key_file, options.passphrase_file)
    with Bar(options.json) as bar:
        found = check(options.backup, key, progress=bar.at)
    if options.json:
        _print_json({"ok": True, "backup": options.backup, **_as_json(found)})
    else:
        print(f"all well: {_words(found)}; {size(found.bytes)}{', encrypted' if found.encrypted else ''}")
    return 0


def add_restore_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `replica restore`."""
    parser.description = (
        "Make a database of a backup, as a new node of the same group: the original may go on, and what it wrote after the "
        "backup comes back from its peers with the next sync."
    )
    parser.add_argument("backup", metavar="BACKUP")
    parser.add_argument("file", metavar="FILE", help="the new database")
    _add_key(parser, "it was encrypted with")
    parser.add_argument("--name", help='the new node\'s name for people (default: the old one and "(restored)")')
    parser.add_argument("--force", action="store_true", help="replace a database that is there, if nobody has it open")
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def restore_run(options: argparse.Namespace) -> int:
    """Run `replica restore`."""
    key = read_key(options.key_file, options.passphrase_file)
    with Bar(options.json) as bar:
        made = restore(options.backup, options.file, key, name=options.name, force=options.force, progress=bar.at)
    if options.json:
        now = {"node": made.node.hex(), "name": made.name, "root": made.root.hex(), "count": made.records}
        _print_json({"file": options.file, **now, "backup": _as_json(made.backup)})
        return 0
    print(f"{options.file}: node {clean(made.name)} ({made.node.hex()}), from {_words(made.backup)}")
    print(f"verified. next: replica sync {Path(options.file)}, to get what was written since")
    return 0


def add_dump_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `replica dump`."""
    parser.description = (
        "Write a whole database, replicated or not, into a readable archive for another installation: schema as SQL, rows "
        "as JSON Lines. No secrets, no history: what is loaded from it is a new group. To get this group back, use `backup`."
    )
    parser.add_argument("file", metavar="FILE", help="the SQLite database")
    parser.add_argument("out", metavar="OUT.zip", help="the archive")
    parser.add_argument("--force", action="store_true", help="replace a file that is there")
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def dump_run(options: argparse.Namespace) -> int:
    """Run `replica dump`."""
    with library("msgspec"):
        from replica.backup.dump import dump
    with Bar(options.json) as bar:
        made = dump(options.file, options.out, force=options.force, progress=bar.at)
    m = made.manifest
    if options.json:
        tables = [{"table": t.name, "rows": t.rows} for t in m.tables]
        left_out = [one._asdict() for one in m.left_out]
        _print_json({"out": options.out, "bytes": made.bytes, "tables": tables, "left_out": left_out, "held": made.held})
        return 0
    rows = sum(table.rows for table in m.tables)
    print(f"{options.out}: {rows} rows of {len(m.tables)} tables, {size(made.bytes)}")
    for one in m.left_out:
        print(f"  left out: {clean(one.name)}: {clean(one.why)}", file=sys.stderr)
    if made.held:
        print(f"  left out: {made.held} held records, which no table shows: see `replica held`", file=sys.stderr)
    return 0


def add_load_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `replica load`."""
    parser.description = (
        "Make a database of what `replica dump` wrote: the first node of a new group. If FILE is a store without tables "
        "(after `replica init`, also one that joined a group), it is filled instead."
    )
    parser.add_argument("archive", metavar="DUMP.zip")
    parser.add_argument("file", metavar="FILE", help="the new database")
    parser.add_argument("--name", help="the node's name for people (default: the file's name)")
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def load_run(options: argparse.Namespace) -> int:
    """Run `replica load`."""
    with library("msgspec"):
        from replica.backup.load import load
    with Bar(options.json) as bar:
        made = load(options.archive, options.file, name=options.name, progress=bar.at)
    rows = sum(table.rows for table in made.manifest.tables)
    if options.json:
        now = {"node": made.node.hex(), "name": made.name, "root": made.root.hex(), "count": made.records}
        adopted = [one._asdict() for one in made.adopted]
        _print_json({"file": options.file, **now, "rows": rows, "adopted": adopted, "orphans": made.orphans})
        return 0
    print(f"{options.file}: node {clean(made.name)} ({made.node.hex()}), {rows} rows of {len(made.manifest.tables)} tables")
    for one in made.adopted:
        if one.refused:
            print(f"  not replicated: {clean(one.table)}: {clean(one.refused)}", file=sys.stderr)
    if made.orphans:
        print(f"  {made.orphans} rows refer to a row that is not there (foreign keys), as before", file=sys.stderr)
    print(f"verified. next: replica invite {options.file} URL, to let other machines join")
    return 0


def _as_json(made: Backup) -> dict[str, Any]:
    m = made.manifest
    return {
        "made_ms": m.made_ms, "node": m.node.hex(), "name": m.name, "group": m.group.hex(), "root": m.root.hex(),
        "count": m.records, "size": m.size, "bytes": made.bytes, "encrypted": made.encrypted,
    }  # fmt: skip


def _words(made: Backup) -> str:
    m = made.manifest
    return f"{m.records} records of {clean(m.name)} as of {when(m.made_ms)}, root {m.root.hex()}"


def _print_json(document: object) -> None:
    print(json.dumps(document, ensure_ascii=False, indent=2))
