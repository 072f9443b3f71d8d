"""Parquet in and out, by DuckDB that may see one file and nothing else.

1. Read: in batches. Dates, timestamps (in UTC) and times are ISO text, decimals and numbers over 64 bit text, a FLOAT the
   shortest number that is it, lists and maps JSON text, structs flat by path; `trees` holds all as it nests.
2. Written: a column is BIGINT, DOUBLE, BOOLEAN, VARCHAR or BLOB by its values; whole numbers among others, up to 2**53, make
   a DOUBLE (1 comes back as 1.0, which equals it). Any other mixture is VARCHAR with the kind before each value ("i:5",
   "s:text", "d:2.5", "b:1", "x:base64"), named in the file's metadata under "replica", and comes back as it was.
   None and MISSING are null.
3. For the same rows the same bytes. Rows wait in a temporary file, because the types are known only at the end.
4. DuckDB runs one thread with a memory limit, without extensions, network, other files or spilling.
5. A damaged file, or one of another kind, is FileRefused.
"""

from __future__ import annotations

import base64
import json
import math
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from replica.errors import FileRefused, RowRefused
from replica.exchange.formats.paths import escape, join, nests, text_of
from replica.exchange.formats.source import FIELDS_MAX, Sink, Source, on_disk, wrong_width
from replica.exchange.rows import BATCH_ROWS, MISSING, Batch, Finding, ReadOptions, Row, Tree
from replica.libraries import library

MEMORY: Final = "160MB"
ROWS_OF_GROUP: Final = 8_192
BYTES_OF_GROUP: Final = 16 << 20
"""Of the rows that are packed together, which lie in memory until then: fewer rows where they are wide."""
VECTOR: Final = 2_048
"""Rows that DuckDB takes at once: no group is smaller."""
META: Final = "replica"

_AS_IT_IS: Final = frozenset(
    {
        *("bigint", "integer", "smallint", "tinyint", "uinteger", "usmallint", "utinyint"),
        *("double", "varchar", "blob", "boolean"),
    }
)
_TIMES: Final = frozenset(
    {
        *("date", "timestamp", "timestamp_s", "timestamp_ms", "timestamp_ns", "time"),
        *("timestamp with time zone", "time with time zone"),
    }
)
_INT_MIN, _INT_MAX, _EXACT = -(1 << 63), (1 << 63) - 1, 1 << 53


def _connect(allowed: Path) -> Any:
    """DuckDB that can reach this path and nothing else."""
    with library("duckdb"):
        import duckdb

    database = duckdb.connect(":memory:", config={"threads": 1, "memory_limit": MEMORY})
    for setting in (
        f"allowed_paths = [{_text(str(allowed))}]",
        "temp_directory = ''",
        "autoinstall_known_extensions = false",
        "autoload_known_extensions = false",
        "python_enable_replacements = false",
        "TimeZone = 'UTC'",
        "enable_external_access = false",
        "lock_configuration = true",
    ):
        database.execute(f"SET {setting}")
    return database


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _name(value: str) -> str:
    return '"' + value.replace('"', '""') + '"'


def _selected(name: str, kind: Any) -> str:
    """How a column is asked for: what Python has no exact value for, as text."""
    column, kind_name = _name(name), str(kind).lower()
    if kind_name == "float":
        return f"CAST(CAST({column} AS VARCHAR) AS DOUBLE)"
    if kind_name in _TIMES:
        shown = f"replace(CAST({column} AS VARCHAR), ' ', 'T')"
        return f"regexp_replace({shown}, '([+-]\\d\\d)$', '\\1:00')" if "zone" in kind_name else shown
    if kind_name in _AS_IT_IS or kind.id in {
        "struct",
        "list",
        "array",
        "map",
        "union",
        "ubigint",
        "hugeint",
        "uhugeint",
    }:
        return column
    return f"CAST({column} AS VARCHAR)"


def _leaves(names: tuple[str, ...], kind: Any) -> list[tuple[str, ...]]:
    if kind.id == "struct" and len(names) < 16:
        return [leaf for name, below in kind.children for leaf in _leaves((*names, name), below)]
    return [names]


def _plain(value: Any) -> Any:
    """A value of DuckDB as a cell or a tree."""
    if isinstance(value, dict):
        return {str(name): _plain(below) for name, below in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(below) for below in value]
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, float) and math.isnan(value):
        return "NaN"
    if isinstance(value, Decimal | UUID | timedelta):
        return str(value)
    if isinstance(value, int) and not isinstance(value, bool) and not _INT_MIN <= value <= _INT_MAX:
        return str(value)
    return value


