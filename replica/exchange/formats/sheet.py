"""Excel and other sheets, read from xlsx, xls and ods; xlsx a row at a time, the others whole.

1. Whole numbers are int, others float; dates, times and durations ISO text, a date without a time only the date; booleans
   stay; a formula is its value. An empty cell is empty text: a sheet cannot say nothing.
2. A cell with an error (#N/A) is its text, and told; the library shows it as empty, so it is found apart from it.
3. The header is the first row of text that is as wide as the table; what is above it and rows without anything are left out.
   Headers without a name, or with one that was there before, get one. Totals below the table are a footer, and broken rows.
4. Of several sheets it is the first that is not empty, told with the others, hidden ones last; `sheet` says another, by name
   or number. One that is no table, such as a page with a title, is not sure.
5. `sheetguard` looks at a workbook before it is opened. Memory does not grow with a workbook of xlsx; xls and ods must be
   held in memory whole, for the library knows no other way, and are refused above WHOLE_MAX.
6. What is damaged, encrypted or none of these formats is FileRefused.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any

from replica.errors import FileRefused, UsageError
from replica.exchange.formats import odscells, xlserrors
from replica.exchange.formats.footer import FOOTER, raw_of, totals
from replica.exchange.formats.headers import unique_names
from replica.exchange.formats.sheetguard import Errors, weigh
from replica.exchange.formats.sheetrows import SheetRows
from replica.exchange.formats.source import Source, on_disk
from replica.exchange.formats.xlsx import EXACT, Workbook
from replica.exchange.rows import BATCH_CHARS, BATCH_ROWS, Batch, Broken, Finding, ReadOptions, Row, chars
from replica.libraries import library

HEADER_WITHIN = 30
"""Rows among which the header is looked for."""
WHOLE_MAX = 128 << 20
"""Bytes of a workbook that is read whole; in memory it is some ten times as large."""
_RowsOf = Callable[[int], Iterable[tuple[int, list[Any]]]]
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
            found = None if self.format == "xls" else weigh(path, source.name)
            if found is not None:
                self.format = "ods"
            self.findings = [Finding("format", self.format, 1.0, (), "--format")]
            self._rows = SheetRows(HEADER_WITHIN)
            self._stack.callback(self._forget)
            if self.format == "xlsx":
                book = Workbook(path, source.name)
                with closing(book):
                    self._choose(book.names, book.hidden, book.rows, options)
                    self._tell_errors(book.errors)
            else:
                self._load(path, options, found or [])
            self._head(options.header)
        except BaseException:
            self._stack.close()
            raise

    def _forget(self) -> None:
        self._rows.close()

    def _choose(self, names: list[str], hidden: list[bool], rows: _RowsOf, options: ReadOptions) -> None:
        """Take the rows of the sheet that is wanted, else of the first that says something, hidden ones last."""
        if options.sheet is not None:
            wanted = [_wanted(options.sheet, names)]
        else:
            wanted = sorted(range(len(names)), key=hidden.__getitem__)
        number = wanted[0] if wanted else 0
        for number in wanted:
            self._forget()
            self._rows = SheetRows(HEADER_WITHIN)
            self._rows.fill(rows(number))
            if self._rows.last:
                break
        else:
            number = wanted[0] if wanted else 0
        if len(names) > 1:
            others = tuple(name for i, name in enumerate(names) if i != number)
            # A page with a title or some advice before the others is no table.
            sure = 1.0 if options.sheet else 0.8 if self._rows.tabular > 1 else 0.6
            self.findings.append(Finding("sheet", names[number], sure, others, "--sheet"))
        if options.sheet is None and self._rows.last and hidden[number]:
            self.findings.append(Finding("hidden sheet", f"{names[number]}: no other says anything", 1.0))

    def _load(self, path: Path, options: ReadOptions, found: list[Errors]) -> None:
        """A workbook of xls or ods, which the library holds whole."""
        with library("python-calamine"):
            import python_calamine

        if self._size > WHOLE_MAX:
            raise FileRefused(
                f"{self._source.name} has {self._size:,} bytes; {self.format} is read whole into memory, up to "
                f"{WHOLE_MAX:,}: save it as xlsx or CSV, which may be of any size"
            )
        try:
            with path.open("rb") as file:
                book = python_calamine.load_workbook(file)
                hidden = [s.visible != python_calamine.SheetVisibleEnum.Visible for s in book.sheets_metadata]

                def rows(number: int) -> Iterator[tuple[int, list[Any]]]:
                    made = [_row(r) for r in book.get_sheet_by_index(number).to_python(skip_empty_area=False)]
                    self._mend(made, path, number, found)
                    return enumerate(made, 1)

                self._choose(list(book.sheet_names), hidden, rows, options)
        except (FileRefused, UsageError):
            raise
        except python_calamine.PasswordError:
            raise FileRefused(f"{self._source.name} is encrypted: save it without a password") from None
        except BaseException as error:
            # The library's panics are no Exception; a Ctrl-C is none of its.
            if isinstance(error, KeyboardInterrupt | SystemExit | MemoryError):
                raise
            raise FileRefused(f"{self._source.name} is no workbook that can be read: {error}") from None

    def _mend(self, rows: list[list[Any]], path: Path, number: int, found: list[Errors]) -> None:
        """Put in what the library shows otherwise: errors, as empty text or the number 0, and some cells of ods."""
        ods = self.format == "ods"
        errors = xlserrors.errors(path, number) if not ods else found[number] if number < len(found) else {}
        count = 0
        for (row, column), text in errors.items():
            if row < len(rows) and column < len(rows[row]) and (ods or rows[row][column] == ""):
                rows[row][column] = text
                count += 1
        self._tell_errors(count)
        for (row, column), said in odscells.cells(path, number, self._source.name).items() if ods else ():
            if row < len(rows) and column < len(rows[row]):
                rows[row][column] = said

    def _tell_errors(self, count: int) -> None:
        if count:
            self.findings.append(Finding("cells with an error", f"{count} (as #N/A, kept as text)", 1.0))

    def _head(self, told: int | None) -> None:
        rows = self._rows
        first = [(line, row, sum(value != "" for value in row)) for line, row in sorted(rows.first.items())]
        widest = max((filled for _, _, filled in first), default=0)
        if told is None:
            wide = [(line, row) for line, row, filled in first if filled * 2 > widest]
            found = [line for line, row in wide if all(isinstance(value, str) for value in row)]
            told = found[0] if found else 0
            sure = 0.9 if found else 0.6 if wide else 1.0
            others = () if found or not wide else (str(wide[0][0]),)
            self.findings.append(Finding("header", str(told), sure, others, "--header"))
        if told > rows.last:
            raise UsageError(f"the sheet has {rows.last} rows, so none is number {told}: check --header")
        head = next((row for line, row in rows if line == told), None) if told else []
        if head is None:
            raise UsageError(f"row {told} of the sheet is empty, so it is no header: check --header")
        head = [*head, *[""] * (rows.width - len(head))]
        self._first = told
        self._footer = set(itertools.takewhile(lambda n: n > told, self._totals()))
        self._keep = [i for i, name in enumerate(head) if name != "" or rows.below[i] > told]
        names = [str(head[i]) if str(head[i]).strip() else f"column {i + 1}" for i in self._keep]
        self.fields, changed = unique_names(names)
        self.findings += changed

    def _totals(self) -> Iterator[int]:
        """The lines of the footer, from the last on."""
        width = self._rows.width
        for line, row in reversed(self._rows.end):
            if not totals([*row, *[""] * (width - len(row))]):
                return
            yield line

    def batches(self, size: int = BATCH_ROWS) -> Iterator[Batch]:
        """All rows from the beginning."""
        width, keep = self._rows.width, self._keep
        whole = keep == list(range(width))
        numbers: list[int] = []
        lines: list[int] = []
        made: list[Row] = []
        broken: list[Broken] = []
        weight = 0
        for number, (line, row) in enumerate(((n, r) for n, r in self._rows if n > self._first), 1):
            if line in self._footer:
                broken.append(Broken(number, line, raw_of(row), FOOTER))
                continue
            row += [""] * (width - len(row))
            made.append(tuple(row) if whole else tuple([row[i] for i in keep]))
            weight += chars(made[-1:])
            numbers.append(number)
            lines.append(line)
            if len(made) >= size or weight >= BATCH_CHARS:
                self._done = line
                yield Batch(numbers, lines, made)
                numbers, lines, made, weight = [], [], [], 0
        if made or broken:
            self._done = self._rows.last
            yield Batch(numbers, lines, made, broken)

    def progress(self) -> tuple[int, int]:
        """(bytes read so far, bytes in all): by the rows."""
        return self._size * self._done // max(self._rows.last, 1), self._size

    def close(self) -> None:
        """Let go of the file."""
        self._stack.close()
        self._source.close()


def _wanted(told: str, names: list[str]) -> int:
    if told in names:
        return names.index(told)
    if told.isascii() and told.isdigit() and 1 <= int(told) <= len(names):
        return int(told) - 1
    raise UsageError(f'there is no sheet "{told}"; there are {", ".join(names[:20])}')
