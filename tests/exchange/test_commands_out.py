"""The commands export, profile and compare, as a user runs them."""

from __future__ import annotations

import argparse
import csv
import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from protocol.errors import ReplicaError
from protocol.hlc import pack
from replica.errors import UsageError
from replica.exchange import commands_export, commands_quality
from replica.exchange.exporting.snapshot import stream
from replica.exchange.importing import runs
from replica.exchange.importing.run import Options, Source, run_import
from replica.exchange.maps.mapping import plain
from replica.store.store import Store, initialize
from tests.store.harness import Machine, all_meet

Make = Callable[..., Machine]
CHICAGO = Path(__file__).parents[2].parent / "shared" / "data" / "chicago_sites.csv"
PEOPLE = "CREATE TABLE people(id TEXT PRIMARY KEY, name TEXT, age INTEGER)"


@pytest.fixture
def people(machine: Make) -> Machine:
    """A machine with two people."""
    made = machine("a", PEOPLE)
    made.sql("INSERT INTO people VALUES ('2', '李,\"雷\"', 30), ('1', 'Ada', NULL)")
    return made


def parsed(add: Callable[[argparse.ArgumentParser], None], *arguments: object) -> argparse.Namespace:
    """Arguments as the command line reads them."""
    parser = argparse.ArgumentParser()
    if add is not commands_quality.add_compare_arguments:
        parser.add_argument("file")
        parser.add_argument("--json", action="store_true")
    add(parser)
    return parser.parse_args([str(a) for a in arguments])


def export(*arguments: object) -> int:
    """`replica export`."""
    return commands_export.run(parsed(commands_export.add_arguments, *arguments))


def compare(*arguments: object) -> int:
    """`replica compare`."""
    return commands_quality.run_compare(parsed(commands_quality.add_compare_arguments, *arguments))


def profile(*arguments: object) -> int:
    """`replica profile`."""
    return commands_quality.run_profile(parsed(commands_quality.add_profile_arguments, *arguments))


# --- export -----------------------------------------------------------------------------------------------------------


