"""The commands: arguments, what they print, one JSON document."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from replica.backup.sealed import WrongKey
from replica.errors import UsageError
from replica.late import COMMANDS, Parser
from tests.backup.nodes import make, seen


def run(command: str, *arguments: str | Path) -> int:
    parser = Parser(prog=f"replica {command}")
    parser.late = COMMANDS[command]
    options = parser.parse_args([str(a) for a in arguments])
    return int(options.run(options))


def test_backup_check_and_restore(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hq = make(tmp_path / "hq.db", rows=5)
    root = seen(hq)["root"].hex()
    assert run("backup-key", tmp_path / "key") == 0
    assert "apart from the backups" in capsys.readouterr().out
    run("backup", hq, tmp_path / "o", "--key-file", tmp_path / "key")
    out = capsys.readouterr().out
    assert root in out
    assert "encrypted" in out
    assert "NOT" not in out
    run("check-backup", tmp_path / "o", "--key-file", tmp_path / "key")
    assert capsys.readouterr().out.startswith(f"all well: {seen(hq)['count']} records of hq as of 20")
    with pytest.raises(WrongKey, match="name what it was made with by --key-file"):
        run("restore", tmp_path / "o", tmp_path / "b.db")
    run("restore", tmp_path / "o", tmp_path / "b.db", "--key-file", tmp_path / "key")
    assert "node hq (restored)" in capsys.readouterr().out
    run("backup", hq, tmp_path / "plain")
    assert "NOT encrypted: whoever has it" in capsys.readouterr().out


def test_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hq, words = make(tmp_path / "hq.db", rows=5), tmp_path / "words"
    words.write_text("correct horse\n")

    def as_json(command: str, *arguments: str | Path) -> Any:
        run(command, *arguments, "--json")
        return json.loads(capsys.readouterr().out)

    made = as_json("backup", hq, tmp_path / "o", "--passphrase-file", words)
    store = seen(hq)
    assert (made["root"], made["count"], made["encrypted"]) == (store["root"].hex(), store["count"], True)
    checked = as_json("check-backup", tmp_path / "o", "--passphrase-file", words)
    assert checked.pop("ok") is True
    assert {k: v for k, v in checked.items() if k != "backup"} == {k: made[k] for k in checked if k != "backup"}
    restored = as_json("restore", tmp_path / "o", tmp_path / "b.db", "--passphrase-file", words, "--name", "new")
    assert restored["name"] == "new"
    assert restored["node"] == seen(tmp_path / "b.db")["node"].hex() != made["node"]
    assert as_json("backup-key", tmp_path / "key") == {"out": str(tmp_path / "key")}
    dumped = as_json("dump", hq, tmp_path / "d.zip")
    assert {t["table"]: t["rows"] for t in dumped["tables"]} == {"contact": 5, "ticket": 5, "person": 5, "note": 1}
    loaded = as_json("load", tmp_path / "d.zip", tmp_path / "c.db", "--name", "c")
    assert (loaded["rows"], loaded["name"], loaded["root"]) == (16, "c", seen(tmp_path / "c.db")["root"].hex())


def test_dump_and_load_say_what_they_did(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hq = make(tmp_path / "hq.db", rows=5)
    run("dump", hq, tmp_path / "d.zip")
    assert "16 rows of 4 tables" in capsys.readouterr().out
    run("load", tmp_path / "d.zip", tmp_path / "c.db")
    assert "next: replica invite" in capsys.readouterr().out


def test_a_backup_without_a_key_needs_no_optional_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    hq = make(tmp_path / "hq.db", rows=5)
    run("backup-key", tmp_path / "key")
    hidden = [name for name in sys.modules if name.split(".")[0] in {"cryptography", "msgspec"}]
    for name in [*hidden, "msgspec", "replica.backup.dump", "replica.backup.load", "replica.backup.cells"]:
        monkeypatch.setitem(sys.modules, name, None)
    run("backup", hq, tmp_path / "o")
    run("restore", tmp_path / "o", tmp_path / "b.db")
    with pytest.raises(UsageError, match=r'needs the library cryptography: pip install "replica\[exchange\]"'):
        run("backup", hq, tmp_path / "o", "--key-file", tmp_path / "key")
    with pytest.raises(UsageError, match="needs the library msgspec"):
        run("dump", hq, tmp_path / "d.zip")


@pytest.mark.parametrize("command", sorted(n for n in COMMANDS if "backup" in COMMANDS[n].room))
def test_help_says_what_it_is_about(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run(command, "--help")
    shown = " ".join(capsys.readouterr().out.split())
    assert "--json" in shown
    if command == "backup":
        assert "the secrets of the group: whoever has it and its key is a member" in shown
