"""Capture: whatever a program writes by plain SQL, the triggers name the row; and the program notices nothing of it."""

from __future__ import annotations

import itertools
import re
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing

import pytest

from protocol.hlc import unpack
from protocol.record import Record, unpack_id
from tests.store.harness import Machine, foreign, meet

Make = Callable[..., Machine]

KEYS = {
    "text key": ("k TEXT PRIMARY KEY", ""),
    "integer key": ("k INTEGER PRIMARY KEY", ""),
    "descending key": ("k INTEGER PRIMARY KEY DESC", ""),
    "composite key": ("k, j DEFAULT 'j', PRIMARY KEY(k, j)", ""),
    "without rowid": ("k TEXT COLLATE NOCASE, PRIMARY KEY(k)", " WITHOUT ROWID"),
}
UNIQUES = {
    "plain": ("u UNIQUE, w, n", ""),
    "composite": ("u TEXT, w, n, UNIQUE(u, w)", ""),
    "nocase column": ("u TEXT COLLATE NOCASE UNIQUE, w, n", ""),
    "nocase index": ("u TEXT, w, n", "CREATE UNIQUE INDEX i ON t(w, u COLLATE NOCASE);"),
    "not null with default": ("u TEXT NOT NULL DEFAULT 'x' UNIQUE, w, n", ""),
    "partial": ("u, w, n", "CREATE UNIQUE INDEX i ON t(u) WHERE n = 1;"),
    "expression": ("u, w, n", "CREATE UNIQUE INDEX i ON t(lower(u));"),
    "expression beside a column": ("u, w, n", "CREATE UNIQUE INDEX i ON t(w, lower(u));"),
    "partial expression": ("u, w, n", "CREATE UNIQUE INDEX i ON t(upper(u)) WHERE n > 0;"),
    "generated column": ("u, w, n, g AS (lower(u)) STORED UNIQUE", ""),
    "two indexes": ("u UNIQUE, w, n", "CREATE UNIQUE INDEX i ON t(lower(u) || 'x');"),
}


def table(name: str, key: str, unique: str) -> str:
    """A table with such a key and such a unique index."""
    (column, end), (columns, index) = KEYS[key], UNIQUES[unique]
    first, *constraint = column.split(", PRIMARY")
    last = "".join(f", PRIMARY{c}" for c in constraint)
    return f"CREATE TABLE {name}({first}, {columns}{last}){end}; {index.replace(' i ON t', f' {name}_i ON {name}')}"


def caught(machine: Machine) -> bytes:
    """The root, once everything is absorbed. Fails if the triggers missed anything, in any table."""
    root, _ = machine.store.root()
    machine.store.rescan()
    assert machine.store.root()[0] == root, "the triggers missed something"
    assert machine.store.verify() == []
    return root


def alive(machine: Machine, collection: str = "t") -> dict[tuple[object, ...], bool]:
    """Key -> whether its record lives."""
    return {unpack_id(r.id)[0]: r.live for r in machine.records(collection)}


def write_stamps(record: Record) -> dict[str, bytes]:
    """Field -> its stamp."""
    return {name: stamp for name, (stamp, _) in record.registers.items()}


# --- keys and values --------------------------------------------------------------------------------------------------

MOVES = {
    "SET rowid": ("k INTEGER PRIMARY KEY, v", "1", "UPDATE t SET rowid = 7"),
    "SET _rowid_": ("k INTEGER PRIMARY KEY, v", "1", "UPDATE t SET _rowid_ = 7"),
    "SET oid": ("k INTEGER PRIMARY KEY AUTOINCREMENT, v", "1", "UPDATE t SET oid = 7"),
    "SET key": ("k INTEGER PRIMARY KEY, v", "1", "UPDATE t SET k = k + 6"),
    "text": ("k TEXT PRIMARY KEY, v", "1", "UPDATE t SET k = '7'"),
    "one part": ("k, v, j DEFAULT 1, PRIMARY KEY(j, k)", "1", "UPDATE t SET j = 2"),
    "swapped parts": ("k, v, j DEFAULT 2, PRIMARY KEY(j, k)", "1", "UPDATE t SET j = k, k = j"),
    "case": ("k TEXT COLLATE NOCASE PRIMARY KEY, v", "'ann'", "UPDATE t SET k = 'ANN'"),
    "trailing space": ("k TEXT COLLATE RTRIM PRIMARY KEY, v", "'ann'", "UPDATE t SET k = 'ann '"),
    "number to text": ("k PRIMARY KEY, v", "1", "UPDATE t SET k = '1'"),
    "text to blob": ("k PRIMARY KEY, v", "'a'", "UPDATE t SET k = x'61'"),
    "upsert": ("k PRIMARY KEY, v", "1", "INSERT INTO t(k) VALUES (1) ON CONFLICT(k) DO UPDATE SET k = 7"),
    "replacing": ("k PRIMARY KEY, v", "1), (7", "UPDATE OR REPLACE t SET k = 7 WHERE k = 1"),
}


