"""The command line: the library's operations, one command each.

Exit codes: 0 done, in sync, or all well · 1 the copies differ, or verify found something · 2 wrong usage · 3 the peer or
the network failed · 4 the file or the disk failed · 130 interrupted (143 by SIGTERM, 129 by SIGHUP). With `--json`,
standard output is one JSON document and nothing else; messages and progress go to standard error.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import signal
import sqlite3
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from protocol.errors import DifferentRows, PeerFault, ReplicaError
from protocol.outcome import CHANGING
from protocol.session import Session
from replica import invite as invites
from replica import show
from replica.errors import MapRefused, StoreError, UsageError, hopeless
from replica.late import COMMANDS, Parser, Version
from replica.progress import Bar
from replica.store.report import printable
from replica.store.store import Store, initialize
from replica.sync_report import SyncReport
from replica.words import clean, counted

if TYPE_CHECKING:
    import asyncio

    from replica.node import Node

OK, DIFFERS, USAGE, PEER, FILE, INTERRUPTED = 0, 1, 2, 3, 4, 130
_NO_TEXT = "surrogates not allowed"
"""Python's reason for bytes of a command line that are no text."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code. No traceback for what a user or a peer can cause."""
    try:
        options = _parser().parse_args(arguments)
        logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
        return int(options.run(options) or OK)
    except KeyboardInterrupt:
        print("interrupted: what was finished is kept, nothing is lost", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        return OK
    except UnicodeEncodeError as error:
        if error.reason != _NO_TEXT:
            raise
        print(f"replica: not UTF-8: {error.object[max(0, error.start - 30) : error.end]!a}", file=sys.stderr)
        return USAGE
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"replica: {clean(where)}{clean(error.strerror or error)}", file=sys.stderr)
        return FILE
    except (ReplicaError, sqlite3.Error) as error:
        lines = str(error).split("\n") if isinstance(error, MapRefused) else [error]
        print("replica: " + "\n".join(map(clean, lines)), file=sys.stderr)
        return PEER if isinstance(error, PeerFault) else FILE if isinstance(error, StoreError) else USAGE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="replica", description=(__doc__ or "").partition("\n")[0], epilog=_EPILOG)
    parser.add_argument("--version", action=Version, nargs=0, help="print it, and end")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=Parser)

    def command(name: str, run: Any, text: str, *, file: bool = True) -> Parser:
        made = commands.add_parser(name, help=text, description=text)
        made.set_defaults(run=run)
        if file:
            made.add_argument("file", metavar="FILE", help="the SQLite database")
            made.add_argument("--json", action="store_true", help="print one JSON document")
        return made

    add = command("init", _init, "make a file part of a replication group: a new one, or that of an invite")
    add.add_argument("--name", help="this node's name for people (default: the file's name)")
    add.add_argument("--join", metavar="INVITE", help="the invite of a node of the group (or - to read it from stdin)")
    add = command("invite", _invite, "print the string with which another machine joins; keep it secret")
    add.add_argument("url", metavar="URL", nargs="?", default="", help="where the new node should sync first")
    add = command("adopt", _adopt, "replicate existing tables, unchanged (all, if none is named)")
    add.add_argument("tables", metavar="TABLE", nargs="*")
    add.add_argument("--natural", metavar="TABLE", action="append", default=[], help="its integer key means something "
                     "outside this database, so the same number is the same record everywhere")  # fmt: skip
    add = command("serve", _serve, "let peers sync with this file, until interrupted")
    add.add_argument("--listen", metavar="HOST:PORT", default="127.0.0.1:8470", help="default: %(default)s")
    add.add_argument("--plaintext", action="store_true", help="no TLS, although other machines can reach this address")
    add.add_argument("--sync", metavar="URL", action="append", default=[], help="a peer to meet again and again; once each")
    add.add_argument("--every", metavar="SECONDS", type=_seconds, default=60.0, help="how often; default: %(default)s")
    _add_tls(add, "this node's certificate", "let only peers in whose certificate this authority signed")
    add = command("sync", _sync, "meet peers: both directions, until both copies are proven equal")
    add.add_argument("urls", metavar="URL", nargs="*", help="ws://host:port or wss://host:port (default: as invited)")
    add.add_argument("--accept-different", action="store_true", help="merge although most adopted rows differ")
    _add_tls(add, "a certificate to show", "trust this authority instead of the system's")
    command("status", _status, "who this node is, what it holds, who is in sync and who is not")
    command("verify", _verify, "recompute everything from the tables and name each difference")
    add = command("why", _why, "who wrote what stands in a record, and what it overwrote")
    add.add_argument("table", metavar="TABLE")
    add.add_argument("key", metavar="KEY", help="the primary key; parts of a composite key as a JSON list")
    add.add_argument("field", metavar="FIELD", nargs="?")
    add = command("held", _held, "list, edit, delete or re-key records that are held from view")
    add.add_argument("--edit", nargs="+", metavar=("REF", "FIELD=VALUE"), help="write fields; it surfaces if it can")
    add.add_argument("--delete", metavar="REF", help="delete it, here and everywhere")
    add.add_argument("--rekey", nargs="+", metavar=("REF", "KEY"), help="give it another key (or the next free number)")
    add = command("rescan", _rescan, "compare every row with what is known of it, and take what no trigger saw")
    add = command("sql", _sql, "run one SQL statement, reading or writing")
    add.add_argument("statement", metavar="SQL")
    for name, late in COMMANDS.items():
        command(name, None, late.help, file=late.file).late = late
    command("demo", _demo, "see three nodes edit offline, meet and agree", file=False).add_argument(
        "rest", nargs=argparse.REMAINDER
    )
    return parser


