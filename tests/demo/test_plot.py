"""The promises of replica/demo/plot.py, in order."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator

import pytest

from replica.demo import crm, plot


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        yield connection


@pytest.mark.parametrize("script", [plot.CRM, None])
def test_1_choosing_changes_nothing_and_every_edit_works(
    connection: sqlite3.Connection, script: plot.Script | None
) -> None:
    crm.load(connection, 2, 200)
    before = list(connection.iterdump())
    story = plot.plan(connection, script)
    assert list(connection.iterdump()) == before
    assert len(story.chapters) == 5
    assert not story.remarks
    for chapter in story.chapters:
        for edit in chapter.edits:
            connection.execute("SAVEPOINT one")
            assert connection.execute(edit.sql, edit.values).rowcount > 0
            connection.execute("ROLLBACK TO one")
            connection.execute("RELEASE one")


def test_2_no_two_chapters_touch_one_record(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, b TEXT)")
    connection.executemany("INSERT INTO t (a, b) VALUES (?, 'x')", [(f"row {number}",) for number in range(9)])
    story = plot.plan(connection)
    singles = [{edit.values[-1] for edit in chapter.edits} for chapter in story.chapters[:3]]
    assert [len(keys) for keys in singles] == [1, 1, 1]
    assert len(set().union(*singles)) == 3
    bulk = story.chapters[3].edits[0]
    assert connection.execute(bulk.sql, bulk.values).rowcount == 6


def test_3_an_outcome_is_a_query_on_the_winners_file(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE TABLE t (id TEXT PRIMARY KEY, a TEXT, b TEXT)")
    connection.execute("CREATE TRIGGER shout AFTER UPDATE OF a ON t BEGIN UPDATE t SET a = upper(a); END")
    connection.execute("INSERT INTO t VALUES ('k', 'old', 'x')")
    chapter = plot.plan(connection).chapters[0]
    for edit in chapter.edits:
        connection.execute(edit.sql, edit.values)
    seen = [connection.execute(outcome.sql, outcome.values).fetchall() for outcome in chapter.outcomes]
    assert [outcome.node for outcome in chapter.outcomes] == ["laptop", "hq"]
    assert seen == [[("OLD (LAPTOP)",)], [("x (hq)",)]]


@pytest.mark.parametrize(
    ("schema", "chapters", "remarks"),
    [
        ("CREATE TABLE t (a INT, b INT, PRIMARY KEY (a, b)); INSERT INTO t VALUES (1, 2)", 0, 1),
        ("CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT)", 0, 1),
        ("CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT UNIQUE); INSERT INTO t VALUES (1, 'x')", 0, 1),
        ("CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT); INSERT INTO t VALUES (1, 'x')", 2, 3),
        ("CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT); INSERT INTO t VALUES (9223372036854775807, 'x')", 1, 4),
    ],
)
def test_4_what_cannot_be_told_is_left_out_with_a_remark(
    connection: sqlite3.Connection, schema: str, chapters: int, remarks: int
) -> None:
    connection.executescript(schema)
    story = plot.plan(connection)
    assert (len(story.chapters), len(story.remarks)) == (chapters, remarks)