class ParquetReader:
    """A Parquet file. Raises FileRefused when it is none or damaged."""

    format = "parquet"

    def __init__(self, source: Source, options: ReadOptions) -> None:  # noqa: ARG002 (nothing can be said about it)
        with library("duckdb"):
            import duckdb

        self._source, self._stack = source, ExitStack()
        self.findings = [Finding("format", "parquet", 1.0, (), "--format")]
        self._done, self._total = 0, 0
        try:
            self._path = self._stack.enter_context(on_disk(source, ".parquet")).absolute()
            self._database = self._stack.enter_context(_connect(self._path))
            self._from = f"FROM read_parquet({_text(str(self._path))}, union_by_name=false, hive_partitioning=false)"
            described = self._database.execute(f"SELECT * {self._from} LIMIT 0").description
            self._columns = [(column[0], column[1]) for column in described]
            self._total = self._database.execute(f"SELECT count(*) {self._from}").fetchone()[0]
            metadata = self._database.execute(
                f"SELECT value FROM parquet_kv_metadata({_text(str(self._path))}) WHERE decode(key) = '{META}'"
            ).fetchone()
        except (duckdb.Error, RuntimeError, ValueError) as error:
            # Names that are no text are a RuntimeError of the library.
            self.close()
            raise FileRefused(f"{source.name} is no whole Parquet file: {str(error).partition(chr(10))[0]}") from None
        except BaseException:
            self.close()
            raise
        self._prepare(_said(metadata))

    def _prepare(self, said: dict[str, Any]) -> None:
        names = said.get("fields")
        if not isinstance(names, list) or len(names) != len(self._columns):
            names = [name for name, _ in self._columns]
        self._tagged = {i for i, name in enumerate(names) if name in said.get("mixed", ())}
        self._leaves: list[tuple[int, tuple[str, ...]]] = []
        self.fields: list[str] = []
        for i, (name, (_, kind)) in enumerate(zip(names, self._columns, strict=True)):
            for leaf in _leaves((name,), kind):
                self._leaves.append((i, leaf))
                self.fields.append(name if len(leaf) == 1 else join(leaf))
        if len(set(self.fields)) < len(self.fields):
            self.fields = [escape(leaf[0]) if len(leaf) == 1 else join(leaf) for _, leaf in self._leaves]
        if len(self.fields) > FIELDS_MAX:
            raise FileRefused(f"more than {FIELDS_MAX:,} columns")
        self._names: list[str] = names
        self._simple = not self._tagged and len(self._leaves) == len(self._columns) and all(
            str(kind).lower() in (_AS_IT_IS - {"double"}) | {"float"} | _TIMES for _, kind in self._columns
        )  # fmt: skip

    def batches(self, size: int = BATCH_ROWS) -> Iterator[Batch]:
        """All rows from the beginning. Raises FileRefused."""
        with library("duckdb"):
            import duckdb

        wanted = ", ".join(_selected(name, kind) for name, kind in self._columns)
        number = 1
        cursor = self._database.cursor()
        try:
            cursor.execute(f"SELECT {wanted} {self._from}")
            while found := cursor.fetchmany(size):
                self._done = number + len(found) - 1
                numbers = range(number, number + len(found))
                if self._simple:
                    yield Batch(numbers, numbers, found)
                else:
                    trees = [self._tree(row) for row in found]
                    yield Batch(numbers, numbers, [self._row(tree) for tree in trees], [], trees)
                number += len(found)
        except (duckdb.Error, RuntimeError, ValueError) as error:
            raise FileRefused(f"{self._source.name} is damaged after row {number - 1:,}: {error}") from None
        finally:
            cursor.close()

    def _tree(self, row: Row) -> Tree:
        return {
            name: _untagged(value) if i in self._tagged else _plain(value)
            for i, (name, value) in enumerate(zip(self._names, row, strict=True))
        }

    def _row(self, tree: Tree) -> Row:
        cells = []
        for _, leaf in self._leaves:
            value: Any = tree
            for name in leaf:
                value = value.get(name) if isinstance(value, dict) else None
            cells.append(text_of(value) if nests(value) else value)
        return tuple(cells)

    def progress(self) -> tuple[int, int]:
        """(bytes read so far, bytes in all): by the rows."""
        total = self._path.stat().st_size
        return total * self._done // max(self._total, 1), total

    def close(self) -> None:
        """Let go of the file."""
        self._stack.close()
        self._source.close()


def _said(metadata: tuple[bytes] | None) -> dict[str, Any]:
    """What the writer noted about mixed columns, and names that differ by case only."""
    if metadata is None:
        return {}
    try:
        said = json.loads(metadata[0])
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def _untagged(value: Any) -> Any:
    if not isinstance(value, str) or value[1:2] != ":":
        return value
    kind, text = value[0], value[2:]
    try:
        if kind == "x":
            return base64.b64decode(text, validate=True)
        if kind in {"i", "d"}:
            return int(text) if kind == "i" else float(text)
    except ValueError:
        return value
    return text if kind == "s" else text == "1" if kind == "b" else value