def test_a_collection_becomes_a_file(people: Machine, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.csv"
    assert export(people.path, "people", out) == 0
    assert out.read_text(encoding="utf-8") == 'id,name,age\n1,Ada,\n2,"李,""雷""",30\n'
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "2 rows, 38 B as csv" in shown.err
    assert "1 values are NULL" in shown.err


def test_json_is_one_document(people: Machine, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.jsonl"
    assert export(people.path, "SELECT name FROM people", out, "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["rows"], said["deletes"], said["format"], said["fields"]) == (2, 0, "jsonl", ["name"])
    assert said["bytes"] == out.stat().st_size
    assert [json.loads(line)["name"] for line in out.read_text(encoding="utf-8").splitlines()] == ["Ada", '李,"雷"']


def test_deletes_are_counted(people: Machine, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    people.store.absorb()
    people.clock.ms += 400 * 86_400_000
    people.store.execute("DELETE FROM people WHERE id = '1'")
    out = tmp_path / "since.csv"
    assert export(people.path, "people", out, "--since", "2024-12-01", "--json") == 0
    assert json.loads(capsys.readouterr().out)["deletes"] == 1
    assert out.read_text() == "id,name,age,replica:deleted\n1,,,1\n"


def test_an_error_or_an_interrupt_leaves_the_old_file(
    people: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out.csv"
    out.write_text("old")
    for what in ("nothing", "SELECT nope FROM people", "SELECT 1; SELECT 2"):
        with pytest.raises(ReplicaError):
            export(people.path, what, out)

    def interrupted(*_: Any) -> Any:
        yield from stream(*_)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("replica.exchange.exporting.export.stream", interrupted)
    with pytest.raises(KeyboardInterrupt):
        export(people.path, "people", out)
    assert out.read_text() == "old"
    assert [p.name for p in tmp_path.glob("*out*")] == ["out.csv"]


def test_two_nodes_write_the_same_bytes(machine: Make, people: Machine, tmp_path: Path) -> None:
    other = machine("b", "CREATE TABLE People(AGE INTEGER, Name TEXT, ID TEXT PRIMARY KEY)")
    other.sql("INSERT INTO people(id, name) VALUES ('3', 'Cy')")
    all_meet([people, other])
    for name in ("csv", "jsonl", "json", "xml"):
        made = [tmp_path / f"{m.path.stem}.{name}" for m in (people, other)]
        assert [export(m.path, "people", out) for m, out in zip((people, other), made, strict=True)] == [0, 0]
        assert made[0].read_bytes() == made[1].read_bytes()
        assert b"Cy" in made[0].read_bytes()


def test_wrong_usage_is_told(people: Machine, tmp_path: Path) -> None:
    out = tmp_path / "x.csv"
    for arguments in (
        ("people", "-", "--json"),
        ("SELECT 1", out, "--since", "2020-01-01"),
        ("SELECT 1", out, "--with-ids"),
        ("people", out, "--since", "yesterday"),
    ):
        with pytest.raises(UsageError):
            export(people.path, *arguments)
    assert not out.exists()


def test_a_run_is_a_moment_too(people: Machine, tmp_path: Path) -> None:
    people.store.absorb()
    stamp = pack(people.clock.ms, 0, bytes(8)).hex()
    with people.store.transaction() as core:
        node = core.clock.node.hex()
        runs.write(core, runs.Run("run-1", node, "crm", ["x.csv"], "", "", [], stamp, "2023"))
    people.clock.ms += 10
    people.store.execute("UPDATE people SET age = 5 WHERE id = '1'")
    out = tmp_path / "x.csv"
    assert export(people.path, "people", out, "--since", "run-1") == 0
    assert out.read_text(encoding="utf-8") == "id,name,age,replica:deleted\n1,Ada,5,0\n"


# --- compare and profile ----------------------------------------------------------------------------------------------


def test_an_export_equals_its_collection(people: Machine, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.csv"
    export(people.path, "people", out)
    assert compare(people.path, out, "--collection", "people", "--key", "id") == 0
    assert compare(out, f"{people.path}:people", "--key", "id", "--json") == 0
    people.sql("UPDATE people SET name = 'Eve' WHERE id = '1'", "INSERT INTO people VALUES ('3', 'Cy', 1)")
    capsys.readouterr()
    assert compare(out, f"{people.path}:people", "--key", "id", "--json") == 1
    said = json.loads(capsys.readouterr().out)
    assert (said["equal"], said["common"], said["missing"], said["differing"]) == (False, 2, 1, 1)
    assert said["missing_keys"] == [["3"]]
    assert said["differences"] == [{"key": ["1"], "field": "name", "a": "Ada", "b": "Eve"}]
    assert compare(out, f"{people.path}:people", "--key", "id") == 1
    shown = capsys.readouterr().out
    assert "missing in A: 3" in shown
    assert "Eve" in shown
    assert compare(out, f"{people.path}:people", "--key", "id", "--fields", "age") == 1


ODD = """
INSERT INTO odd VALUES
('a', 'x,y' || char(10) || '"q"', 5, 1.5, x'00ff', NULL), ('b', '=1+1', NULL, 1e300, NULL, '007'),
('c', '', -1, NULL, x'', 7),
('d', '李 雷' || char(13, 10) || 'z', 4611686018427387904, 0.1, NULL, 2.5), ('e', ' lead ', 0, -0.0, x'616263', '1.0'),
('f', 'tab' || char(9, 39) || 'apos', 1, 3.0, NULL, char(39) || '=x'), ('g', NULL, NULL, NULL, NULL, NULL),
('h', '-5', 9, 1e999, NULL, '+8613800'), ('i', '＝1', 0, 5e-324, x'27', char(39))
"""


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("csv", ()), ("tsv", ()), ("json", ()), ("jsonl", ()), ("xml", ()), ("xlsx", ()), ("parquet", ()),
        ("csv", ("--for-excel",)), ("csv", ("--encoding", "utf-16")), ("csv", ("--encoding", "gb18030")),
        ("csv", ("--delimiter", ";")), ("csv.gz", ()), ("jsonl.zst", ()),
    ],
)  # fmt: skip
def test_an_export_of_any_format_equals_its_collection(
    machine: Make, tmp_path: Path, name: str, more: tuple[str, ...]
) -> None:
    a = machine("a", "CREATE TABLE odd(id TEXT PRIMARY KEY, txt TEXT, n INTEGER, r REAL, b BLOB, what)")
    a.sql(ODD)
    made = [tmp_path / f"{n}.{name}" for n in "xy"]
    for out in made:
        assert export(a.path, "odd", out, *more) == 0
    assert made[0].read_bytes() == made[1].read_bytes()
    assert compare(f"{a.path}:odd", made[0], "--key", "id") == 0


def test_a_profile_with_a_reference(people: Machine, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, page = tmp_path / "out.csv", tmp_path / "page.html"
    export(people.path, "people", out)
    capsys.readouterr()
    people.sql("UPDATE people SET age = 1e999 WHERE id = '1'", "UPDATE people SET name = x'00ff' WHERE id = '2'")
    assert profile(people.path, "people", "--reference", out, "--html", page, "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["records"], said["key"], said["reference"]["differing"]) == (2, ["id"], 2)
    assert said["fields"][1]["kinds"] == {"text": 1, "bytes": 1}
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert profile(people.path, "people", "--reference", out) == 0
    assert profile(out) == 0
    assert "e-mail" not in capsys.readouterr().out
    with pytest.raises(UsageError):
        profile(people.path)


def test_a_page_is_written_whole_or_not_at_all(people: Machine, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("old")
    with pytest.raises(ReplicaError):
        profile(people.path, "nothing", "--html", page)
    with pytest.raises(ReplicaError):
        compare(f"{people.path}:people", f"{people.path}:people", "--key", "nope", "--html", page)
    assert page.read_text() == "old"
    assert compare(f"{people.path}:people", f"{people.path}:people", "--key", "id", "--html", page) == 0
    assert "Equal." in page.read_text(encoding="utf-8")


@pytest.mark.skipif(not CHICAGO.exists(), reason="the shared data is not here")
def test_what_was_imported_comes_out_as_it_went_in(tmp_path: Path) -> None:
    path, out = tmp_path / "a.db", tmp_path / "out.csv"
    initialize(path, "a")
    with Store(path) as store:
        run_import(store, [Source(str(CHICAGO), plain("sites", ["Id"]))], Options())
    assert export(path, "sites", out, "--with-ids") == 0
    assert export(path, "sites", out) == 0
    with CHICAGO.open(encoding="utf-8-sig", newline="") as before, out.open(encoding="utf-8", newline="") as after:
        rows, exported = list(csv.reader(before)), list(csv.reader(after))
    assert exported[0] == rows[0]
    assert sorted(exported) == sorted(rows)
    assert compare(CHICAGO, f"{path}:sites", "--key", "Id") == 0
