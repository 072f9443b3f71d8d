"""What is edited while the network is down, and what must be true of all three files afterwards.

Pure SQL: nothing here knows how replicas work. One test each:
1. Every edit was tried on the database and rolled back before it was chosen; choosing changes nothing.
2. No two chapters touch one record, so that each outcome has one cause.
3. A chapter's outcome is read from the file of the node that ought to win, never assumed: triggers and
   affinities of a stranger's schema may change what was written.
4. A database without a suitable table yields fewer chapters and a remark for each one left out.
"""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from replica.demo.subject import Subject, Value, candidates, is_text, quote, references, unique_columns

NODES = ("hq", "branch", "laptop")
BULK_ROWS_MAX = 1_000  # enough to be a bulk update, few enough for a short demonstration


class Edit(NamedTuple):
    node: str
    sql: str
    values: tuple[Value, ...]
    gist: str = ""  # shown instead of SQL that is too long to read


class Outcome(NamedTuple):
    """What `node` sees after its edit is what everybody must see in the end."""

    node: str
    sql: str
    values: tuple[Value, ...]


class Question(NamedTuple):
    """Arguments of `replica why`."""

    table: str
    key: str
    field: str | None


class Chapter(NamedTuple):
    title: str
    who: str  # the record, as a person would name it
    moral: str
    edits: tuple[Edit, ...]
    outcomes: tuple[Outcome, ...]
    question: Question | None = None


@dataclass(frozen=True)
class Texts:
    """What is written; `{old}` is the value before."""

    first: str = "{old} (laptop)"
    second: str = "{old} (hq)"
    branch: str = "{old} (branch)"
    laptop: str = "{old} (laptop, later)"
    doomed: str = "{old} (laptop, in vain)"
    new: tuple[str, str, str] = ("New at hq", "New at branch", "New at laptop")  # as in NODES


@dataclass(frozen=True)
class Script:
    """A story for a schema that is known. Without one, everything is chosen."""

    hero: str
    fields: tuple[str, ...]
    preferred: str
    texts: Texts
    bulk: str
    bulk_seen: str


class Plot(NamedTuple):
    subjects: tuple[Subject, ...]
    chapters: tuple[Chapter, ...]
    remarks: tuple[str, ...]


CRM = Script(
    hero="contacts",
    fields=("phone", "title", "name"),
    preferred="language = 'zh'",
    texts=Texts(
        first="+86 21 5555 0199",
        second="采购总监",
        branch="+86 755 5555 0100",
        laptop="+86 138 5555 0101",
        doomed="+86 10 5555 0102",
        new=("陈思源", "Zoë Brückner", "Łucja Ibáñez"),
    ),
    bulk="UPDATE deals SET stage = 'qualified' WHERE stage = 'lead'",
    bulk_seen="SELECT id, stage FROM deals ORDER BY id",
)


def plan(connection: sqlite3.Connection, script: Script | None = None) -> Plot:
    """Choose tables, rows and edits. The connection must be in autocommit mode; it is left as it was found."""
    texts = script.texts if script else Texts()
    subjects = sorted(_subjects(connection, script), key=_interest, reverse=True)
    if not subjects:
        return Plot((), (), ("no table has rows, a primary key of one column and a column of free text",))
    hero, extra = subjects[0], subjects[min(1, len(subjects) - 1)]
    rows = _Rows(connection, hero)
    told = {
        "one record, different fields": _different_fields(rows, texts),
        "one field of one record, twice": _same_field(rows, texts),
        "a delete against an edit": _delete(rows, texts),
        "a bulk update": _scripted(connection, script) if script else _bulk(rows, extra),
        "new records everywhere": _new(rows, texts),
    }
    return Plot(
        (hero,) if script or extra is hero else (hero, extra),
        tuple(chapter for chapter in told.values() if chapter),
        tuple(f"{title}: left out, no row or column allows it" for title, chapter in told.items() if not chapter),
    )


# --- Tables -----------------------------------------------------------------------------------------------


def _subjects(connection: sqlite3.Connection, script: Script | None) -> Iterator[Subject]:
    for _, table, kind, *_ in connection.execute("PRAGMA main.table_list").fetchall():
        if kind == "table" and not table.startswith("sqlite_") and (script is None or table == script.hero):
            subject = _subject(connection, table, script)
            if subject is not None:
                yield subject