class ParquetWriter:
    """A Parquet file. Raises RowRefused for a value that has no place in it."""

    def __init__(self, out: Sink, fields: Sequence[str]) -> None:
        with library("duckdb"):
            import duckdb  # noqa: F401 - that it is missing must be said before the rows are spooled
        self._out, self._fields = out, list(fields)
        self._folder = tempfile.TemporaryDirectory(prefix="replica-")
        self._spool = Path(self._folder.name) / "rows"
        self._file = self._spool.open("w", encoding="ascii", newline="\n")
        self._kinds: list[set[str]] = [set() for _ in self._fields]
        self._longest = self._bytes = self._rows = 0

    def write(self, rows: Iterable[Row]) -> None:
        """Add rows, in the order of the fields."""
        try:
            self._file.write("".join(map(self._line, rows)))
        except BaseException:
            self.discard()
            raise

    def discard(self) -> None:
        """Give up; nothing was written."""
        self._file.close()
        self._folder.cleanup()

    def _line(self, row: Row) -> str:
        if len(row) != len(self._fields):
            raise wrong_width(row, len(self._fields))
        cells = []
        for seen, value in zip(self._kinds, row, strict=True):
            cell = "" if value is None or value is MISSING else _spool_text(value)
            if cell and cell[0] not in seen:
                seen.add(cell[0])
            if cell[:1] == "i" and len(cell) > 16 and abs(int(cell[1:])) > _EXACT:
                seen.add("I")
            cells.append(cell)
        line = ",".join(cells)
        self._longest = max(self._longest, len(line))
        self._bytes += len(line)
        self._rows += 1
        # A row of one column that is null would be an empty line, which is no row.
        return line + ",\n"

    def close(self) -> None:
        """Find the types and write the file. Raises RowRefused."""
        import duckdb

        self._file.close()
        made = Path(self._folder.name) / "made.parquet"
        names = _apart(self._fields)
        mixed = [field for field, kinds in zip(self._fields, self._kinds, strict=True) if _type(kinds) == "mixed"]
        said: dict[str, Any] = {"mixed": mixed} if mixed else {}
        if names != self._fields:
            said["fields"] = self._fields
        meta = f", KV_METADATA {{{META}: {_text(json.dumps(said, ensure_ascii=True))}}}" if said else ""
        columns = ", ".join(f"'c{i}': 'VARCHAR'" for i in range(len(names) + 1))
        wanted = ", ".join(
            f"{_cast(i, _type(kinds))} AS {_name(name)}"
            for i, (name, kinds) in enumerate(zip(names, self._kinds, strict=True))
        )
        line = max(1 << 21, self._longest + 64)
        group = max(VECTOR, min(ROWS_OF_GROUP, BYTES_OF_GROUP * self._rows // max(1, self._bytes)))
        try:
            with duckdb.connect(":memory:", config={"threads": 1}) as database:
                database.execute(
                    f"COPY (SELECT {wanted} FROM read_csv({_text(str(self._spool))}, columns={{{columns}}}, header=false,"
                    f" auto_detect=false, delim=',', quote='', escape='', nullstr='', parallel=false, max_line_size={line},"
                    f" buffer_size={4 * line})) TO {_text(str(made))} (FORMAT parquet, COMPRESSION zstd,"
                    f" ROW_GROUP_SIZE {group}{meta})"
                )
            with made.open("rb") as file:
                while piece := file.read(1 << 20):
                    self._out.write(piece)
        except duckdb.Error as error:
            raise RowRefused(f"Parquet cannot hold these rows: {str(error).partition(chr(10))[0]}") from None
        finally:
            self._folder.cleanup()


def _spool_text(value: object) -> str:
    """A value as a line of the spool holds it: its kind and a text of plain letters."""
    if isinstance(value, bool):
        return "b1" if value else "b0"
    if isinstance(value, int):
        if not _INT_MIN <= value <= _INT_MAX:
            raise RowRefused(f"{value} is over 64 bits")
        return f"i{value}"
    if isinstance(value, float):
        return f"d{value!r}"
    if isinstance(value, bytes):
        return "x" + base64.b64encode(value).decode()
    if nests(value):
        value = text_of(value)
    if isinstance(value, str):
        try:
            return "s" + base64.b64encode(value.encode()).decode()
        except UnicodeEncodeError:
            raise RowRefused("half a character (a lone surrogate) has no place in Parquet") from None
    raise RowRefused(f"{type(value).__name__} has no place in Parquet")


def _type(kinds: set[str]) -> str:
    if kinds & {"i", "d"} == kinds - {"I"} and not kinds >= {"d", "I"}:
        return "DOUBLE" if "d" in kinds else "BIGINT" if kinds else "VARCHAR"
    return {"b": "BOOLEAN", "s": "VARCHAR", "x": "BLOB"}.get("".join(kinds), "mixed")


def _cast(column: int, kind: str) -> str:
    rest = f"substr(c{column}, 2)"
    if kind == "mixed":
        text = f"decode(from_base64({rest}))"
        return f"CASE c{column}[1] WHEN 's' THEN 's:' || {text} ELSE c{column}[1] || ':' || {rest} END"
    if kind == "VARCHAR":
        return f"decode(from_base64({rest}))"
    if kind == "BLOB":
        return f"from_base64({rest})"
    return f"CAST({rest} AS {kind})"


def _apart(fields: list[str]) -> list[str]:
    """Names of columns that differ by more than case, as DuckDB wants them."""
    taken: set[str] = set()
    names = []
    for field in fields:
        name, more = field or "_", 1
        while name.lower() in taken:
            more += 1
            name = f"{field}_{more}"
        taken.add(name.lower())
        names.append(name)
    return names
