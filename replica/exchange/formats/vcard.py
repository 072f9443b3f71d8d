"""vCard 2.1, 3.0 and 4.0 in: a card is a record. (`vcardwrite` writes them.)

1. Cards come one by one. What phones and Lotus Notes write is repaired: base64 that is not indented, PROFILE,
   quoted-printable over several lines, charsets by property, a missing END. A card that stays unreadable is Broken, the
   others are kept.
2. Fields: fn, n.family, n.given, n.additional, n.prefix, n.suffix, org, org.unit, adr.street and so on; tel, email, url and
   adr by kind (tel.work.cell, adr.home.city), the second of a kind as tel.cell.2; other properties by their name. Pictures,
   sounds and keys are left out, and told. `trees` holds lists of what can stand several times.
"""

from __future__ import annotations

import quopri
import re
from collections.abc import Iterable, Iterator
from contextlib import closing
from typing import NamedTuple

from replica.errors import FileRefused
from replica.exchange.formats.jsontext import BLOCK, blocks, encoding_of
from replica.exchange.formats.source import FIELDS_MAX, RAW_MAX, Source
from replica.exchange.rows import BATCH_ROWS, MISSING, Batch, Broken, Finding, ReadOptions, Tree

PARTS = {
    "n": ("family", "given", "additional", "prefix", "suffix"),
    "adr": ("pobox", "extended", "street", "city", "region", "code", "country"),
    "org": ("", "unit"),
}
KINDS = ("home", "work", "cell", "fax", "pager")
MANY = ("tel", "email", "url", "adr", "impp")
PLAIN = (
    "fn",
    "title",
    "role",
    "note",
    "uid",
    "categories",
    "bday",
    "rev",
    "nickname",
    "anniversary",
    "gender",
    "tz",
    "geo",
    "lang",
)
LEFT_OUT = {"photo", "logo", "sound", "key"}
OURS = "X-REPLICA"
CARD_MAX = 16 << 20
"""Bytes of a card."""
_IGNORED = {"version", "profile", "prodid", "begin", "end", "agent"}
_PROPERTY = re.compile(r'(?:[\w-]+\.)?([\w-]+)((?:;(?:[^;:"]|"[^"]*")*)*):(.*)', re.DOTALL)
_PARAMETER = re.compile(r';((?:[^;"]|"[^"]*")*)')
_BASE64 = re.compile(rb"[A-Za-z0-9+/=\s]*")
_CIRCUMFLEX = {"^n": "\n", "^^": "^", "^'": '"'}


class _Line(NamedTuple):
    number: int
    data: bytes


class _Card(NamedTuple):
    line: int
    lines: list[_Line]
    reason: str


class _Growing:
    """A line of which more may follow, in pieces: a picture has a hundred thousand."""

    __slots__ = ("base64", "number", "pieces", "quoted")

    def __init__(self, line: _Line) -> None:
        self.number, self.pieces = line.number, [line.data]
        head = line.data.partition(b":")[0].upper()
        self.quoted = b"QUOTED-PRINTABLE" in head
        self.base64 = b"BASE64" in head or b"ENCODING=B" in head

    def takes(self, line: bytes) -> bool:
        """Add what follows, if it belongs to this line."""
        last = self.pieces[-1]
        if self.quoted and last.endswith(b"="):
            self.pieces[-1] = last[:-1]
            self.pieces.append(line.lstrip(b" \t"))
        elif line[:1] in {b" ", b"\t"}:
            self.pieces.append(line[1:])
        elif self.base64 and b":" not in line and _BASE64.fullmatch(line):
            self.pieces.append(line)
        else:
            return False
        return True


def _grown(found: list[_Growing]) -> list[_Line]:
    return [_Line(line.number, b"".join(line.pieces)) for line in found]


def _lines(source: Source, encoding: str) -> Iterator[_Line]:
    """Lines as they stand, in UTF-8 (or, where they are neither, as they are)."""
    with closing(source.open()) as stream:
        rest, number = b"", 1
        wide = encoding.startswith(("utf-16", "utf-32"))
        for data in (
            (text.encode() for text in blocks(stream, encoding)) if wide else iter(lambda: stream.read(BLOCK), b"")
        ):
            *whole, rest = (rest + data.replace(b"\r\n", b"\n")).split(b"\n")
            for line in whole:
                yield _Line(number, line.rstrip(b"\r"))
                number += 1
            if len(rest) > CARD_MAX:
                raise FileRefused(f"{source.name}: line {number} is longer than {CARD_MAX:,} bytes")
        if rest:
            yield _Line(number, rest.rstrip(b"\r"))


