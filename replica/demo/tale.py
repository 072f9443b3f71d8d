"""The tale: three offices share one CRM, lose the network, all keep working, and end with equal files.

Everything happens through the command line and through plain SQL, as a user would do it. It ends well only if
1. the three roots are equal,
2. each file shows what the winner of each conflict wrote, and
3. `replica verify` finds nothing wrong in any file.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from replica.demo import crm, plot, stage
from replica.demo.plot import NODES, Chapter, Edit, Outcome, Plot
from replica.demo.stage import DemoError, Servers
from replica.demo.subject import quote

HEALING_ROUNDS_MAX = 4  # one is enough for a chain of three; a second means that something is odd
EDITING_ORDER = ("branch", "hq", "laptop")  # the laptop writes last, so that "later" means the laptop
LINES_SHOWN_MAX = 8  # of what a command printed
SQL_CHARS_MAX = 200  # of a statement in the narration
LETTERS = "abcdefgh"

Rows = list[tuple[object, ...]]


class Status(NamedTuple):
    root: str
    records: int
    held: int


class Expectation(NamedTuple):
    """An outcome, and what its winner saw before the network came back."""

    outcome: Outcome
    rows: Rows


def tell(directory: Path, original: Path | None, seed: int, contacts: int) -> bool:
    """Tell the tale. Return whether it ended well; DemoError if it could not be told to its end."""
    began = time.perf_counter()
    tale = _Tale(directory)
    say("replica: three copies of one database, edited apart, made equal again.")
    say(f"The files go to {directory} and stay there. What follows a $ is a command that you can type.")
    stage.prepare(directory, original)
    story = tale.write_database(original, seed, contacts)
    tale.found()
    with Servers(directory) as servers:
        tale.join(servers)
        servers.stop()
        expectations = tale.edit_apart(story)
        tale.heal(servers)
    kept = tale.show_outcomes(story.chapters, expectations)
    sound = tale.verify()
    equal = tale.compare()
    tale.show_files()
    wrong = [
        text
        for text, good in (
            ("the three roots are not equal", equal),
            ("not every file shows what the winner wrote", kept),
            ("verify found differences", sound),
        )
        if not good
    ]
    seconds = time.perf_counter() - began
    if wrong:
        say(f"\nFAILED after {seconds:.1f} s: {'; '.join(wrong)}.")
    else:
        say(f"\nThree equal roots, verified from the tables up, in {seconds:.1f} s.")
    return not wrong


class _Tale:
    """The steps, in the order in which they are told."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._headings = 0

    # --- Together -----------------------------------------------------------------------------------------

    def write_database(self, original: Path | None, seed: int, contacts: int) -> Plot:
        """Make hq.db, still an ordinary SQLite file, and choose what will be edited in it."""
        if original is None:
            self._heading(f"HQ has a CRM: an ordinary SQLite file, made up from seed {seed}")
        else:
            self._heading("HQ has a database: a copy of yours, which is only read")
            stage.copy_database(original, self._file("hq"))
        with self._open("hq") as connection:
            if original is None:
                crm.load(connection, seed, contacts)
            connection.isolation_level = None
            rows = _row_counts(connection)
            story = plot.plan(connection, plot.CRM if original is None else None)
        shown = [f"{name} {count:,}" for name, count in rows[:LINES_SHOWN_MAX]]
        if len(rows) > len(shown):
            shown.append(f"and {len(rows) - len(shown)} more tables")
        say(f"   {sum(count for _, count in rows):,} rows: {' · '.join(shown)}")
        if original is not None:
            for table in story.subjects:
                free = ", ".join(table.fields[:4])
                say(f"   chosen for the edits: table {table.table}, key {table.key}, text in {free}")
        for remark in story.remarks:
            say(f"   {remark}")
        return story

    def found(self) -> None:
        """Make hq.db the first replica."""
        self._heading("It becomes a replica, in place")
        self._command("init", str(self._file("hq")), "--name", "hq")
        self._command("adopt", str(self._file("hq")))

    def join(self, servers: Servers) -> None:
        """Let the others in and fill them."""
        self._heading("A branch and a laptop join; the laptop talks to the branch only")
        arguments = ("invite", str(self._file("hq")))
        say(f"   $ {stage.shown(arguments)}")
        printed = stage.run(*arguments).lines
        if not printed:
            raise DemoError("replica invite printed nothing")
        invite = printed[-1].strip()
        say("     one line, which is a secret; below it is called INVITE")
        for node in NODES[1:]:
            self._command("init", str(self._file(node)), "--name", node, "--join", invite, secret=invite)
        urls = self._serve(servers)
        self._sync("branch", urls["hq"])
        self._sync("laptop", urls["branch"])
        self._sync("branch", urls["hq"])  # Now HQ knows that there is a laptop.
        if not self.compare():
            raise DemoError("the first synchronisation did not make the three files equal")

    # --- Apart --------------------------------------------------------------------------------------------

    def edit_apart(self, story: Plot) -> dict[Chapter, list[Expectation]]:
        """Edit each file by plain SQL. Return, by chapter, what every file must show in the end."""
        self._heading("The network is cut: both servers are stopped. Everybody goes on working, in plain SQL")
        for letter, chapter in zip(LETTERS, story.chapters, strict=False):
            say(f"   ({letter}) {chapter.title}: {chapter.who}")
            for edit in chapter.edits:
                say(f"       {edit.node:<7} {_spelled(edit)}")
        edits = [edit for chapter in story.chapters for edit in chapter.edits]
        for node in EDITING_ORDER:
            _await_next_millisecond()
            with self._open(node) as connection, connection:
                for edit in edits:
                    if edit.node == node:
                        self._apply(connection, edit)
        return {
            chapter: [
                Expectation(outcome, self._read(outcome.node, outcome)) for outcome in chapter.outcomes
            ]
            for chapter in story.chapters
        }

    def _apply(self, connection: sqlite3.Connection, edit: Edit) -> None:
        try:
            changed = connection.execute(edit.sql, edit.values).rowcount
        except sqlite3.Error as error:
            raise DemoError(f"{edit.node} could not write: {error}\n    {_spelled(edit)}") from error
        if changed < 1:
            raise DemoError(f"at {edit.node} there was nothing to change:\n    {_spelled(edit)}")

    # --- Together again -----------------------------------------------------------------------------------

    def heal(self, servers: Servers) -> None:
        """Restart the servers and synchronise along the chain until the roots are equal."""
        self._heading("The network is back")
        urls = self._serve(servers)
        for _ in range(HEALING_ROUNDS_MAX):
            self._sync("laptop", urls["branch"])
            self._sync("branch", urls["hq"])
            self._sync("laptop", urls["branch"])
            if self.compare():
                break

    def show_outcomes(
        self, chapters: Sequence[Chapter], expectations: dict[Chapter, list[Expectation]]
    ) -> bool:
        """Say what became of each conflict. Return whether all three files show what they should."""
        if not chapters:
            return True
        self._heading("What became of it, read from all three files")
        kept = True
        for letter, chapter in zip(LETTERS, chapters, strict=False):
            wrong = [
                (node, expectation, seen)
                for expectation in expectations[chapter]
                for node in NODES
                if (seen := self._read(node, expectation.outcome)) != expectation.rows
            ]
            say(f"   ({letter}) {chapter.who}: {'WRONG' if wrong else chapter.moral}")
            for expectation in [] if wrong else expectations[chapter]:
                say(f"       in all three: {_summary(expectation.rows)}")
            for node, expectation, seen in wrong:
                say(f"       {node} shows {_summary(seen)}; expected {_summary(expectation.rows)}")
            kept = kept and not wrong
            if chapter.question is not None:
                table, key, field = chapter.question
                asked = (table, key, field) if field else (table, key)
                self._command("why", str(self._file("hq")), *asked, may_fail=True, indent="       ")
        return kept

    def verify(self) -> bool:
        """Let each file recompute its digests from its tables."""
        self._heading("Proof")
        sound = True
        for node in NODES:
            sound = self._command("verify", str(self._file(node)), may_fail=True) and sound
        return sound

    def compare(self) -> bool:
        """Print the three roots and return whether they are equal."""
        statuses = {node: self._status(node) for node in NODES}
        equal = len({status.root for status in statuses.values()}) == 1
        for node, status in statuses.items():
            held = f", {status.held:,} held (replica held {self._file(node)})" if status.held else ""
            say(f"   {node:<7} root {status.root}   {status.records:,} records{held}")
        say(f"   {'equal' if equal else 'NOT EQUAL'}")
        return equal

    def show_files(self) -> None:
        self._heading("The files are yours")
        for node in NODES:
            path = self._file(node)
            say(f"   {path}   {_size(path.stat().st_size)}")
        say("   Open them with any SQLite program, edit them, and synchronise again.")

    # --- Means --------------------------------------------------------------------------------------------

    def _file(self, node: str) -> Path:
        return self._directory / f"{node}.db"

    def _open(self, node: str) -> contextlib.closing[sqlite3.Connection]:
        connection = sqlite3.connect(self._file(node), timeout=30.0)
        connection.text_factory = _decode
        return contextlib.closing(connection)

    def _read(self, node: str, outcome: Outcome) -> Rows:
        with self._open(node) as connection:
            try:
                return connection.execute(outcome.sql, outcome.values).fetchall()
            except sqlite3.Error as error:
                raise DemoError(f"{self._file(node)} cannot be read: {error}\n    {outcome.sql}") from error

    def _heading(self, text: str) -> None:
        self._headings += 1
        say(f"\n{self._headings}. {text}")

    def _command(
        self, *arguments: str, secret: str | None = None, may_fail: bool = False, indent: str = "   "
    ) -> bool:
        """Show a command and what it printed. Return whether it succeeded."""
        say(f"{indent}$ {stage.shown(arguments, secret)}")
        output = stage.run(*arguments, secret=secret, codes=None if may_fail else (0,))
        lines = [line.replace(secret, "INVITE") if secret else line for line in output.lines[:LINES_SHOWN_MAX]]
        if len(output.lines) > LINES_SHOWN_MAX:
            lines.append(f"… {len(output.lines) - LINES_SHOWN_MAX} more lines")
        if output.code:
            lines.append(f"exit code {output.code}")
        say("\n".join(f"{indent}  {line}" for line in lines or ["done"]) + f"   ({output.seconds:.2f} s)")
        return output.code == 0

    def _serve(self, servers: Servers) -> dict[str, str]:
        urls: dict[str, str] = {}
        for node in ("hq", "branch"):
            say(f"   $ replica serve {self._file(node)} --listen 127.0.0.1:0 &")
            urls[node] = servers.start(node)
            say(f"     listening on {urls[node]}")
        return urls

    def _sync(self, node: str, url: str) -> None:
        arguments = ("sync", str(self._file(node)), url)
        say(f"   $ {stage.shown(arguments)}")
        (report,) = stage.run_json(*arguments, codes=(0, 1))
        held = f" · {report['held']:,} held" if report["held"] else ""
        say(
            f"     {report['received']:,} records in, {report['sent']:,} out{held}"
            f" · {_size(report['bytes_in'])} in, {_size(report['bytes_out'])} out"
            f" · round trips {report['round_trips']} · {report['seconds']:.2f} s · {report['outcome']}"
        )

    def _status(self, node: str) -> Status:
        report = stage.run_json("status", str(self._file(node)))
        return Status(report["root"], report["count"], sum(table["held"] for table in report["tables"]))


