"""All formats together: found by content, and what is written is read again, up to what a format can say."""

from __future__ import annotations

import csv
import gzip
import io
import json
import sqlite3
import zipfile
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.errors import OurFault
from replica.errors import FileRefused, RowRefused, Unsure, UsageError
from replica.exchange.formats.opening import WRITTEN, open_reader, open_writer, output_format
from replica.exchange.rows import MISSING, ReadOptions, Row, WriteOptions

ROOT = Path(__file__).parent.parent.parent
DATA = ROOT.parent / "shared" / "data"
SUFFIX = {"vcard": "vcf"}


def write(path: Path, fields: Sequence[str], rows: Sequence[Row], kind: str | None = None) -> None:
    with open_writer(str(path), fields, kind, WriteOptions()) as writer:
        for start in range(0, len(rows), 100):
            writer.write(rows[start : start + 100])


def read(path: Path, **options: Any) -> tuple[list[str], list[Row], str]:
    with closing(open_reader(str(path), ReadOptions(**options))) as reader:
        rows: list[Row] = []
        for batch in reader.batches():
            assert not batch.broken
            rows += batch.rows
        assert [row for batch in reader.batches(7) for row in batch.rows] == rows
        done, size = reader.progress()
        assert 0 <= done <= size
        return list(reader.fields), rows, reader.format


def sayable(kind: str, value: Any) -> Any:
    """What is left of a value in a format, as its documentation says."""
    if kind in {"json", "jsonl"}:
        return value
    if kind == "parquet":
        return None if value is MISSING else value
    if kind == "xml":
        return value if value is None or value is MISSING else shown(value)
    if kind == "xlsx":
        return "" if value is None or value is MISSING else shown(value) if _over(value) else value
    text = "" if value is None or value is MISSING else shown(value)
    return (text or MISSING) if kind == "vcard" else text


def _over(value: Any) -> bool:
    return isinstance(value, bytes) or (type(value) is int and abs(value) > 2**53)


