"""Tables that may be altered."""

from __future__ import annotations

import sqlite3
from contextlib import closing

from sim.alter import DEFAULTS, adding, alterable
from sim.chance import stream
from sim.scenario import Place, Scenario

SCHEMA = """
CREATE TABLE t(id TEXT PRIMARY KEY, a, "b c" UNIQUE); CREATE INDEX i ON t(a);
CREATE TABLE loose(a);
INSERT INTO t VALUES ('1', 2, 3);
"""


def world(schema: str) -> Scenario:
    return Scenario(1, (Place("n0"),), schema=schema)


def test_a_rebuild_keeps_everything() -> None:
    (table,) = alterable(world(SCHEMA))
    assert table[:3] == ("t", ["id", "a", "b c"], [("id", False)])
    with closing(sqlite3.connect(":memory:")) as db:
        db.executescript(SCHEMA)
        kept = "SELECT name, tbl_name FROM sqlite_master ORDER BY 1"
        before = db.execute(kept).fetchall()
        for sql in table.rebuild:
            db.execute(sql)
        assert db.execute(kept).fetchall() == before
        assert db.execute("SELECT * FROM t").fetchall() == [("1", 2, 3)]


def test_what_stands_in_the_way_of_a_rebuild() -> None:
    (table,) = alterable(world(SCHEMA + "CREATE VIEW v AS SELECT a FROM t;"))
    assert table.rebuild == []


def test_two_nodes_add_one_column_with_other_defaults() -> None:
    shown = set()
    for seed in range(40):
        with closing(sqlite3.connect(":memory:")) as db:
            db.executescript(SCHEMA)
            db.execute(adding("t", "more", "n1", stream(seed, "default")))
            shown.update(db.execute("SELECT more FROM t").fetchall())
    assert shown == {(None,), ("usual",), ("n1's",), ("",)}
    assert len(set(DEFAULTS)) == len(shown)
