"""Parquet: columns by their values, other people's types as text, nothing but the one file is touched."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replica.errors import FileRefused, RowRefused
from replica.exchange.formats import parquet
from replica.exchange.formats.parquet import ParquetReader, ParquetWriter
from replica.exchange.rows import MISSING, Batch, ReadOptions, Row
from tests.exchange.sources import Bytes


def write(fields: list[str], rows: list[Row]) -> bytes:
    out = io.BytesIO()
    writer = ParquetWriter(out, fields)
    writer.write(rows)
    writer.close()
    return out.getvalue()


def read(data: bytes | Path, size: int = 3) -> tuple[list[str], list[Row], list[Batch]]:
    reader = ParquetReader(Bytes(data), ReadOptions())
    try:
        batches = list(reader.batches(size))
        return reader.fields, [row for batch in batches for row in batch.rows], batches
    finally:
        reader.close()


text = st.text(st.characters(exclude_categories=["Cs"]))
whole = st.integers(-(2**63), 2**63 - 1)
columns = [
    st.one_of(st.none(), whole),
    st.one_of(st.none(), st.floats(allow_nan=False)),
    st.one_of(st.none(), text),
    st.one_of(st.none(), st.binary()),
    st.one_of(st.none(), st.booleans()),
    st.one_of(st.none(), whole, st.floats(allow_nan=False), text, st.binary(), st.booleans()),
]


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_whatever_is_written_is_read(data: st.DataObject) -> None:
    kinds = data.draw(st.lists(st.sampled_from(columns), min_size=1, max_size=4))
    fields = data.draw(st.lists(text.filter(bool), min_size=len(kinds), max_size=len(kinds), unique=True))
    rows = data.draw(st.lists(st.tuples(*kinds), max_size=6))
    found, got, _ = read(write(fields, rows))
    assert found == fields
    assert got == rows
    for before, after in zip(rows, got, strict=True):
        for x, y in zip(before, after, strict=True):
            assert type(x) is type(y) or {type(x), type(y)} == {int, float}


def test_columns_have_the_types_of_their_values(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    row = (1, 2.5, "a", b"b", True, 1, 5, None)
    path.write_bytes(write(list("abcdefgh"), [row, (2**60, 1.0, "", b"", False, "x", 2.5, MISSING)]))
    with duckdb.connect() as database:
        found = [kind for _, kind, *_ in database.execute(f"DESCRIBE SELECT * FROM '{path}'").fetchall()]
        assert found == [
            "BIGINT",
            "DOUBLE",
            "VARCHAR",
            "BLOB",
            "BOOLEAN",
            "VARCHAR",
            "DOUBLE",
            "VARCHAR",
        ]
        assert database.execute(f"SELECT f FROM '{path}'").fetchall() == [("i:1",), ("s:x",)]
    assert read(path)[1] == [row, (2**60, 1.0, "", b"", False, "x", 2.5, None)]


def test_bytes_are_the_same_for_the_same_rows() -> None:
    rows: list[Row] = [(i, f"n{i % 50}", i / 7, None) for i in range(50_000)]
    assert write(list("abcd"), rows) == write(list("abcd"), rows)


def test_names_that_differ_by_case_only_survive() -> None:
    assert read(write(["id", "ID", "id_2", "a.b"], [(1, 2, 3, 4)]))[:2] == (["id", "ID", "id_2", "a.b"], [(1, 2, 3, 4)])


def test_a_cell_of_many_megabytes() -> None:
    row = ("x" * 5_000_000, None)
    assert read(write(["a", "b"], [row, ("y", 1)]))[1] == [row, ("y", 1)]


def test_types_of_others(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    made: dict[str, tuple[str, Any]] = {
        "d": ("DATE '2020-01-02'", "2020-01-02"),
        "ts": ("TIMESTAMP '2020-01-02 03:04:05.5'", "2020-01-02T03:04:05.5"),
        "tz": ("TIMESTAMPTZ '2020-01-02 03:04:05+02'", "2020-01-02T01:04:05+00:00"),
        "t": ("TIME '03:04:05'", "03:04:05"),
        "far": ("DATE 'infinity'", "infinity"),
        "dec": ("CAST(1.10 AS DECIMAL(9,2))", "1.10"),
        "huge": ("170141183460469231731687303715884105727::HUGEINT::DOUBLE", 1.7014118346046923e38),
        "u": ("18446744073709551615::UBIGINT", "18446744073709551615"),
        "f": ("0.1::FLOAT", 0.1),
        "nan": ("'nan'::DOUBLE", "NaN"),
        "uuid": ("'123e4567-e89b-12d3-a456-426614174000'::UUID", "123e4567-e89b-12d3-a456-426614174000"),
        "list": ("[1, 2]", "[1,2]"),
        "dates": ("[DATE '2020-01-02']", '["2020-01-02"]'),
        "map": ("MAP {'k': 1}", '{"k":1}'),
    }
    with duckdb.connect() as database:
        wanted = ", ".join(f'{sql} AS "{name}"' for name, (sql, _) in made.items())
        database.execute(f"COPY (SELECT {wanted}, {{'a': 1, 'b.c': {{'d': [{{'e': 2}}]}}}} AS s) TO '{path}'")
    fields, [row], [batch] = read(path)
    assert dict(zip(fields, row, strict=True)) == {
        **{name: value for name, (_, value) in made.items()}, "s.a": 1, "s.b\\.c.d": '[{"e":2}]',
    }  # fmt: skip
    assert batch.trees is not None
    assert batch.trees[0]["s"] == {"a": 1, "b.c": {"d": [{"e": 2}]}}
    assert batch.trees[0]["list"] == [1, 2]


@pytest.mark.parametrize("cut", [0, 3, 10, 500, -5])
def test_a_damaged_file_is_refused(cut: int) -> None:
    data = write(["a"], [(f"text {i}",) for i in range(10_000)])
    with pytest.raises(FileRefused):
        read(data[:cut] if cut >= 0 else b"PAR1" + b"\xff" * 100 + data[-200:])
    damaged = bytearray(data)
    damaged[50:-2_000] = b"\xaa" * (len(data) - 2_050)
    with pytest.raises(FileRefused, match="damaged"):
        read(bytes(damaged))


def test_nothing_but_the_file_is_reached(tmp_path: Path) -> None:
    path, other = tmp_path / "it's.parquet", tmp_path / "other.parquet"
    path.write_bytes(write(["a"], [(1,)]))
    other.write_bytes(path.read_bytes())
    assert read(path)[1] == [(1,)]
    with parquet._connect(path) as database:
        for query in (f"FROM '{other}'", "FROM read_csv('/etc/hostname')", "INSTALL httpfs", "FROM 'http://127.0.0.1:9/x.parquet'",
                      f"COPY (SELECT 1) TO '{tmp_path / 'made'}'", "SET enable_external_access = true"):  # fmt: skip
            with pytest.raises(duckdb.Error):
                database.execute(query)


@pytest.mark.parametrize("value", ["\ud800", 2**63, object()])
def test_what_has_no_place_is_refused(value: object) -> None:
    with pytest.raises(RowRefused):
        write(["a"], [(value,)])
