"""What a delimited text is: delimiter, quote, escape, header, and what stands around the table.

Every dialect that may be is tried on the lines of a sample, with damage tolerated line by line, and weighed by how many
lines agree on a width, and by whether the cells look whole. One test each:

1. Delimiter, quote and escape are found out, each with a confidence; what the user says is taken.
2. One broken quote, ragged rows, a preamble and a footer do not decide the dialect.
3. A header is told from rows by what stands below it; a preamble before it is a finding.
4. `sep=;` in the first line is obeyed; one delimiter more at the end of every line is no column.
5. What cannot be told is Unsure, with the choices.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from replica.errors import FileRefused, Unsure, UsageError
from replica.exchange.formats.headers import header_odds
from replica.exchange.formats.records import Dialect, lines_of
from replica.exchange.rows import SURE, Finding, ReadOptions
from replica.words import clean

SAMPLE_LINES = 2_000
COLUMNS_MAX = 10_000
"""Columns of a table: five times what a table of SQLite has."""

_PRIMARY: Final = {",": 1.0, ";": 1.0, "\t": 1.0, "|": 0.97}
_OTHERS: Final = {"\x1f": 0.97, "\x01": 0.97, "\x1e": 0.9, "¦": 0.9, "§": 0.9, "~": 0.85, "^": 0.85, "，": 0.85, "；": 0.85,
    "#": 0.6, "!": 0.6, "*": 0.6, ":": 0.55, "/": 0.45, " ": 0.5}  # fmt: skip
_NAMES: Final = {"\t": "tab", " ": "space", "\x1f": "\\x1f", "\x01": "\\x01", "\x1e": "\\x1e"}
_SEP: Final = re.compile('^"?sep=(.)"?[,;\t]*(?:\r\n?|\n|$)', re.IGNORECASE)
_WHOLE: Final = re.compile(r'(?:[^,;\t|"]|,(?=\s)|(?<=\d),(?=\d)|(?<=[^\s"])"(?=.))*')
"""A cell that no other delimiter would cut."""


@dataclass(slots=True)
class Sniffed:
    """What a text is. `fields` as the header says them, None without one; `skip`: lines before the first row; `wider`: every
    row ends with one more delimiter; `header_line`: number of the header's line, 0 for none."""

    dialect: Dialect
    width: int
    skip: int
    fields: list[str] | None
    header_line: int
    wider: bool
    findings: list[Finding] = field(default_factory=list)


@dataclass(slots=True)
class _Try:
    """A dialect on the sample: its records as (line index, cells), and how good it looks."""

    dialect: Dialect
    rows: list[tuple[int, list[str]]]
    width: int
    fit: float
    score: float


def delimiter_of(said: str) -> str:
    """The delimiter that a user means: "tab", "\\t", "semicolon" or the character. Raises UsageError."""
    names = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "pipe": "|", "space": " "}
    said = names.get(said.lower(), said)
    if re.fullmatch(r"\\x[0-9a-fA-F]{2}", said):
        said = chr(int(said[2:], 16))
    if len(said) != 1 or said in '\r\n"' or "\ud800" <= said <= "\udfff":
        raise UsageError(f"a delimiter is one character, and no quote or line end: {clean(said)} is not")
    return said


def sniff(text: str, options: ReadOptions, name: str) -> Sniffed:
    """What the text is, by a sample of it that ends with a line. Raises Unsure, FileRefused,
    UsageError."""
    lines = lines_of(text)
    first, sep = 0, _SEP.match(text)
    if sep and (options.delimiter is None or delimiter_of(options.delimiter) == sep[1]):
        first = 1
    if not any(line.strip() for line in lines[first:]):
        raise FileRefused(f"{name} is empty: there is not even a header in it")
    body = lines[first : first + SAMPLE_LINES]
    tried = _dialects(body, sep[1] if sep else None, options)
    best, findings = _decide(body, tried, sep is not None, options, name)
    return _table(body, best, first, options, name, findings)


