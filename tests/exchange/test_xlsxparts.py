"""No part of a workbook makes its reader slow or large: the promises of replica/exchange/formats/xlsxparts.py, by number."""

from __future__ import annotations

import io
import random
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from replica.errors import FileRefused, UsageError
from replica.exchange.formats import xlsx, xlsxparts
from tests.exchange.pace import spent
from tests.exchange.test_sheet import excel, read
from tests.exchange.test_xlsx import rows_of, with_sheet


def packed(data: bytes) -> bytes:
    """The same workbook, compressed."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    return out.getvalue()


def long(said: str, size: int) -> str:
    """Said again and again, and not so much alike that it would be a bomb by its ratio alone."""
    some = random.Random(1)
    times = 1_000 // len(said)
    return "".join(f"{said * times}{some.getrandbits(160):x}" for _ in range(size // (len(said) * times + 40) + 1))


def cell(said: str) -> str:
    return f'<row r="1"><c r="A1" t="inlineStr"><is><t>{said}</t></is></c></row>'


SIZE = 72 << 20
SHOWN = "<c t='s'><v>0</v></c>"
ATTACKS: dict[str, tuple[Callable[[], bytes], str]] = {
    "row in a text": (lambda: with_sheet(cell(long("1234 row ", SIZE))), "a row or text of more than"),
    "row in CDATA": (lambda: with_sheet(cell(f"<![CDATA[{long('</row><row>', SIZE)}]]>")), "a row or text of more than"),
    "si in CDATA": (
        lambda: with_sheet("", f"<sst><si><t><![CDATA[{long('<si>', SIZE)}]]></t></si></sst>"), "a row or text of more than"
    ),
    "shared texts of a row": (
        lambda: with_sheet(f"<row>{SHOWN * 2_500}</row>", f"<sst><si><t>{'x' * 30_000}</t></si></sst>"),
        "a row or text of more than",
    ),
    "tag": (lambda: with_sheet(f'<row a="{long("a", 8 << 20)}"/>'), "a tag of more than"),
    "names of elements": (lambda: with_sheet("".join(f"<a{n}/>" for n in range(200_000))), "names of elements"),
    "names of attributes": (lambda: with_sheet("".join(f"<c a{n}=''/>" for n in range(200_000))), "names of elements"),
    "depth": (lambda: with_sheet("<row>" * 200_000), "deep"),
}  # fmt: skip


@pytest.mark.parametrize("name", ATTACKS)
def test_1_2_an_attack_on_memory_or_time_is_refused_at_once(name: str) -> None:
    make, why = ATTACKS[name]
    data = packed(make())
    began = time.process_time()
    with pytest.raises(FileRefused, match=why):
        read(data, header=0)
    assert spent(began) < 1


def test_1_a_long_cell_is_read_in_linear_time(tmp_path: Path) -> None:
    text = long("abcd", 40 << 20)
    data = packed(with_sheet(cell(text)))
    began = time.process_time()
    assert rows_of(data, tmp_path) == [(1, [text])]
    assert spent(began) < 2


def test_1_a_row_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xlsxparts, "ROW_MAX", 100)
    shared = f"<sst><si><t>{'x' * 90}</t></si><si><t>{'y' * 100}</t></si></sst>"
    rows = '<row><c t="s"><v>0</v></c></row><row><c t="s"><v>0</v></c></row>'
    assert rows_of(with_sheet(rows, shared), tmp_path) == [(1, ["x" * 90]), (2, ["x" * 90])]
    with pytest.raises(FileRefused, match="more than 100 characters"):
        rows_of(with_sheet(rows.replace("</row><row>", ""), shared), tmp_path)


def test_1_a_long_text_is_not_shown_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xlsx, "LONG", 10)
    monkeypatch.setattr(xlsx, "LONG_MAX", 60)
    shared = f"<sst><si><t>a</t></si><si><t>{'x' * 20}</t></si><si><t>b</t></si></sst>"
    row = "".join(f'<c t="s"><v>{n}</v></c>' for n in range(3))
    whole = ["a", "x" * 20, "b"]
    assert rows_of(with_sheet(f"<row>{row}</row>" * 3, shared), tmp_path) == [(n, whole) for n in (1, 2, 3)]
    with pytest.raises(FileRefused, match="shows a text of 20 characters too often"):
        rows_of(with_sheet(f"<row>{row}</row>" * 4, shared), tmp_path)


def test_3_rows_far_apart_may_not_be_wide(tmp_path: Path) -> None:
    rows = '<row r="1"><c r="A1"><v>1</v></c></row><row r="1048576"><c r="{}1048576"><v>1</v></c></row>'
    assert [line for line, _ in rows_of(with_sheet(rows.format("C")), tmp_path)] == [1, 1_048_576]
    with pytest.raises(FileRefused, match="speaks of 54,525,952 cells, 50,000,000 at most"):
        rows_of(with_sheet(rows.format("AZ")), tmp_path)


@pytest.mark.parametrize("place", ["7", "AAAA1", "A", "A1B", "Ä1", "-1"])
def test_4_a_place_that_is_none_is_refused(place: str) -> None:
    rows = f'<row r="1"><c r="A1"><v>1</v></c><c r="B1"><v>2</v></c><c r="{place}"><v>9</v></c></row>'
    with pytest.raises(FileRefused, match=f'a cell at "{place}", which is no place such as B7'):
        read(with_sheet(rows), header=0)


def test_4_a_place_beyond_the_last_column_is_refused() -> None:
    with pytest.raises(FileRefused, match=r"a cell in column 16,385; 16,384 at most"):
        read(with_sheet('<row r="1"><c r="A1"><v>1</v></c><c r="XFE1"/></row>'), header=0)


def test_a_part_that_is_not_what_its_sum_says_is_refused() -> None:
    data = with_sheet(cell("one"))
    assert read(data, header=0)[1] == [("one",)]
    with pytest.raises(FileRefused, match="damaged workbook"):
        read(data.replace(b"<t>one</t>", b"<t>two</t>"), header=0)


def test_an_empty_row_is_no_header() -> None:
    def make(_: Any, page: Any) -> None:
        page.write(0, 0, "My title")
        page.write_row(2, 0, ["id", "name"])
        page.write(3, 0, 1)

    data = excel(make)
    with pytest.raises(UsageError, match="row 2 of the sheet is empty, so it is no header: check --header"):
        read(data, header=2)
    assert read(data, header=3)[:2] == (["id", "name"], [(1, "")])
