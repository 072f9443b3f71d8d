"""Our own reader of xlsx shows what another library shows, and holds no sheet in memory."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import pytest
import python_calamine
import xlsxwriter

from replica.errors import FileRefused
from replica.exchange.formats import sheet, xlsx, xlsxparts
from replica.exchange.formats.sheet import SheetReader, _cell
from replica.exchange.formats.xlsx import Workbook, kind_of, moment
from replica.exchange.rows import Finding, ReadOptions
from tests.exchange.sources import Bytes
from tests.exchange.test_sheet import excel, read

CODES = [
    "General", "0.00", "yyyy-mm-dd", "yyyy-mm-dd hh:mm:ss", "[h]:mm:ss", "hh:mm", '0.00 "days"', "[$-409]d-mmm", "m/d/yy;@",
    '"y"0', "[Red]0.00", "#,##0_);[Red](#,##0)", "0E+00", "yyyy年m月d日", "mm:ss.0", "[mm]:ss", "0.00 €", "@", "s", "\\d0",
    "h AM/PM", "[$€-2] #,##0", "*d0", "_d0", "General;[Red]d", *map(int, range(1, 59)),
]  # fmt: skip
NUMBERS = [
    0, 0.5, 0.999999999, 1, 1.5, 59, 60, 61, 60.5, 43831, 43831.123456789, 43831.99999999999, 43831.0000001, 2957003.5,
    -2, -2.25, 1234567.125, 2**53, 1e300,
]  # fmt: skip
SHEET = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"


def rows_of(data: bytes, tmp_path: Path, number: int = 0) -> list[tuple[int, list[Any]]]:
    path = tmp_path / "book.xlsx"
    path.write_bytes(data)
    book = Workbook(path, "book")
    try:
        return list(book.rows(number))
    finally:
        book.close()


def with_sheet(rows: str, shared: str = "<sst/>") -> bytes:
    """A workbook whose one sheet has these rows."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(excel(lambda _, page: page.write(0, 0, "x")))) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name == "xl/worksheets/sheet1.xml":
                data = f'<worksheet xmlns="{SHEET}"><sheetData>{rows}</sheetData></worksheet>'.encode()
            elif name == "xl/sharedStrings.xml":
                data = shared.replace("<sst", f'<sst xmlns="{SHEET}"').encode()
            new.writestr(name, data)
    return out.getvalue()


@pytest.mark.parametrize("since_1904", [False, True])
def test_1_numbers_dates_and_durations_are_those_of_another_library(since_1904: bool, tmp_path: Path) -> None:
    def make(book: Any, page: Any) -> None:
        for column, code in enumerate(CODES):
            form = book.add_format({"num_format": code})
            for row, number in enumerate(n for n in NUMBERS if 0 <= n < 2957003 or form.num_format in {"General", "0.00"}):
                page.write_number(row, column, number, form)

    data = excel(make, date_1904=since_1904)
    theirs = python_calamine.load_workbook(io.BytesIO(data)).get_sheet_by_index(0).to_python(skip_empty_area=False)
    ours = rows_of(data, tmp_path)
    assert [line for line, _ in ours] == list(range(1, len(theirs) + 1))
    assert [row + [""] * (len(CODES) - len(row)) for _, row in ours] == [[_cell(v) for v in row] for row in theirs]


def test_1_what_can_be_no_date_stays_a_number() -> None:
    for serial in (-1.0, 2958466.0, 1e10, 1e300):
        assert moment(serial, "date", since_1904=False) == serial
    assert moment(-1.5, "duration", since_1904=False) == "-36:00:00"
    assert moment(1e10, "duration", since_1904=False) == 1e10
    kinds = {"General": "", "[Blue]General": "", "d": "date", "[s]": "duration", "#,##0.00": ""}
    assert {code: kind_of(code) for code in kinds} == kinds


def test_1_texts_of_every_kind(tmp_path: Path) -> None:
    shared = "<sst><si><t>plain</t></si><si><r><t>ri</t></r><r><t xml:space='preserve'>ch </t></r><rPh><t>no</t></rPh></si>"
    rows = (
        '<row r="2"><c r="B2" t="s"><v>1</v></c><c r="D2" t="inlineStr"><is><t>in_x0041_</t></is></c></row>'
        '<row><c t="str"><f>A1&amp;"x"</f><v>form_x005F_x0041_</v></c><c t="e"><v>#N/A</v></c><c t="b"><v>1</v></c></row>'
        '<row r="9"><c r="C9"><v>0012</v></c><c r="A9" t="s"><v>0</v></c><c r="E9" t="d"><v>2020-01-02</v></c>'
        '<c r="F9"/></row>'
    )
    assert rows_of(with_sheet(rows, f"{shared}</sst>"), tmp_path) == [
        (2, ["", "rich ", "", "inA"]),
        (3, ["form_x0041_", "#N/A", True]),
        (9, ["plain", "", 12, "", "2020-01-02"]),
    ]


def test_1_dates_as_python_has_them(tmp_path: Path) -> None:
    def make(book: Any, page: Any) -> None:
        forms = [book.add_format({"num_format": f}) for f in ("yyyy-mm-dd", "yyyy-mm-dd hh:mm:ss", "hh:mm:ss", "[h]:mm:ss")]
        some = [date(2024, 2, 29), datetime(2024, 2, 29, 12, 30, 15), time(6, 5, 4), timedelta(days=2, hours=3)]
        for column, (value, form) in enumerate(zip(some, forms, strict=True)):
            page.write_datetime(0, column, value, form)

    assert rows_of(excel(make), tmp_path) == [(1, ["2024-02-29", "2024-02-29T12:30:15", "06:05:04", "51:00:00"])]


