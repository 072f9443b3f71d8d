"""XML in and out: records as a stream, hardened against what files do to parsers; what it writes it reads back.

1. Read: attributes are "@name", text beside elements "#text", what nests goes by path, a child that stands several times
   is an array. Names are without prefixes, unless two namespaces share one. xsi:nil is None, an empty element empty text.
2. `xmlfind` refuses DOCTYPEs and odd encodings; depth, text, attributes, record size and the parser's own limits are
   capped; nothing else is ever opened: no entity, XInclude, schemaLocation.
3. A file that is cut off or damaged gives the records before the damage, and the damage as Broken with line and column.
   Memory holds one record and one block.
4. An XSD is checked in a pass of its own, line by line as the file streams, so its size does not matter: a record in whose
   lines an error is, is Broken with the schema's words; an error before the records is FileRefused.
5. Written: UTF-8, an element a field; a name that XML cannot have goes into <field name="…">, and that form is read back
   (MySQL writes it too). None is xsi:nil, MISSING no element. Characters that XML cannot hold are _xHHHH_ in an element
   marked r:as="escaped", bytes are r:as="base64" (namespace NAMESPACE); CR is &#13;. Numbers come back as text.
6. The schema file itself must not import from elsewhere: only files beside it.
"""

from __future__ import annotations

import base64
import binascii
import bisect
import re
from collections.abc import Iterator
from contextlib import closing
from itertools import chain
from typing import Any

from replica.errors import FileRefused
from replica.exchange.formats.paths import DEPTH_MAX, Names, nests, text_of
from replica.exchange.formats.source import FIELDS_MAX, RAW_MAX, Source
from replica.exchange.formats.xmlfind import NAMESPACE, encoding_of, find, parser, safe_blocks
from replica.exchange.rows import BATCH_CHARS, BATCH_ROWS, Batch, Broken, Finding, ReadOptions, Tree, chars
from replica.libraries import library

XSI = "http://www.w3.org/2001/XMLSchema-instance"
ATTRIBUTES_MAX = 1_000
RECORD_MAX = 64 << 20
"""Bytes between the ends of two records."""
SCHEMA_ERRORS_MAX = 10_000

_NIL, _AS = f"{{{XSI}}}nil", f"{{{NAMESPACE}}}as"
_ESCAPED = re.compile("_x([0-9A-F]{4})_")


