"""JSON and JSON Lines: what goes in comes out, what is damaged is told, nothing is changed on the way."""

from __future__ import annotations

import io
import json
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replica.errors import FileRefused, RowRefused
from replica.exchange.formats import jsontext
from replica.exchange.formats.jsonfile import JsonLinesReader, JsonLinesWriter, JsonReader, JsonWriter, looks_like_lines
from replica.exchange.rows import MISSING, Broken, ReadOptions, Row
from tests.exchange.pace import spent
from tests.exchange.sources import Bytes

Found = tuple[list[str], list[Row], list[Broken]]


def read(data: bytes | str, kind: str = "json", size: int = 3, **options: Any) -> Found:
    raw = data.encode() if isinstance(data, str) else data
    reader = (JsonReader if kind == "json" else JsonLinesReader)(Bytes(raw), ReadOptions(**options))
    rows: list[Row] = []
    broken: list[Broken] = []
    for batch in reader.batches(size):
        assert len(batch.rows) == len(batch.numbers) == len(batch.lines) == len(batch.trees or [])
        assert len(batch.rows) + len(batch.broken) <= size
        rows += batch.rows
        broken += batch.broken
    reader.close()
    return reader.fields, rows, broken


cells = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.text(st.characters(exclude_categories=["Cs"])),
    st.binary(),
    st.just(MISSING),
)


@pytest.mark.parametrize("kind", ["json", "jsonl"])
@given(data=st.data())
def test_whatever_is_written_is_read(kind: str, data: st.DataObject) -> None:
    fields = data.draw(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), min_size=1, unique=True))
    if set(fields) & {"$bytes", "$float"}:
        fields = [f"x{f}" for f in fields]
    rows = data.draw(st.lists(st.tuples(*[cells] * len(fields)), min_size=1, max_size=8))
    rows.append(tuple([1] * len(fields)))
    out = io.BytesIO()
    writer = (JsonWriter if kind == "json" else JsonLinesWriter)(out, fields)
    writer.write(rows)
    writer.close()
    found, got, broken = read(out.getvalue(), kind)
    assert not broken
    assert [dict(zip(found, row, strict=True)) for row in got] == [dict(zip(fields, row, strict=True)) for row in rows]
    kinds = [{f: type(v) for f, v in zip(found, row, strict=True)} for row in got]
    assert kinds == [{f: type(v) for f, v in zip(fields, row, strict=True)} for row in rows]


@pytest.mark.parametrize("kind", ["json", "jsonl"])
def test_numbers_are_not_changed(kind: str) -> None:
    spelled = [
        "0.10",
        "1e400",
        "12345678901234567890.12",
        "9223372036854775808",
        "-9223372036854775808",
        "1E5",
        "1.5e-7",
        "1.0",
        "007x",
    ][:-1]
    text = json.dumps(dict.fromkeys(map(str, range(len(spelled))), 0))
    for i, number in enumerate(spelled):
        text = text.replace(f'"{i}": 0', f'"{i}": {number}')
    _, [row], _ = read(text, kind)
    assert row == (
        "0.10", "1e400", "12345678901234567890.12", "9223372036854775808", -(2**63), 100000.0, 1.5e-7, 1.0,
    )  # fmt: skip
    assert [type(v) for v in row[5:]] == [float] * 3
    _, [huge], _ = read('{"a": %s}' % ("9" * 10_000), kind)
    assert huge == ("9" * 10_000,)


