"""The command line: every command, its JSON, its exit code, and what it says when something is wrong."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pytest

from protocol import limits
from protocol.errors import Busy
from replica import show
from replica.cli import DIFFERS, FILE, OK, PEER, USAGE, main
from replica.errors import StoreReadOnly
from replica.node import Node
from replica.store.store import Store
from replica.sync_report import SyncReport
from tests.nodes import CONTACTS, make_pair, program, serving


class Terminal:
    """Runs commands in this process and keeps what they printed."""

    def __init__(self, capture: pytest.CaptureFixture[str]) -> None:
        self._capture = capture

    def run(self, *arguments: str | Path, code: int = OK) -> str:
        self._capture.readouterr()
        try:
            got = main([str(a) for a in arguments])
        except SystemExit as stop:
            got = int(stop.code or 0)
        out, self.err = self._capture.readouterr()
        assert got == code, f"{arguments}: exit {got}, not {code}\n{out}\n{self.err}"
        assert "Traceback" not in self.err
        return out

    def json(self, *arguments: str | Path, code: int = OK) -> object:
        return json.loads(self.run(*arguments, "--json", code=code))


@pytest.fixture
def terminal(capsys: pytest.CaptureFixture[str]) -> Terminal:
    return Terminal(capsys)


def test_init_invite_join_adopt(terminal: Terminal, tmp_path: Path) -> None:
    with program(tmp_path / "hq.db") as db:
        db.execute(CONTACTS)
        db.execute("INSERT INTO contacts(id, name) VALUES ('1', 'Ann')")
        db.execute("CREATE TABLE nokey(a, b)")
        db.execute("CREATE VIEW v AS SELECT * FROM contacts")
    assert "made a new replication group" in terminal.run("init", tmp_path / "hq.db", "--name", "HQ")
    out = terminal.run("adopt", tmp_path / "hq.db")
    assert "contacts: 1 row\n" in out
    assert "nokey" in terminal.err
    assert "no primary key" in terminal.err
    terminal.run("invite", tmp_path / "hq.db", "127.0.0.1:1", code=USAGE)
    assert "looks like ws://host:port" in terminal.err
    invite = terminal.run("invite", tmp_path / "hq.db", "ws://127.0.0.1:1").splitlines()[-1]
    assert invite.startswith("replica1:")
    assert "joined the group of HQ" in terminal.run("init", tmp_path / "b.db", "--join", invite)
    terminal.run("sync", tmp_path / "b.db", code=PEER)  # It knows from the invite whom to ask.
    assert "already" in terminal.run("init", tmp_path / "b.db", code=FILE) + terminal.err
    terminal.run("adopt", tmp_path / "hq.db", "nokey", code=USAGE)
    assert "no primary key" in terminal.err
    assert "make a copy of it with one" in terminal.err
    terminal.run("adopt", tmp_path / "hq.db", "v", code=USAGE)
    assert "is a view" in terminal.err


def test_sql_prints_json_that_says_all(terminal: Terminal, tmp_path: Path) -> None:
    hq, _ = make_pair(tmp_path)
    odd = "SELECT 9e999 AS a, -9e999 AS a, x'00ff' AS b, 1 AS 'a:1'"
    assert terminal.json("sql", hq, odd) == [{"a": "Infinity", "a:2": "-Infinity", "b": "x'00ff'", "a:1": 1}]


@pytest.mark.parametrize("words", [("sql", "SELECT '\udcff'"), ("adopt", "\udcff"), ("invite", "ws://\udcff:1")])
def test_words_that_are_no_text_are_refused(terminal: Terminal, tmp_path: Path, words: tuple[str, ...]) -> None:
    hq, _ = make_pair(tmp_path)
    terminal.run(words[0], hq, *words[1:], code=USAGE)
    assert terminal.err.startswith("replica: not UTF-8: ")
    assert "\\udcff" in terminal.err


def test_names_of_columns_are_told_apart() -> None:
    assert show.told_apart(["a", "b", "a", "a"]) == ["a", "b", "a:1", "a:2"]
    assert show.told_apart(["a", "a", "a:1", "a:1"]) == ["a", "a:2", "a:1", "a:1:1"]


def test_a_select_waits_for_no_other_program(terminal: Terminal, tmp_path: Path) -> None:
    hq, _ = make_pair(tmp_path, rows=2)
    with program(hq) as db:
        db.execute("DELETE FROM contacts WHERE id = 'c000001'")  # Not committed yet.
        for sql in ("select count(*) AS n FROM contacts", "-- how many\n;/**/SELECT 2 AS n"):
            assert terminal.json("sql", hq, sql) == [{"n": 2}]
        assert "VALUES" in terminal.run("sql", hq, "VALUES ('VALUES')")
    assert "all well" in terminal.run("verify", hq)


def test_the_version_is_that_of_the_package(terminal: Terminal) -> None:
    assert terminal.run("--version") == f"replica {version('replica')}\n"


def test_status_verify_why_sql_rescan(terminal: Terminal, tmp_path: Path) -> None:
    hq, _ = make_pair(tmp_path, rows=3)
    assert "1" in terminal.run("sql", hq, "SELECT count(*) FROM contacts WHERE id = 'c000001'")
    terminal.run("sql", hq, "UPDATE contacts SET name = '陈思源' WHERE id = 'c000001'")
    assert terminal.json("sql", hq, "SELECT name FROM contacts WHERE id = 'c000001'") == [{"name": "陈思源"}]
    status = terminal.json("status", hq)
    assert isinstance(status, dict)
    assert {"node", "name", "root", "count", "tables", "backlog", "clock", "peers", "scopes"} <= set(status)
    assert status["tables"][0]["live"] == 3
    assert "no peer met yet" in terminal.run("status", hq)
    why = terminal.json("why", hq, "contacts", "c000001", "name")
    assert isinstance(why, dict)
    assert why["fields"][0]["value"] == "陈思源"
    assert why["fields"][0]["by"] == "hq"
    assert "inserted by its adoption" in terminal.run("why", hq, "CONTACTS", "c000001")
    assert "all well" in terminal.run("verify", hq)
    with program(hq) as db:
        db.execute("INSERT INTO _replica_mute VALUES (1)")
        db.execute("UPDATE contacts SET phone = 'sneaked' WHERE id = 'c000002'")
        db.execute("DELETE FROM _replica_mute")
    found = terminal.run("verify", hq, code=DIFFERS)
    assert 'contacts ["c000002"]' in found
    assert "phone" in found
    assert "no trigger had seen" in terminal.run("rescan", hq)
    with program(hq) as db:
        db.execute("UPDATE _replica_meta SET value = 'nonsense' WHERE name = 'root'")
    assert "root: 'nonsense' is stored" in terminal.run("verify", hq, code=1)
    terminal.run("rescan", hq)
    terminal.run("verify", hq)
    with program(hq) as db:
        db.execute("UPDATE _replica_record SET born = 'abc' WHERE instr(hex(id), hex('c000002'))")
        db.execute("UPDATE contacts SET phone = '1' WHERE id = 'c000002'")
    for command in ("status", "verify"):
        terminal.run(command, hq, code=FILE)
        assert 'contacts ["c000002"] makes no sense' in terminal.err
    assert 'contacts ["c000002"]: what was stored about it made no sense' in terminal.run("rescan", hq)
    assert "nothing had been missed" in terminal.run("rescan", hq)
    terminal.run("verify", hq)


def test_damage_among_rows_that_wait_names_the_file_and_rescan_which_mends_it(terminal: Terminal, tmp_path: Path) -> None:
    hq, laptop = make_pair(tmp_path, rows=3)
    with Store(hq) as store:
        store.put_many("contacts", [(f"d{n}", f"Name {n}", None, None) for n in range(300)])
    with program(hq) as db:
        assert db.execute("UPDATE _replica_young SET body = zeroblob(length(body))").rowcount == 1

    async def meet() -> None:
        async with serving(laptop) as (_, url):
            await asyncio.to_thread(terminal.run, "sync", hq, url, code=FILE)

    for command in ["verify"], ["status"], ["status", "--json"], []:
        if command:
            terminal.run(command[0], hq, *command[1:], code=FILE)
        else:
            asyncio.run(meet())
        line = terminal.err.splitlines()[-1]
        assert f"{hq} is damaged" in line
        assert "`replica rescan`" in line
    assert "made no sense: they are writes of now" in terminal.run("rescan", hq)
    assert "all well" in terminal.run("verify", hq)
    status = terminal.json("status", hq)
    assert isinstance(status, dict)
    assert status["tables"][0]["live"] == 303


def test_held_records_are_listed_edited_rekeyed_and_deleted(terminal: Terminal, tmp_path: Path) -> None:
    hq, laptop = make_pair(tmp_path)
    for file in (hq, laptop):
        terminal.run("sql", file, "CREATE TABLE people(id INTEGER PRIMARY KEY, name TEXT, email TEXT UNIQUE)")
        terminal.run("adopt", file, "people")
    terminal.run("sql", hq, "INSERT INTO people VALUES (101, 'Ann', 'a@x')")
    terminal.run("sql", laptop, "INSERT INTO people VALUES (101, 'Bob', 'b@x'), (102, 'Cem', 'a@x')")

    async def meet() -> None:
        async with serving(hq) as (_, url), Node(laptop) as node:
            assert (await node.sync(url)).in_sync

    asyncio.run(meet())
    held = terminal.json("held", laptop)
    assert isinstance(held, list)
    assert sorted(h["values"]["name"] for h in held) == ["Bob", "Cem"]
    assert all("UNIQUE" in h["reason"] or "constraint" in h["reason"] for h in held)
    refs = {h["values"]["name"]: h["ref"] for h in held}
    terminal.run("held", laptop, "--edit", refs["Cem"], "email=c@x")
    terminal.run("held", laptop, "--rekey", refs["Bob"])
    assert "nothing is held" in terminal.run("held", laptop)
    rows = terminal.json("sql", laptop, "SELECT id, name FROM people ORDER BY name")
    assert rows == [{"id": 101, "name": "Ann"}, {"id": 103, "name": "Bob"}, {"id": 102, "name": "Cem"}]
    terminal.run("held", laptop, "--delete", "zz", code=USAGE)
    assert "is no reference" in terminal.err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["status", "missing/x.db"], FILE, "no such file"),
        (["init", "missing/x.db"], FILE, "cannot open"),
        (["init", "new.db", "--join", ""], USAGE, "an invite begins with"),
        (["sync", "hq.db", "ws://127.0.0.1:99999"], USAGE, "no address of a node"),
        (["sync", "hq.db", "wss://127.0.0.1:1", "--ca", "nope.pem"], USAGE, "cannot be used"),
        (["sql", "hq.db", "DELETE FROM _replica_meta"], USAGE, "the engine's own"),
        (["status", "plain.db"], FILE, "run `replica init"),
        (["status", "text.db"], FILE, "not an SQLite database"),
        (["status", "newer.db"], FILE, "newer version"),
        (["serve", "hq.db", "--listen", "nowhere"], USAGE, "no address to listen on"),
        (["serve", "hq.db", "--listen", "0.0.0.0:0"], USAGE, "--plaintext"),
        (["serve", "hq.db", "--ca", "x.pem"], USAGE, "go with --cert"),
        (["serve", "hq.db", "--cert", "x.pem"], USAGE, "cannot be used"),
        (["sync", "hq.db"], USAGE, "name a peer"),
        (["sync", "hq.db", "ws://127.0.0.1:1"], PEER, ""),
        (["sync", "hq.db", "--accept-different", "ws://127.0.0.1:1", "ws://127.0.0.1:2"], PEER, ""),
        (["sync", "--ca", "nope.pem", "hq.db", "wss://127.0.0.1:1"], USAGE, "cannot be used"),
        (["sync", "hq.db", "ws://127.0.0.1:1", "--nonsense"], USAGE, "unrecognized arguments: --nonsense"),
        (["why", "hq.db", "--json", "contacts", "nobody"], USAGE, "no record 'nobody'"),
        (["import", "hq.db", "--collection", "people", "nowhere.csv", "--key", "id"], USAGE, "nowhere.csv"),
        (["init", "new.db", "--join", "replica1:AAAA"], USAGE, "damaged or cut short"),
        (["init", "new.db", "--name", "x" * 65], USAGE, "1 to 64 printable characters"),
        (["adopt", "hq.db", "nowhere"], USAGE, "no table 'nowhere'"),
        (["why", "hq.db", "contacts", "nobody"], USAGE, "no record 'nobody'"),
        (["why", "hq.db", "nowhere", "x"], USAGE, "not replicated here"),
        (["sql", "hq.db", "SELEC"], USAGE, "syntax error"),
        (["nonsense"], USAGE, "invalid choice"),
    ],
)
def test_bad_input_is_one_clear_message(
    terminal: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    make_pair(tmp_path)
    Path("text.db").write_text("this is no database, but a text that is long enough to have a header " * 3)
    with program(Path("plain.db")) as db:
        db.execute(CONTACTS)
    make_newer(Path("newer.db"))
    terminal.run(*arguments, code=code)
    assert words in terminal.err
    assert not Path("new.db").exists() or arguments[0] == "init"


def make_newer(path: Path) -> None:
    with program(path) as db:
        db.execute("CREATE TABLE _replica_meta(name TEXT PRIMARY KEY, value) WITHOUT ROWID")
        db.execute("INSERT INTO _replica_meta VALUES ('format', 999)")


def test_a_read_only_file_is_one_clear_message(tmp_path: Path) -> None:
    hq, _ = make_pair(tmp_path)
    readonly = sqlite3.connect(f"{hq.as_uri()}?mode=ro", uri=True, isolation_level=None)
    with Store(hq, db=readonly) as store, pytest.raises(StoreReadOnly, match="check the permissions of the file"):
        store.execute("DELETE FROM contacts")


@pytest.mark.parametrize(("version", "told"), [("2.0", True), ("2.9", True), (f"{limits.VERSION}.{limits.MINOR}", False)])
def test_a_peer_of_another_minor_version_is_named(capsys: pytest.CaptureFixture[str], version: str, told: bool) -> None:
    failed = SyncReport.failure("ws://hq:8470", Busy("busy"))
    show.synced(replace(failed, outcome="in sync", root="00", version=version))
    assert (f"the peer speaks version {version} of the protocol, this node 2.3" in capsys.readouterr().out) == told


def test_every_command_has_help(terminal: Terminal) -> None:
    out = terminal.run("--help")
    for command in [
        "init",
        "invite",
        "adopt",
        "serve",
        "sync",
        "status",
        "verify",
        "why",
        "held",
        "rescan",
        "sql",
        "demo",
    ]:
        assert f"\n    {command} " in out
        assert "usage:" in terminal.run(command, "--help")