@pytest.mark.parametrize("move", MOVES)
def test_a_changed_key_is_a_delete_and_an_insert(machine: Make, move: str) -> None:
    columns, key, update = MOVES[move]
    a = machine("a", f"CREATE TABLE t({columns});")
    a.sql(f"INSERT INTO t(k) VALUES ({key})")
    old = caught(a)
    a.sql(update)
    assert caught(a) != old
    assert sorted(alive(a).values()) in ([False, True], [False, False, True])
    b = machine("b")
    meet(a, b)
    assert b.dump("t") == a.dump("t")


def test_a_key_that_goes_from_1_to_1_0_stays_the_same_record_and_to_text_becomes_another(machine: Make) -> None:
    a = machine("a", "CREATE TABLE t(k PRIMARY KEY, v);")
    a.sql("INSERT INTO t VALUES (1, 'v')")
    one = caught(a)
    a.sql("UPDATE t SET k = 1.0")
    assert caught(a) == one
    a.sql("UPDATE t SET k = '1'")
    assert caught(a) != one
    assert alive(a) == {(1,): False, ("1",): True}


@pytest.mark.parametrize("values", [["1", "1.0", "'1'", "x'31'"], ["'x'", "'X'", "NULL"], ["'a'", "'a' || char(0)"]])
def test_a_value_that_only_type_or_case_tells_apart_is_a_change(machine: Make, values: list[str]) -> None:
    a = machine("a", "CREATE TABLE t(k TEXT PRIMARY KEY, v COLLATE NOCASE);")
    a.sql("INSERT INTO t VALUES ('k', 0)")
    roots = {caught(a)}
    for value in values:
        a.sql(f"UPDATE t SET v = {value}")
        roots.add(caught(a))
    assert len(roots) == 1 + len(values)


# --- who writes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("recursive", [0, 1])
def test_what_foreign_keys_do_is_captured(machine: Make, recursive: int) -> None:
    a = machine("a", """
        CREATE TABLE p(k TEXT PRIMARY KEY);
        CREATE TABLE c(k INTEGER PRIMARY KEY, p REFERENCES p ON DELETE CASCADE ON UPDATE CASCADE);
        CREATE TABLE n(k TEXT PRIMARY KEY, p REFERENCES p ON DELETE SET NULL ON UPDATE SET DEFAULT);
        CREATE TABLE s(k INTEGER PRIMARY KEY, up REFERENCES s ON DELETE CASCADE);
        INSERT INTO p VALUES ('a'), ('b'), ('c'); INSERT INTO c VALUES (1, 'a'), (2, 'b'); INSERT INTO n VALUES (1, 'a');
        INSERT INTO s VALUES (1, NULL), (2, 1), (3, 2), (4, 3);""")  # fmt: skip
    a.sql("PRAGMA foreign_keys = ON", f"PRAGMA recursive_triggers = {recursive}")
    caught(a)
    a.sql("UPDATE p SET k = 'z' WHERE k = 'b'", "DELETE FROM p WHERE k = 'a'", "DELETE FROM s WHERE k = 1")
    caught(a)
    assert a.rows("SELECT * FROM c") == [(2, "z")]
    assert alive(a, "c") == {(1,): False, (2,): True}
    assert not any(alive(a, "s").values())
    a.sql("INSERT OR REPLACE INTO p VALUES ('z')")
    caught(a)


def test_a_write_through_a_view_is_captured(machine: Make) -> None:
    a = machine("a", """
        CREATE TABLE t(k TEXT PRIMARY KEY, v); CREATE VIEW w AS SELECT k, v FROM t;
        CREATE TRIGGER i INSTEAD OF INSERT ON w BEGIN INSERT INTO t VALUES (NEW.k, NEW.v); END;
        CREATE TRIGGER u INSTEAD OF UPDATE ON w BEGIN UPDATE t SET v = NEW.v, k = NEW.k || OLD.k WHERE k = OLD.k; END;
        CREATE TRIGGER d INSTEAD OF DELETE ON w BEGIN DELETE FROM t WHERE k = OLD.k; END;""")  # fmt: skip
    for statement in ("INSERT INTO w VALUES ('a', 1), ('b', 2)", "UPDATE w SET v = 3, k = 'c'", "DELETE FROM w"):
        before = a.store.root()[0]
        a.sql(statement)
        assert caught(a) != before
    assert not any(alive(a).values())