def _cards(lines: Iterable[_Line]) -> Iterator[_Card]:
    """Cards as their lines, unfolded."""
    found: list[_Growing] | None = None
    begin = size = inner = 0
    for line in lines:
        word = line.data.strip().lstrip(b"\xef\xbb\xbf").upper()
        if word == b"BEGIN:VCARD":
            if found and re.match(rb"(?i)agent(;[^:]*)?:\s*$", found[-1].pieces[0]):
                inner += 1
                continue
            if found is not None:
                yield _Card(begin, _grown(found), "")
            found, begin, size, inner = [], line.number, 0, 0
        elif word == b"END:VCARD" and inner:
            inner -= 1
        elif word == b"END:VCARD":
            if found is not None:
                yield _Card(begin, _grown(found), "")
            found = None
        elif found is None:
            if word:
                yield _Card(line.number, [line], "it stands outside of a card (BEGIN:VCARD … END:VCARD)")
        elif not inner:
            size += len(line.data)
            if size > CARD_MAX:
                yield _Card(begin, _grown(found[:1]), f"a card longer than {CARD_MAX:,} bytes")
                found = None
                continue
            if not (found and found[-1].takes(line.data)) and line.data.strip():
                found.append(_Growing(line))
    if found is not None:
        yield _Card(begin, _grown(found), "")


class _Property(NamedTuple):
    name: str
    parameters: dict[str, list[str]]
    value: str


def _decoded(data: bytes, charset: str) -> str:
    try:
        return data.decode(charset)
    except LookupError:
        raise ValueError(f'"{charset}" is no charset that is known') from None
    except UnicodeDecodeError:
        raise ValueError(f"no {charset}: say what it is with --encoding") from None


def _property(line: _Line, fallback: str) -> _Property:
    """A line as a property. Raises ValueError."""
    found = _PROPERTY.fullmatch(line.data.decode("latin-1").lstrip("ï»¿"))
    if found is None:
        raise ValueError(f"line {line.number} is no property (NAME:value)")
    name = found[1].lower()
    parameters: dict[str, list[str]] = {}
    for text in _PARAMETER.findall(found[2]):
        key, equals, value = text.partition("=")
        if not equals:
            key, value = "TYPE", key
            if value.upper() in {"QUOTED-PRINTABLE", "BASE64", "B", "8BIT", "7BIT"}:
                key = "ENCODING"
        decoded = value.encode("latin-1").decode("utf-8", "replace")
        values = [decoded] if key.upper() == "FIELD" else decoded.replace('"', "").split(",")
        parameters.setdefault(key.strip().upper(), []).extend(values)
    data = found[3].encode("latin-1")
    way = parameters.get("ENCODING", [""])[0].upper()
    if name in LEFT_OUT or name in _IGNORED:
        return _Property(name, parameters, "")
    if way == "QUOTED-PRINTABLE":
        data = quopri.decodestring(data)
    charset = parameters.get("CHARSET", [""])[0] or "utf-8"
    try:
        text = _decoded(data, charset)
    except ValueError as error:
        if fallback == "utf-8":
            raise ValueError(f"line {line.number} is {error}") from None
        text = _decoded(data, fallback)
    return _Property(name, parameters, text.replace("\r\n", "\n"))


def _split(value: str, old: bool) -> list[str]:
    """The components of a value, unescaped."""
    parts = [""]
    for piece in re.findall(r"\\.|;|[^\\;]+|\\", value, re.DOTALL):
        if piece == ";":
            parts.append("")
        else:
            parts[-1] += piece
    return [_unescape(part, old) for part in parts]


def _unescape(text: str, old: bool) -> str:
    if old:
        return text.replace("\\;", ";")
    return re.sub(r"\\(.)", lambda found: "\n" if found[1] in "nN" else found[1], text, flags=re.DOTALL)


def _kinds(parameters: dict[str, list[str]]) -> list[str]:
    said = {kind.lower() for kind in parameters.get("TYPE", ())}
    if "mobile" in said or "iphone" in said:
        said.add("cell")
    return [kind for kind in KINDS if kind in said]