def shown(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"x'{value.hex()}'" if isinstance(value, bytes) else str(value)


letters = st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\u2028\u2029\ufeff")
text = st.text(st.one_of(letters, st.sampled_from("\n ,;\"'=_x0041_<&\\")))
cells = st.one_of(
    st.none(),
    st.just(MISSING),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    text,
)


@pytest.mark.parametrize("kind", sorted(WRITTEN))
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_whatever_is_written_is_read(kind: str, data: st.DataObject) -> None:
    names = st.sampled_from(["id", "Site name", "1st", "a.b", "名称", "e-mail", "No.", "Ångström", "a[0]", "x:y", "@z"])
    fields = ["key", *data.draw(st.lists(names, max_size=4, unique=True)), "last"]
    rows = data.draw(
        st.lists(st.tuples(st.just("k"), *[cells] * (len(fields) - 2), st.just("end")), min_size=2, max_size=6)
    )
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"file.{SUFFIX.get(kind, kind)}"
        write(path, fields, rows)
        first = path.read_bytes()
        write(path, fields, rows)
        assert path.read_bytes() == first
        # That the first row is a header is not what is tested here; sheets and CSV guess it.
        told = {"header": 1} if kind in {"csv", "tsv", "xlsx"} else {}
        if kind in {"csv", "tsv"}:
            told |= {"encoding": "utf-8", "delimiter": "\t" if kind == "tsv" else ",", "quote": '"'}  # type: ignore[dict-item]
        found, got, format_ = read(path, **told)
    assert format_ == kind or {format_, kind} == {"csv", "tsv"}
    made = [dict(zip(found, row, strict=True)) for row in got]
    wanted = [{f: sayable(kind, v) for f, v in zip(fields, row, strict=True)} for row in rows]
    seen = {f for row in wanted for f, v in row.items() if v is not MISSING}
    assert set(found) == (seen if kind in {"json", "jsonl", "xml", "vcard"} else set(fields))
    assert made == [{f: v for f, v in row.items() if f in set(found)} for row in wanted]


@pytest.mark.parametrize("packing", ["", ".gz", ".zst"])
@pytest.mark.parametrize("kind", sorted(WRITTEN))
def test_a_real_file_goes_through_every_format(kind: str, packing: str, tmp_path: Path) -> None:
    source = DATA / "chicago_sites.csv"
    if not source.exists():
        pytest.skip("../shared/data is not here")
    fields, rows, _ = read(source)
    with source.open(newline="", encoding="utf-8-sig") as file:
        table = list(csv.reader(file))
    assert (fields, [list(row) for row in rows]) == (table[0], table[1:])
    rows = rows[:: 10 if packing else 1]
    path = tmp_path / f"sites.{SUFFIX.get(kind, kind)}{packing}"
    write(path, fields, rows)
    found, got, format_ = read(path)
    assert format_ == kind or {format_, kind} == {"csv", "tsv"}
    made = [{f: v for f, v in zip(found, row, strict=True) if v is not MISSING} for row in got]
    wanted = [dict(zip(fields, row, strict=True)) for row in rows]
    if kind == "vcard":
        wanted = [{f: v for f, v in row.items() if v} for row in wanted]
    assert made == wanted


@pytest.mark.parametrize("kind", sorted(WRITTEN))
def test_the_spectrum_of_csv_goes_through_every_format(kind: str, tmp_path: Path) -> None:
    folder = DATA / "csv-spectrum"
    if not folder.exists():
        pytest.skip("../shared/data is not here")
    seen = 0
    for source in sorted((folder / "csvs").glob("*.csv")):
        fields, rows, _ = read(source, header=1, delimiter=",")
        with source.open(newline="", encoding="utf-8") as file:
            table = list(csv.reader(file))
        assert (fields, [list(row) for row in rows]) == (table[0], table[1:]), source.name
        path = tmp_path / f"{source.stem}.{SUFFIX.get(kind, kind)}"
        write(path, fields, rows)
        told = {"header": 1, "delimiter": "\t" if kind == "tsv" else ","} if kind in {"csv", "tsv"} else {}
        if kind == "xlsx":
            told = {"header": 1}
        found, got, _ = read(path, **told)
        made = [{f: v for f, v in zip(found, row, strict=True) if v is not MISSING} for row in got]
        wanted = [dict(zip(fields, row, strict=True)) for row in rows]
        if kind == "vcard":
            # CR LF in a text is a line break, and what is empty is not said.
            wanted = [{f: v.replace("\r\n", "\n") for f, v in row.items() if v} for row in wanted]
        assert made == wanted, source.name
        seen += 1
    assert seen >= 10


def packed(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        for name, data in members.items():
            made.writestr(name, data)
    return out.getvalue()


CONTENT = {
    "csv": b"a,b\n1,x\n2,y\n",
    "jsonl": b'{"a": 1}\n{"a": 2}\n',
    "json": b'[{"a": 1}, {"a": 2}]',
    "xml": b"<r><x><a>1</a></x><x><a>2</a></x></r>",
    "vcard": b"BEGIN:VCARD\nFN:A\nEND:VCARD\n",
}


@pytest.mark.parametrize("name", ["file", "file.csv", "file.json", "file.xml", "file.xlsx", "file.parquet"])
@pytest.mark.parametrize("kind", [k for k in CONTENT if k != "csv"])
def test_content_comes_before_the_name(kind: str, name: str, tmp_path: Path) -> None:
    for data in (
        CONTENT[kind],
        b"\xef\xbb\xbf" + CONTENT[kind],
        gzip.compress(CONTENT[kind]),
        packed({"x": CONTENT[kind]}),
    ):
        path = tmp_path / name
        path.write_bytes(data)
        assert read(path)[2] == kind


@pytest.mark.parametrize("kind", ["xlsx", "parquet"])
def test_binary_content_is_known_under_any_name(kind: str, tmp_path: Path) -> None:
    made = tmp_path / f"made.{kind}"
    write(made, ["a"], [("x",), ("y",)])
    for name in ("file", "file.csv", "file.json"):
        path = tmp_path / name
        path.write_bytes(made.read_bytes())
        assert read(path)[1:] == ([("x",), ("y",)], kind)
        path.write_bytes(gzip.compress(made.read_bytes()))
        assert read(path)[1:] == ([("x",), ("y",)], kind)


def test_name_and_content_that_contradict_each_other_are_asked_about(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    path.write_bytes(CONTENT["csv"])
    with pytest.raises(Unsure) as error:
        open_reader(str(path), ReadOptions())
    assert (error.value.option, error.value.choices) == ("--format", ("csv", "json"))
    assert read(path, format="csv")[1] == [("1", "x"), ("2", "y")]
    lines = tmp_path / "file.jsonl"
    lines.write_bytes(b'garbage\n{"a": 1}\n{"a": 2}\n')
    with closing(open_reader(str(lines), ReadOptions())) as reader:
        [batch] = reader.batches()
        assert (batch.rows, [b.line for b in batch.broken]) == ([(1,), (2,)], [1])
    brackets = tmp_path / "file.csv"
    brackets.write_bytes(b"[id],[name]\n1,x\n2,y\n")
    assert read(brackets)[0] == ["[id]", "[name]"]


NO_TABLE = {
    "empty": b"",
    "pdf": b"%PDF-1.7 ...",
    "picture": b"\x89PNG\r\n\x1a\n" + b"\0" * 50,
    "page": b"  <!DOCTYPE html><html><body>log in</body></html>",
    "binary": bytes(range(1, 32)) * 100,
    "word": packed({"[Content_Types].xml": b"<w/>", "word/document.xml": b"<w/>"}),
    "xlsb": packed({"[Content_Types].xml": b"<w/>", "xl/workbook.bin": b""}),
}


@pytest.mark.parametrize("name", NO_TABLE)
@pytest.mark.parametrize("suffix", ["", ".csv", ".xlsx"])
def test_what_is_no_table_is_refused(name: str, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"file{suffix}"
    path.write_bytes(NO_TABLE[name])
    with pytest.raises((FileRefused, Unsure)) as error:
        open_reader(str(path), ReadOptions())
    assert str(path) in str(error.value)


def test_a_database_is_refused(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "x.csv")) as database:
        database.execute("CREATE TABLE t(a)")
    with pytest.raises(FileRefused, match="database"):
        open_reader(str(tmp_path / "x.csv"), ReadOptions())


@pytest.mark.parametrize("kind", sorted({*WRITTEN, "xls", "ods"}))
def test_rubbish_told_to_be_a_format_is_a_typed_error(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    for data in (
        b"",
        b"\0" * 100,
        b"\xff\xfe\xfd" * 50,
        b"{[<\n",
        bytes(range(256)) * 20,
        b"PAR1" * 20,
        b"PK\x03\x04" * 20,
    ):
        path.write_bytes(data)
        with suppress(OurFault), closing(open_reader(str(path), ReadOptions(format=kind))) as reader:
            for batch in reader.batches():
                assert batch.rows or batch.broken


def test_a_failed_output_leaves_the_old_file(tmp_path: Path) -> None:
    for kind in sorted(WRITTEN):
        path = tmp_path / f"out.{SUFFIX.get(kind, kind)}"
        path.write_text("old")
        with pytest.raises(ZeroDivisionError), open_writer(str(path), ["a"], None, WriteOptions()) as writer:
            writer.write([("x",)])
            _ = 1 // 0
        assert path.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == len(WRITTEN)


def test_the_format_to_write(tmp_path: Path) -> None:
    assert [output_format(name, None) for name in ("a.csv", "a.JSONL.gz", "b.vcf", "c.json.zst")] == [
        "csv", "jsonl", "vcard", "json",
    ]  # fmt: skip
    assert output_format("-", "excel") == "xlsx"
    for name, told in (("-", None), ("a.doc", None), ("a.csv", "klingon"), ("a.xls", None)):
        with pytest.raises(UsageError):
            output_format(name, told)
    with pytest.raises(UsageError, match="twice"):
        write(tmp_path / "x.json", ["a", "a"], [])
    assert list(tmp_path.iterdir()) == []


def test_nested_json_comes_from_a_csv_header_with_dots_only_when_it_nested(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write(path, ["a.b", "c"], [(1, 2)])
    assert json.loads(path.read_text()) == [{"a.b": 1, "c": 2}]
    assert read(path)[:2] == (["a.b", "c"], [(1, 2)])


def test_one_line_of_json_is_searched_for_records(tmp_path: Path) -> None:
    answer = '{"total": 2, "data": [{"id": "1"}, {"id": "2"}]}'
    for name, form, fields in (
        ("a.json", "json", ["id"]), ("a", "json", ["id"]), ("a.jsonl", "jsonl", ["total", "data"]),
    ):  # fmt: skip
        (tmp_path / name).write_text(answer)
        with closing(open_reader(str(tmp_path / name), ReadOptions())) as reader:
            assert (reader.format, reader.fields) == (form, fields)
    (tmp_path / "b.json").write_text('{"id": "1", "name": "Ann"}')
    with closing(open_reader(str(tmp_path / "b.json"), ReadOptions())) as reader:
        assert [batch.rows for batch in reader.batches()] == [[("1", "Ann")]]


@pytest.mark.parametrize("form", WRITTEN)
@pytest.mark.parametrize("row", [("1",), ("1", "2", "3"), ()])
@pytest.mark.parametrize("excel", [False, True])
def test_a_row_of_the_wrong_width_is_the_same_error_in_all_formats(
    form: str, row: tuple[str, ...], excel: bool, tmp_path: Path
) -> None:
    path = tmp_path / "out"
    with (
        pytest.raises(RowRefused, match=f"a row has {len(row)} cells, the file has 2 fields"),
        open_writer(str(path), ["a", "b"], form, WriteOptions(for_excel=excel)) as writer,
    ):
        writer.write([("1", "2"), row])
    assert not path.exists()
