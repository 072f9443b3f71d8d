"""Excel and other sheets, read from xlsx, xls and ods.

1. Whole numbers are int, others float; dates, times and durations ISO text, a date without a time only the date; booleans
   stay; a formula is its value. An empty cell is empty text: a sheet cannot say nothing.
2. A cell with an error (#N/A) is its text, and told; the library shows it as empty, so it is found apart from it.
3. The header is the first row of text that is as wide as the table; what is above it and rows without anything are left out.
   Headers without a name, or with one that was there before, get one.
4. Of several sheets it is the first that is not empty, told with the others; `sheet` says another, by name or number. One
   that is no table, such as a page with a title, is not sure.
5. `sheetguard` looks at a workbook before it is opened, for it must be held in memory whole: the library knows no other way.
6. What is damaged, encrypted or none of these formats is FileRefused.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any

from replica.errors import FileRefused, UsageError
from replica.exchange.formats import odscells, xlserrors
from replica.exchange.formats.headers import unique_names
from replica.exchange.formats.sheetguard import Errors, weigh
from replica.exchange.formats.source import Source, on_disk
from replica.exchange.rows import BATCH_ROWS, Batch, Finding, ReadOptions, Row
from replica.libraries import library

EXACT = 1 << 53
"""Whole numbers up to here are what the sheet's floats say."""
HEADER_WITHIN = 30
"""Rows among which the header is looked for."""
_OLE = b"\xd0\xcf\x11\xe0"


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return value
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) <= EXACT else value
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        seconds = value.total_seconds()
        whole = int(abs(seconds))
        sign = "-" if seconds < 0 else ""
        return f"{sign}{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}"
    return value


def _row(values: list[Any]) -> list[Any]:
    return [value if type(value) is str else _cell(value) for value in values]


