"""CSV, TSV and their kin: any delimited text in, RFC 4180 out.

Nothing is silent: what is no row of the table is broken or a finding. One test each:

1. Well-formed files come in exactly, with numbers and lines right, also of cells with several lines.
2. Damage costs its own lines; blank lines are no rows; a footer, a second table and a repeated header are no rows either.
3. Headers are made unique, only a header is no rows, an empty file is refused.
4. Whatever rows are written, reading gives the same texts, for Excel too, in every encoding.
5. What cannot be written is refused by row, field and character.
6. The same rows make the same bytes.

Texts of what is no text: int and float as Python writes them (a float so that it reads back the same), true and false, bytes
as x'hex', None and MISSING as nothing.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

from replica.errors import FileRefused, RowRefused
from replica.exchange.formats import encoding as encodings
from replica.exchange.formats.files import Input
from replica.exchange.formats.footer import FOOTER, LINES_MAX, WORDS, raw_of, totals
from replica.exchange.formats.guard import MARKER, bare, guard_row
from replica.exchange.formats.headers import unique_names
from replica.exchange.formats.output import Output
from replica.exchange.formats.quick import JOINED, QuickLines
from replica.exchange.formats.records import Piece, records
from replica.exchange.formats.sniff import delimiter_of, sniff
from replica.exchange.formats.source import wrong_width
from replica.exchange.rows import BATCH_ROWS, MISSING, Batch, Broken, Finding, ReadOptions, WriteOptions
from replica.words import clean

SAMPLE = 1 << 19
"""Bytes that are sniffed."""
_SAMPLE_MAX = 17 << 20

_MARKED: Final = re.compile("(?:^|[,;\t|\"])'+\\s*[=+\\-@＝＋－＠\t\r]", re.MULTILINE)
_FORMULA_TEXT: Final = re.compile('(?:^|[,;\t|])="[^"\r\n]+"(?=[,;\t|\r\n])', re.MULTILINE)
"""What programs write so that Excel leaves 00123 alone: a formula that is a text."""
_TEXT: Final = re.compile('="([^"]*)"')


class DelimitedReader:
    """An open delimited text. Raises Unsure for what cannot be told, FileRefused for what is no table."""

    format = "csv"

    def __init__(self, file: Input, options: ReadOptions | None = None) -> None:
        options = options or ReadOptions()
        self._file = file
        self._encoding = encodings.detect(file, options.encoding)
        sample = self._sample()
        self._sniffed = found = sniff(sample, options, file.name)
        head = found.fields or [f"column {i}" for i in range(1, found.width + 1)]
        self._head: list[str] | None = found.fields
        self._excel = self._is_for_excel(sample) if options.guarded is None else options.guarded
        self._bare = _unguarded if options.guarded else bare
        if self._excel:
            head = [self._bare(name) for name in head]
        self.fields, changed = unique_names(head)
        self.findings: list[Finding] = [self._encoding.finding, *found.findings, *changed]
        if (damage := encodings.damage(sample)) is not None:
            self.findings.append(damage)
        if self._excel and _MARKED.search(sample):
            self.findings.append(Finding("formula markers", "an apostrophe before a formula is taken off again", 0.9))
        self._texted = _FORMULA_TEXT.search(sample) is not None
        if self._texted:
            self.findings.append(Finding("texts as formulas", '="00123" is the text 00123', 0.9))
        if "\0" in sample:
            self.findings.append(Finding("NUL characters", "in the first lines: the cells are kept as they are", 0.9))

    def _texts(self) -> Iterator[str]:
        first = True
        for text in encodings.texts(self._file, self._encoding):
            # A mark may have been glued on twice, or stand where the user named the encoding.
            yield text.lstrip("\ufeff") if first else text
            first = False

    def _sample(self) -> str:
        """The beginning of the text, up to the end of a line."""
        text, size = "", 0
        parts: list[str] = []
        for part in self._texts():
            parts.append(part)
            size += len(part)
            if size > SAMPLE and ("\n" in part or "\r" in part):
                text = "".join(parts)
                cut = max(text.rfind("\n"), text.rfind("\r", 0, len(text) - 1)) + 1
                return text[:cut]
            if size > _SAMPLE_MAX:
                raise FileRefused(
                    f"{self._file.name} has a first line of more than {size:,} characters: it is no table"
                )
        return "".join(parts)

    def _is_for_excel(self, sample: str) -> bool:
        """Lines end with CR LF, and there is a byte order mark or a quoted first name: so our export for Excel begins, and
        so does what Excel makes of it when a person saves it. Our plain export never does."""
        line = sample.split("\n", 1)[0]
        return line.endswith("\r") and (self._encoding.mark > 0 or line.startswith('"'))

    def batches(self, size: int = BATCH_ROWS) -> Iterator[Batch]:
        """All rows from the beginning, in batches of at most `size`."""
        found, number = self._sniffed, 1
        for piece in records(self._texts(), found.dialect, found.width, found.skip, found.wider):
            if self._head is not None and self._head in piece.rows:
                _take_out(
                    piece, lambda row: row == self._head, "the header again: a second file was put behind the first"
                )
            if piece.final:
                _footer(piece)
            if self._excel:
                _strip(piece.rows, self._bare)
            if self._texted:
                piece.rows = [[_TEXT.sub(r"\1", c) if c[:2] == '="' else c for c in row] for row in piece.rows]
            yield from _batches(piece, number, size)
            number += len(piece.rows) + len(piece.broken)

    def progress(self) -> tuple[int, int]:
        """(bytes read so far, bytes in all) of the file as it lies on the disk."""
        return self._file.progress()

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


def _batches(piece: Piece, number: int, size: int) -> Iterator[Batch]:
    rows = list(map(tuple, piece.rows))
    if not piece.broken:
        for i in range(0, len(rows), size):
            part = rows[i : i + size]
            yield Batch(range(number + i, number + i + len(part)), piece.starts[i : i + size], part)
        return
    order = sorted(itertools.chain(piece.starts, (line for line, _, _ in piece.broken)))
    at = {line: number + i for i, line in enumerate(order)}
    broken = [Broken(at[line], line, raw, reason) for line, raw, reason in piece.broken]
    for i in range(0, max(len(rows), 1), size):
        starts = piece.starts[i : i + size]
        last = starts[-1] if i + size < len(rows) else 1 << 62
        cut = sum(1 for one in broken if one.line <= last)
        yield Batch([at[line] for line in starts], starts, rows[i : i + size], broken[:cut])
        broken = broken[cut:]


def _take_out(piece: Piece, no_row: Any, reason: str, first: int = 0) -> None:
    """Make broken what is no row, from row `first` on."""
    kept: list[tuple[list[str], int]] = []
    for i, (row, start) in enumerate(zip(piece.rows, piece.starts, strict=True)):
        if i >= first and no_row(row):
            piece.broken.append((start, raw_of(row), reason))
        else:
            kept.append((row, start))
    piece.rows, piece.starts = [row for row, _ in kept], [start for _, start in kept]
    piece.broken.sort()


def _footer(piece: Piece) -> None:
    """The last lines may be totals, or say who made the file: they are no rows."""
    last = len(piece.rows)
    while last and len(piece.rows) - last < LINES_MAX and totals(piece.rows[last - 1]):
        last -= 1
    if last < len(piece.rows):
        _take_out(piece, lambda _: True, FOOTER, last)
    end = piece.starts[-1] if piece.starts else 0
    piece.broken = [
        (line, raw, f"{FOOTER} ({why})" if line > end and WORDS.match(raw) and why != FOOTER else why)
        for line, raw, why in piece.broken
    ]


def _strip(rows: list[list[str]], bared: Callable[[str], str]) -> None:
    for row in rows:
        for i, cell in enumerate(row):
            if cell.startswith(MARKER):
                row[i] = bared(cell)


def _unguarded(cell: str) -> str:
    """A cell of a system that guards all that begins so, +43 1 555 too."""
    return cell[1:] if cell.startswith(MARKER) and cell[1:2] in {*"=+-@"} else bare(cell)


class DelimitedWriter:
    """A delimited text being written into an output, which its owner commits. Lines end with LF, for Excel with CR LF."""

    def __init__(self, out: Output, fields: Sequence[str], options: WriteOptions | None = None) -> None:
        options = options or WriteOptions()
        self._out, self._fields, self._excel = out, list(fields), options.for_excel
        self._codec = encodings.codec(options.encoding)
        self._delimiter = delimiter_of(options.delimiter)
        self._lines = QuickLines(len(self._fields), self._delimiter, "\r\n" if options.for_excel else "\n")
        self._row = 0
        wide = self._codec.startswith(("utf-16", "utf-32"))
        if wide and not self._codec.endswith(("le", "be")):
            self._codec += "-le"
        if wide or (options.for_excel and self._codec == "utf-8") or options.encoding.lower().endswith("sig"):
            out.write("\ufeff".encode(self._codec))
        head = [name if not self._excel else guard_row([name])[0] for name in self._fields]
        self._put([head], {str}, sign=self._excel)

    def write(self, rows: Iterable[Sequence[Any]]) -> None:
        """Add rows. Raises RowRefused for a text that the encoding cannot hold."""
        source = iter(rows)
        while part := list(itertools.islice(source, BATCH_ROWS)):
            self._write(part)

    def _write(self, rows: list[Sequence[Any]]) -> None:
        kinds = set(map(type, itertools.chain.from_iterable(rows)))
        ready: list[Any] = rows
        if not kinds <= JOINED:
            ready = [[_text(cell) for cell in row] for row in rows]
            kinds = set(JOINED)
        if self._excel and str in kinds:
            ready = [guard_row(row) for row in ready]
        for row in ready:
            if len(row) != len(self._fields):
                raise wrong_width(row, len(self._fields))
        self._put(ready, kinds)
        self._row += len(rows)

    def _put(self, rows: list[Any], kinds: set[type], sign: bool = False) -> None:
        try:
            for text in self._lines.texts(rows, kinds):
                if sign and not text.startswith('"'):
                    name, rest = text[: len(str(rows[0][0]))], text[len(str(rows[0][0])) :]
                    text = f'"{name}"{rest}'
                self._out.write(text.encode(self._codec))
        except UnicodeEncodeError as error:
            raise self._refused(rows, error) from None

    def _refused(self, rows: list[Any], error: UnicodeEncodeError) -> RowRefused:
        for number, row in enumerate(rows, self._row + 1):
            for name, cell in zip(self._fields, row, strict=True):
                try:
                    str(cell).encode(self._codec)
                except UnicodeEncodeError as own:
                    bad = own.object[own.start]
                    where = f"row {number}, field {clean(name)}"
                    if "\ud800" <= bad <= "\udfff":
                        return RowRefused(
                            f"{where}: {clean(bad)} is half a character, which no file can hold: mend the text"
                        )
                    return RowRefused(
                        f"{where}: {clean(bad)} (U+{ord(bad):04X}) is not in {self._codec}: "
                        f"write {self._holds(bad)} instead"
                    )
        return RowRefused(f"a text is not in {self._codec}: {clean(error)}")

    def _holds(self, char: str) -> str:
        if self._codec not in {"gb18030", "utf-8"} and char >= "\u2e80":
            return "gb18030 or utf-8"
        return "utf-8"

    def close(self) -> None:
        """Finish the text; its output is committed by whoever opened it."""


def _text(cell: Any) -> Any:
    if cell is True or cell is False:
        return "true" if cell else "false"
    if isinstance(cell, bytes):
        return f"x'{cell.hex()}'"
    return None if cell is MISSING else cell
