"""What a reader is not sure of is asked, and nothing is imported before it is said."""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import xlsxwriter

from replica.errors import Unsure
from replica.exchange import commands_import, commands_quality
from replica.exchange.formats.opening import open_reader, open_sure
from replica.exchange.rows import SURE, ReadOptions
from tests.exchange.imports import counts, take
from tests.store.harness import Machine

Make = Callable[..., Machine]

KEYED = json.dumps({"a": {"id": "1", "name": "Ann"}, "b": {"id": "2", "name": "Bob"}})
TWO = json.dumps({"data": {"old": [{"id": "1", "n": 1}] * 4, "new": [{"id": "2", "n": 2}] * 5}})
XML = "<all><old><r><id>1</id></r><r><id>2</id></r></old><new><s><id>3</id></s><s><id>4</id></s></new></all>"


def book(path: Path, *sheets: list[list[Any]]) -> Path:
    with xlsxwriter.Workbook(str(path)) as made:
        for rows in sheets:
            sheet = made.add_worksheet()
            for number, row in enumerate(rows):
                sheet.write_row(number, 0, row)
    return path


def files(folder: Path) -> dict[str, tuple[Path, str, tuple[str, ...]]]:
    """Files that cannot be told, with what is asked, and the choices."""
    texts = {"header.csv": "Foo,Bar\nBaz,Qux\n", "keyed.json": KEYED, "two.json": TWO, "two.xml": XML}
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    return {
        "header": (folder / "header.csv", "header", ("1", "0")),
        "keyed": (folder / "keyed.json", "records", (".",)),
        "json": (folder / "two.json", "records", ("data.new", "data.old")),
        "xml": (folder / "two.xml", "records", ("all/old/r", "all/new/s")),
        "sheet header": (book(folder / "years.xlsx", [["id", 2021], ["x", 5], ["y", 6]]), "header", ("0", "1")),
        "sheet": (
            book(folder / "cover.xlsx", [["Customers of 2021"]], [["id", "name"], ["1", "Ann"]]),
            "sheet", ("Sheet1", "Sheet2"),
        ),
    }  # fmt: skip


CASES = ("header", "keyed", "json", "xml", "sheet header", "sheet")


@pytest.mark.parametrize("case", CASES)
def test_it_is_asked_with_the_option_and_its_values(case: str, machine: Make, tmp_path: Path) -> None:
    file, what, choices = files(tmp_path)[case]
    a = machine("a")
    with pytest.raises(Unsure) as unsure:
        take(a.store, file, read=ReadOptions())
    assert (unsure.value.what, unsure.value.option) == (what, f"--{what}")
    assert unsure.value.choices[: len(choices)] == choices
    for choice in choices:
        assert f"--{what} {choice}" in str(unsure.value)
    assert a.rows("SELECT name FROM sqlite_master WHERE name = 'contacts'") == []
    for choice in unsure.value.choices:
        said: Any = int(choice) if what == "header" else choice
        with closing(open_sure(str(file), ReadOptions(**{what: said}))) as reader:
            assert all(f.confidence >= SURE for f in reader.findings if f.what == what)


