"""Words of a command line: what they mean, and that they can be typed again."""

from __future__ import annotations

import argparse
import shlex
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from replica.errors import UsageError
from sim.options import DAYS_MAX, NODES_MAX, add_world, given, scenario_of, untried
from sim.scenario import Place, Scenario


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_world(parser)
    return parser.parse_args(words)


@pytest.mark.parametrize("words", [
    ("--days", "1e9"), ("--days", "99999"), ("--nodes", "0"), ("--nodes", "1001"), ("--minutes", "nan"),
    ("--bug", "no-tie-brake"), ("--writes", "8-"), ("--writes", "9-8"), ("--writes", "0-10001"), ("--every", "0-9"),
    ("--every", "1-86401"),
    ("--every", "1.5-3"),
])  # fmt: skip
def test_what_makes_no_sense_is_refused(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parsed(*words)
    said = capsys.readouterr().err.splitlines()[-1]
    assert f"argument {words[0]}: " in said
    assert len(said) < 160


def test_the_most_is_not_too_many() -> None:
    most = parsed("--nodes", str(NODES_MAX), "--days", str(DAYS_MAX))
    assert (most.nodes, most.days) == (NODES_MAX, DAYS_MAX)
    assert (parsed("--writes", "7").writes, parsed("--writes", "3-7").writes) == ((7, 7), (3, 7))


@pytest.mark.parametrize("faults", ["", ",", "partition:1000000"])
def test_faults_that_make_no_sense_are_refused(faults: str) -> None:
    with pytest.raises(UsageError, match="faults"):
        scenario_of(parsed("--faults", faults), "1")


@pytest.mark.parametrize("words", [("--writes", "1-2"), ("--every", "30-60"), ("--minutes", "9")])
def test_an_office_has_its_own_hours(words: tuple[str, str]) -> None:
    with pytest.raises(UsageError, match=words[0]):
        scenario_of(parsed("--work", "office", *words), "1")


def test_the_words_that_name_a_world_again_are_words_for_a_shell(tmp_path: Path) -> None:
    own = tmp_path / "my 'own $db.db"
    with closing(sqlite3.connect(own)) as db:
        db.execute("CREATE TABLE t(id TEXT PRIMARY KEY, v)")
    words = ["--nodes", "2", "--writes", "0-3", "--every", "20-30", "--faults", "none", "--db", str(own)]
    scenario, again, _ = scenario_of(parsed(*words), "7")
    assert shlex.split(again) == ["7", *words]
    assert all(20 <= place.every_s <= 30 for place in scenario.places)
    file = tmp_path / "a b.toml"
    file.write_text(scenario.to_toml(), encoding="utf-8")
    assert shlex.split(scenario_of(parsed(), str(file))[1]) == [str(file)]
    assert given(parsed()) == ""


def test_a_world_in_which_nothing_would_be_tried_is_refused(tmp_path: Path) -> None:
    place = Place("a")
    some = Scenario(0, (place,), schema="CREATE TABLE good(id TEXT PRIMARY KEY); CREATE TABLE c(id, v);")
    assert ["table 'c' has no primary key" in text for text in untried(some)] == [True]
    file = tmp_path / "s.toml"
    with closing(sqlite3.connect(tmp_path / "own.db")) as db:
        db.execute("CREATE TABLE t(id TEXT PRIMARY KEY, v)")
    assert untried(Scenario(0, (place,), schema="CREATE TABLE x(a)", db=str(tmp_path / "own.db"))) == []
    for schema, said in (("CREATE TABLE c(id, v);", "'c' has no primary key"), ("", "none at all"), ("CREATE", "no sense")):
        file.write_text(Scenario(0, (place,), schema=schema).to_toml(), encoding="utf-8")
        with pytest.raises(UsageError, match=said):
            scenario_of(parsed(), str(file))
