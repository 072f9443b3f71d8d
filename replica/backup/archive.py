"""The container of a dump: a zip that any tool opens, and that is trusted in nothing.

    manifest.json                {"format": "replica dump", "version": 1, "name", "user_version", "application_id",
                                 "schema": [{"kind": "table"|"index"|"view"|"trigger", "name", "table", "sql"}],
                                 "tables": [{"name", "columns", "file", "rows", "sha256"}],
                                 "sequences": {table: last AUTOINCREMENT number}, "adopt": [tables] or null for all,
                                 "natural": [tables whose integer key means something outside],
                                 "left_out": [{"name", "why"}]}
    tables/0001-contact.jsonl    the rows of a table: see `cells`
    README.txt                   says this to whoever finds it

The same database makes the same bytes. One test each:

1. An entry that the manifest does not name, a name twice, an encrypted or oddly packed entry is refused; nothing is ever
   unpacked to a name that the archive chose.
2. An archive that unpacks to a thousand times its size is refused before it is unpacked, overlapping entries too.
3. A manifest that makes no sense is refused in words.
"""

from __future__ import annotations

import json
import re
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, BinaryIO, NamedTuple

from protocol.record import fold
from replica.errors import FileRefused
from replica.store.schema import PREFIX

FORMAT, VERSION = "replica dump", 1
MANIFEST, README = "manifest.json", "README.txt"
KINDS = ("table", "index", "view", "trigger")
PART = 1 << 20
_MANIFEST_MAX = 1 << 26
_ENTRIES_MAX = 20_000
_RATIO_MAX = 1_000
_SMALL = 1 << 24
_FILE = re.compile(r"tables/\d{4,6}(-\w{1,40})?\.jsonl", re.ASCII)
_DAY = (1980, 1, 1, 0, 0, 0)
_ABOUT = """A dump of a database, made by `replica dump`. `replica load THIS.zip NEW.db` makes a database of it.

manifest.json holds the schema (as SQL) and, for each table, its columns, its file, and its number of rows and SHA-256.
Each file of tables/ is JSON Lines: one array a row, in the order of the columns. {"bytes": ...} is a blob in base64,
{"text": ...} text that is not UTF-8, in base64, {"real": "inf"} infinity.
"""


class Made(NamedTuple):
    """An object of the schema: its kind, its name, the table that it belongs to, and the SQL that makes it."""

    kind: str
    name: str
    table: str
    sql: str


class Rows(NamedTuple):
    """The rows of a table: `file` is their entry."""

    name: str
    columns: list[str]
    file: str
    rows: int
    sha256: str


class LeftOut(NamedTuple):
    """What is not in the dump, and why."""

    name: str
    why: str


@dataclass
class Manifest:
    """What a dump holds. `adopt`: the tables that were replicated, None: it was no store."""

    name: str
    user_version: int = 0
    application_id: int = 0
    schema: list[Made] = field(default_factory=list)
    tables: list[Rows] = field(default_factory=list)
    sequences: dict[str, int] = field(default_factory=dict)
    adopt: list[str] | None = None
    natural: list[str] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)


class Writer:
    """Writes an archive: entries, then `finish`; `close` in any case."""

    def __init__(self, out: BinaryIO) -> None:
        self._zip = zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED)

    def entry(self, name: str) -> Any:
        """Open an entry for writing."""
        info = zipfile.ZipInfo(name, _DAY)
        info.compress_type, info.create_system, info.external_attr = zipfile.ZIP_DEFLATED, 3, 0o600 << 16
        return self._zip.open(info, "w", force_zip64=True)

    def finish(self, manifest: Manifest) -> None:
        """Write what is about the rows."""
        document = {"format": FORMAT, "version": VERSION, **asdict(manifest)}
        for name, kind in (("schema", Made), ("tables", Rows), ("left_out", LeftOut)):
            document[name] = [dict(zip(kind._fields, one, strict=True)) for one in getattr(manifest, name)]
        with self.entry(MANIFEST) as file:
            file.write(json.dumps(document, ensure_ascii=False, indent=1).encode() + b"\n")
        with self.entry(README) as file:
            file.write(_ABOUT.encode())

    def close(self) -> None:
        """Let go of the file."""
        self._zip.close()