def test_what_is_said_is_done(machine: Make, tmp_path: Path) -> None:
    cases = files(tmp_path)
    store = machine("a").store
    assert counts(take(store, cases["header"][0], key="Foo", read=ReadOptions(header=1))) == (1, 0, 0, 0, 0)
    assert counts(take(store, cases["keyed"][0], into="keyed", read=ReadOptions(records="."))) == (2, 0, 0, 0, 0)
    assert counts(take(store, cases["xml"][0], into="xml", read=ReadOptions(records="all/new/s"))) == (2, 0, 0, 0, 0)
    assert counts(take(store, cases["sheet"][0], into="sheet", read=ReadOptions(sheet="Sheet2"))) == (1, 0, 0, 0, 0)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_person_is_asked_and_the_answer_counts(
    machine: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    a = machine("a")
    path = str(a.path)
    file = files(tmp_path)["sheet"][0]
    parser = argparse.ArgumentParser()
    parser.add_argument("file")
    commands_import.add_arguments(parser)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args([path, str(file), "--collection", "c", "--key", "id"])
    with pytest.raises(Unsure):
        commands_import.run(options)
    monkeypatch.setattr("sys.stdin", Terminal("7\n2\n"))
    assert commands_import.run(options) == commands_import.OK
    said = capsys.readouterr()
    assert "  2  Sheet2\n" in said.err
    assert "1 row read" in said.out
    assert a.rows("SELECT name FROM c") == [("Ann",)]


QUALITY: dict[str, tuple[Callable[[argparse.ArgumentParser], None], Callable[[argparse.Namespace], int]]] = {
    "profile": (commands_quality.add_profile_arguments, commands_quality.run_profile),
    "compare": (commands_quality.add_compare_arguments, commands_quality.run_compare),
}


def measure(command: str, *arguments: object) -> int:
    """Run one of the commands of QUALITY."""
    parser = argparse.ArgumentParser()
    if command == "profile":  # The command line gives these to most commands.
        parser.add_argument("file")
        parser.add_argument("--json", action="store_true")
    add, run = QUALITY[command]
    add(parser)
    return run(parser.parse_args(list(map(str, arguments))))


@pytest.mark.parametrize("command", QUALITY)
@pytest.mark.parametrize("case", CASES)
def test_what_is_measured_is_asked_too(
    command: str, case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file, what, choices = files(tmp_path)[case]
    named = (file, file, "--key", "id") if command == "compare" else (file,)
    with pytest.raises(Unsure) as unsure:
        measure(command, *named)
    assert (unsure.value.what, unsure.value.choices[: len(choices)]) == (what, choices)
    answer = {"header": "1", "sheet": "Sheet2"}.get(what, unsure.value.choices[0])
    if case == "header" and command == "compare":
        named = (file, file, "--key", "Foo")
    code = int(case == "json" and command == "compare")  # A key that repeats is a difference.
    assert measure(command, *named, f"--{what}", answer) == code
    capsys.readouterr()
    monkeypatch.setattr("sys.stdin", Terminal(f"{answer}\n" * 2))
    with pytest.raises(Unsure):
        measure(command, *named, "--json")
    assert capsys.readouterr().err == ""
    assert measure(command, *named) == code
    assert capsys.readouterr().err.count(f"\n{what}? ") == (2 if command == "compare" else 1)


def test_every_option_of_a_finding_is_one_of_the_commands(tmp_path: Path) -> None:
    parsers = [argparse.ArgumentParser() for _ in range(3)]
    for add, parser in zip((commands_import.add_arguments, *(add for add, _ in QUALITY.values())), parsers, strict=True):
        add(parser)
    known = [{option for action in parser._actions for option in action.option_strings} for parser in parsers]
    found = set()
    for name, data in {
        "a.csv": "id;näme\r\n1;Ä, b\r\n".encode("cp1252"), "b.csv": b"\xef\xbb\xbfsep=;\nid;n;\n1;2;\n",
        "c.json": TWO.encode(), "d.xml": XML.encode("utf-16"), "e.json": KEYED.encode("utf-16"),
        "f.vcf": b"BEGIN:VCARD\nFN:A\nEND:VCARD\n",
    }.items():  # fmt: skip
        (tmp_path / name).write_bytes(data)
        read = ReadOptions(encoding="cp1252", header=1) if name == "a.csv" else ReadOptions()
        with closing(open_reader(str(tmp_path / name), read)) as reader:
            found |= {f.option for f in reader.findings if f.option}
    for file in (files(tmp_path)["sheet"][0], files(tmp_path)["sheet header"][0]):
        with closing(open_reader(str(file), ReadOptions())) as reader:
            found |= {f.option for f in reader.findings if f.option}
    assert found == {"--format", "--encoding", "--delimiter", "--quote", "--header", "--records", "--sheet"}
    assert all(found <= options for options in known)


def test_an_empty_sheet_asks_nothing(tmp_path: Path) -> None:
    with closing(open_sure(str(book(tmp_path / "a.xlsx", [])), ReadOptions())) as reader:
        assert list(reader.batches()) == []
