"""Errors in the cells of old workbooks."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import pytest

from replica.errors import FileRefused
from replica.exchange.formats.opening import open_reader
from replica.exchange.formats.xlserrors import errors
from replica.exchange.rows import ReadOptions
from tests.exchange.xls import FORMULA, OFFICE, chart, error, record, text, workbook


def read(path: Path, **options: Any) -> tuple[list[tuple[Any, ...]], dict[str, str]]:
    """The rows, and what was found."""
    with closing(open_reader(str(path), ReadOptions(**options))) as reader:
        rows = [row for batch in reader.batches() for row in batch.rows]
        return rows, {f.what: f.value for f in reader.findings}


def put(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def test_errors_of_formulas_in_a_workbook_of_an_office_program(tmp_path: Path) -> None:
    file = put(tmp_path / "a.xls", OFFICE)
    rows, found = read(file, sheet="Tab")
    assert rows == [("1", "#DIV/0!", "#N/A"), ("2", "#VALUE!", "#NAME?"), ("3", "#VALUE!", True), ("4", "", 5)]
    assert found["cells with an error"] == "5 (as #N/A, kept as text)"
    assert read(file, sheet="2")[0] == [("#N/A",)]


def formula(row: int, column: int, code: int) -> bytes:
    """A cell with a formula that gave an error."""
    return record(FORMULA, struct.pack("<HHHBBBBHHH", row, column, 0, 2, 0, code, 0, 0, 0xFFFF, 0) + bytes(6))


CODES = {0x00: "#NULL!", 0x07: "#DIV/0!", 0x0F: "#VALUE!", 0x17: "#REF!", 0x1D: "#NAME?", 0x24: "#NUM!", 0x2A: "#N/A"}


@pytest.mark.parametrize("size", [4_096, 70_000])
def test_errors_that_are_cells_or_come_of_formulas(tmp_path: Path, size: int) -> None:
    cells: Sequence[bytes] = [text(0, 0, "id"), text(0, 1, "v"), text(0, 2, "w")]
    rows = []
    for n, code in enumerate(CODES, 1):
        rows += [text(n, 0, f"k{n}"), error(n, 1, code), formula(n, 2, code)]
    file = put(tmp_path / "a.xls", workbook([*cells, chart(), *rows], size))
    assert read(file)[0] == [(f"k{n}", said, said) for n, said in enumerate(CODES.values(), 1)]
    assert errors(file, 1) == {}


def test_a_workbook_without_errors_tells_none(tmp_path: Path) -> None:
    file = put(tmp_path / "a.xls", workbook([text(0, 0, "id"), text(1, 0, "k")], 4_096))
    assert read(file)[0] == [("k",)]
    assert "cells with an error" not in read(file)[1]


def test_damage_ends_the_look(tmp_path: Path) -> None:
    chance, file = Random(7), tmp_path / "a.xls"
    whole = [OFFICE, workbook([text(0, 0, "id"), error(1, 0, 0x2A)], 70_000)]
    for turn in range(300):
        data = bytearray(whole[turn % 2])
        for _ in range(chance.choice([1, 4, 40])):
            data[chance.randrange(min(len(data), 4_096))] = chance.choice([0, 255, chance.randrange(256)])
        errors(put(file, bytes(data[: chance.randrange(len(data))] if turn % 3 == 0 else data)), 0)
    for length in (0, 8, 511, 512, 600):
        assert errors(put(file, OFFICE[:length]), 0) == {}
    with pytest.raises(FileRefused):
        read(put(file, OFFICE[:600]))
