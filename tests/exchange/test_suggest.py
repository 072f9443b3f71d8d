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
from replica.exchange.maps.mapfile import parse
from replica.exchange.maps.suggest import suggest
from replica.exchange.maps.synonyms import meaning
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
    assert dict(amount.words)["on_error"] == "keep"
    assert "such as x" in amount.notes[0]


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
    monkeypatch.setattr(commands_map, "_open", lambda *_: chinese())

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