@pytest.mark.parametrize("recursive", [0, 1])
def test_what_the_users_triggers_write_is_captured(machine: Make, recursive: int) -> None:
    a = machine("a", """
        CREATE TABLE t(k TEXT PRIMARY KEY, v, u UNIQUE); CREATE TABLE log(k INTEGER PRIMARY KEY, line);
        CREATE TRIGGER l AFTER UPDATE ON t BEGIN INSERT INTO log(line) VALUES (NEW.k); END;
        CREATE TRIGGER m AFTER INSERT ON t WHEN NEW.v IS NULL BEGIN UPDATE t SET v = 'made' WHERE k = NEW.k; END;
        CREATE TRIGGER n BEFORE DELETE ON t BEGIN DELETE FROM log WHERE line = OLD.k; END;""")  # fmt: skip
    a.sql(f"PRAGMA recursive_triggers = {recursive}", "INSERT INTO t(k, u) VALUES ('a', 1), ('b', 2)")
    caught(a)
    a.sql("UPDATE t SET v = 5", "INSERT OR REPLACE INTO t VALUES ('c', NULL, 2)", "DELETE FROM t WHERE k = 'a'")
    caught(a)
    assert a.rows("SELECT k, v FROM t") == [("c", "made")]


def test_with_recursive_triggers_a_victim_is_noted_twice_and_deleted_once(machine: Make) -> None:
    a = machine("a", "CREATE TABLE t(k TEXT PRIMARY KEY, u UNIQUE);")
    a.sql("PRAGMA recursive_triggers = ON", "INSERT INTO t VALUES ('a', 1)")
    caught(a)
    a.sql("INSERT OR REPLACE INTO t VALUES ('b', 1)")
    assert a.value("SELECT count(*) FROM _replica_outbox WHERE k0 = 'a'") == 2
    caught(a)
    assert alive(a) == {("a",): False, ("b",): True}


def test_a_program_that_has_the_file_attached_is_captured(machine: Make) -> None:
    a = machine("a", "CREATE TABLE t(k TEXT PRIMARY KEY, v, u UNIQUE);")
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        db.execute("CREATE TABLE t(k, v)")
        db.execute("INSERT INTO main.t VALUES ('a', 1)")
        db.execute("ATTACH ? AS theirs", (str(a.path),))
        db.execute("INSERT INTO theirs.t SELECT k, v, 1 FROM main.t")
        caught(a)
        db.execute("INSERT OR REPLACE INTO theirs.t VALUES ('b', 2, 1)")
    caught(a)
    assert alive(a) == {("a",): False, ("b",): True}


BULK = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9000) INSERT INTO t SELECT i, i % 7 FROM n"


def test_statements_over_many_rows_are_captured(machine: Make) -> None:
    a = machine("a", "CREATE TABLE t(k INT PRIMARY KEY, v);")
    for statement, live in ((BULK, 9000), ("UPDATE t SET v = v + 1", 9000), ("DELETE FROM t WHERE v = 3", 7714)):
        a.sql(statement)
        caught(a)
        assert a.store.status()["tables"][0]["live"] == live
    a.sql("DELETE FROM t")
    caught(a)
    assert a.store.status()["tables"][0]["live"] == 0


# --- what did not happen ----------------------------------------------------------------------------------------------

UNDONE: dict[str, Sequence[str]] = {
    "ROLLBACK": ["BEGIN", "INSERT INTO t VALUES ('z', 9)", "DELETE FROM t WHERE k = 'a'", "ROLLBACK"],
    "ROLLBACK TO": ["BEGIN", "SAVEPOINT s", "UPDATE t SET u = u + 10", "ROLLBACK TO s", "COMMIT"],
    "part of a transaction": [
        "BEGIN", "UPDATE t SET u = 5 WHERE k = 'a'", "SAVEPOINT s", "DELETE FROM t", "ROLLBACK TO s", "COMMIT",
    ],
    "OR ABORT": ["INSERT OR ABORT INTO t VALUES ('z', 9), ('y', 1)"],
    "OR ROLLBACK": ["BEGIN", "UPDATE t SET u = 7 WHERE k = 'a'", "INSERT OR ROLLBACK INTO t VALUES ('z', 9), ('y', 2)"],
    "OR FAIL": ["INSERT OR FAIL INTO t VALUES ('z', 9), ('y', 1), ('x', 8)"],
    "OR IGNORE": ["INSERT OR IGNORE INTO t VALUES ('z', 1), ('y', 9)"],
    "UPDATE OR FAIL": ["UPDATE OR FAIL t SET u = 5"],
    "UPDATE OR IGNORE": ["UPDATE OR IGNORE t SET u = 5"],
    "upsert": ["INSERT INTO t VALUES ('a', 5), ('q', 6) ON CONFLICT DO UPDATE SET u = excluded.u"],
    "upsert that does nothing": ["INSERT INTO t VALUES ('q', 1) ON CONFLICT DO NOTHING"],
}  # fmt: skip


