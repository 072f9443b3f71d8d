"""Drafts of maps, and the commands about maps."""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replica.errors import MapRefused, UsageError
from replica.exchange import commands_map
from replica.exchange.maps.keys import names_id
from replica.exchange.maps.mapfile import parse
from replica.exchange.maps.suggest import suggest
from replica.exchange.maps.synonyms import meaning
from replica.exchange.rows import Finding, ReadOptions
from tests.exchange.listed import Listed

SITES = Path(__file__).parents[2].parent / "shared" / "data" / "chicago_sites.csv"


@pytest.mark.parametrize(
    ("header", "field"),
    [
        ("姓名", "name"), ("公司", "company"), ("手机", "mobile"), ("邮箱", "email"), ("地址", "address"),
        ("E-Mail", "email"),
        ("FirstName", "first_name"), ("first_name", "first_name"), ("MAILING CITY", "city"), ("客户 编号", "id"),
        ("ＴＥＬ", "phone"),
        ("PLZ", "postcode"), ("Birthdate", "birthday"), ("Phone (work)", "phone"), ("电话*", "phone"),
        ("xyzzy", None), ("", None),
    ],
)  # fmt: skip
def test_headers_are_known(header: str, field: str | None) -> None:
    found = meaning(header)
    assert (found and found.field) == field