class _Trees:
    """Elements as trees."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}

    def name(self, tag: str, prefix: str | None, before: str = "") -> str:
        """The name of an element or (`before` is "@") attribute, without its namespace if no other has the same."""
        key = before + tag
        found = self._names.get(key)
        if found is None:
            space, _, local = tag.rpartition("}")
            found = before + local
            if found in self._names.values():
                found = f"{before}{prefix or space[1:]}:{local}"
            self._names[key] = found
        return found

    def value(self, element: Any, depth: int = 1) -> Any:
        """What an element says: text, None, bytes, or a tree. Raises ValueError for what is over a cap."""
        attributes = element.attrib
        if attributes:
            if len(attributes) > ATTRIBUTES_MAX:
                raise ValueError(f"<{element.tag}> has more than {ATTRIBUTES_MAX:,} attributes")
            if attributes.get(_NIL) in {"true", "1"} and not element.text:
                return None
            form = attributes.get(_AS)
            if form is not None:
                return _formed(form, element.text or "")
        elif not len(element):
            return element.text or ""
        return self.tree(element, depth)

    def tree(self, element: Any, depth: int = 1) -> Any:
        """An element with attributes or children; its text if it has neither that we show."""
        if depth > DEPTH_MAX:
            raise ValueError(f"deeper than {DEPTH_MAX} levels")
        made: Tree = {}
        names = self._names
        for key, value in element.items():
            if key in {_NIL, _AS} or key.endswith(("}schemaLocation", "}noNamespaceSchemaLocation")):
                continue
            prefix = next((p for p, uri in element.nsmap.items() if p and key.startswith(f"{{{uri}}}")), "xml")
            made[names.get("@" + key) or self.name(key, prefix, "@")] = value
        text, many = element.text, set()
        for child in element:
            tag = child.tag
            if len(child) or child.attrib:
                name = names.get(tag) or self.name(tag, child.prefix)
                if name == "field" and (said := child.get("name")) is not None and len(child.attrib) <= 2:
                    name, value = self._field(child, said, depth)
                else:
                    value = self.value(child, depth + 1)
            else:
                name = names.get(tag) or self.name(tag, child.prefix)
                value = child.text or ""
            if child.tail:
                text = (text or "") + child.tail
            if name not in made:
                made[name] = value
            elif name in many:
                made[name].append(value)
            else:
                many.add(name)
                made[name] = [made[name], value]
        if text and not text.isspace():
            if not made and not len(element):
                return {"#text": text} if depth == 1 else text
            made["#text"] = text
        return made

    def _field(self, child: Any, said: str, depth: int) -> tuple[str, Any]:
        """<field name="…">: a field whose name is no name of XML."""
        others = [key for key in child.attrib if key not in {"name", _NIL, _AS}]
        if others:
            return "field", self.value(child, depth + 1)
        name = unescape(said)
        if child.get(_NIL) in {"true", "1"}:
            return name, None
        if (form := child.get(_AS)) is not None:
            return name, _formed(form, child.text or "")
        if len(child):
            inner = self.tree(child, depth + 1)
            inner.pop("@name", None)
            return name, inner
        return name, child.text or ""


def _formed(form: str, text: str) -> str | bytes:
    if form == "base64":
        try:
            return base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            raise ValueError("what is marked as base64 is none") from None
    if form == "escaped":
        return unescape(text)
    raise ValueError(f'r:as="{form}" is unknown')


def unescape(text: str) -> str:
    """Characters for their _xHHHH_."""
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), text) if "_x" in text else text


class XmlReader:
    """Records of an XML file. Raises FileRefused for a DOCTYPE, no XML, no records at `records`, a wrong encoding."""

    format = "xml"

    def __init__(self, source: Source, options: ReadOptions) -> None:
        self._source = source
        with closing(source.open()) as stream:
            self._encoding, findings = encoding_of(stream.read(1024), options.encoding)
        with closing(source.open()) as stream:
            self._path, places = find(safe_blocks(stream, self._encoding), options.records)
        self.findings = [Finding("format", "xml", 1.0, (), "--format"), *findings, *places]
        self._trees, self._names = _Trees(), Names(FIELDS_MAX)
        self._wrong: list[tuple[int, str]] = []
        if options.schema is not None:
            self._validate(options.schema)
        for _, value, reason, _ in self._values():
            if not reason:
                self._names.tree(value)
        self._names.done()
        self.fields = self._names.fields

    def _values(self) -> Iterator[tuple[int, Any, str, str]]:
        """(line, tree, reason, raw) of each record; a reason says why there is no tree."""
        with library("lxml"):
            from lxml import etree

        # The parser finds no name whose prefix nobody declared.
        tag = None if ":" in self._path[-1] else f"{{*}}{self._path[-1]}"
        with closing(self._source.open()) as stream:
            reader, last, since = parser(tag), None, 0
            error: Any = None
            for data in chain(safe_blocks(stream, self._encoding), (b"",)):
                since += len(data)
                try:
                    if data:
                        reader.feed(data)
                    else:
                        reader.close()
                except etree.XMLSyntaxError as found:
                    error = found
                for _, element in reader.read_events():
                    parent = element.getparent()
                    if parent is None or parent is not last or tag is None:
                        if not self._here(element):
                            continue
                        last = parent
                    since = 0
                    try:
                        value = self._trees.value(element)
                        if type(value) is not dict:
                            value = {"#text": value} if value else {}
                    except (ValueError, FileRefused) as wrong:
                        raw = etree.tostring(element, encoding="unicode", with_tail=False)[:RAW_MAX]
                        yield element.sourceline or 0, None, str(wrong), raw
                    else:
                        yield element.sourceline or 0, value, "", ""
                    element.clear(keep_tail=False)
                if error is not None:
                    break
                self._prune(last)
                if since > RECORD_MAX:
                    raise FileRefused(f"{self._source.name}: no record ends within {RECORD_MAX:,} bytes")
            if error is not None:
                line, column = error.position or (0, 0)
                reason = f"the file is damaged here: {error.msg}; nothing after it can be read"
                yield line, None, reason, f"line {line}, column {column}"

    def _here(self, element: Any) -> bool:
        """Whether an element stands at the path of the records."""
        for name in reversed(self._path):
            if element is None or element.tag.rpartition("}")[2] != name:
                return False
            element = element.getparent()
        return element is None

    def _prune(self, parent: Any) -> None:
        """Drop what was read from the parser's tree, but for the path to where it stands."""
        node = parent.getroottree().getroot() if parent is not None else None
        for name in self._path:
            if node is None or node.tag.rpartition("}")[2] != name:
                return
            if name is self._path[-1] and node.getparent() is parent:
                return
            if len(node) > 1:
                del node[:-1]
            node = node[-1] if len(node) else None

    def _validate(self, path: str) -> None:
        with library("lxml"):
            from lxml import etree

        schema = _schema(path)
        with closing(self._source.open()) as stream:
            reader, seen, line = parser(f"{{*}}{self._path[-1]}", schema), 0, 1
            for data in safe_blocks(stream, self._encoding):
                for piece in re.findall(rb"[^\n]{1,4096}\n?|\n", data):
                    try:
                        reader.feed(piece)
                    except etree.XMLSyntaxError:
                        return  # The rows tell it.
                    log = reader.feed_error_log
                    if len(log) > seen:
                        self._wrong += [(line, str(entry.message)) for entry in log[seen:]]
                        seen = len(log)
                        if "No matching global" in self._wrong[0][1]:
                            raise FileRefused(
                                f"{self._source.name} is not what the schema is about: {self._wrong[0][1]}"
                            )
                        if seen > SCHEMA_ERRORS_MAX:
                            raise FileRefused(f"more than {SCHEMA_ERRORS_MAX:,} errors by the schema: {self._first()}")
                    line += piece.count(b"\n")
                last = None
                for _, element in reader.read_events():
                    if self._here(element):
                        last = element.getparent()
                        element.clear(keep_tail=False)
                self._prune(last)
            try:
                reader.close()
            except etree.XMLSyntaxError as error:
                if len(reader.feed_error_log) > seen or not self._wrong:
                    self._wrong.append((line, str(error.msg)))

    def _first(self) -> str:
        return "; ".join(f"line {line}: {text}" for line, text in self._wrong[:5])

    def _judged(self) -> Iterator[tuple[int, Any, str, str]]:
        """The records, those that the schema refuses with its words."""
        if not self._wrong:
            yield from self._values()
            return
        lines = [line for line, _ in self._wrong]
        before: tuple[int, Any, str, str] | None = None
        for value in self._values():
            if before is None and lines[0] < value[0]:
                raise FileRefused(f"{self._source.name} does not obey the schema: {self._first()}")
            if before is not None:
                yield self._verdict(before, lines, value[0])
            before = value
        if before is None:
            raise FileRefused(f"{self._source.name} does not obey the schema: {self._first()}")
        yield self._verdict(before, lines, 1 << 60)

    def _verdict(self, value: tuple[int, Any, str, str], lines: list[int], until: int) -> tuple[int, Any, str, str]:
        line, tree, reason, _ = value
        first = bisect.bisect_left(lines, line)
        last = bisect.bisect_left(lines, max(until, line + 1))
        if reason or first == last:
            return value
        said = "; ".join(f"line {at}: {text}" for at, text in self._wrong[first : min(last, first + 5)])
        return line, None, f"the schema refuses it: {said}", text_of(tree)[:RAW_MAX]

    def batches(self, size: int = BATCH_ROWS) -> Iterator[Batch]:
        """All rows from the beginning. Raises FileRefused."""
        numbers: list[int] = []
        lines: list[int] = []
        batch = Batch(numbers, lines, [], [], trees := [])
        fields, count, weight = tuple(self.fields), len(self.fields), 0
        for number, (line, tree, reason, raw) in enumerate(self._judged(), 1):
            if reason:
                batch.broken.append(Broken(number, line, raw, reason))
            else:
                if len(tree) == count and tuple(tree) == fields and not any(map(nests, tree.values())):
                    row = tuple(tree.values())
                else:
                    row = self._names.row(tree)
                batch.rows.append(row)
                weight += chars((row,))
                numbers.append(number)
                lines.append(line)
                trees.append(tree)
            if len(batch.rows) + len(batch.broken) >= size or weight >= BATCH_CHARS:
                yield batch
                numbers, lines, weight = [], [], 0
                batch = Batch(numbers, lines, [], [], trees := [])
        if batch.rows or batch.broken:
            yield batch

    def progress(self) -> tuple[int, int]:
        """(bytes read so far, bytes in all)."""
        return self._source.progress()

    def close(self) -> None:
        """Let go of the file."""
        self._source.close()


def _schema(path: str) -> Any:
    with library("lxml"):
        from lxml import etree

    try:
        tree = etree.parse(path, etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False))
        for element in tree.iter("{http://www.w3.org/2001/XMLSchema}*"):
            place = element.get("schemaLocation")
            if place is not None and not re.fullmatch(r"[\w.-]+", place):
                raise FileRefused(
                    f"the schema {path} wants {place}: put it beside the schema and name it without a folder"
                )
        return etree.XMLSchema(tree)
    except OSError as error:
        raise FileRefused(f"the schema {path} cannot be read: {error}") from None
    except (etree.XMLSyntaxError, etree.XMLSchemaParseError) as error:
        raise FileRefused(f"the schema {path} is none: {error}") from None