def _subject(connection: sqlite3.Connection, table: str, script: Script | None) -> Subject | None:
    columns = connection.execute(f"PRAGMA table_xinfo({quote(table)})").fetchall()
    keys = [name for _, name, _, _, _, position, _ in columns if position]
    if len(keys) != 1:
        return None
    closed = {*keys, *unique_columns(connection, table), *references(connection, table)}
    names = [
        name
        for _, name, declared, _, _, _, hidden in columns
        if not hidden and name not in closed and is_text(declared)
    ]
    (rows,) = connection.execute(f"SELECT count(*) FROM {quote(table)}").fetchone()
    (sql,) = connection.execute("SELECT sql FROM sqlite_schema WHERE name = ?", (table,)).fetchone()
    assigned = ("INTEGER", True) in {(str(column[2]).upper(), column[5] > 0) for column in columns}
    subject = Subject(table, keys[0], (), rows, assigned and "AUTOINCREMENT" in str(sql).upper())
    if script is not None:
        names = [name for name in script.fields if name in names]
        subject = subject._replace(preferred=script.preferred)
    row = next(candidates(connection, subject), None)
    # Only a trial finds out about CHECKs, triggers and functions that live in another program.
    free = tuple(name for name in names if _accepts(connection, _write("hq", subject, name, "trial ✓", row)))
    return subject._replace(fields=free) if row is not None and free else None


def _interest(subject: Subject) -> tuple[bool, bool, int]:
    return len(subject.fields) > 1, subject.rows > 3, subject.rows


# --- Rows -------------------------------------------------------------------------------------------------


class _Rows:
    """Hands out each row of one table once."""

    def __init__(self, connection: sqlite3.Connection, subject: Subject) -> None:
        self.connection = connection
        self.subject = subject
        self.taken: list[Value] = []
        self.free = list(candidates(connection, subject))

    def take(
        self, write: Callable[[Value], tuple[Edit, ...]], *, unreferenced: bool = False
    ) -> tuple[Value, tuple[Edit, ...]] | None:
        """Return the first key for which each edit that `write` makes of it works, and those edits."""
        for key in self.free:
            edits = write(key)
            if all(_accepts(self.connection, edit, foreign_keys=unreferenced) for edit in edits):
                self.free.remove(key)
                self.taken.append(key)
                return key, edits
        return None

    def old(self, key: Value, name: str) -> str:
        (value,) = self.connection.execute(_reading(self.subject, name), (key,)).fetchone()
        return "" if value is None or isinstance(value, bytes) else str(value)

    def who(self, key: Value) -> str:
        label = "name" if "name" in self.subject.fields else self.subject.fields[0]
        return f"{self.subject.table} {self.old(key, label) or str(key)}"


def _accepts(connection: sqlite3.Connection, edit: Edit, *, foreign_keys: bool = False) -> bool:
    """Whether the edit changes a row. It is rolled back."""
    connection.execute(f"PRAGMA foreign_keys = {int(foreign_keys)}")
    connection.execute("BEGIN IMMEDIATE")
    try:
        return connection.execute(edit.sql, edit.values).rowcount > 0
    except (sqlite3.Error, OverflowError):  # OverflowError: the largest key is the largest integer
        return False
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        connection.execute("PRAGMA foreign_keys = 0")


# --- Chapters ---------------------------------------------------------------------------------------------


def _reading(subject: Subject, name: str) -> str:
    return f"SELECT {quote(name)} FROM {quote(subject.table)} WHERE {quote(subject.key)} = ?"


def _write(node: str, subject: Subject, name: str, text: str, key: Value) -> Edit:
    sql = f"UPDATE {quote(subject.table)} SET {quote(name)} = ? WHERE {quote(subject.key)} = ?"
    return Edit(node, sql, (text.strip(), key))


def _different_fields(rows: _Rows, texts: Texts) -> Chapter | None:
    subject = rows.subject
    if len(subject.fields) < 2:
        return None
    first, second = subject.fields[:2]
    taken = rows.take(
        lambda key: (
            _write("laptop", subject, first, texts.first.format(old=rows.old(key, first)), key),
            _write("hq", subject, second, texts.second.format(old=rows.old(key, second)), key),
        )
    )
    if taken is None:
        return None
    key, edits = taken
    return Chapter(
        "one record, different fields",
        rows.who(key),
        f"both kept: {first} from laptop, {second} from hq",
        edits,
        (Outcome("laptop", _reading(subject, first), (key,)), Outcome("hq", _reading(subject, second), (key,))),
        Question(subject.table, str(key), second),
    )


def _same_field(rows: _Rows, texts: Texts) -> Chapter | None:
    subject = rows.subject
    name = subject.fields[0]
    taken = rows.take(
        lambda key: (
            _write("branch", subject, name, texts.branch.format(old=rows.old(key, name)), key),
            _write("laptop", subject, name, texts.laptop.format(old=rows.old(key, name)), key),
        )
    )
    if taken is None:
        return None
    key, edits = taken
    return Chapter(
        "one field of one record, twice",
        rows.who(key),
        f"the later writer won: {name} from laptop",
        edits,
        (Outcome("laptop", _reading(subject, name), (key,)),),
        Question(subject.table, str(key), name),
    )


