"""Which format a file is, and the room that reads or writes it.

1. Content first: what the first bytes say, inside of any packing; a zip is a workbook or a packed file by what is in it. The
   name counts only where the content is plain text, and where they contradict each other the user is asked (Unsure).
2. What is no table (a PDF, a picture, a web page saved in its place, a database) is FileRefused, by its name.
3. What a reader is less than SURE of is not acted upon by an import: `open_sure` asks (Unsure), and says the option.
4. Written: the format is the suffix's, before that of the packing, or the one that is told. The file appears whole or not at
   all.
"""

from __future__ import annotations

import re
import shlex
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, cast

from replica.errors import FileRefused, Unsure, UsageError
from replica.exchange.formats.files import Input, open_input
from replica.exchange.formats.output import open_output
from replica.exchange.formats.source import on_disk
from replica.exchange.rows import SURE, Finding, Reader, ReadOptions, WriteOptions, Writer
from replica.words import clean

READ: Final = ("csv", "tsv", "json", "jsonl", "xml", "xlsx", "xls", "ods", "parquet", "vcard")
WRITTEN: Final = ("csv", "tsv", "json", "jsonl", "xml", "xlsx", "parquet", "vcard")
_OPTION: Final = "--format"
_SUFFIXES: Final = {
    "csv": "csv", "txt": "csv", "tsv": "tsv", "tab": "tsv", "json": "json", "geojson": "json", "jsonl": "jsonl",
    "ndjson": "jsonl", "xml": "xml", "xlsx": "xlsx", "xlsm": "xlsx", "xls": "xls", "ods": "ods", "parquet": "parquet",
    "pq": "parquet", "vcf": "vcard", "vcard": "vcard",
}  # fmt: skip
_OTHERS: Final = (
    (b"%PDF", "a PDF: export the table from where it was made"),
    (b"\x89PNG", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
    (b"GIF8", "a picture"),
    (b"SQLite format 3\0", "a database: open it with `replica init`, or export its tables"),
    (b"\x7fELF", "a program"),
    (b"MZ\x90", "a program"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive: unpack it"),
    (b"Rar!", "a RAR archive: unpack it"),
    (b"BZh", "packed with bzip2: unpack it"),
    (b"\xfd7zXZ", "packed with xz: unpack it"),
    (b"Obj\x01", "Avro: convert it to Parquet"),
    (b"ORC", "ORC: convert it to Parquet"),
    (b"ARROW1", "an Arrow file: convert it to Parquet"),
    (b"{\\rtf", "a text document: save the table as CSV"),
)
_HEAD: Final = 1 << 16


def _known(name: str) -> str:
    """The format that a user means. Raises UsageError."""
    known = _SUFFIXES.get(name.lower().lstrip("."), {"excel": "xlsx", "jsonlines": "jsonl"}.get(name.lower(), ""))
    if not known:
        raise UsageError(f'"{clean(name)}" is no format; there are {", ".join(READ)}')
    return known


def _suffix(name: str) -> str | None:
    return _SUFFIXES.get(Path(name).suffix.lower().lstrip("."))


def _document(file: Input) -> str:
    """What a zip that is a document is. Raises FileRefused."""
    try:
        with on_disk(file, ".zip") as path, zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise FileRefused(f"{file.name} is a damaged workbook ({clean(error)}): get it again") from None
    if "xl/workbook.xml" in names:
        return "xlsx"
    if "content.xml" in names:
        return "ods"
    if "xl/workbook.bin" in names:
        raise FileRefused(f"{file.name} is a binary workbook (xlsb): save it as xlsx")
    raise FileRefused(f"{file.name} is a document without a sheet: save the table as CSV or xlsx")


def _text_format(name: str, text: str) -> tuple[str, float]:
    """(format, confidence) of a text by its beginning. Raises FileRefused."""
    from replica.exchange.formats.jsonfile import looks_like_lines

    text = text.lstrip("\ufeff \t\r\n\x1e")
    begin = text[:200].lower()
    if begin.startswith("begin:vcard"):
        return "vcard", 1.0
    if re.match(r"<!doctype\s+html|<html", begin):
        raise FileRefused(f"{name} is a web page: what was downloaded is perhaps a login page; get the file again")
    if re.match(r"<[?!\w]", begin):
        return "xml", 0.95
    if re.match(r'\{\s*["}]|\{\s*$|\[\s*[\[{"\]\d-]|\[\s*(true|false|null)|\[\s*$', begin):
        lines = looks_like_lines(text)
        if lines is not None:
            # A JSON array of plain values and a CSV whose first header is in brackets begin alike.
            return "jsonl" if lines else "json", 0.95 if re.match(r"[\[\s]*\{", begin) else 0.8
    return "csv", 0.8


def format_of(file: Input) -> Finding:
    """The format of an open file, and how sure. Raises FileRefused for what is no table, Unsure where name and content
    contradict each other."""
    with file.open() as stream:
        head = stream.read(_HEAD)
    if not head:
        raise FileRefused(f"{file.name} is empty: there is nothing to read")
    if head.startswith(b"PAR1"):
        return Finding("format", "parquet", 1.0, (), _OPTION)
    if head.startswith(b"\xd0\xcf\x11\xe0"):
        return Finding("format", "xls", 0.95, (), _OPTION)
    if head.startswith(b"PK\x03\x04"):
        return Finding("format", _document(file), 1.0, (), _OPTION)
    for magic, what in _OTHERS:
        if head.startswith(magic):
            raise FileRefused(f"{file.name} is {what}" if ":" in what else f"{file.name} is {what}, not a table")
    return _judged(file, head)


def _judged(file: Input, head: bytes) -> Finding:
    from replica.exchange.formats.jsontext import encoding_of

    encoding = encoding_of(head[:4])
    text = head.decode(encoding, "replace")
    found, sure = _text_format(file.name, text)
    named = _suffix(file.inner)
    if found == "json" and named == "jsonl" and _first_is_whole(text):
        return Finding("format", "jsonl", 0.9, ("json",), _OPTION)
    if found != "csv":
        return Finding("format", found, sure, (named,) if named and named != found else (), _OPTION)
    odd = sum(char < " " and char not in "\t\r\n\0\x1a\x1e" for char in text[:4_096])
    if odd * 10 > len(text[:4_096]):
        raise FileRefused(f"{file.name} is binary and of no format that is known here: export it as CSV")
    if named in {None, "csv", "tsv"}:
        return Finding("format", named or "csv", 0.9 if named else sure, (), _OPTION)
    if named == "jsonl" and re.search(r'^\s*\{\s*".*\}\s*$', text, re.MULTILINE):
        return Finding("format", "jsonl", 0.9, (), _OPTION)
    if named == "vcard" and re.search("^BEGIN:VCARD", text, re.MULTILINE | re.IGNORECASE):
        return Finding("format", "vcard", 0.9, (), _OPTION)
    raise Unsure(
        f"{file.name} is called {named}, and is none by its content: say what it is with {_OPTION}",
        "format",
        ("csv", str(named)),
        _OPTION,
    )


def _first_is_whole(text: str) -> bool:
    """Whether the first line of a text is an object of JSON."""
    import json

    line = text.lstrip("\ufeff \t\r\n\x1e").partition("\n")[0]
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def open_reader(path: str, options: ReadOptions) -> Reader:
    """Open a file to read, "-" for standard input. Raises FileRefused, Unsure, UsageError."""
    told = _known(options.format) if options.format is not None else None
    file = open_input(path)
    try:
        finding = Finding("format", told, 1.0, (), _OPTION) if told else format_of(file)
        if finding.confidence < SURE:
            raise Unsure(f"{file.name} could be {finding.value}", "format", (finding.value, *finding.others), _OPTION)
        reader = _reader(file, finding.value, options)
    except BaseException:
        file.close()
        raise
    reader.findings[:] = [finding, *(f for f in reader.findings if f.what != "format")]
    return reader


def open_sure(path: str, options: ReadOptions) -> Reader:
    """Open a file to act upon what it says. Raises FileRefused and UsageError; Unsure for what the reader has guessed and
    the user has not said."""
    reader = open_reader(path, options)
    guessed = (f for f in reader.findings if f.confidence < SURE and getattr(options, _name(f), "") is None)
    if (found := next(guessed, None)) is None:
        return reader
    reader.close()
    choices = tuple(dict.fromkeys((found.value, *found.others)))
    ways = " or ".join(f"{found.option} {shlex.quote(clean(choice))}" for choice in choices)
    name = "standard input" if path == "-" else clean(path)
    raise Unsure(f"the {found.what} of {name} is not sure: say {ways}", found.what, choices, found.option)


def _name(finding: Finding) -> str:
    """The field of ReadOptions that answers a finding."""
    return finding.option.removeprefix("--")


def _reader(file: Input, kind: str, options: ReadOptions) -> Reader:
    if kind in {"csv", "tsv"}:
        from dataclasses import replace

        from replica.exchange.formats.delimited import DelimitedReader

        if kind == "tsv" and options.delimiter is None and options.format is not None:
            options = replace(options, delimiter="\t")
        return cast(Reader, DelimitedReader(file, options))
    if kind in {"json", "jsonl"}:
        from replica.exchange.formats.jsonfile import JsonLinesReader, JsonReader

        return JsonLinesReader(file, options) if kind == "jsonl" else JsonReader(file, options)
    if kind == "xml":
        from replica.exchange.formats.xmlfile import XmlReader

        return XmlReader(file, options)
    if kind == "parquet":
        from replica.exchange.formats.parquet import ParquetReader

        return ParquetReader(file, options)
    if kind == "vcard":
        from replica.exchange.formats.vcard import VcardReader

        return VcardReader(file, options)
    from replica.exchange.formats.sheet import SheetReader

    return SheetReader(file, options)


def output_format(path: str, told: str | None) -> str:
    """The format to write: the told one, else the suffix's, before .gz or .zst. Raises UsageError."""
    if told is not None:
        kind = _known(told)
    else:
        name = re.sub(r"\.(gz|zst)$", "", path, flags=re.IGNORECASE)
        found = _suffix(name)
        if found is None:
            raise UsageError(f"which format {clean(path)} shall have is not in its name: say it with {_OPTION}")
        kind = found
    if kind not in WRITTEN:
        raise UsageError(f"{kind} is read, not written: write xlsx")
    return kind


def writer_to(out: Any, fields: Sequence[str], kind: str, options: WriteOptions) -> Writer:
    """A writer of this format into an open output, which its owner commits. Raises UsageError, RowRefused."""
    if len(set(fields)) < len(fields):
        twice = next(field for i, field in enumerate(fields) if field in fields[:i])
        raise UsageError(f'the field "{clean(twice)}" stands twice in what is to be written')
    if kind in {"csv", "tsv"}:
        from dataclasses import replace

        from replica.exchange.formats.delimited import DelimitedWriter

        if kind == "tsv" and options.delimiter == ",":
            options = replace(options, delimiter="\t")
        return DelimitedWriter(out, fields, options)
    if kind in {"json", "jsonl"}:
        from replica.exchange.formats.jsonfile import JsonLinesWriter, JsonWriter

        return JsonLinesWriter(out, fields) if kind == "jsonl" else JsonWriter(out, fields)
    if kind == "xml":
        from replica.exchange.formats.xmlwrite import XmlWriter

        return XmlWriter(out, fields, options.name, nested=options.nested)
    if kind == "parquet":
        from replica.exchange.formats.parquet import ParquetWriter

        return ParquetWriter(out, fields)
    if kind == "vcard":
        from replica.exchange.formats.vcardwrite import VcardWriter

        return VcardWriter(out, fields)
    from replica.exchange.formats.sheetwrite import XlsxWriter

    return XlsxWriter(out, fields, options.name)


@contextmanager
def open_writer(path: str, fields: Sequence[str], format: str | None, options: WriteOptions) -> Iterator[Writer]:
    """Write a file, "-" for standard output: it appears whole when the block ends well, and not at all when it does not.
    Raises UsageError for a format that is not written, FileRefused for a place that cannot be written."""
    kind = output_format(path, format)
    with open_output(path) as out:
        writer = writer_to(out, fields, kind, options)
        try:
            yield writer
        except BaseException:
            if (discard := getattr(writer, "discard", None)) is not None:
                discard()
            raise
        writer.close()