@pytest.mark.parametrize("way", UNDONE)
def test_of_a_statement_that_fails_or_is_undone_only_what_the_table_shows_is_captured(machine: Make, way: str) -> None:
    a = machine("a", "CREATE TABLE t(k TEXT PRIMARY KEY, u UNIQUE);")
    a.sql("INSERT INTO t VALUES ('a', 1), ('b', 2)")
    root, rows = caught(a), a.dump("t")
    for statement in UNDONE[way]:
        try:
            a.sql(statement)
        except sqlite3.IntegrityError:
            assert way.rsplit(maxsplit=1)[-1] in {"ABORT", "ROLLBACK", "FAIL"}
    assert (caught(a) == root) == (a.dump("t") == rows)
    assert {k for (k,), live in alive(a).items() if live} == {k for (k,) in a.rows("SELECT k FROM t")}
    if way in {"ROLLBACK", "ROLLBACK TO", "OR ABORT", "OR ROLLBACK"}:
        assert a.dump("t") == rows


@pytest.mark.parametrize("same", [["UPDATE t SET v = v"], ["UPDATE t SET v = 9", "UPDATE t SET v = 1"],
                                  ["DELETE FROM t", "INSERT INTO t VALUES ('a', 1)"],
                                  ["INSERT INTO t VALUES ('z', 1)", "DELETE FROM t WHERE k = 'z'"]])  # fmt: skip
def test_an_entry_without_a_difference_is_nothing(machine: Make, same: list[str]) -> None:
    a = machine("a", "CREATE TABLE t(k TEXT PRIMARY KEY, v);")
    a.sql("INSERT INTO t VALUES ('a', 1)")
    before = a.store.root()
    a.sql(*same)
    assert a.value("SELECT count(*) FROM _replica_outbox") > 0
    assert a.store.root() == before
    assert a.value("SELECT count(*) FROM _replica_outbox") == 0


# --- what the program sees --------------------------------------------------------------------------------------------

SEEN = [
    "INSERT INTO t(k, u) VALUES (1, 1), (2, 2) RETURNING k, v", "INSERT INTO t(u) VALUES (7) RETURNING *",
    "INSERT OR IGNORE INTO t VALUES (1, 1, 1)", "INSERT OR REPLACE INTO t VALUES (9, 2, 'r') RETURNING k",
    "UPDATE t SET v = k || 'x' RETURNING v", "UPDATE OR REPLACE t SET u = 1 WHERE k = 9", "DELETE FROM t WHERE k > 100",
    "INSERT INTO t VALUES (9, 5, 'u') ON CONFLICT(k) DO UPDATE SET v = excluded.v RETURNING *", "DELETE FROM t RETURNING k",
    "INSERT INTO t(u) VALUES (3)", "DELETE FROM t",
]  # fmt: skip


def test_the_program_sees_the_same_counts_numbers_and_rows_as_without_the_engine(machine: Make) -> None:
    schema = "CREATE TABLE t(k INTEGER PRIMARY KEY, u UNIQUE, v DEFAULT 'd');"
    a, seen = machine("a", schema), []
    with closing(foreign(a.path.with_name("plain.db"))) as plain:
        plain.executescript(schema)
        for db in (a.db, plain):
            for sql in SEEN:
                cursor = db.execute(sql)
                rows = cursor.fetchall()
                seen.append((sql, rows, cursor.rowcount, cursor.lastrowid,
                             *db.execute("SELECT changes(), last_insert_rowid()").fetchone()))  # fmt: skip
            seen.append(("executemany", db.executemany("INSERT INTO t(u) VALUES (?)", [(50,), (51,)]).rowcount))
    half = len(seen) // 2
    assert seen[:half] == seen[half:]
    caught(a)


# --- the triggers themselves ------------------------------------------------------------------------------------------

