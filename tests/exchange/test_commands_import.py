"""`replica import` as people and programs call it: what is printed, asked and returned; and a process that is killed."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from replica.cli import main
from tests.exchange.imports import write

CONTACTS = "id,name,mail\n1,Ana,a@x.org\n2,陈思源,c@x.org\n3,José,j@x.org\n"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    path = tmp_path / "a.db"
    assert main(["init", str(path), "--name", "a"]) == 0
    return path


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    capsys.readouterr()
    code = main([str(a) for a in arguments])
    out, err = capsys.readouterr()
    return code, out, err


def test_an_import_says_what_came_of_every_row(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path / "c.csv", CONTACTS + ",nobody,\n")
    code, out, _ = run(capsys, "import", store, file, "--collection", "contacts", "--key", "id")
    assert code == 1
    assert "4 rows read" in out
    assert "created            3" in out
    assert "line 5: id" in out
    assert "--rejects OUT.csv" in out
    code, out, _ = run(capsys, "import", "runs", store)
    assert (code, "finished" in out, "c.csv" in out) == (0, True, True)
    run_id = out.split("\n")[2].split()[0]
    code, out, _ = run(capsys, "import", "undo", store, run_id)
    assert (code, "3 records deleted" in out) == (0, True)


def test_json_is_one_document_and_nothing_else(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path / "c.csv", CONTACTS)
    common = ("--collection", "contacts", "--key", "id", "--json")
    code, out, _ = run(capsys, "import", store, file, *common, "--dry-run")
    told = json.loads(out)
    assert (code, told["dry_run"], told["created"], told["read"], told["run"] is None) == (0, True, 3, 3, False)
    assert told["differences"][0]["after"]["name"] == "Ana"
    code, out, _ = run(capsys, "import", store, file, *common)
    assert json.loads(out)["created"] == 3
    _, out, _ = run(capsys, "import", "runs", store, "--json")
    (found,) = json.loads(out)
    _, out, _ = run(capsys, "import", "undo", store, found["id"], "--json")
    assert json.loads(out)["deleted"] == 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["{db}"], "name the file to import"),
        (["{db}", "{csv}"], "--collection NAME"),
        (["{db}", "{csv}", "--collection", "c"], "--key FIELD"),
        (["{db}", "none.csv", "--collection", "c", "--key", "id"], "none.csv"),
        (["{db}", "{csv}", "--collection", "c", "--key", "nr"], 'no column "nr"'),
        (["{db}", "{csv}", "--map", "nomap.toml"], "nomap.toml"),
        (["{db}", "{csv}", "--map", "a", "--map", "b"], "2 maps for 1 sources"),
        (["undo", "x"], "replica import undo FILE RUN"),
        (["undo", "{db}", "zzz"], "no run"),
        (["{db}", "{csv}", "--collection", "_replica_x", "--key", "id"], "choose another"),
    ],
)
def test_wrong_usage_says_what_to_do(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    file = write(tmp_path / "c.csv", CONTACTS)
    code, out, err = run(capsys, "import", *(a.format(db=store, csv=file) for a in arguments))
    assert (code, out) == (2, "")
    assert words in err
    assert "Traceback" not in err


def test_a_key_is_remembered_from_the_first_import(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path / "c.csv", CONTACTS)
    assert run(capsys, "import", store, file, "--collection", "contacts", "--key", "id")[0] == 0
    code, out, _ = run(capsys, "import", store, file, "--collection", "contacts")
    assert (code, "unchanged          3" in out) == (0, True)


AMBIGUOUS = """version = 1
[[collection]]
name = "contacts"
key = "id"
[collection.fields]
id = "id"
born = { from = "born", type = "date" }
"""


def test_what_cannot_be_told_is_asked(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path / "c.csv", "id,born\n1,01/02/2001\n2,03/04/2002\n")
    map = write(tmp_path / "m.toml", AMBIGUOUS)
    code, _, err = run(capsys, "import", store, file, "--map", map)
    assert (code, "--date" in err) == (2, True)

    class Terminal(StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("sys.stdin", Terminal("?\n1\n"))
    code, out, err = run(capsys, "import", store, file, "--map", map)
    assert (code, "created            2" in out, "1  DMY" in err) == (0, True, True)
    with closing(sqlite3.connect(store)) as db:
        assert db.execute("SELECT born FROM contacts ORDER BY id").fetchall() == [("2001-02-01",), ("2002-04-03",)]
    assert run(capsys, "import", store, file, "--map", map, "--date", "dmy")[0] == 0


def test_standard_input_is_a_file_like_any(
    store: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = write(tmp_path / "c.csv", CONTACTS)
    with file.open("rb") as given:
        monkeypatch.setattr("sys.stdin", type("Stdin", (), {"buffer": given, "isatty": lambda _: False})())
        code, out, _ = run(capsys, "import", store, "-", "--collection", "contacts", "--key", "id", "--json")
    assert (code, json.loads(out)["created"]) == (0, 3)


def test_standard_input_without_end_is_refused_and_leaves_nothing(
    store: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=2_000_000))
    before = sorted(path.name for path in tmp_path.iterdir())
    given = SimpleNamespace(read=lambda size: b"1,Ana\n" * (size // 6))
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=given, isatty=lambda: False))
    code, _, err = run(capsys, "import", store, "-", "--collection", "contacts", "--key", "id")
    assert (code, "more than 1,000,000 bytes, half of what" in err) == (2, True), err
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_no_output_replaces_what_is_read(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path / "c.csv", CONTACTS)
    common = ("--collection", "contacts", "--key", "id")
    assert run(capsys, "import", store, file, *common)[0] == 0
    before = file.read_bytes(), store.read_bytes()[:100]
    for arguments in (
        ["import", store, file, *common, "--rejects", file, "--dry-run"],
        ["import", store, file, *common, "--rejects", store],
        ["export", store, "contacts", store, "--format", "csv"],
        ["profile", file, "--html", file],
        ["compare", f"{store}:contacts", file, "--key", "id", "--html", store],
    ):
        code, _, err = run(capsys, *arguments)
        assert (code, "would replace" in err) == (2, True), arguments
    assert (file.read_bytes(), store.read_bytes()[:100]) == before


def test_a_disk_that_is_full_is_told(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    assert run(capsys, "import", store, write(tmp_path / "c.csv", CONTACTS), "--collection", "c", "--key", "id")[0] == 0
    code, _, err = run(capsys, "export", store, "c", "/dev/full", "--format", "csv")
    assert code == 4
    assert "Traceback" not in err


# --- a real process ---------------------------------------------------------------------------------------------------


def _import(store: Path, file: Path, *more: str) -> subprocess.Popen[bytes]:
    arguments = ["import", str(store), str(file), "--collection", "contacts", "--key", "id", "--json", *more]
    return subprocess.Popen([sys.executable, "-m", "replica.cli", *arguments], stdout=subprocess.PIPE)


def _contents(store: Path) -> list[Any]:
    with closing(sqlite3.connect(store)) as db:
        return db.execute("SELECT * FROM contacts ORDER BY record_id").fetchall()


@pytest.mark.parametrize("parts", [1, 2])
def test_a_process_that_is_killed_is_resumed(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], parts: int
) -> None:
    rows = "".join(f"{i},name {i % 7},{i}@x.org,2023-01-{1 + i % 28:02}\n" for i in range(50_000))
    file = write(tmp_path / "c.csv", "id,name,mail,changed\n" + rows)
    process = _import(store, file, "--as-of", "changed")
    with closing(sqlite3.connect(store)) as db:
        seen: set[str] = set()
        while process.poll() is None and len(seen) < parts:
            if db.execute("SELECT 1 FROM sqlite_master WHERE name = 'replica_imports'").fetchone():
                seen |= {position for (position,) in db.execute("SELECT position FROM replica_imports")}
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL, "it was over before it could be killed"
    code, out, _ = run(
        capsys,
        "import",
        store,
        file,
        "--collection",
        "contacts",
        "--key",
        "id",
        "--as-of",
        "changed",
        "--resume",
        "--json",
    )
    told = json.loads(out)
    assert (code, told["read"], told["created"]) == (0, 50_000, 50_000)
    other = tmp_path / "b.db"
    assert main(["init", str(other)]) == 0
    with _import(other, file, "--as-of", "changed") as whole:
        whole.communicate()
    assert whole.returncode == 0
    assert _contents(store) == _contents(other)
    assert run(capsys, "verify", store)[0] == 0


def test_ctrl_c_ends_at_once_and_says_how_to_go_on(store: Path, tmp_path: Path) -> None:
    file = write(tmp_path / "c.csv", "id,name\n" + "".join(f"{i},n\n" for i in range(50_000)))
    arguments = ["import", str(store), str(file), "--collection", "contacts", "--key", "id"]
    process = subprocess.Popen(
        [sys.executable, "-m", "replica.cli", *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    with closing(sqlite3.connect(store)) as db:
        while process.poll() is None:
            if db.execute("SELECT 1 FROM sqlite_master WHERE name = 'replica_imports'").fetchone():
                break
    os.kill(process.pid, signal.SIGINT)
    err = process.communicate()[1].decode()
    assert process.returncode == 130
    assert "--resume goes on" in err
    assert "Traceback" not in err


def test_a_country_that_nobody_knows_is_refused(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, map = write(tmp_path / "c.csv", CONTACTS), write(tmp_path / "m.toml", AMBIGUOUS)
    code, _, err = run(capsys, "import", store, file, "--map", map, "--country", "XX")
    assert (code, "'XX' is no country" in err) == (2, True)
    assert run(capsys, "import", store, file, "--map", map, "--max-errors", "1", "--country", "at")[0] == 2  # no "born"


def test_columns_that_the_map_does_not_read_are_told_once(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    map_ = write(
        tmp_path / "m.toml",
        'version = 1\n[[collection]]\nname = "people"\nkey = "id"\n[collection.fields]\nid = { from = "id" }\n',
    )
    file = write(tmp_path / "c.csv", "id,name,changed\n" + "".join(f"{n},Ana,2024-01-02\n" for n in range(3)))
    note = "columns that nothing reads: name"
    code, out, _ = run(capsys, "import", store, file, "--map", map_, "--as-of", "changed", "--dry-run", "--json")
    assert (code, json.loads(out)["notes"]) == (0, [note])
    code, out, _ = run(capsys, "import", store, file, "--map", map_, "--as-of", "changed")
    assert (code, out.count(note)) == (0, 1)
    code, out, _ = run(capsys, "import", store, file, file, "--map", map_, "--json")
    assert json.loads(out)["notes"] == [f"{file}: {note}, changed"] * 2
    code, out, _ = run(capsys, "import", store, file, "--collection", "all", "--key", "id", "--json")
    assert (code, json.loads(out)["notes"]) == (0, [])
