"""XML: records stream in, attacks end in FileRefused, and what is written is read back."""

from __future__ import annotations

import io
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replica.errors import FileRefused, RowRefused
from replica.exchange.formats.xmlfile import XmlReader
from replica.exchange.formats.xmlwrite import XmlWriter
from replica.exchange.rows import MISSING, Broken, ReadOptions, Row
from tests.exchange.pace import spent
from tests.exchange.sources import Bytes

Found = tuple[list[str], list[Row], list[Broken]]


def read(data: bytes | str, size: int = 3, **options: Any) -> Found:
    reader = XmlReader(Bytes(data.encode() if isinstance(data, str) else data), ReadOptions(**options))
    rows: list[Row] = []
    broken: list[Broken] = []
    for batch in reader.batches(size):
        assert len(batch.rows) == len(batch.numbers) == len(batch.lines) == len(batch.trees or [])
        rows += batch.rows
        broken += batch.broken
    reader.close()
    return reader.fields, rows, broken


def write(fields: list[str], rows: list[Row], name: str = "records") -> bytes:
    out = io.BytesIO()
    writer = XmlWriter(out, fields, name)
    writer.write(rows)
    writer.close()
    return out.getvalue()


cells = st.one_of(st.none(), st.text(), st.binary(), st.just(MISSING))
names = st.one_of(
    st.text(min_size=1), st.sampled_from(["Site name", "1st", "field", "a.b", "xmlns", "a:b", "_x0041_", "@id"])
)


@given(st.data())
def test_whatever_is_written_is_read(data: st.DataObject) -> None:
    fields = data.draw(st.lists(names, min_size=1, max_size=4, unique=True))
    rows = data.draw(st.lists(st.tuples(*[cells] * len(fields)), min_size=1, max_size=5))
    rows.append(tuple(["x"] * len(fields)))
    found, got, broken = read(write(fields, rows))
    assert not broken
    assert [dict(zip(found, row, strict=True)) for row in got] == [dict(zip(fields, row, strict=True)) for row in rows]


def test_numbers_are_written_as_text() -> None:
    data = write(["a", "b", "c", "d"], [(1, 2.5, True, float("inf")), (-(2**63), 1e22, False, -0.0)])
    assert read(data)[1] == [("1", "2.5", "true", "INF"), (str(-(2**63)), "1e+22", "false", "-0.0")]
    with pytest.raises(RowRefused):
        write(["a"], [(object(),)])


def test_the_written_file_is_what_others_expect() -> None:
    data = write(["id", "Site name", "note"], [(1, "A & B\r", None), ("", MISSING, " x\x01 ")], "sites")
    assert data.decode().splitlines()[1:] == [
        '<sites xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xmlns:r="urn:replica:exchange:1">',
        '<record><id>1</id><field name="Site name">A &amp; B&#13;</field><note xsi:nil="true"/></record>',
        '<record><id></id><note r:as="escaped"> x_x0001_ </note></record>',
        "</sites>",
    ]
    assert data == write(["id", "Site name", "note"], [(1, "A & B\r", None), ("", MISSING, " x\x01 ")], "sites")


ORDERS = """<?xml version="1.0"?><!-- c --><?pi x?>
<Orders xmlns="urn:a" xmlns:b="urn:b" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" date="2020">
  <Order id="1"><b:name>Köln</b:name><name>N</name><ship kind="x"><city>A</city></ship>
     <line><sku>1</sku></line><line><sku>2</sku></line></Order>
  <Order id="2"><name xsi:nil="true"/><tel>1</tel><tel>2</tel><note>some <b>bold</b> text</note><empty/></Order>
</Orders>"""


def test_trees_come_flat() -> None:
    fields, rows, broken = read(ORDERS)
    got = [{f: v for f, v in zip(fields, row, strict=True) if v is not MISSING} for row in rows]
    assert got == [
        {
            "@id": "1", "name": "Köln", "urn:a:name": "N", "ship.@kind": "x", "ship.city": "A",
            "line": '[{"sku":"1"},{"sku":"2"}]',
        },
        {
            "@id": "2", "urn:a:name": None, "tel": '["1","2"]', "note.b": "bold", "note.#text": "some  text", "empty": "",
        },
    ]  # fmt: skip
    assert not broken
    reader = XmlReader(Bytes(ORDERS.encode()), ReadOptions())
    [batch] = reader.batches()
    assert batch.trees is not None
    assert batch.trees[0]["line"] == [{"sku": "1"}, {"sku": "2"}]
    assert batch.lines == [3, 5]