class Reader:
    """Reads an archive. Raises FileRefused."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._name = name
        size = file.seek(0, 2)
        try:
            self._zip = zipfile.ZipFile(file)
        except (zipfile.BadZipFile, ValueError, OverflowError, NotImplementedError, OSError) as error:
            raise FileRefused(f"{name} is no zip, or is cut short ({error}): name what `replica dump` made") from None
        entries = self._zip.infolist()
        self._check_entries(entries, size)
        if MANIFEST not in self._zip.NameToInfo:
            raise FileRefused(f"{name} has no {MANIFEST}: it is no dump of a database")
        if self._zip.NameToInfo[MANIFEST].file_size > _MANIFEST_MAX:
            raise FileRefused(f"{name}: its manifest has more than {_MANIFEST_MAX} bytes")
        try:
            document = json.loads(b"".join(self.parts(MANIFEST)))
        except (ValueError, RecursionError) as error:
            raise FileRefused(f"{name}: its manifest is no JSON ({error})") from None
        self.manifest = _manifest(document, name)
        named = {MANIFEST, *(table.file for table in self.manifest.tables)}
        if strange := sorted(({entry.filename for entry in entries} - {README}) ^ named):
            raise FileRefused(f"{name}: its manifest and its entries differ in {strange[0][:100]!r}")

    def _check_entries(self, entries: list[zipfile.ZipInfo], size: int) -> None:
        name = self._name
        if len(entries) > _ENTRIES_MAX:
            raise FileRefused(f"{name} has {len(entries)} entries: at most {_ENTRIES_MAX} make sense")
        if len({entry.filename for entry in entries}) < len(entries):
            raise FileRefused(f"{name} has two entries of one name")
        for entry in entries:
            if entry.flag_bits & 1 or entry.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
                raise FileRefused(f"{name}: {entry.filename[:100]!r} is encrypted or packed in a way that no dump is")
        unpacked = sum(entry.file_size for entry in entries)
        if unpacked > max(_SMALL, _RATIO_MAX * size):
            raise FileRefused(f"{name} has {size} bytes and would unpack to {unpacked}: no dump does")

    def parts(self, entry: str) -> Iterator[bytes]:
        """The bytes of an entry, in parts."""
        try:
            with self._zip.open(entry) as file:
                while part := file.read(PART):
                    yield part
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError, OSError) as error:
            raise FileRefused(f"{self._name}: {entry} is damaged ({error}): make the dump anew") from None


def _manifest(document: Any, name: str) -> Manifest:
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise FileRefused(f"{name}: its manifest is not one of `replica dump`")
    if type(document.get("version")) is not int or document["version"] != VERSION:
        raise FileRefused(f"{name} has version {document.get('version')!r}, this program reads {VERSION}: update it")
    try:
        found = Manifest(
            _is(str, document["name"]),
            _is(int, document["user_version"]),
            _is(int, document["application_id"]),
            [Made(*(_is(str, one[part]) for part in Made._fields)) for one in _is(list, document["schema"])],
            [_rows(one) for one in _is(list, document["tables"])],
            {_is(str, k): _is(int, v) for k, v in _is(dict, document["sequences"]).items()},
            None if document["adopt"] is None else [_is(str, n) for n in _is(list, document["adopt"])],
            [_is(str, n) for n in _is(list, document["natural"])],
            [LeftOut(*(_is(str, one[part]) for part in LeftOut._fields)) for one in _is(list, document["left_out"])],
        )
        _check(found)
    except (KeyError, TypeError, ValueError) as error:
        raise FileRefused(f"{name}: its manifest makes no sense ({error!s:.200})") from None
    return found


def _is(kind: type, value: Any) -> Any:
    if type(value) is not kind:
        raise TypeError(f"{str(value)[:60]!r} where {kind.__name__} should be")
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
        raise ValueError(f"{str(value)[:60]} is out of range")
    return value


def _rows(one: Any) -> Rows:
    columns = [_is(str, column) for column in _is(list, one["columns"])]
    return Rows(_is(str, one["name"]), columns, _is(str, one["file"]), _is(int, one["rows"]), _is(str, one["sha256"]))


def _check(found: Manifest) -> None:
    names = {fold(one.name) for one in found.schema if one.kind == "table"}
    for one in found.schema:
        if one.kind not in KINDS or not one.sql.startswith(f"CREATE {'UNIQUE ' * is_unique(one)}{one.kind.upper()} "):
            raise ValueError(f"{one.name!r} is made by what makes no {one.kind}: {one.sql[:60]!r}")
        if reserved(one.name) or reserved(one.table) or speaks_of_engine(one.sql):
            raise ValueError(f"{one.name!r} touches what belongs to the engine or to SQLite")
    tables = [fold(rows.name) for rows in found.tables]
    if len(set(tables)) < len(tables) or set(tables) != names:
        raise ValueError("the tables of the schema are not those with rows")
    for rows in found.tables:
        if not _FILE.fullmatch(rows.file):
            raise ValueError(f"the rows of {rows.name!r} are in {rows.file[:60]!r}")
    if not all(-(1 << 31) <= n < 1 << 31 for n in (found.user_version, found.application_id)):
        raise ValueError("its version numbers are out of range")
    if len({rows.file for rows in found.tables}) < len(tables):
        raise ValueError("two tables have one file")
    if not {fold(n) for n in [*(found.adopt or ()), *found.natural, *found.sequences]} <= names:
        raise ValueError("it speaks of tables that it does not have")


def is_unique(one: Made) -> bool:
    """Whether it is a UNIQUE INDEX."""
    return one.kind == "index" and one.sql.startswith("CREATE UNIQUE ")


def reserved(name: str) -> bool:
    """Whether a name belongs to the engine or to SQLite."""
    return fold(name).startswith((PREFIX.rstrip("_"), "sqlite_"))


def speaks_of_engine(sql: str) -> bool:
    """Whether SQL names a table of the engine: a trigger could write it."""
    return PREFIX in fold(sql)