def command(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> Any:
    """What a command about maps prints as JSON."""
    parser = argparse.ArgumentParser()
    commands_map.add_arguments(parser)
    assert commands_map.run(parser.parse_args(arguments)) == code
    return json.loads(capsys.readouterr().out)


def chinese() -> Listed:
    head = ["客户编号", "姓名", "公司名称", "手机号码", "邮箱", "生日", "金额", "备注", "邮编"]
    return Listed(
        head,
        [
            ("K1", "张三", "华为", "13800138000", "a@b.cn", "1990年3月2日", "￥1,234.50", "无", "00123"),
            ("K2", "李四", "华为", "8.6138E+12", "N/A", "12.3.1991", "￥12,000.00", "", "00124"),
            ("K3", " 王五", "", "13900139000", "c@d.cn", "", "1", "x", "00125"),
        ],
    )


def test_a_draft_of_a_chinese_file() -> None:
    draft = suggest(chinese(), "/tmp/客户.csv.gz", "CN")
    assert draft.collection == "客户"
    assert draft.key == ("id",)
    types = {c.field: c.type for c in draft.columns}
    assert types == {
        "id": "", "name": "", "company": "", "mobile": "phone", "email": "email", "birthday": "date", "amount": "number",
        "note": "", "postcode": "",
    }  # fmt: skip
    by = {c.field: c for c in draft.columns}
    assert dict(by["mobile"].words)["country"] == "CN"
    assert "export the column as text" in by["mobile"].notes[0]
    assert dict(by["email"].words)["empty"] == ["N/A"]
    assert by["birthday"].notes == ("say format: DMY or MDY",)
    assert dict(by["amount"].words)["decimal"] == "."
    assert "may mean nothing" in by["note"].notes[0]
    assert dict(by["name"].words)["trim"] is True
    assert by["company"].fill == 0.6667
    shown = commands_map.table(draft)
    assert "客户编号" in shown
    assert "67%" in shown
    mapping = parse(draft.toml, "draft", None)
    settled, _ = mapping.settle(chinese(), "DMY")
    (made,), problems = settled.mapper(chinese().fields).map(next(chinese().batches()))
    assert made.sources == [0, 2]
    assert [(p.field, p.rule) for p in problems[1]] == [("mobile", "phone")]


def test_a_type_that_the_values_do_not_keep_is_not_given() -> None:
    file = Listed(["Phone", "Amount", "Email"], [("2262649", str(i), "x" if i else "a@b.de") for i in range(30)])
    phone, amount, email = suggest(file, "f.csv", "US").columns
    assert phone.type == ""
    assert "no valid phone number of US" in phone.notes[0]
    assert amount.type == "number"
    assert email.type == ""
    assert "promises email" in email.notes[0]
    some = Listed(["Amount"], [("x" if i == 7 else str(i),) for i in range(30)])
    (amount,) = suggest(some).columns
    assert dict(amount.words) == {"type": "number"}
    assert amount.notes == ('1 of 30 different values is no number, such as x: rejected, unless on_error = "keep"',)
    (unknown,) = suggest(Listed(["xyzzy"], [("x" if i < 3 else str(i),) for i in range(30)])).columns
    assert unknown.type == ""  # Nothing but its looks says that it is a number, and a tenth of it is none.

    phones = Listed(["Tel."], [("030 901820",), ("030 901821",), ("+4930901822",)])
    assert dict(suggest(phones).columns[0].words) == {"type": "phone", "on_error": "keep"}
    phones = Listed(["Tel."], [("030 901820",), ("+4930901821",), ("+4930901822",)])
    assert dict(suggest(phones).columns[0].words) == {"type": "phone"}
    assert "add country" in suggest(phones).columns[0].notes[0]


MESSY = {
    "en": (
        "Customer No,Full name,Company,Mobile,E-Mail,Birthday,Amount,Active",
        "001,Ann Lee,Acme,+4915123456701,ann@acme.example.org,12.03.1990,7.50,yes",
        "002,Bob Ray,Acme,+4915123456702,Bob@acme.example.org,31.05.1985,12.00,no",
        "003,Cy Moe,,+4915123456703,cy@acme.example.org,01.12.1979,7.25,yes",
        "004,Di Foe,Zed,+4915123456704,kein@,31/02/2000,abc,vielleicht",
        "005,Ed Poe,Zed,+4915123456705,ed@zed.example.org,17.06.2001,99.90,no",
        "002,Bob Ray,Acme,+4915123456702,BOB@acme.example.org,31.05.1985,12.00,no",
    ),
    "de": (
        "Kundennr.;Name;Firma;Handy;E-Mail;Geburtsdatum;Betrag;Aktiv",
        "001;Änne Lee;Acme;0151 23456701;ann@acme.example.org;12.03.1990;1.234,50;ja",
        "002;Bob Ray;Acme;0151 23456702;Bob@acme.example.org;31.05.1985;12,00;nein",
        "003;Cy Möller;;0151 23456703;cy@acme.example.org;01.12.1979;7,25;ja",
        "004;Di Foe;Zed;0151 23456704;kein@;31/02/2000;abc;vielleicht",
        "005;Ed Poe;Zed;0151 23456705;ed@zed.example.org;17.06.2001;99,90;nein",
        "002;Bob Ray;Acme;0151 23456702;BOB@acme.example.org;31.05.1985;12,00;nein",
    ),
    "zh": (
        "编号;姓名;公司;手机;邮箱;生日;金额;启用",
        "001;张三;华为;13800138000;san@firma.example.cn;12.03.1990;1.234,50;是",
        "002;李四;华为;13900139000;Li@firma.example.cn;31.05.1985;12,00;否",
        "003;王五;;13700137000;wang@firma.example.cn;01.12.1979;7,5;是",
        "004;赵六;中兴;13600136000;kein@;31/02/2000;abc;vielleicht",
        "005;钱七;中兴;13500135000;qian@firma.example.cn;17.06.2001;99,90;否",
        "002;李四;华为;13900139000;LI@firma.example.cn;31.05.1985;12,00;否",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("language", "country"), [("en", None), ("de", "DE"), ("zh", "CN")])
def test_a_messy_file(language: str, country: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, out = tmp_path / "customers.csv", tmp_path / "m.toml"
    file.write_text("\r\n".join(MESSY[language]), encoding="gb18030" if language == "zh" else "utf-8", newline="")
    told = ["--country", country] if country else []
    draft = command(capsys, "suggest", str(file), "--out", str(out), "--json", *told)
    by = {c["field"]: c for c in draft["columns"]}
    assert draft["key"][0] == {"en": "customer_no", "de": "kundennr", "zh": "id"}[language]
    assert by[draft["key"][0]]["type"] == ""
    assert by[draft["key"][0]]["notes"] == ["1 row repeats a key (002): the first row of each key counts"]
    types = {"mobile": "phone", "email": "email", "birthday": "date", "amount": "number", "active": "boolean"}
    assert {field: by[field]["type"] for field in types} == types
    assert dict(by["birthday"]["words"])["format"] == "DMY"
    assert "on_error" not in draft["toml"].replace('unless on_error = "keep"', "")
    assert "case" not in dict(by["email"]["words"])
    assert "[read]" not in draft["toml"]
    checked = command(capsys, "check", str(out), str(file), "--json", code=commands_map.REJECTS)["file"]
    assert (checked["rows"], checked["rejected"]) == (6, 1)
    assert [(p["row"], p["field"]) for p in checked["problems"]] == [
        (4, "email"), (4, "birthday"), (4, "amount"), (4, "active"),
    ]  # fmt: skip


def test_an_address_that_is_the_key_is_compared_in_small_letters() -> None:
    rows = [(f"P{i}", f"p{i}@b.example.org") for i in range(20)]
    draft = suggest(Listed(["Name", "E-Mail"], [*rows, ("P1", "P1@b.example.org"), ("P2", "p2@b.example.org")]))
    assert draft.key[0] == "email"
    assert draft.columns[1].words == (("case", "lower"), ("type", "email"))
    assert draft.columns[1].notes == (
        "2 rows repeat a key (p2@b.example.org): the first row of each key counts",
    )
    mapping = parse(draft.toml, "draft", None)
    new = Listed(["Name", "E-Mail"], [("P", "P1@B.de")])
    (made,), problems = mapping.mapper(new.fields).map(next(new.batches()))
    assert (made.columns[1], problems) == (["p1@b.de"], {})


@pytest.mark.parametrize(
    ("header", "is_id"),
    [
        ("Order No.", True), ("AccountNumber", True), ("Kd-Nr", True), ("Artikelnummer", True), ("Customer Code", True),
        ("external_key", True), ("订单编号", True), ("商品代码", True), ("合同号", True), ("ID", True),
        ("Mobile No", False), ("Telefonnummer", False), ("Rufnummer", False), ("手机号", False), ("Zip Code", False),
        ("Country Code", False), ("Name", False), ("Turin", False), ("税号", False), ("Paid", False),
    ],
)  # fmt: skip
def test_names_of_ids(header: str, is_id: bool) -> None:
    assert (names_id(header) is not None) is is_id


def test_a_key_is_nearly_unique_and_filled() -> None:
    def key(*cells: str) -> tuple[str, ...]:
        return suggest(Listed(["Mail", "Order No"], [(f"m{i}@b.example.org", c) for i, c in enumerate(cells)])).key

    numbers = [str(i) for i in range(100)]
    assert key(*numbers)[0] == "order_no"
    assert key(*numbers[:95], *numbers[:5])[0] == "order_no"
    assert key(*numbers[:80], *numbers[:20])[0] == "email"
    assert key(*numbers[:80], *[""] * 20)[0] == "email"
    both = Listed(["Customer No", "Order No"], [(str(min(i, 95)), str(i)) for i in range(100)])
    assert suggest(both).key == ("order_no", "customer_no")  # The customer comes twice, the order never.
    some = suggest(Listed(["ID", "Name"], [("" if i == 3 else str(i), "x") for i in range(50)]))
    assert some.key == ("id",)
    assert some.columns[0].notes == ("1 row has no key, to be rejected",)


def test_a_draft_says_how_to_read_the_file_only_if_that_must_be_said() -> None:
    file = Listed(["id"], [("1",)])
    file.findings = [Finding("encoding", "gb18030", 0.8, ("big5",), "--encoding"), Finding("spaces", "x", 0.1)]
    assert "[read]" not in suggest(file).toml
    file.findings += [
        Finding("records", "data.items", 0.6, ("data.more",), "--records"), Finding("header", "0", 0.6, (), "--header"),
    ]  # fmt: skip
    draft = suggest(file, told=ReadOptions(sheet="第一", header=3))
    assert '[read]\nrecords = "data.items"  # 60% sure, or "data.more"\nheader = 3\nsheet = "第一"\n' in draft.toml
    mapping = parse(draft.toml, "draft", None)
    assert (mapping.read.records, mapping.read.header, mapping.read.sheet) == ("data.items", 3, "第一")
    assert "header = 0  # 60% sure" in suggest(file).toml


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=5, unique=True).flatmap(
        lambda head: st.tuples(
            st.just(head),
            st.lists(st.tuples(*[st.one_of(st.none(), st.text(max_size=8), st.integers())] * len(head)), max_size=6),
        )
    )
)
def test_a_draft_is_a_map_of_its_file(file: tuple[list[str], list[tuple[Any, ...]]]) -> None:
    reader = Listed(*file)
    mapping = parse(suggest(reader, "a.csv").toml, "draft", None)
    fields = mapping.mapper(reader.fields).targets[0].fields
    assert len(fields) == len(reader.fields)


@pytest.mark.skipif(not SITES.exists(), reason="../shared is absent")
def test_a_draft_of_a_real_file() -> None:
    with SITES.open(encoding="utf-8-sig", newline="") as text:
        head, *rows = csv.reader(text)
    file = Listed(head, [tuple(row) for row in rows])
    draft = suggest(file, SITES.name, "US")
    assert draft.key[0] == "id"
    assert [c.field for c in draft.columns if c.column == "Zip"] == ["postcode"]
    mapping, _ = parse(draft.toml, "draft", None).settle(file)
    mapper = mapping.mapper(head)
    assert sum(len(mapper.map(batch)[1]) for batch in file.batches()) == 0


# Commands.


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    monkeypatch.setattr(commands_map, "_open", lambda *_, **__: chinese())

    def call(*arguments: str, code: int = 0) -> str:
        parser = argparse.ArgumentParser()
        commands_map.add_arguments(parser)
        assert commands_map.run(parser.parse_args(arguments)) == code
        return capsys.readouterr().out

    return call


def test_suggest_writes_a_draft_and_never_over_another(run: Any, tmp_path: Path) -> None:
    out = tmp_path / "m.toml"
    assert "wrote" in run("suggest", "客户.csv", "--out", str(out), "--country", "cn")
    assert 'country = "CN"' in out.read_text(encoding="utf-8")
    with pytest.raises(UsageError, match="exists"):
        run("suggest", "客户.csv", "--out", str(out))
    with pytest.raises(UsageError, match="is no country"):
        run("suggest", "客户.csv", "--country", "Germany")
    assert run("suggest", "客户.csv").startswith("# A draft")
    assert json.loads(run("suggest", "客户.csv", "--json"))["key"] == ["id"]


def test_check_tries_a_map_on_a_file(run: Any, tmp_path: Path) -> None:
    out = tmp_path / "m.toml"
    run("suggest", "客户.csv", "--out", str(out), "--country", "CN")
    assert "is a good map" in run("check", str(out))
    text = run("check", str(out), "客户.csv", "--date", "DMY", code=commands_map.REJECTS)
    assert "3 rows: 2 客户; 1 rejected" in text
    assert 'row 2: mobile "8.6138E+12" has lost digits' in text
    told = json.loads(run("check", str(out), "客户.csv", "--date", "DMY", "--json", code=commands_map.REJECTS))
    assert (told["file"]["rows"], told["file"]["rejected"], told["file"]["records"]) == (3, 1, {"客户": 2})
    out.write_text("version = 3")
    with pytest.raises(MapRefused):
        run("check", str(out))


def test_list_names_the_ready_maps(run: Any) -> None:
    assert "salesforce-contacts" in run("list")
    assert {m["name"] for m in json.loads(run("list", "--json"))} >= {"hubspot-companies", "odoo-contacts"}
