"""Maps on real files: whatever format they are, through the readers and the commands."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest

from replica.exchange import commands_map
from replica.exchange.formats.opening import open_reader
from replica.exchange.maps.mapping import load
from replica.exchange.rows import ReadOptions

SITES = Path(__file__).parents[2].parent / "shared" / "data" / "chicago_sites.csv"

CARDS = """BEGIN:VCARD
VERSION:3.0
FN:Ann Li
N:Li;Ann;;Dr.;
ORG:Acme;Sales
TEL;TYPE=CELL:+86 138 0013 8000
TEL;TYPE=WORK,VOICE:call me
EMAIL;TYPE=INTERNET:ann@EXAMPLE.com
BDAY:1990-03-02
REV:20210312T102030Z
ADR;TYPE=WORK:;;1 Main St;Beijing;;100000;China
END:VCARD
BEGIN:VCARD
VERSION:4.0
UID:urn:uuid:1
FN:Bo
BDAY:--0302
END:VCARD
"""

ORDERS = """
version = 1
[[collection]]
name = "orders"
key = "id"
[collection.fields]
id = "id"
city = "ship.city"
[[collection]]
name = "lines"
key = ["order", "no"]
rows = "lines"
[collection.fields]
order = { from = "^id", refers = "orders" }
no = "#"
sku = "sku"
count = { from = "q", type = "integer" }
"""


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path, code: int = 0) -> Any:
    parser = argparse.ArgumentParser()
    commands_map.add_arguments(parser)
    assert commands_map.run(parser.parse_args([*map(str, arguments), "--json"])) == code
    return json.loads(capsys.readouterr().out)


def records(map_: str | Path, file: Path) -> dict[str, list[dict[str, Any]]]:
    mapping = load(map_)
    reader = open_reader(str(file), mapping.read)
    mapping, _ = mapping.settle(reader)
    mapper = mapping.mapper(reader.fields)
    out: dict[str, list[dict[str, Any]]] = {}
    for batch in reader.batches():
        made, problems = mapper.map(batch)
        assert not problems
        for mapped in made:
            target = mapper.targets[mapped.target]
            names = [f.name for f in target.fields]
            out.setdefault(target.collection, []).extend(
                dict(zip(names, cells, strict=True)) for cells in zip(*mapped.columns, strict=True)
            )
    reader.close()
    return out


def test_cards(tmp_path: Path) -> None:
    file = tmp_path / "a.vcf"
    file.write_text(CARDS, encoding="utf-8")
    ann, bo = records("vcard-contacts", file)["contacts"]
    expected = {
        "id": "Ann Li", "last_name": "Li", "company": "Acme", "department": "Sales", "mobile": "+8613800138000",
        "phone": "call me", "email": "ann@example.com", "birthday": "1990-03-02", "modified": "2021-03-12T10:20:30Z",
        "city": "Beijing", "postcode": "100000",
    }  # fmt: skip
    assert {name: ann[name] for name in expected} == expected
    assert (bo["id"], bo["name"], bo["birthday"]) == ("urn:uuid:1", "Bo", "--0302")


@pytest.mark.parametrize("form", ["json", "jsonl", "xml"])
def test_arrays_of_files_that_nest(form: str, tmp_path: Path) -> None:
    (tmp_path / "m.toml").write_text(ORDERS)
    file = tmp_path / f"orders.{form}"
    trees = [
        {"id": "1", "ship": {"city": "Ulm"}, "lines": [{"sku": "x", "q": "2"}, {"sku": "y"}]},
        {"id": "2", "lines": [{"sku": "z", "q": "1"}]},
    ]
    if form == "xml":
        file.write_text(
            "<orders><order><id>1</id><ship><city>Ulm</city></ship><lines><sku>x</sku><q>2</q></lines><lines><sku>y</sku></lines>"
            "</order><order><id>2</id><lines><sku>z</sku><q>1</q></lines></order></orders>"
        )
    else:
        file.write_text(json.dumps(trees) if form == "json" else "\n".join(map(json.dumps, trees)))
    made = records(tmp_path / "m.toml", file)
    assert [order["id"] for order in made["orders"]] == ["1", "2"]
    assert made["orders"][0]["city"] == "Ulm"
    assert [(line["order"], line["no"], line["sku"]) for line in made["lines"]] == [
        ("1", 1, "x"),
        ("1", 2, "y"),
        ("2", 1, "z"),
    ]
    assert [line["count"] for line in made["lines"] if line["sku"] != "y"] == [2, 1]


def test_a_chinese_file_of_excel_from_draft_to_records(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "客户.csv"
    text = "客户编号;姓名;手机;生日;金额\r\n"
    text += "007;张三;13800138000;13.2.1990;1.234,50\r\n008;李四;139 0013 9000;1.3.1991;12,00\r\n"
    file.write_bytes(text.encode("gb18030"))
    out = tmp_path / "m.toml"
    draft = run(capsys, "suggest", file, "--out", out, "--country", "CN", "--encoding", "gb18030")
    assert [c["field"] for c in draft["columns"]] == ["id", "name", "mobile", "birthday", "amount"]
    told = run(capsys, "check", out, file, "--encoding", "gb18030")
    assert (told["file"]["rows"], told["file"]["rejected"], told["file"]["unused"]) == (2, 0, [])
    mapping = load(out)
    reader = open_reader(str(file), ReadOptions(encoding="gb18030"))
    (batch,) = reader.batches()
    reader.close()
    (mapped,), problems = mapping.mapper(reader.fields).map(batch)
    assert not problems
    assert mapped.columns == [
        ["007", "008"], ["张三", "李四"], ["+8613800138000", "+8613900139000"], ["1990-02-13", "1991-03-01"], [1234.5, 12.0],
    ]  # fmt: skip


@pytest.mark.skipif(not SITES.exists(), reason="../shared is absent")
def test_a_real_file_from_draft_to_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "m.toml"
    run(capsys, "suggest", SITES, "--out", out, "--country", "US")
    told = run(capsys, "check", out, SITES, "--country", "US")
    assert (told["file"]["rows"], told["file"]["rejected"]) == (3337, 0)
