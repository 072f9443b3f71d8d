"""What voids what is recalled of a file, and what bounds it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from replica.exchange.formats import opening
from replica.exchange.importing import recall
from replica.exchange.importing.batches import Batching
from replica.exchange.importing.undo import undo
from tests.exchange.imports import counts, cut, take, write
from tests.store.harness import Machine

Make = Callable[..., Machine]
DATES = """version = 1
[[collection]]
name = "contacts"
key = "id"
[collection.fields]
id = "id"
name = "name"
born = {from = "born", type = "date"}
"""


# --- 2: nothing is recalled -------------------------------------------------------------------------------------------


def test_other_bytes_maps_options_definitions_or_code_recall_nothing(
    machine: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taken: list[int]
) -> None:
    a = machine("a")
    file = write(tmp_path / "1.csv", "id,name,born\n1,Ana,2001-02-03\n2,Bo,2001-02-04\n")

    def again(**options: Any) -> list[int]:
        taken.clear()
        outcome = take(a.store, file, **{"map": DATES, **options})
        assert counts(outcome) == (0, 0, 2, 0, 0)
        return list(taken)

    take(a.store, file, map=DATES)
    assert again() == []
    assert again(map=DATES + " ") == again(as_of="born") == again(date="DMY") == [1, 2]
    assert again(on_deleted="resurrect") == again(new_columns="ignore") == [1, 2]
    assert again() == []
    a.sql("ALTER TABLE contacts ADD COLUMN more TEXT")
    assert again() == [1, 2]
    assert again() == []
    monkeypatch.setattr(recall, "_code", lambda: "another version")
    assert again() == [1, 2]
    monkeypatch.undo()
    write(file, file.read_text(encoding="utf-8").replace("Bo", "Bob"))
    assert counts(take(a.store, file, map=DATES)) == (0, 1, 1, 0, 0)
    a.sql("ALTER TABLE contacts DROP COLUMN name")
    assert counts(take(a.store, file, map=DATES)) == (0, 2, 0, 0, 0)
    assert sorted(a.rows("SELECT id, name FROM contacts")) == [("1", "Ana"), ("2", "Bob")]


def test_another_version_of_the_code_is_told_by_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "part").mkdir()
    first = write(tmp_path / "__init__.py", "")
    second = write(tmp_path / "part" / "one.py", "a = 1\n")
    monkeypatch.setattr("replica.__file__", str(first))
    before = recall.mark(["x"])
    assert recall.mark(["x"]) == before != recall.mark(["y"])
    os.utime(second, ns=(5, 5))
    assert recall.mark(["x"]) != before


# --- 3: interruptions -------------------------------------------------------------------------------------------------


class _Killed(BaseException):
    pass


def _long(path: Path) -> Path:
    return write(path, "id,name\n" + "".join(f"{i},n\n" for i in range(1, 41)))


@pytest.mark.parametrize("after", [1, 3, 6])
@pytest.mark.parametrize("second", [False, True])
def test_a_run_that_was_killed_is_recalled_by_none(
    machine: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taken: list[int], after: int, second: bool
) -> None:
    monkeypatch.setattr("replica.exchange.importing.run._rows", lambda _: 7)
    monkeypatch.setattr("replica.exchange.importing.run._joined", cut)
    a, file, every = machine("a"), _long(tmp_path / "1.csv"), list(range(1, 41))
    if second:
        take(a.store, file)
        a.clock.ms += 1000
        a.sql("UPDATE contacts SET name = 'x'")
    take_one, left = Batching._take, after

    def killed(self: Batching, *args: Any, **kwargs: Any) -> None:
        nonlocal left
        take_one(self, *args, **kwargs)
        left -= 1
        if left == 0:
            raise _Killed

    with monkeypatch.context() as patch:
        patch.setattr(Batching, "_take", killed)
        with pytest.raises(_Killed):
            take(a.store, file)
    a.reopen()
    assert a.value("SELECT count(*) FROM _replica_import_known WHERE part < 0") == 0
    assert a.value("SELECT count(*) FROM _replica_import_known") > 0
    resumed = take(a.store, file, resume=True)
    assert counts(resumed) == ((0, 40, 0, 0, 0) if second else (40, 0, 0, 0, 0))
    taken.clear()
    assert counts(take(a.store, file)) == (0, 0, 40, 0, 0)
    assert taken == every
    taken.clear()
    assert counts(take(a.store, file)) == (0, 0, 40, 0, 0)
    assert taken == []
    assert {name for (name,) in a.rows("SELECT name FROM contacts")} == {"n"}
    assert a.store.verify() == []


def test_an_undone_import_comes_back(machine: Make, tmp_path: Path, taken: list[int]) -> None:
    a, file = machine("a"), _long(tmp_path / "1.csv")
    run = take(a.store, file).run
    undo(a.store, run)
    assert counts(take(a.store, file)) == (40, 0, 0, 0, 0)
    for _ in range(2):
        taken.clear()
        assert counts(take(a.store, file)) == (0, 0, 40, 0, 0)
    assert taken == []
    assert a.store.verify() == []


def test_a_file_that_changes_while_it_is_read_leaves_nothing(
    machine: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, file = machine("a"), _long(tmp_path / "1.csv")
    text = file.read_text(encoding="utf-8")
    opened = opening.open_sure

    def late(path: str, options: Any) -> Any:
        write(file, text.replace("40,n", "40,m"))
        return opened(path, options)

    with monkeypatch.context() as patch:
        patch.setattr(opening, "open_sure", late)
        take(a.store, file)
    assert a.value("SELECT count(*) FROM _replica_import_known") == 0
    write(file, text)
    assert counts(take(a.store, file)) == (0, 1, 39, 0, 0)


def test_a_backup_recalls_what_its_own_records_say(machine: Make, tmp_path: Path, taken: list[int]) -> None:
    a, file = machine("a"), _long(tmp_path / "1.csv")
    take(a.store, file)
    a.close()
    b = Machine.copy(a.path, tmp_path / "b.db")
    a.reopen()
    b.sql("UPDATE contacts SET name = 'x' WHERE id = '3'")
    taken.clear()
    assert counts(take(b.store, file)) == (0, 1, 39, 0, 0)
    assert taken == [3]
    b.close()


# --- 4: bounds --------------------------------------------------------------------------------------------------------


def test_what_is_kept_is_bounded_the_latest_first(
    machine: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taken: list[int]
) -> None:
    a, files = machine("a"), []
    monkeypatch.setattr(recall, "FILES_MAX", 2)
    for i in range(3):
        files.append(write(tmp_path / f"{i}.csv", f"id,name\n{i},n\n"))
        a.clock.ms += 5000
        take(a.store, files[-1])
    assert a.value("SELECT count(DISTINCT mark) FROM _replica_import_known") == 2
    taken.clear()
    for file in files[::-1]:
        take(a.store, file)
    assert len(taken) == 1
    monkeypatch.setattr(recall, "BYTES_MAX", 24 * 50)
    long = _long(tmp_path / "long.csv")
    take(a.store, long)
    assert a.value("SELECT count(DISTINCT mark) FROM _replica_import_known") == 2
    monkeypatch.setattr(recall, "BYTES_MAX", 24 * 30)
    longer = write(tmp_path / "longer.csv", long.read_text(encoding="utf-8") + "41,n\n")
    take(a.store, longer)
    taken.clear()
    assert counts(take(a.store, longer)) == (0, 0, 41, 0, 0)
    assert len(taken) == 41
    (size,) = a.rows("SELECT total(length(content)) FROM _replica_import_known")[0]
    assert size <= 24 * 30


def test_a_file_of_many_shared_keys_is_not_recalled(
    machine: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taken: list[int]
) -> None:
    monkeypatch.setattr(recall, "SHARED_MAX", 2)
    a = machine("a")
    few = write(tmp_path / "1.csv", "id,name\n1,a\n2,b\n3,c\n1,a\n2,x\n")
    many = write(tmp_path / "2.csv", "id,name\n1,a\n2,b\n3,c\n1,a\n2,x\n3,y\n")
    for file, expected in ((few, [1, 2, 4, 5]), (many, [1, 2, 3, 4, 5, 6])):
        for _ in range(3):
            taken.clear()
            outcome = take(a.store, file)
        assert outcome.counts["duplicate"] == len(expected) - (2 if file is few else 3)
        assert taken == expected
