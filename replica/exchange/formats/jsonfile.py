"""JSON and JSON Lines, in and out: strict values, any shape that holds records, a damaged record beside whole ones.

1. A file is read twice: once for its names, once for its rows. Neither holds more than one record and one block.
2. A damaged line (JSON Lines) or element (JSON) is Broken; the others are kept (`jsonfind` says how it goes on).
3. Numbers, names and text as `jsontext` promises: nothing is silently changed, dropped or doubled.
4. Written: for the same rows the same bytes, UTF-8, LF. JSON is one array with one object a line; null is None, a name that
   is not there MISSING. What JSON cannot say: bytes are {"$bytes": base64}, infinities {"$float": "inf"}; both come back.
5. A dict or list as a cell is written as the object or array it is.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing

from replica.errors import FileRefused, RowRefused
from replica.exchange.formats.jsonfind import Item, Place, find, records
from replica.exchange.formats.jsontext import RECORD_MAX, Damaged, Scroll, blocks, check, encoding_of, scan, suspicious
from replica.exchange.formats.paths import DEPTH_MAX, Names, join, nests, split, text_of
from replica.exchange.formats.source import FIELDS_MAX, RAW_MAX, Sink, Source, wrong_width
from replica.exchange.rows import BATCH_CHARS, BATCH_ROWS, MISSING, Batch, Broken, Finding, ReadOptions, Row, Tree
from replica.libraries import library

with library("msgspec"):
    import msgspec

WHOLE = "."
"""The path of records that are the whole file."""


class _Json:
    """What both readers share: names first, rows then."""

    format = "json"

    def __init__(self, source: Source, options: ReadOptions) -> None:
        self._source = source
        with closing(source.open()) as stream:
            self._encoding = options.encoding or encoding_of(stream.read(4))
        self.findings = [Finding("format", self.format, 1.0, (), "--format")]
        if self._encoding != "utf-8":
            self.findings.append(Finding("encoding", self._encoding, 1.0, (), "--encoding"))
        self._names = Names(FIELDS_MAX)
        self._prepare(options)
        self._learn()
        self._names.done()
        self.fields = self._names.fields

    def _prepare(self, options: ReadOptions) -> None:
        """Find out what must be known before the records."""

    def _items(self) -> Iterator[Item]:
        raise NotImplementedError

    def _learn(self) -> None:
        names = self._names
        for value, _, text, reason in self._items():
            if reason or type(value) is not dict:
                continue
            try:
                if "[" not in text and text.find("{", 1) < 0:
                    names.flat(value)
                else:
                    names.tree(value)
            except FileRefused:
                continue

    def batches(self, size: int = BATCH_ROWS) -> Iterator[Batch]:
        """All rows from the beginning. Raises FileRefused."""
        numbers: list[int] = []
        lines: list[int] = []
        rows: list[Row] = []
        broken: list[Broken] = []
        trees: list[Tree] = []
        fields, count, weight = tuple(self.fields), len(self.fields), 0
        for number, (value, line, text, reason) in enumerate(self._items(), 1):
            if reason:
                broken.append(Broken(number, line, text[:RAW_MAX], reason))
            elif type(value) is not dict:
                broken.append(Broken(number, line, text[:RAW_MAX], "no object, so it has no names: a record is {…}"))
            else:
                try:
                    if len(value) == count and tuple(value) == fields and "[" not in text and text.find("{", 1) < 0:
                        rows.append(tuple(value.values()))
                    else:
                        rows.append(self._names.row(value))
                except FileRefused as error:
                    broken.append(Broken(number, line, text[:RAW_MAX], str(error)))
                else:
                    trees.append(value)
                    numbers.append(number)
                    lines.append(line)
            weight += len(text)
            if len(rows) + len(broken) >= size or weight >= BATCH_CHARS:
                yield Batch(numbers, lines, rows, broken, trees)
                numbers, lines, rows, broken, trees = [], [], [], [], []
                weight = 0
        if rows or broken:
            yield Batch(numbers, lines, rows, broken, trees)

    def progress(self) -> tuple[int, int]:
        """(bytes read so far, bytes in all)."""
        return self._source.progress()

    def close(self) -> None:
        """Let go of the file."""
        self._source.close()


class JsonLinesReader(_Json):
    """A record a line. Raises FileRefused when the bytes are no text."""

    format = "jsonl"

    def _lines(self) -> Iterator[tuple[list[str], int, bool, str]]:
        """(whole lines, number of the first, whether half characters may be in them, what is wrong with the first)."""
        with closing(self._source.open()) as stream:
            rest, line, skipping = "", 1, False
            for block in blocks(stream, self._encoding):
                suspect = suspicious(block) or suspicious(rest[-8:] + block[:8])
                *whole, rest = (rest + block).split("\n")
                if skipping and whole:
                    whole, skipping, line = whole[1:], False, line + 1
                yield whole, line, suspect, ""
                line += len(whole)
                if len(rest) > RECORD_MAX and not skipping:
                    yield [rest[:RAW_MAX]], line, False, f"longer than {RECORD_MAX:,} characters"
                    skipping = True
                rest = "" if skipping else rest
            yield [rest], line, True, ""

    def _items(self) -> Iterator[Item]:
        for texts, line, suspect, wrong in self._lines():
            if wrong:
                yield Item(None, line, texts[0], wrong)
                continue
            for at, text in enumerate(texts, line):
                if (item := _line(text, at, suspect)) is not None:
                    yield item

    def _learn(self) -> None:
        # Names only: values stay raw, which is several times faster than to make them.
        names, raw = self._names, msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
        for texts, line, suspect, wrong in self._lines():
            if wrong:
                continue
            for text in texts:
                try:
                    if not suspect and "[" not in text and text.find("{", 1) < 0:
                        names.flat(raw(text))
                    elif (item := _line(text, line, suspect)) is not None and type(item.value) is dict:
                        names.tree(item.value)
                except (msgspec.DecodeError, FileRefused):
                    continue  # The rows tell it.


def _line(text: str, line: int, suspect: bool) -> Item | None:
    """The record of a line, None of an empty one."""
    if text[:1] != "{":
        text = text.strip(" \t\r\x1e\ufeff")
        if not text:
            return None
    try:
        nested = "[" in text or text.find("{", 1) > 0
        if nested and text.count("[") + text.count("{") > DEPTH_MAX:
            check(text, None, False)
        value, end = scan(text, 0)
        if end < len(text) and text[end:].strip():
            raise Damaged(f"something follows the record in its line: {text[end : end + 40].strip()}")
        if suspect:
            check(text, value, suspect)
    except Damaged as error:
        where = f" (column {error.at + 1})" if error.at > 0 else ""
        return Item(None, line, text.rstrip("\r"), f"no JSON: {error.reason}{where}")
    return Item(value, line, text)


class JsonReader(_Json):
    """An array of objects, an object that holds one, objects under their keys, one object, or several one after the other.

    Raises FileRefused when there are no records, or none at the path that the user gave."""

    def _prepare(self, options: ReadOptions) -> None:
        with closing(self._source.open()) as stream:
            scroll = Scroll(blocks(stream, self._encoding))
            scroll.peek()
            try:
                if not scroll.peek():
                    raise FileRefused(f"{self._source.name} is empty: there is nothing to read")
                places, sure = find(scroll)
            except Damaged as error:
                places, sure = [], 0.0
                reason = f"{error.reason} (line {scroll.line()})"
                if scroll.text.lstrip("\ufeff \t\r\n")[:1] not in {"{", "["} or options.records is None:
                    raise FileRefused(f"{self._source.name} is no JSON that holds records: {reason}") from None
        if options.records is not None:
            path = split(options.records) if options.records not in {"", WHOLE} else ()
            known = next((p for p in places if p.path == path), None)
            self._place = known or Place(path, "array", 0)
            return
        self._place = places[0]
        if self._place.path or sure < 1:
            others = tuple(join(p.path) or WHOLE for p in places[1:6])
            where = join(self._place.path) or WHOLE
            self.findings.append(Finding("records", where, sure, others, "--records"))

    def _items(self) -> Iterator[Item]:
        with closing(self._source.open()) as stream:
            scroll = Scroll(blocks(stream, self._encoding))
            try:
                yield from records(scroll, self._place)
            except Damaged as error:
                if error.reason.startswith("there is no"):
                    raise FileRefused(f"{self._source.name}: {error.reason}; give the path of the records") from None
                at = max(error.at, 0)
                yield Item(None, scroll.line(), scroll.text[at : at + RAW_MAX], f"no JSON: {error.reason}")


_PLAIN = {str, int, bool, type(None)}


def _told(value: object) -> object:
    """A cell as JSON can say it."""
    if type(value) is float and not math.isfinite(value):
        if math.isnan(value):
            raise RowRefused("NaN has no place in JSON")
        return {"$float": repr(value)}
    if isinstance(value, bytes) or nests(value):
        return msgspec.Raw(text_of(value).encode())
    return value


class _JsonWriter:
    """What both writers share."""

    _before, _between, _after, _none = b"", b"\n", b"\n", b""

    def __init__(self, out: Sink, fields: Sequence[str]) -> None:
        self._out, self._fields, self._first = out, tuple(fields), True
        self._encode: Callable[[object], bytes] = msgspec.json.Encoder().encode

    def write(self, rows: Iterable[Row]) -> None:
        """Add rows. Raises RowRefused for a value that JSON cannot hold."""
        fields, encode = self._fields, self._encode
        made: list[bytes] = []
        for row in rows:
            if len(row) != len(fields):
                raise wrong_width(row, len(fields))
            kinds = set(map(type, row))
            if kinds <= _PLAIN:
                values = dict(zip(fields, row, strict=True))
            else:
                values = {f: _told(v) for f, v in zip(fields, row, strict=True) if v is not MISSING}
            try:
                made.append(encode(values))
            except (UnicodeEncodeError, TypeError) as error:
                raise RowRefused(f"a value that JSON cannot hold: {error}") from None
        if made:
            text = self._between.join(made)
            self._out.write(self._before if self._first else self._between)
            self._out.write(text)
            self._first = False

    def close(self) -> None:
        """Write the end."""
        self._out.write(self._none if self._first else self._after)


class JsonLinesWriter(_JsonWriter):
    """An object a line."""


class JsonWriter(_JsonWriter):
    """One array, an object a line."""

    _before, _between, _after, _none = b"[\n", b",\n", b"\n]\n", b"[]\n"


_NESTS = re.compile(r"[\[{]")


def looks_like_lines(head: str) -> bool | None:
    """Whether the beginning of a file is JSON Lines (True), JSON (False), or neither (None). One line with an object that
    nests is JSON: what a server answers is mostly its records in some wrapping, without a line end."""
    text = head.lstrip("\ufeff \t\r\n\x1e")
    if text[:1] not in {"{", "["}:
        return None
    lines = [line.strip(" \t\r\x1e") for line in text.split("\n")]
    whole = 0
    for line in (filled := [line for line in lines if line][:200]):
        if line[0] == "{" and line[-1] == "}":
            try:
                json.loads(line)
            except (ValueError, RecursionError):
                continue
            whole += 1
    if text[0] == "[" and not whole:
        return False
    return whole > 1 or (whole == 1 and len(filled) == 1 and not _NESTS.search(filled[0], 1))