@pytest.mark.parametrize(
    ("text", "path", "count"),
    [
        ("<a><b><c>1</c></b><b><c>2</c></b></a>", "a/b", 2),
        (
            "<a><g><b><c>1</c></b><b><c>1</c></b><b><c>1</c></b></g><g><b><c>2</c></b><b><c>1</c></b></g></a>",
            "a/g/b",
            5,
        ),
        (
            "<rss><channel><title>t</title><item><x>1</x></item><item><x>2</x></item></channel></rss>",
            "rss/channel/item",
            2,
        ),
        ("<a><b><c>1</c></b></a>", "a/b", 1),
        ("<a><name>x</name><b><c>1</c></b></a>", "a", 1),
        ("<a><n>1</n><n>2</n></a>", "a/n", 2),
        ('<rows><row id="1"/><row id="2"/></rows>', "rows/row", 2),
        ("<a/>", "a", 1),
    ],
)
def test_records_are_found(text: str, path: str, count: int) -> None:
    reader = XmlReader(Bytes(text.encode()), ReadOptions())
    assert [f.value for f in reader.findings if f.what == "records"] == [path]
    assert sum(len(batch.rows) for batch in reader.batches()) == count


def test_records_that_are_told_and_records_in_doubt() -> None:
    text = "<r><cs><c><x>1</x></c><c><x>2</x></c></cs><as><a><y>1</y></a><a><y>3</y></a></as></r>"
    reader = XmlReader(Bytes(text.encode()), ReadOptions())
    [finding] = [f for f in reader.findings if f.what == "records"]
    assert finding.confidence < 0.7
    assert finding.others == ("r/as/a",)
    for told in ("as/a", "r/as/a", "a"):
        assert read(text, records=told)[:2] == (["y"], [("1",), ("3",)])
    with pytest.raises(FileRefused, match="no element"):
        read(text, records="z")


LAUGHS = '<!DOCTYPE l [<!ENTITY a "lol">' + "".join(
    f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)
ATTACKS = {
    "laughs": LAUGHS + "]><l>&i;</l>",
    "quadratic": f'<!DOCTYPE l [<!ENTITY a "{"x" * 100_000}">]><l>{"&a;" * 10_000}</l>',
    "file": '<?xml version="1.0"?>\n<!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/passwd">]><r><a>&x;</a></r>',
    "parameter": '<!-- <a> --><!DOCTYPE r [<!ENTITY % p SYSTEM "http://127.0.0.1:9/x"> %p;]><r/>',
    "remote": '<?pi <r>?><!DOCTYPE r SYSTEM "http://127.0.0.1:9/x.dtd"><r/>',
    "plain": "<!DOCTYPE html><r/>",
    "utf7": "<?xml version='1.0' encoding='UTF-7'?>+ADw-r/+AD4-",
    "ebcdic": '<?xml version="1.0" encoding="IBM037"?><r/>',
    "empty": "",
    "text": "hello",
    "no element": "<!-- nothing -->",
    "long prolog": "<!--" + "x" * 3_000_000 + "--><r/>",
}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-8-sig"])
@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_an_attack_is_refused_at_once(attack: str, encoding: str) -> None:
    began = time.process_time()
    with pytest.raises(FileRefused) as error:
        read(attack.encode(encoding))
    assert spent(began) < 1
    assert "DOCTYPE" in str(error.value) or "<!DOCTYPE" not in attack


CAPPED = {
    "deep": "<a>" * 200_000,
    "deep record": "<r><x>1</x>" + "<a>" * 100 + "1" + "</a>" * 100 + "</r>",
    "text": f"<r><a><b>{'x' * 20_000_000}</b></a></r>",
    "attributes": "<r><a " + " ".join(f'a{i}="1"' for i in range(200_000)) + "/></r>",
    "entity": "<r><a>&nothing;</a></r>",
    "declared": "<r><a><!DOCTYPE r></a></r>",
}


@pytest.mark.parametrize("attack", CAPPED.values(), ids=CAPPED)
def test_what_is_over_a_cap_is_told_at_once(attack: str) -> None:
    began = time.process_time()
    _, rows, broken = read(attack)
    assert spent(began) < 2
    assert not rows
    assert broken