class SheetReader:
    """One sheet of a workbook. Raises FileRefused; UsageError for a sheet that is not there."""

    format = "xlsx"

    def __init__(self, source: Source, options: ReadOptions) -> None:
        self._source, self._stack = source, ExitStack()
        self._done = 0
        try:
            with source.open() as stream:
                head = stream.read(8)
            self.format = "xls" if head.startswith(_OLE) else "xlsx"
            path = self._stack.enter_context(on_disk(source, ".xls" if self.format == "xls" else ".xlsx"))
            self._size = path.stat().st_size
            found = {} if self.format == "xls" else weigh(path, source.name)
            if "content.xml" in found:
                self.format = "ods"
            self.findings = [Finding("format", self.format, 1.0, (), "--format")]
            self._rows = self._load(path, options, found)
        except BaseException:
            self._stack.close()
            raise
        self._head(options.header)

    def _load(self, path: Path, options: ReadOptions, found: dict[str, Errors]) -> list[list[Any]]:
        with library("python-calamine"):
            import python_calamine

        try:
            with path.open("rb") as file:
                book = python_calamine.load_workbook(file)
                names = list(book.sheet_names)
                if options.sheet is not None:
                    wanted = [_wanted(options.sheet, names)]
                else:
                    wanted = list(range(len(names)))
                rows: list[list[Any]] = []
                for number in wanted:
                    rows = [_row(values) for values in book.get_sheet_by_index(number).to_python(skip_empty_area=False)]
                    if any(any(value != "" for value in row) for row in rows):
                        break
                else:
                    number = wanted[0] if wanted else 0
        except (FileRefused, UsageError):
            raise
        except python_calamine.PasswordError:
            raise FileRefused(f"{self._source.name} is encrypted: save it without a password") from None
        except BaseException as error:
            # The library's panics are no Exception; a Ctrl-C is none of its.
            if isinstance(error, KeyboardInterrupt | SystemExit | MemoryError):
                raise
            raise FileRefused(f"{self._source.name} is no workbook that can be read: {error}") from None
        if len(names) > 1:
            others = tuple(name for i, name in enumerate(names) if i != number)
            sure = 1.0 if options.sheet else 0.8 if _is_table(rows) else 0.6
            self.findings.append(Finding("sheet", names[number], sure, others, "--sheet"))
        self._errors(rows, path, number, found)
        if self.format == "ods":
            for (row, column), said in odscells.cells(path, number, self._source.name).items():
                if row < len(rows) and column < len(rows[row]):
                    rows[row][column] = said
        return rows

    def _errors(self, rows: list[list[Any]], path: Path, number: int, found: dict[str, Errors]) -> None:
        if self.format != "xls" and not any(found.values()):
            return
        count = 0
        ods = self.format == "ods"  # The library shows its errors as empty text, or as the number 0.
        if self.format == "xls":
            errors = xlserrors.errors(path, number)
        else:
            errors = found.get(f"content.xml#{number}" if ods else _part(path, number), {})
        for (row, column), text in errors.items():
            if row < len(rows) and column < len(rows[row]) and (ods or rows[row][column] == ""):
                rows[row][column] = text
                count += 1
        if count:
            self.findings.append(Finding("cells with an error", f"{count} (as #N/A, kept as text)", 1.0))

    def _head(self, told: int | None) -> None:
        rows = self._rows
        filled = [sum(value != "" for value in row) for row in rows[:HEADER_WITHIN]]
        widest = max(filled, default=0)
        if told is None:
            found = [
                i
                for i, row in enumerate(rows[:HEADER_WITHIN])
                if filled[i] * 2 > widest and all(isinstance(value, str) for value in row)
            ]
            told = found[0] + 1 if found else 0
            first = next((i + 1 for i, count in enumerate(filled) if count * 2 > widest), 0)
            sure = 0.9 if found else 0.6 if first else 1.0
            self.findings.append(Finding("header", str(told), sure, () if found or not first else (str(first),), "--header"))
        if told > len(rows):
            raise UsageError(f"the sheet has {len(rows)} rows, so none is number {told}: check --header")
        head = rows[told - 1] if told else [""] * (len(rows[0]) if rows else 0)
        self._first = told
        self._keep = [
            i for i, name in enumerate(head) if name != "" or any(len(row) > i and row[i] != "" for row in rows[told:])
        ]
        names = [str(head[i]) if str(head[i]).strip() else f"column {i + 1}" for i in self._keep]
        self.fields, changed = unique_names(names)
        self.findings += changed

    def batches(self, size: int = BATCH_ROWS) -> Iterator[Batch]:
        """All rows from the beginning."""
        keep, whole = self._keep, self._keep == list(range(len(self._rows[0]) if self._rows else 0))
        numbers: list[int] = []
        lines: list[int] = []
        made: list[Row] = []
        number = 0
        for line, row in enumerate(self._rows[self._first :], self._first + 1):
            if not any(value != "" for value in row):
                continue
            number += 1
            made.append(tuple(row) if whole else tuple([row[i] for i in keep]))
            numbers.append(number)
            lines.append(line)
            if len(made) >= size:
                self._done = line
                yield Batch(numbers, lines, made)
                numbers, lines, made = [], [], []
        if made:
            self._done = len(self._rows)
            yield Batch(numbers, lines, made)

    def progress(self) -> tuple[int, int]:
        """(bytes read so far, bytes in all): by the rows."""
        return self._size * self._done // max(len(self._rows), 1), self._size

    def close(self) -> None:
        """Let go of the file."""
        self._rows = []
        self._stack.close()
        self._source.close()


def _is_table(rows: list[list[Any]]) -> bool:
    """Whether there are several rows of several cells; a sheet with a title or some advice before the others has none."""
    filled = [sum(1 for value in row if value != "") for row in rows]
    return sum(1 for count in filled if count > 1) > 1


def _wanted(told: str, names: list[str]) -> int:
    if told in names:
        return names.index(told)
    if told.isascii() and told.isdigit() and 1 <= int(told) <= len(names):
        return int(told) - 1
    raise UsageError(f'there is no sheet "{told}"; there are {", ".join(names[:20])}')


def _part(path: Path, number: int) -> str:
    """The part of an xlsx that holds the sheet of this number."""
    import zipfile

    with library("lxml"):
        from lxml import etree

    safe = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
    relation = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}id"
    try:
        with zipfile.ZipFile(path) as archive:
            book = etree.fromstring(archive.read("xl/workbook.xml"), safe)
            relations = etree.fromstring(archive.read("xl/_rels/workbook.xml.rels"), safe)
        wanted = book.findall(".//{*}sheet")[number].get(relation)
        target = next(str(r.get("Target")) for r in relations if r.get("Id") == wanted)
    except (KeyError, IndexError, StopIteration, etree.XMLSyntaxError):
        return ""
    return target[1:] if target.startswith("/") else f"xl/{target}"