def say(text: str) -> None:
    print(text, flush=True)


def _row_counts(connection: sqlite3.Connection) -> list[tuple[str, int]]:
    """Tables and their rows, the largest first."""
    names = [
        str(name)
        for _, name, kind, *_ in connection.execute("PRAGMA main.table_list").fetchall()
        if kind == "table" and not name.startswith("sqlite_")
    ]
    counted = [
        (name, int(connection.execute(f"SELECT count(*) FROM {quote(name)}").fetchone()[0]))
        for name in names
    ]
    return sorted(counted, key=lambda table: (-table[1], table[0]))


def _await_next_millisecond() -> None:
    """Stamps count milliseconds. Two writers in the same one would make "later" a matter of their names."""
    now = time.time_ns() // 1_000_000
    while time.time_ns() // 1_000_000 == now:
        pass


def _decode(data: bytes) -> str:
    """Text of a stranger's database need not be UTF-8; here it is only compared and shown."""
    return data.decode("utf-8", "replace")


def _spelled(edit: Edit) -> str:
    """The statement with its values in place, for a reader; never executed."""
    if edit.gist:
        return edit.gist
    pieces = edit.sql.split("?")
    values = [f"'{value}'" if isinstance(value, str) else str(value) for value in edit.values]
    text = "".join(piece + value for piece, value in zip(pieces, [*values, ""], strict=False))
    return text if len(text) <= SQL_CHARS_MAX else text[: SQL_CHARS_MAX - 1] + "…"


def _summary(rows: Rows) -> str:
    if not rows:
        return "no such row"
    if len(rows) > 1:
        return f"the same {len(rows):,} rows"
    return ", ".join(str(value) for value in rows[0])


def _size(count: int) -> str:
    for unit, scale in (("MB", 1_000_000), ("kB", 1_000)):
        if count >= scale:
            return f"{count / scale:,.1f} {unit}"
    return f"{count} B"