def _dialects(lines: list[str], sep: str | None, options: ReadOptions) -> list[_Try]:
    text = "".join(lines)
    if options.delimiter is not None:
        delimiters = [delimiter_of(options.delimiter)]
    elif sep:
        delimiters = [sep]
    else:
        delimiters = [d for d in (*_PRIMARY, *_OTHERS) if text.count(d) >= 1] or [","]
    if options.quote is not None:
        quotes = ["" if options.quote.lower() in {"", "none"} else options.quote]
        if len(quotes[0]) > 1 or quotes[0] in delimiters:
            raise UsageError(f'a quote is one character, not the delimiter, or "none": {clean(options.quote)} is not')
    else:
        quotes = ['"'] + (["'"] if re.search("(?:^|[,;\t|])'", text, re.MULTILINE) else [])
    tried = []
    for delimiter in delimiters:
        for quote in quotes:
            plain = _try(lines, Dialect(delimiter, quote))
            tried.append(plain)
            # A cell may end with a backslash: C:\\. Where doubled quotes explain every line, there are no others.
            if quote and f"\\{quote}" in text and quote == '"' and plain.fit < 1:
                tried.append(_try(lines, Dialect(delimiter, quote, True)))
            if quote and f"{delimiter} {quote}" in text and delimiter != " ":
                tried.append(_try(lines, Dialect(delimiter, quote, spaced=True)))
            if plain.fit < 0.8 and options.quote is None and quote == '"' and quote in text:
                tried.append(_try(lines, Dialect(delimiter, "")))
    return tried


def tolerant(lines: list[str], dialect: Dialect) -> tuple[list[tuple[int, list[str]]], int]:
    """((line index, cells) of the records, number of lines that are none): damage costs a line."""
    rows: list[tuple[int, list[str]]] = []
    bad, at = 0, 0
    if dialect.backslash:
        lines = [dialect.plain(line) for line in lines]
    while at < len(lines):
        walk = iter(lines)
        walk.__setstate__(at)  # type: ignore[attr-defined]
        reader, last = dialect.rows(walk), at
        try:
            for row in reader:
                if row and (len(row) > 1 or row[0].strip()):
                    rows.append((last, row))
                last = at + reader.line_num
            break
        except csv.Error:
            bad, at = bad + 1, last + 1
    return rows, bad


def _try(lines: list[str], dialect: Dialect) -> _Try:
    rows, bad = tolerant(lines, dialect)
    widths = Counter(len(row) for _, row in rows)
    if not widths:
        return _Try(dialect, rows, 1, 0.0, 0.0)
    most = max(widths.values())
    width = max(w for w, count in widths.items() if count == most)
    fit = most / (len(rows) + bad)
    cells = [cell for _, row in rows if len(row) == width for cell in row][:4000]
    clean_cells = sum(1 for cell in cells if _WHOLE.fullmatch(cell)) / max(len(cells), 1)
    framed = 0.0
    if dialect.quote != '"':  # A rare quote must earn its place.
        edge = dialect.quote or "\0"
        framed = 0.1 if any(cell[:1] == edge for cell in cells) or not dialect.quote else 0.02
    prior = _PRIMARY.get(dialect.delimiter) or _OTHERS.get(dialect.delimiter, 0.6)
    spread = 1 - 0.5 / width if width > 1 else 0.0
    bonus = -0.02 if dialect.spaced else -0.001 if dialect.backslash else 0.0
    return _Try(dialect, rows, width, fit, prior * fit * (0.4 + 0.6 * clean_cells) * spread - framed + bonus)


def _decide(
    lines: list[str], tried: list[_Try], sep: bool, options: ReadOptions, name: str
) -> tuple[_Try, list[Finding]]:
    ranked = sorted(tried, key=lambda t: -t.score)
    best = ranked[0]
    said = options.delimiter is not None or sep
    primary = best.dialect.delimiter in _PRIMARY or best.dialect.delimiter in "\x1f\x01\x1e"
    if not said and (best.width == 1 or best.score < (0.3 if primary else 0.45)):
        return _one_column(lines, ranked, options, name)
    rivals = {t.dialect.delimiter: t for t in reversed(ranked) if t.dialect.delimiter != best.dialect.delimiter}
    rival = max(rivals.values(), key=lambda t: t.score, default=None)
    close = max(0.0, rival.score / best.score) if rival is not None and best.score > 0 else 0.0
    sure = 1.0 if said else round(min(0.99, best.fit**0.4 * (1 - 0.5 * close**4)), 2)
    others = tuple(
        shown(t.dialect.delimiter) for t in sorted(rivals.values(), key=lambda t: -t.score)[:3] if t.score > 0.2
    )
    if sure < SURE:
        choices = (shown(best.dialect.delimiter), *others)
        raise Unsure(
            f"the delimiter of {name} is not clear ({' or '.join(choices)}?): say --delimiter",
            "delimiter",
            choices,
            "--delimiter",
        )
    findings = [Finding("delimiter", shown(best.dialect.delimiter), sure, others, "--delimiter")]
    quote = best.dialect.quote or "none"
    findings.append(
        Finding("quote", quote, 1.0 if options.quote is not None else 0.95 if quote == '"' else 0.8, (), "--quote")
    )
    if best.dialect.backslash:
        findings.append(Finding("escape", "\\", 0.85))
    if best.dialect.spaced:
        findings.append(Finding("spaces", "those after a delimiter are no part of the cells", 0.8))
    return best, findings