BAD = {
    "NaN": '{"a": NaN}',
    "Infinity": '{"a": -Infinity}',
    "twice": '{"a": 1, "a": 2}',
    "twice below": '{"a": {"b": 1, "b": 2}}',
    "half": '{"a": "\\ud800"}',
    "half name": '{"\\udc00x": 1}',
    "control": '{"a": "\x01"}',
    "cut": '{"a": "x',
    "deep": '{"a": ' + "[" * 500 + "]" * 500 + "}",
    "deep objects": '{"a":' * 90 + "1" + "}" * 90,
    "very deep": '{"a": ' + "[" * 100_000 + "]" * 100_000 + "}",
    "base64": '{"a": {"$bytes": "?"}}',
    "two": '{"a": 1} {"a": 2}',
    "comma": '{"a": 1,}',
    "zero": '{"a": 01}',
    "no object": "[1]",
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_a_damaged_line_is_broken_and_the_others_kept(bad: str) -> None:
    fields, rows, broken = read(f'{{"a": 1}}\n{bad}\r\n\n{{"a": 3}}', "jsonl")
    assert (fields, rows) == (["a"], [(1,), (3,)])
    assert [(b.number, b.line) for b in broken] == [(2, 2)]
    assert broken[0].reason
    assert broken[0].raw == bad[:2000]


@pytest.mark.parametrize("name", [n for n in BAD if n not in {"cut", "two"}])
@pytest.mark.parametrize("between", [",", ",\n"])
def test_a_damaged_element_is_broken_and_the_others_kept(name: str, between: str) -> None:
    text = "[" + between.join(['{"a": 1}', BAD[name], '{"a": 3}', '{"a": 4}']) + "]"
    fields, rows, broken = read(text)
    assert (fields, rows) == (["a"], [(1,), (3,), (4,)])
    assert [b.number for b in broken] == [2]


def test_bytes_that_are_no_utf8_break_one_record() -> None:
    data = '{"a": "é"}\n'.encode() + b'{"a": "\xe9"}\n' + b'{"a": "b"}\n'
    _, rows, broken = read(data, "jsonl")
    assert rows == [("é",), ("b",)]
    assert "0xE9" in broken[0].reason
    _, rows, broken = read(b"[" + data.strip().replace(b"\n", b",") + b"]")
    assert rows == [("é",), ("b",)]
    assert "0xE9" in broken[0].reason
    assert read(b'{"a": "\xe9"}', "jsonl", encoding="latin-1")[1] == [("é",)]
    with pytest.raises(FileRefused, match="encoding"):
        read(b'{"a": "\xff\xff"}', "jsonl", encoding="gb18030")
    with pytest.raises(FileRefused, match="no encoding"):
        read(b'{"a": 1}', "jsonl", encoding="klingon")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("kind", ["json", "jsonl"])
def test_byte_order_marks_and_utf16(kind: str, encoding: str) -> None:
    assert read('{"a": "号😀"}'.encode(encoding), kind)[1] == [("号😀",)]


def test_a_cut_array_gives_what_was_before() -> None:
    whole = json.dumps([{"a": i, "b": "x" * 50} for i in range(100)])
    for cut in (len(whole) // 2, len(whole) - 1, 300):
        _, rows, broken = read(whole[:cut])
        assert rows == [(i, "x" * 50) for i in range(len(rows))]
        assert len(rows) >= whole[:cut].count("}")
        assert len(broken) == 1
        assert "ends" in broken[0].reason


def test_a_quote_that_is_lost_costs_one_record() -> None:
    lines = [f'{{"id": {i}, "name": "n{i}", "tags": [{{"t": 1}}]}}' for i in range(9)]
    lines[4] = lines[4].replace('"n4"', '"n4')
    for between in (",\n", ","):
        _, rows, broken = read("[" + between.join(lines) + "]")
        assert [row[0] for row in rows] == [0, 1, 2, 3, 5, 6, 7, 8]
        assert [b.number for b in broken] == [5]


def places(text: str) -> tuple[list[Row], str, float, tuple[str, ...]]:
    reader = JsonReader(Bytes(text.encode()), ReadOptions())
    rows = [row for batch in reader.batches() for row in batch.rows]
    found = next((f for f in reader.findings if f.what == "records"), None)
    return (rows, found.value, found.confidence, found.others) if found else (rows, "", 1.0, ())


def test_records_are_found_wherever_they_are() -> None:
    assert places('{"meta": {"total": 2}, "data": {"items": [{"a": 1}, {"a": 2}]}}')[:2] == ([(1,), (2,)], "data.items")
    rows, _, sure, _ = places('{"c1": {"a": 1}, "c2": {"a": 2}, "c3": {"a": 3}}')
    assert (rows, sure) == ([("c1", 1), ("c2", 2), ("c3", 3)], 0.9)
    assert places('{"a": 1, "b": {"c": 2}}')[0] == [(1, 2)]
    assert places('{"a": 1}\n{\n"a": 2}')[0] == [(1,), (2,)]
    rows, where, sure, others = places('{"a": [{"x": 1}, {"x": 2}], "b": [{"y": 1}, {"y": 2}]}')
    assert (where, others) == ("a", ("b",))
    assert sure < 0.7
    assert places('{"id": 1, "name": "x", "who": "y", "orders": [{"a": 1}]}')[2] < 0.7
    assert read('{"b.c": {"d": [{"x": 1}]}, "e": [{"y": 1}, {"y": 2}]}', records="b\\.c.d")[1] == [(1,)]
    with pytest.raises(FileRefused, match="there is no"):
        read('{"e": [{"y": 1}, {"y": 2}]}', records="nothing")


def test_large_wrappers_are_walked(monkeypatch: pytest.MonkeyPatch) -> None:
    from replica.exchange.formats import jsonfind

    monkeypatch.setattr(jsonfind, "SMALL", 50)
    monkeypatch.setattr(jsontext, "BLOCK", 16)
    text = json.dumps({
        "skip": [{"z": "x" * 60}], "deep": {"er": {"items": [{"a": i} for i in range(50)], "n": 1}}, "after": "y",
    })  # fmt: skip
    assert places(text)[:2] == ([(i,) for i in range(50)], "deep.er.items")
    keyed = json.dumps({f"k{i}": {"a": i} for i in range(20)})
    assert places(keyed)[0] == [(f"k{i}", i) for i in range(20)]


@pytest.mark.parametrize("text", ["", "  ", "hello", "3", '"x"', "nul", "{"])
def test_what_holds_no_records_is_refused(text: str) -> None:
    with pytest.raises(FileRefused, match=r"^file is .{20}"):
        read(text)


def test_nested_records_are_flat_and_trees() -> None:
    text = '[{"id": 1, "address": {"city": "Köln", "geo": {}}, "tags": ["a", 1]}, {"id": 2, "address": null}]'
    reader = JsonReader(Bytes(text.encode()), ReadOptions())
    [batch] = reader.batches()
    assert reader.fields == ["id", "address.city", "address.geo", "tags", "address"]
    assert batch.rows == [(1, "Köln", "{}", '["a",1]', MISSING), (2, MISSING, MISSING, MISSING, None)]
    assert batch.trees == json.loads(text)
    again = io.BytesIO()
    writer = JsonWriter(again, ["address"])
    writer.write([({"city": "Köln"},), (["a", b"\0"],)])
    writer.close()
    assert json.loads(again.getvalue()) == [{"address": {"city": "Köln"}}, {"address": ["a", {"$bytes": "AA=="}]}]


def test_a_writer_refuses_what_json_cannot_hold() -> None:
    writer = JsonWriter(io.BytesIO(), ["a"])
    for value in (float("nan"), "\ud800", object()):
        with pytest.raises(RowRefused):
            writer.write([(value,)])


def test_no_rows_are_a_whole_file() -> None:
    out = io.BytesIO()
    JsonWriter(out, ["a"]).close()
    assert out.getvalue() == b"[]\n"
    assert read(out.getvalue()) == ([], [], [])
    lines = io.BytesIO()
    JsonLinesWriter(lines, ["a"]).close()
    assert lines.getvalue() == b""


def test_a_line_over_the_cap_is_broken_without_holding_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from replica.exchange.formats import jsonfile

    monkeypatch.setattr(jsonfile, "RECORD_MAX", 100)
    monkeypatch.setattr(jsontext, "BLOCK", 64)
    text = '{"a": 1}\n{"a": "' + "x" * 5000 + '"}\n{"a": 3}\n'
    _, rows, broken = read(text, "jsonl")
    assert rows == [(1,), (3,)]
    assert [(b.number, b.line) for b in broken] == [(2, 2)]


def test_lines_or_one_value_by_content() -> None:
    assert looks_like_lines('{"a": 1}\n{"a": 2}\n') is True
    assert looks_like_lines('\ufeff{"a": 1\n{"a": 2}\n{"a": 3}') is True
    assert looks_like_lines('{"a": 1}') is True
    assert looks_like_lines('{\n "a": 1\n}') is False
    assert looks_like_lines('[\n{"a": 1},\n{"a": 2}\n]') is False
    assert looks_like_lines('[{"a": 1}]') is False
    assert looks_like_lines("a,b\n1,2") is None


@pytest.mark.parametrize("kind", ["json", "jsonl"])
def test_memory_stays_flat(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "big"
    with path.open("wb") as out:
        writer = (JsonWriter if kind == "json" else JsonLinesWriter)(out, ["id", "text"])
        for start in range(0, 100_000, 1_000):
            writer.write([(i, "x" * 90) for i in range(start, start + 1_000)])
        writer.close()
    assert path.stat().st_size > 10_000_000
    reader = (JsonReader if kind == "json" else JsonLinesReader)(Bytes(path), ReadOptions())
    tracemalloc.start()
    try:
        assert sum(len(batch.rows) for batch in reader.batches()) == 100_000
        assert tracemalloc.get_traced_memory()[1] < 8_000_000
    finally:
        tracemalloc.stop()


def test_a_file_that_is_damaged_throughout_is_refused_soon() -> None:
    began = time.process_time()
    with pytest.raises(FileRefused, match="too many places"):
        read("[" + ",\n".join(['{"a": [1}', '{"a": 2}'] * 50_000) + "]")
    assert spent(began) < 10


def test_a_value_over_the_cap_in_an_array() -> None:
    began = time.process_time()
    _, rows, broken = read('[{"a": 1}, {"a": "' + "x" * 40_000_000 + '"}, {"a": 3}]')
    assert rows == [(1,), (3,)]
    assert "longer" in broken[0].reason
    assert spent(began) < 2


def test_a_comma_too_many_costs_nothing() -> None:
    assert read('[,{"a": 1},,{"a": 2},]')[1:] == ([(1,), (2,)], [])