_EPILOG = "exit codes: 0 done or in sync, 1 copies differ, 2 usage, 3 peer or network, 4 file or disk, 130 interrupted"


def _add_tls(parser: argparse.ArgumentParser, cert: str, ca: str) -> None:
    parser.add_argument("--cert", metavar="PEM", help=cert)
    parser.add_argument("--key", metavar="PEM", help="its private key")
    parser.add_argument("--ca", metavar="PEM", help=ca)


def _print_json(document: object) -> None:
    print(json.dumps(document, ensure_ascii=False, indent=2))


# --- a file -----------------------------------------------------------------------------------------------------------


def _init(options: argparse.Namespace) -> None:
    text = sys.stdin.read() if options.join == "-" else options.join
    invite = invites.decode(text) if text is not None else None
    initialize(options.file, options.name or Path(options.file).stem, invite.secrets if invite else None)
    with Store(options.file) as store:
        if invite and invite.url:
            store.set_home(invite.url)
        report = store.status()
    if options.json:
        _print_json(report)
    else:
        group = f"joined the group of {invite.name}" if invite else "made a new replication group"
        print(f"{options.file}: node {report['name']} ({report['node']}), {group}")
        print(f"next: replica {'sync' if invite else 'adopt'} {options.file}")


def _invite(options: argparse.Namespace) -> None:
    with Store(options.file) as store:
        text = invites.encode(invites.Invite(store.secrets(), options.url, store.name))
    if options.json:
        _print_json({"invite": text})
    else:
        print("whoever has this line is a member of the group: send it over a private channel", file=sys.stderr)
        print(text)


def _adopt(options: argparse.Namespace) -> int:
    with Store(options.file) as store, Bar(options.json) as bar:
        results = store.adopt(options.tables, natural=options.natural, progress=bar.at)
    if options.json:
        _print_json([r._asdict() for r in results])
    else:
        show.adopted(results)
    return OK


def _status(options: argparse.Namespace) -> None:
    with Store(options.file) as store:
        report = store.status()
    if options.json:
        _print_json(report)
    else:
        show.status(report)


def _verify(options: argparse.Namespace) -> int:
    with Store(options.file) as store, Bar(options.json) as bar:
        found = store.verify(bar.at)
        root, count = b"", 0
        with contextlib.suppress(StoreError) if found else contextlib.nullcontext():  # The root may be what is damaged.
            root, count = store.root()
    if options.json:
        _print_json({"ok": not found, "differences": found, "root": root.hex(), "count": count})
    else:
        print("\n".join(map(clean, found)) or f"all well: {counted(count, 'record')}, root {root.hex()}")
        if found:
            said = f"{counted(len(found), 'difference')}. If the rows are right: replica rescan {options.file}"
            print(said, file=sys.stderr)
    return DIFFERS if found else OK


def _why(options: argparse.Namespace) -> None:
    key = options.key
    try:
        parts = [str(p) for p in json.loads(key)] if key.startswith("[") else [key]
    except ValueError:
        parts = [key]
    with Store(options.file) as store:
        report = store.why(options.table, parts, options.field)
    if options.json:
        _print_json(report)
    else:
        show.why(report)


def _held(options: argparse.Namespace) -> None:
    with Store(options.file) as store:
        if options.edit:
            ref, *pairs = options.edit
            if not pairs or not all("=" in pair for pair in pairs):
                raise UsageError("--edit takes a reference and FIELD=VALUE, once or more")
            store.held_edit(ref, {name: _literal(value) for name, _, value in (p.partition("=") for p in pairs)})
        if options.delete:
            store.held_delete(options.delete)
        if options.rekey:
            key, notes = store.held_rekey(options.rekey[0], _literal(options.rekey[1]) if options.rekey[1:] else None)
            print("\n".join(map(clean, [f"it is now under key {key}", *notes])), file=sys.stderr)
        rows = store.held()
    if options.json:
        _print_json(rows)
    else:
        show.held(rows)