def _one_column(lines: list[str], ranked: list[_Try], options: ReadOptions, name: str) -> tuple[_Try, list[Finding]]:
    comma = _try(lines, Dialect(",", '"' if options.quote is None else ranked[0].dialect.quote))
    ones = sum(1 for _, row in comma.rows if len(row) == 1) / max(len(comma.rows), 1)
    if comma.rows and ones < 0.95:
        # Free text with commas in it: nothing may cut it.
        choices = tuple(shown(t.dialect.delimiter) for t in ranked[:3] if t.width > 1) or (",",)
        raise Unsure(
            f"the lines of {name} agree on no delimiter ({' or '.join(choices)}?): say --delimiter",
            "delimiter",
            choices,
            "--delimiter",
        )
    comma.width, comma.fit = 1, ones
    return comma, [
        Finding("delimiter", "none: one column", 0.9, (), "--delimiter"),
        Finding("quote", '"', 0.9, (), "--quote"),
    ]


def shown(delimiter: str) -> str:
    """A delimiter as a user would write it."""
    return _NAMES.get(delimiter, delimiter)


def _table(
    lines: list[str], best: _Try, first: int, options: ReadOptions, name: str, findings: list[Finding]
) -> Sniffed:
    rows, width = best.rows, best.width
    body = [row for _, row in rows if len(row) == width]
    wider = width > 2 and len(body) > 1 and all(not row[-1].strip() for row in body[1:])
    at = _header_at(rows, width, wider) if not options.header else _said(rows, options.header - first - 1, name)
    start, head = rows[at]
    if wider:
        wider = len(head) == width - 1 or (len(head) == width and not head[-1].strip())
    elif len(head) == width + 1 and not head[-1].strip():
        head = head[:-1]
    if wider:
        width -= 1
        head = head[:width]
        findings.append(Finding("trailing delimiter", "every row ends with one: it is no column", 0.95))
    if not any(len(row) == width + wider for _, row in rows[at + 1 :]):
        width = len(head)
    if width > COLUMNS_MAX:
        raise FileRefused(f"{name} has {width:,} columns, {COLUMNS_MAX:,} at most: it is no table")
    below = [row for _, row in rows[at + 1 :] if len(row) == width + wider]
    odds = header_odds(head, below) if options.header is None else 1.0
    has = bool(options.header) or (options.header is None and odds >= 0.5)
    sure = round(odds if has else 1 - odds, 2) if options.header is None else 1.0
    if sure < SURE:
        raise Unsure(
            f"is line {first + start + 1} of {name} a header? ({clean(', '.join(head)[:80])}): say"
            f" --header {first + start + 1}, or --header 0 if there is none",
            "header", (str(first + start + 1), "0"), "--header",
        )  # fmt: skip
    if not has and options.header == 0:
        start = 0
    findings.append(Finding("header", f"line {first + start + 1}" if has else "none", sure, (), "--header"))
    skip = first + (_end(lines, start, best.dialect) if has else start)
    before = first + start
    if start:
        findings.append(Finding("preamble", f"{before} lines before the table are skipped", 0.9, (), "--header"))
    return Sniffed(best.dialect, width, skip, head if has else None, first + start + 1 if has else 0, wider, findings)


def _end(lines: list[str], start: int, dialect: Dialect) -> int:
    """The line after the record that begins at `start`."""
    reader = dialect.rows([dialect.plain(line) for line in lines[start : start + 200]])
    next(reader)
    return start + int(reader.line_num)


def _said(rows: list[tuple[int, list[str]]], line: int, name: str) -> int:
    for i, (start, _) in enumerate(rows):
        if start == line:
            return i
    raise UsageError(f"line {line + 1} of {name} is no header: it is empty, or within a record")


def _header_at(rows: list[tuple[int, list[str]]], width: int, wider: bool) -> int:
    """Which record is the first of the table: a preamble is narrower, or nearly empty."""
    if width == 1:
        return 0
    fitting = [
        i for i, (_, row) in enumerate(rows)
        if len(row) == width or (wider and len(row) == width - 1) or (len(row) == width + 1 and not row[-1].strip())
    ]  # fmt: skip
    for i in fitting[:20]:
        filled = sum(1 for cell in rows[i][1] if cell.strip())
        if filled > 1 or width < 3:
            return i
    return fitting[0] if fitting else 0