READ = """
import re, sys
from pathlib import Path
from replica.exchange.formats.opening import open_reader
from replica.exchange.rows import Finding, ReadOptions
reader = open_reader(sys.argv[1], ReadOptions())
rows = sum(len(batch.rows) for batch in reader.batches())
print(rows, re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
reader.close()
"""


def test_2_memory_does_not_grow_with_the_sheet(tmp_path: Path) -> None:
    if not Path("/proc/self/status").exists():
        pytest.skip("this system does not tell what a process held at most")
    sizes = {}
    for count in (5_000, 60_000):
        path = tmp_path / f"{count}.xlsx"
        with xlsxwriter.Workbook(path, {"tmpdir": str(tmp_path)}) as book:
            page = book.add_worksheet()
            page.write_row(0, 0, ["id", "name", "mail", "note"])
            for n in range(count):
                page.write_row(n + 1, 0, [n, f"name {n}", f"n{n}@example.com", f"{n} " + "x" * 60])
        done = subprocess.run([sys.executable, "-c", READ, path], check=True, capture_output=True, text=True)
        rows, sizes[count] = map(int, done.stdout.split())
        assert rows == count
    assert sizes[60_000] < sizes[5_000] + 12_000  # In kB; held whole it would be some 40,000 more.


def test_2_shared_texts_are_read_again_from_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xlsx, "BLOCK_TEXTS", 3)
    monkeypatch.setattr(xlsx, "BLOCKS", 2)

    def make(_: Any, page: Any) -> None:
        for n in range(50):
            page.write_row(n, 0, [f"t{n}", f"t{n * 7 % 50}"])

    _, rows, _ = read(excel(make), header=0)
    assert rows == [(f"t{n}", f"t{n * 7 % 50}") for n in range(50)]


def test_3_a_hidden_sheet_is_taken_only_if_there_is_no_other() -> None:
    def make(book: Any, page: Any) -> None:
        page.write_row(0, 0, ["list"])
        page.hide()
        bars = book.add_chart({"type": "bar"})
        bars.add_series({"values": "=Sheet1!$A$1:$A$2"})
        book.add_chartsheet().set_chart(bars)
        book.add_worksheet("empty")
        shown = book.add_worksheet("people")
        shown.write_column(0, 0, ["id", 1, 2])
        shown.write_column(0, 1, ["name", "Ana", "陈"])
        shown.activate()

    fields, rows, findings = read(excel(make))
    assert (fields, rows) == (["id", "name"], [(1, "Ana"), (2, "陈")])
    assert [f.value for f in findings if f.what == "sheet"] == ["people"]
    assert not [f for f in findings if f.what == "hidden sheet"]
    assert read(excel(make), sheet="Sheet1", header=1)[0] == ["list"]


def test_3_that_the_only_sheet_with_rows_is_hidden_is_told() -> None:
    def make(book: Any, page: Any) -> None:
        page.write_column(0, 0, ["id", 1, 2])
        page.write_column(0, 1, ["name", "Ana", "陈"])
        page.very_hidden()
        book.add_worksheet("empty").activate()

    data = excel(make)
    fields, rows, findings = read(data)
    assert (fields, rows) == (["id", "name"], [(1, "Ana"), (2, "陈")])
    told = [f for f in findings if f.what == "hidden sheet"]
    assert told == [Finding("hidden sheet", "Sheet1: no other says anything", 1.0)]
    assert not [f for f in read(data, sheet="Sheet1")[2] if f.what == "hidden sheet"]


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ('<row><c t="s"><v>5</v></c></row>', "damaged workbook"),
        ('<row r="1"><c r="XFE1"><v>5</v></c></row>', "16,384 at most"),
        ('<row r="one"><c><v>5</v></c></row>', "damaged workbook"),
        ("<row><c><v>5</v></c>", "damaged workbook"),
    ],
)
def test_4_what_is_damaged_is_refused(rows: str, why: str) -> None:
    with pytest.raises(FileRefused, match=why):
        read(with_sheet(rows), header=0)


def test_4_a_row_without_end_and_a_large_old_workbook_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xlsxparts, "ROW_MAX", 1 << 20)
    with pytest.raises(FileRefused, match=r"a row or text of more than 1,048,576 characters"):
        read(with_sheet("<row>" + "".join(f"<c><v>{n * 7919:0150}</v></c>" for n in range(8_000)) + "</row>"), header=0)
    monkeypatch.setattr(sheet, "WHOLE_MAX", 100)
    with pytest.raises(FileRefused, match=r"xls is read whole into memory, up to 100: save it as xlsx or CSV"):
        SheetReader(Bytes(b"\xd0\xcf\x11\xe0" + bytes(200)), ReadOptions())


def test_totals_below_the_table_are_a_footer() -> None:
    def make(_: Any, page: Any) -> None:
        rows: list[list[Any]] = [["id", "name", "sum"], [1, "Summe", 5], [2, "B", 6], [], ["Summe", "", 11], ["合计", "", 1]]
        for line, row in enumerate(rows):
            page.write_row(line, 0, row)

    reader = SheetReader(Bytes(excel(make)), ReadOptions())
    (batch,) = reader.batches()
    reader.close()
    assert batch.rows == [(1, "Summe", 5), (2, "B", 6)]
    assert [(b.line, b.raw) for b in batch.broken] == [(5, "Summe,,11"), (6, "合计,,1")]