def _record(card: _Card, fallback: str, left_out: set[str]) -> tuple[dict[str, str], Tree]:
    """(field -> text, tree) of a card. Raises ValueError."""
    flat: dict[str, str] = {}
    tree: Tree = {}
    properties = [_property(line, fallback) for line in card.lines]
    old = any(line.data.upper().startswith(b"VERSION:2") for line in card.lines)
    for name, parameters, value in properties:
        if name in LEFT_OUT:
            left_out.add(name)
        elif name == OURS.lower() and "FIELD" in parameters:
            said = parameters["FIELD"][0].strip('"')
            field = re.sub(r"\^[n^']", lambda found: _CIRCUMFLEX[found[0]], said)
            flat[field] = tree[field] = _unescape(value, old)
        elif name in _IGNORED or "X-MADE" in parameters:
            continue
        elif name in MANY:
            base = ".".join([name, *_kinds(parameters)])
            more = 1
            start = base
            while any(key == start or (name == "adr" and key.rpartition(".")[0] == start) for key in flat):
                more += 1
                start = f"{base}.{more}"
            parts = dict(zip(PARTS["adr"], _split(value, old), strict=False)) if name == "adr" else {}
            flat |= {f"{start}.{part}": text for part, text in parts.items() if text}
            if name != "adr":
                flat[start] = _unescape(value, old)
            entry = parts or {"value": flat[start]} if name != "adr" else parts
            tree.setdefault(name, []).append({**entry, "kinds": _kinds(parameters)})
        elif name in PARTS:
            values = _split(value, old)
            if name == "org":
                values = [values[0], ";".join(values[1:])]
            made = {part: text for part, text in zip(PARTS[name], values, strict=False) if text}
            flat |= {f"{name}.{part}" if part else name: text for part, text in made.items()}
            tree[name] = {part or "name": text for part, text in made.items()}
        else:
            text = value if name == "categories" else _unescape(value, old)
            field, more = name, 1
            while field in flat:
                more += 1
                field = f"{name}.{more}"
            flat[field] = text
            tree[field] = text.split(",") if name == "categories" else text
    return flat, tree


class VcardReader:
    """Cards of a file. Raises FileRefused when there is none."""

    format = "vcard"

    def __init__(self, source: Source, options: ReadOptions) -> None:
        self._source = source
        with closing(source.open()) as stream:
            self._encoding = options.encoding or encoding_of(stream.read(4))
        self.findings = [Finding("format", "vcard", 1.0, (), "--format")]
        self._left_out: set[str] = set()
        fields: dict[str, None] = {}
        count = 0
        for _, _, flat, _, _ in self._records():
            count += 1
            fields.update(dict.fromkeys(flat))
        if not count:
            raise FileRefused(f"{source.name} has no card (BEGIN:VCARD)")
        if len(fields) > FIELDS_MAX:
            raise FileRefused(f"more than {FIELDS_MAX:,} different fields: these are no cards of people")
        self.fields = list(fields)
        if self._left_out:
            self.findings.append(Finding("left out", ", ".join(sorted(self._left_out)), 1.0))

    def _records(self) -> Iterator[tuple[int, str, dict[str, str], Tree, str]]:
        """(line, raw, flat, tree, reason) of each card."""
        for card in _cards(_lines(self._source, self._encoding)):
            reason = card.reason
            if not reason:
                try:
                    flat, tree = _record(card, self._encoding.removesuffix("-sig"), self._left_out)
                except ValueError as error:
                    reason = str(error)
                else:
                    yield card.line, "", flat, tree, ""
                    continue
            raw = b"\n".join(line.data for line in card.lines)[:RAW_MAX].decode("utf-8", "replace")
            yield card.line, raw, {}, {}, reason

    def batches(self, size: int = BATCH_ROWS) -> Iterator[Batch]:
        """All cards from the beginning. Raises FileRefused."""
        numbers: list[int] = []
        lines: list[int] = []
        batch = Batch(numbers, lines, [], [], trees := [])
        for number, (line, raw, flat, tree, reason) in enumerate(self._records(), 1):
            if reason:
                batch.broken.append(Broken(number, line, raw, reason))
            else:
                batch.rows.append(tuple([flat.get(field, MISSING) for field in self.fields]))
                numbers.append(number)
                lines.append(line)
                trees.append(tree)
            if len(batch.rows) + len(batch.broken) >= size:
                yield batch
                numbers, lines = [], []
                batch = Batch(numbers, lines, [], [], trees := [])
        if batch.rows or batch.broken:
            yield batch

    def progress(self) -> tuple[int, int]:
        """(bytes read so far, bytes in all)."""
        return self._source.progress()

    def close(self) -> None:
        """Let go of the file."""
        self._source.close()