def _delete(rows: _Rows, texts: Texts) -> Chapter | None:
    subject = rows.subject
    name = subject.fields[0]
    sql = f"DELETE FROM {quote(subject.table)} WHERE {quote(subject.key)} = ?"

    def write(key: Value) -> tuple[Edit, ...]:
        text = texts.doomed.format(old=rows.old(key, name))
        return Edit("hq", sql, (key,)), _write("laptop", subject, name, text, key)

    taken = rows.take(write, unreferenced=True) or rows.take(write)
    if taken is None:
        return None
    key, edits = taken
    return Chapter(
        "a delete against an edit",
        rows.who(key),
        "deleted everywhere: an edit made meanwhile brings nothing back",
        edits,
        (Outcome("hq", _reading(subject, name), (key,)),),
        Question(subject.table, str(key), None),
    )


def _bulk(rows: _Rows, subject: Subject) -> Chapter | None:
    taken = tuple(rows.taken) if subject is rows.subject else ()
    table, key = quote(subject.table), quote(subject.key)
    spared = f"WHERE {key} NOT IN ({', '.join('?' * len(taken))}) " if taken else ""
    for name in reversed(subject.fields):
        column = quote(name)
        sql = (
            f"UPDATE {table} SET {column} = coalesce({column}, '') || ' ✓' WHERE {key} IN "
            f"(SELECT {key} FROM {table} {spared}ORDER BY {key} LIMIT {BULK_ROWS_MAX})"
        )
        edit = Edit("branch", sql, taken)
        if _accepts(rows.connection, edit):
            seen = f"SELECT {key}, {column} FROM {table} WHERE {column} LIKE '% ✓' ORDER BY {key}"
            return _bulk_chapter(subject.table, edit, seen)
    return None


def _scripted(connection: sqlite3.Connection, script: Script) -> Chapter | None:
    edit = Edit("branch", script.bulk, ())
    return _bulk_chapter("deals", edit, script.bulk_seen) if _accepts(connection, edit) else None


def _bulk_chapter(table: str, edit: Edit, seen: str) -> Chapter:
    return Chapter(
        "a bulk update", f"table {table}", "every changed row arrived", (edit,), (Outcome(edit.node, seen, ()),)
    )


def _text_key(sample: str, node: str) -> str:
    """A new key in the style of the old ones; the same in every run."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"replica:demo:{node}")) if len(sample) == 36 else f"demo-{node}"


def _new(rows: _Rows, texts: Texts) -> Chapter | None:
    """New rows are copies of an old one, made inside SQLite, with another key and another text."""
    subject, connection = rows.subject, rows.connection
    table, key = quote(subject.table), quote(subject.key)
    name = "name" if "name" in subject.fields else subject.fields[0]
    template = (rows.free or rows.taken)[0]  # a row that no other chapter deletes
    sample, top = connection.execute(f"SELECT typeof(max({key})), max({key}) FROM {table}").fetchone()
    columns = connection.execute(f"PRAGMA table_xinfo({table})").fetchall()
    closed = unique_columns(connection, subject.table)
    edits: list[Edit] = []
    for place, node in enumerate(NODES):
        made: dict[str, tuple[str, tuple[Value, ...]]] = {}  # column: expression, its values
        for _, column, _, required, _, position, hidden in columns:
            if hidden or (position and subject.assigned):
                continue
            if position:
                made[column] = "?", (top + 1 + place if sample == "integer" else _text_key(str(top), node),)
            elif column == name:
                made[column] = "?", (texts.new[place],)
            elif column in closed:
                made[column] = (f"{quote(column)} || ?", (f"-{node}",)) if required else ("NULL", ())
            else:
                made[column] = quote(column), ()
        sql = (
            f"INSERT INTO {table} ({', '.join(map(quote, made))}) "
            f"SELECT {', '.join(expression for expression, _ in made.values())} FROM {table} WHERE {key} = ?"
        )
        values = [value for _, given in made.values() for value in given]
        gist = f"INSERT INTO {table} ({quote(name)}, …) VALUES ('{texts.new[place]}', …)"
        edits.append(Edit(node, sql, (*values, template), gist))
    if not all(_accepts(connection, edit) for edit in edits):
        return None
    seen = f"SELECT {key}, {quote(name)} FROM {table} WHERE {quote(name)} = ? ORDER BY {key}"
    return Chapter(
        "new records everywhere",
        f"table {subject.table}",
        "each is now in all three files",
        tuple(edits),
        tuple(Outcome(node, seen, (text,)) for node, text in zip(NODES, texts.new, strict=True)),
    )
