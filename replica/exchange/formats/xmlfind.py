"""What is safe to give to an XML parser, in which encoding it is, and which of its elements are the records.

1. A DOCTYPE of any kind is refused before a parser sees it, in whatever encoding; so are encodings in which one could hide
   (UTF-7, EBCDIC, ISO-2022).
2. The encoding is the byte order mark's, else the zeros' of UTF-16, else the declared one, else UTF-8. A declaration that
   says something else is told.
3. Records are the outermost elements that stand several times side by side and have something in them. What else could be
   meant is told, with how sure that is.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from itertools import chain
from typing import IO, Any, NamedTuple

from replica.errors import FileRefused
from replica.exchange.rows import Finding
from replica.libraries import library

NAMESPACE = "urn:replica:exchange:1"
"""Of what we add to elements when we write."""

BLOCK = 1 << 16
HEAD = 1 << 20
"""Bytes that are looked at to find the records."""

_DECLARED = re.compile(rb"""^\s*<\?xml[^>]{0,200}?encoding\s*=\s*["']([A-Za-z0-9._-]{1,40})["']""")
_XSI = "{http://www.w3.org/2001/XMLSchema-instance}"
_PROLOG = re.compile(r"\s+|<\?.*?\?>|<!--.*?-->", re.DOTALL)
_KNOWN = re.compile(
    r"utf-?8|utf-?16(-?[lb]e)?|(us-)?ascii|gb18030|gbk|gb2312|cp936|big5(-?hkscs)?|cp950|shift[_-]?jis|sjis|cp932|windows-31j"
    r"|euc-?(jp|kr)|cp949|ks_c_5601-1987|iso-?8859-?\d{1,2}|latin-?\d|(windows-?|cp)(125\d|437|850|852|866|874)|koi8-[ru]|tis-620"
)
_WIDER = {"gb2312": "gb18030", "gbk": "gb18030", "cp936": "gb18030", "shift_jis": "cp932", "shift-jis": "cp932",
          "sjis": "cp932", "windows-31j": "cp932", "iso-8859-1": "cp1252", "ks_c_5601-1987": "cp949"}  # fmt: skip
"""What is written under these names: the superset that other programs mean by them."""


def _normal(name: str) -> str:
    name = name.lower()
    if not _KNOWN.fullmatch(name):
        raise FileRefused(f'the file says that its encoding is "{name}", which is not read here: save it as UTF-8')
    return _WIDER.get(name, name)


def encoding_of(head: bytes, told: str | None) -> tuple[str, list[Finding]]:
    """(encoding, findings) of an XML file by its first bytes; `told`: what the user says. Raises FileRefused."""
    found = _DECLARED.match(head.removeprefix(codecs.BOM_UTF8))
    declared = found[1].decode().lower() if found else None
    if head.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE, b"\0\0\0<", b"<\0\0\0")):
        raise FileRefused("the file is UTF-32, which is not read here: save it as UTF-8")
    if head[:4] == b"\x4c\x6f\xa7\x94":
        raise FileRefused("the file is EBCDIC, which is not read here: save it as UTF-8")
    if told:
        return told, []
    known = _normal(declared) if declared else "utf-8"
    if head.startswith(codecs.BOM_UTF8):
        real = "utf-8-sig"
    elif head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        real = "utf-16"
    elif head[1:2] == b"\0" or head[:1] == b"\0":
        real = "utf-16-le" if head[1:2] == b"\0" else "utf-16-be"
    elif declared and declared.startswith("utf-16"):
        return "utf-8", [Finding("encoding", "utf-8", 0.8, (declared,), "--encoding")]
    else:
        real = known
    if real.startswith("utf-16"):
        text = head[: len(head) // 2 * 2].decode(real, "replace")
        inner = _DECLARED.match(text.lstrip("\ufeff").encode("ascii", "replace"))
        declared = inner[1].decode().lower() if inner else declared
        _normal(declared or real)
    if declared and real.startswith("utf-") and not declared.startswith(real[:6].rstrip("-s").rstrip("-")):
        return real, [Finding("encoding", real, 0.9, (declared,), "--encoding")]
    return real, [Finding("encoding", real, 1.0, (), "--encoding")] if real != "utf-8" else []


def safe_blocks(stream: IO[bytes], encoding: str) -> Iterator[bytes]:
    """The file as UTF-8, in blocks, its prolog looked through for a DOCTYPE. Raises FileRefused."""
    plain = encoding.lower() in {"utf-8", "utf8", "us-ascii", "ascii"}
    try:
        decoder = codecs.getincrementaldecoder(encoding)("strict")
    except LookupError:
        raise FileRefused(f'"{encoding}" is no encoding that is known here') from None
    head, safe = "", False
    while data := stream.read(BLOCK):
        if not plain or not safe:
            try:
                text = decoder.decode(data) if not plain else data.decode("latin-1")
            except UnicodeDecodeError as error:
                raise FileRefused(
                    f"the file is no {encoding} ({error.reason}): say what it is with --encoding"
                ) from None
            if not safe:
                head += text
                safe = _begun(head)
            if not plain:
                data = text.encode()
        yield data


def _begun(head: str) -> bool:
    """Whether the root element has begun, without a DOCTYPE before it."""
    at = 1 if head[:1] == "\ufeff" else 3 if head[:3] == "ï»¿" else 0
    while found := _PROLOG.match(head, at):
        at = found.end()
    rest = head[at : at + 9]
    if rest[:2] == "<!" and not rest.startswith("<!--"):
        raise FileRefused(
            "the file has a DOCTYPE: with it a file can read others or blow up, so none is read; remove the line <!DOCTYPE…>"
        )
    if len(head) > HEAD and not rest:
        raise FileRefused("the file does not begin within its first million characters")
    if len(head) > 2 * HEAD:
        raise FileRefused("a comment before the first element is longer than a million characters")
    return len(rest) > 1 and rest[:4] != "<!--" and rest[:2] != "<?"


def parser(tag: str | None = None, schema: Any = None, events: tuple[str, ...] = ("end",)) -> Any:
    """A parser that follows nothing: no entities, no DTD, no network, libxml2's own limits on; for UTF-8."""
    with library("lxml"):
        from lxml import etree

    return etree.XMLPullParser(
        events=events, tag=tag, encoding="utf-8", resolve_entities=False, no_network=True, load_dtd=False,
        dtd_validation=False, attribute_defaults=False, huge_tree=False, remove_comments=True, remove_pis=True,
        recover=False, schema=schema,
    )  # fmt: skip


class _Path(NamedTuple):
    """What is known of the elements at one path."""

    names: tuple[str, ...]
    size: int
    filled: bool
    own: bool
    below: int


def _paths(head: Iterator[bytes]) -> tuple[list[_Path], bool]:
    """(elements by path, whether `xmlwrite` wrote the file)."""
    with library("lxml"):
        from lxml import etree

    reader = parser(events=("start", "end"))
    sizes: dict[tuple[str, ...], int] = {}
    filled: set[tuple[str, ...]] = set()
    own: set[tuple[str, ...]] = set()
    below: dict[tuple[str, ...], set[str]] = {}
    path: tuple[str, ...] = ()
    read, ours = 0, False
    for data in chain(head, (b"",)):
        try:
            if data:
                reader.feed(data)
            else:
                reader.close()
        except etree.XMLSyntaxError:
            read = HEAD
        for event, element in reader.read_events():
            if event == "end":
                path = path[:-1]
                element.clear()
                continue
            name = str(element.tag).rpartition("}")[2]
            if not path:
                ours = NAMESPACE in element.nsmap.values()
            else:
                filled.add(path)
                below.setdefault(path, set()).add(name)
            path = (*path, name)
            if len(sizes) < 10_000:
                sizes[path] = sizes.get(path, 0) + 1
            named = name == "field" and "name" in element.attrib  # A field whose name is no name of XML: `xmlwrite`.
            if not named and any(not key.startswith(_XSI) for key in element.attrib):
                own.add(path)
                filled.add(path)
        read += len(data)
        if read >= HEAD:
            break
    return [_Path(p, n, p in filled, p in own, len(below.get(p, ()))) for p, n in sizes.items()], ours


def find(head: Iterator[bytes], told: str | None) -> tuple[tuple[str, ...], list[Finding]]:
    """(names that lead to the records, findings). `told`: "Orders/Order", from the root or its end. Raises FileRefused."""
    paths, ours = _paths(head)
    if ours and told is None:
        return (paths[0].names[0], "record"), []
    if not paths:
        raise FileRefused("the file has no element: it is empty, or no XML")
    if told is not None:
        wanted = tuple(name for name in told.replace(".", "/").split("/") if name)
        for path in sorted(paths, key=lambda p: len(p.names)):
            if path.names[-len(wanted) :] == wanted or "/".join(path.names).endswith(told.strip("/")):
                return path.names, []
        raise FileRefused(f'the file has no element "{told}" in its beginning; it has {_shown(paths)}')
    many = [p for p in paths if p.size > 1 and p.filled and len(p.names) > 1]
    if not many:
        return _single(paths)
    many.sort(key=lambda p: (len(p.names), -p.size))
    best = many[0]
    while not best.own and best.below == 1:
        inner = [p for p in many if p.names[:-1] == best.names and p.size > 2 * best.size]
        if not inner:
            break
        best = inner[0]
    beside = [p for p in many if p is not best and p.names[: len(best.names)] != best.names]
    within = [p for p in many if len(p.names) > len(best.names) and p.names[: len(best.names)] == best.names]
    sure = 0.95
    if any(2 * p.size > best.size and len(p.names) <= len(best.names) for p in beside):
        sure = 0.6
    elif any(p.size > 20 * best.size for p in within) and best.size < 10:
        sure = 0.65
    others = tuple("/".join(p.names) for p in [*beside, *within][:5])
    return best.names, [Finding("records", "/".join(best.names), sure, others, "--records")]


def _shown(paths: list[_Path]) -> str:
    return ", ".join("/".join(p.names) for p in paths[:10])


def _single(paths: list[_Path]) -> tuple[tuple[str, ...], list[Finding]]:
    """Nothing stands twice: the root's only child is the record, or the root."""
    root = paths[0]
    children = [p for p in paths if len(p.names) == 2]
    if len(children) == 1 and not root.own and (children[0].filled or children[0].size > 1):
        best = children[0]
        return best.names, [Finding("records", "/".join(best.names), 0.8, (root.names[0],), "--records")]
    return root.names, [Finding("records", root.names[0], 0.8, (), "--records")]