def test_nothing_else_is_opened(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    text = f"""<r xmlns:xi="http://www.w3.org/2001/XInclude" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
        xsi:noNamespaceSchemaLocation="http://127.0.0.1:9/x.xsd">
        <a><n>1</n><xi:include href="{tmp_path / "secret"}" parse="text"/></a><a><n>2</n></a></r>"""
    _, rows, _ = read(text)
    assert [row[0] for row in rows] == ["1", "2"]
    assert "secret" not in repr(rows).replace(str(tmp_path), "").replace("/secret", "")


@pytest.mark.parametrize("encoding", ["gb18030", "gbk", "big5", "shift_jis", "windows-1252", "utf-16"])
def test_declared_encodings(encoding: str) -> None:
    word = "Köln" if encoding == "windows-1252" else "中文"
    text = f'<?xml version="1.0" encoding="{encoding}"?><r><a><b>{word}</b></a><a><b>x</b></a></r>'
    assert read(text.encode(encoding))[1] == [(word,), ("x",)]


def test_encodings_that_disagree() -> None:
    text = '<?xml version="1.0" encoding="utf-8"?><r><a><b>中䶮</b></a><a><b>x</b></a></r>'
    assert read(text.replace("utf-8", "gb2312").encode("gb18030"))[1][0] == ("中䶮",)
    for declared, real in (("utf-16", "utf-8"), ("utf-8", "utf-16"), ("gbk", "utf-8-sig")):
        reader = XmlReader(Bytes(text.replace("utf-8", declared).encode(real)), ReadOptions())
        [finding] = [f for f in reader.findings if f.what == "encoding"]
        assert finding.value == real
        assert finding.others == (declared,)
        assert next(reader.batches()).rows[0] == ("中䶮",)
    _, rows, broken = read(text.encode("gb18030"))
    assert not rows
    assert "UTF-8" in broken[0].reason or "encoding" in broken[0].reason
    assert read(text.encode("gb18030"), encoding="gb18030")[1][0] == ("中䶮",)
    with pytest.raises(FileRefused, match="encoding"):
        read(text.replace("utf-8", "big5").encode("utf-8") + "号号".encode())


@pytest.mark.parametrize("damage", ["</b></a>", "<", "<a><b>", "\x01", "<a><b>x</a>"])
def test_records_before_the_damage_are_kept(damage: str) -> None:
    text = "<r>\n" + "<a><b>x</b></a>\n" * 50 + damage
    _, rows, broken = read(text)
    assert rows == [("x",)] * 50
    assert [(b.number, b.line) for b in broken] == [(51, 52)]
    assert "column" in broken[0].raw


XSD = """<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema"><xs:element name="r"><xs:complexType><xs:sequence>
<xs:element name="a" maxOccurs="unbounded"><xs:complexType><xs:sequence>
<xs:element name="b" type="xs:int"/></xs:sequence></xs:complexType></xs:element>
</xs:sequence></xs:complexType></xs:element></xs:schema>"""


def test_a_schema_is_obeyed_record_by_record(tmp_path: Path) -> None:
    schema = tmp_path / "r.xsd"
    schema.write_text(XSD)
    _, rows, broken = read("<r>\n<a><b>1</b></a>\n<a>\n<b>x</b></a>\n<a></a>\n<a><b>4</b></a></r>", schema=str(schema))
    assert rows == [("1",), ("4",)]
    assert [(b.number, b.line) for b in broken] == [(2, 3), (3, 5)]
    assert "line 4: Element 'b': 'x' is not a valid value" in broken[0].reason
    with pytest.raises(FileRefused, match="Element 'z'"):
        read("<z>\n<a><b>1</b></a>\n<a><b>1</b></a></z>", schema=str(schema))
    assert len(read("<r>" + "<a><b>1</b></a>\n" * 20_000 + "</r>", 4096, schema=str(schema))[1]) == 20_000
    schema.write_text(
        XSD.replace('<xs:element name="r">', '<xs:include schemaLocation="http://127.0.0.1/x"/><xs:element name="r">')
    )
    with pytest.raises(FileRefused, match="beside"):
        read("<r/>", schema=str(schema))
    schema.write_text("<a/>")
    with pytest.raises(FileRefused, match="none"):
        read("<r/>", schema=str(schema))
    with pytest.raises(FileRefused, match="cannot be read"):
        read("<r/>", schema=str(tmp_path / "no"))


@pytest.mark.parametrize("wrapped", [False, True])
def test_memory_stays_flat(wrapped: bool, tmp_path: Path) -> None:
    path = tmp_path / "big.xml"
    record = "<a><b>" + "x" * 400 + "</b></a>"
    body = ("<g>" + record * 10 + "</g>") * 3_000 if wrapped else record * 30_000
    path.write_text(f"<r>{body}</r>")
    reader = XmlReader(Bytes(path), ReadOptions(records="a"))
    tracemalloc.start()
    before = _rss()
    try:
        assert sum(len(batch.rows) for batch in reader.batches()) == 30_000
        assert tracemalloc.get_traced_memory()[1] < 12_000_000
    finally:
        tracemalloc.stop()
    assert _rss() - before < 12_000


def _rss() -> int:
    """Kilobytes of memory, of the parser's C too."""
    text = Path("/proc/self/status").read_text() if Path("/proc/self/status").exists() else "VmRSS: 0"
    return int(text.split("VmRSS:")[1].split()[0])


def test_no_rows_are_no_rows() -> None:
    assert read(write(["a"], [])) == ([], [], [])
    assert read(write(["a"], [(None,)])) == (["a"], [(None,)], [])


def test_a_prefix_that_is_not_declared_is_part_of_the_name() -> None:
    _, rows, _ = read("<r><x:a><b>1</b></x:a><x:a><b>2</b></x:a></r>")
    assert rows == [("1",), ("2",)]