def _literal(text: str) -> object:
    """A value typed on the command line: a JSON number, string or null, else the text itself."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, int | float | str) or value is None else text


def _rescan(options: argparse.Namespace) -> None:
    with Store(options.file) as store, Bar(options.json) as bar:
        before = None
        with contextlib.suppress(ReplicaError):  # What is damaged is what it mends; anything else is told again.
            before = store.root()
        mended = store.rescan()
        after, left = store.root(), store.verify(bar.at)
    if options.json:
        found = {"mended": mended, "differences": left}
        _print_json({"changed": before != after, "root": after[0].hex(), "count": after[1], **found})
    elif mended or left:
        print("\n".join(map(clean, [*mended, *left])))
    else:
        print("took what no trigger had seen" if before != after else "nothing had been missed")
    if left:
        raise hopeless(options.file, f"a rescan leaves {len(left)} differences")


def _sql(options: argparse.Namespace) -> None:
    with Store(options.file) as store:
        columns, rows = store.execute(options.statement)
    if options.json:
        names = show.told_apart(columns)
        _print_json([dict(zip(names, map(printable, row), strict=True)) for row in rows])
    elif columns:
        show.table(columns, rows)


def _demo(options: argparse.Namespace) -> int:
    from replica.demo.__main__ import main as demo

    return demo(options.rest)


# --- peers ------------------------------------------------------------------------------------------------------------


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65_535:
        raise UsageError(f"{text!r} is no address to listen on: it looks like 127.0.0.1:8470")
    return host.strip("[]"), int(port)


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0.1 <= seconds <= 1e6:
        raise ValueError
    return seconds


def _serve(options: argparse.Namespace) -> int:
    import asyncio

    from replica.keep import keep_in_sync
    from replica.node import Node
    from replica.tls import client_tls, server_tls

    host, port = _address(options.listen)
    tls = server_tls(options.ca, options.cert, options.key)
    mine = client_tls(options.ca, options.cert, options.key)

    def show_report(report: SyncReport) -> None:
        show.session(report, options.json)

    async def serve() -> None:
        stop = _stop_signal()
        async with Node(options.file) as node:
            node.on_session = show_report
            listener = await node.serve(host, port, tls=tls, plaintext=options.plaintext)
            if options.json:
                print(json.dumps({"listening": listener.url}), flush=True)
            else:
                print(f"listening on {listener.url}", flush=True)
            keepers = [
                asyncio.create_task(
                    keep_in_sync(node, url, options.every, show_report, tls=mine if url.startswith("wss") else None)
                )
                for url in options.sync
            ]
            ended = asyncio.create_task(stop.wait())
            done, _ = await asyncio.wait([ended, *keepers], return_when=asyncio.FIRST_COMPLETED)
            for keeper in keepers:
                keeper.cancel()
            await asyncio.gather(*keepers, return_exceptions=True)
            for task in done - {ended}:
                task.result()  # A wrong address, say: that ends the command.

    asyncio.run(serve())
    return OK


def _stop_signal() -> asyncio.Event:
    """Set by the first Ctrl-C, SIGTERM or SIGHUP; another one then ends the process where it is."""
    import asyncio

    stop = asyncio.Event()

    def heard(number: int) -> None:
        if stop.is_set():
            os.write(sys.stderr.fileno(), b"ended at once: what was finished is kept, nothing is lost\n")
            os._exit(128 + number)
        stop.set()

    loop = asyncio.get_running_loop()
    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # It is, under nohup.
        numbers.append(signal.SIGHUP)
    for number in numbers:
        loop.add_signal_handler(number, heard, number)
    return stop


def _sync(options: argparse.Namespace) -> int:
    import asyncio

    from replica.node import Node
    from replica.tls import client_tls

    tls = client_tls(options.ca, options.cert, options.key)

    async def sync() -> list[SyncReport]:
        async with Node(options.file) as node:
            urls = options.urls or [url for url in [await node.call(node.store.home)] if url]
            if not urls:
                raise UsageError(f"name a peer: replica sync {options.file} ws://host:port")
            return [await _meet(node, url, options, tls) for url in urls]

    reports = asyncio.run(sync())
    if options.json:
        _print_json([r.as_json() for r in reports])
    else:
        for report in reports:
            show.synced(report)
    if any(r.failed and r.outcome != DifferentRows.code for r in reports):
        return PEER
    return OK if all(r.in_sync or r.outcome == CHANGING for r in reports) else DIFFERS


async def _meet(node: Node, url: str, options: argparse.Namespace, tls: Any) -> SyncReport:
    with Bar(options.json) as bar:

        def watch(session: Session) -> None:
            out = session.outcome
            bar.count(f"sent {out.sent}, received", out.received, max(out.peer.count if out.peer else 0, out.received))

        try:
            return await node.sync(url, tls=tls, accept_different=options.accept_different, watch=watch)
        except PeerFault as error:
            return SyncReport.failure(url, error)


if __name__ == "__main__":
    sys.exit(main())