WORDS = {
    "CREATE", "TRIGGER", "AFTER", "BEFORE", "INSERT", "UPDATE", "DELETE", "ON", "WHEN", "NOT", "EXISTS", "SELECT", "FROM",
    "BEGIN", "INTO", "VALUES", "END", "WHERE", "AS", "AND", "OR", "IS", "COLLATE", "BINARY", "NOCASE", "TYPEOF", "CAST",
    "ROUND", "JULIANDAY", "INTEGER", "COALESCE", "NEW", "OLD", "X", "TBL", "OP", "AT", "K0", "K1", "_REPLICA_MUTE",
    "_REPLICA_OUTBOX",
}  # fmt: skip
"""Every bare word of our triggers. All mean to SQLite 3.7.17 what they mean today."""


def test_the_triggers_hold_no_word_that_sqlite_3_7_17_does_not_know(machine: Make) -> None:
    made = (table(f"t{n}", k, u) for n, (k, u) in enumerate(itertools.product(KEYS, UNIQUES)))
    a = machine("a", "".join(made))
    triggers = [sql for (sql,) in a.rows("SELECT sql FROM sqlite_master WHERE type = 'trigger'")]
    assert len(triggers) > 4 * len(KEYS) * len(UNIQUES)
    for sql in triggers:
        bare = re.sub(r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|\b\d+(?:\.\d+)?\b""", " ", sql)
        assert set(re.findall(r"[A-Z_]\w*", bare.upper())) <= WORDS
        assert not re.search(r"[^\s\w.,;()=<>*+-]|->|\)\s*(=|IN\b)|==", bare), "an operator, or a row value"
        assert not re.search(r"UPDATE\s+OF|INSERT\s+OR|\bON\s+CONFLICT", sql)


def test_the_outbox_has_no_type_and_no_constraint(machine: Make) -> None:
    a = machine("a", "CREATE TABLE t(j, k, l, v, PRIMARY KEY(j, k, l));")
    info = a.rows("SELECT name, type, \"notnull\", dflt_value, pk FROM pragma_table_info('_replica_outbox')")
    assert [i for i in info if i != (i[0], "", 0, None, 0)] == [("seq", "INTEGER", 0, None, 1)]
    assert a.rows("SELECT name FROM pragma_index_list('_replica_outbox')") == []
    assert {"k0", "k1", "k2"} <= {i[0] for i in info}


# --- stamps -----------------------------------------------------------------------------------------------------------


def test_only_the_fields_that_changed_get_a_new_stamp_and_all_of_one_event_the_same(machine: Make) -> None:
    a = machine("a", "CREATE TABLE t(k TEXT PRIMARY KEY, x, y, z);")
    a.sql("INSERT INTO t VALUES ('a', 1, 1, 1), ('b', 1, 1, 1)")
    before = write_stamps(a.record("t", "a"))
    assert len(set(before.values())) == 1
    assert a.record("t", "a").born != a.record("t", "b").born
    a.sql("UPDATE t SET x = 2, y = 1, z = 3 WHERE k = 'a'")
    after = write_stamps(a.record("t", "a"))
    assert after["y"] == before["y"]
    assert after["x"] == after["z"] > before["x"]
    assert a.record("t", "a").born == before["x"]


def test_writes_are_stamped_in_the_order_in_which_they_were_made(machine: Make) -> None:
    a = machine("a", "CREATE TABLE t(k TEXT PRIMARY KEY, v); CREATE TABLE s(k TEXT PRIMARY KEY);")
    a.sql(*(f"INSERT INTO t VALUES ('{k}', 0)" for k in "dacb"), "UPDATE t SET v = 1 WHERE k = 'a'")
    stamps = {unpack_id(r.id)[0][0]: max(r.stamps()) for r in a.records("t")}
    assert sorted(stamps, key=lambda k: stamps[k]) == ["d", "c", "b", "a"]


def test_a_clock_that_jumps_ahead_and_back_neither_carries_stamps_ahead_nor_turns_their_order(machine: Make) -> None:
    a = machine("a", "CREATE TABLE t(k TEXT PRIMARY KEY);")
    now, hour = a.clock(), 3_600_000
    walls = {"early": now - 5_000, "ahead": now + hour, "back": now - hour, "odd": "'noon'", "none": "NULL"}
    for key, at in walls.items():
        a.sql(f"INSERT INTO t VALUES ('{key}')", f"UPDATE _replica_outbox SET at = {at} WHERE k0 = '{key}'")
    stamps = {unpack_id(r.id)[0][0]: r.born for r in a.records("t")}
    assert sorted(stamps, key=lambda k: stamps[k]) == list(walls)
    assert unpack(stamps["early"]).millis == now - 5_000
    assert {unpack(stamps[k]).millis for k in ("ahead", "back", "odd", "none")} == {now}
