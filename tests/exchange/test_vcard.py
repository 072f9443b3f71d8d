"""vCard: what phones write is read, what is written is read again, and no text can make a line."""

from __future__ import annotations

import io
import time
from typing import Any

import pytest
import vobject
from hypothesis import given
from hypothesis import strategies as st

from replica.errors import FileRefused, RowRefused
from replica.exchange.formats.vcard import VcardReader
from replica.exchange.formats.vcardwrite import VcardWriter
from replica.exchange.rows import MISSING, Broken, ReadOptions, Row
from tests.exchange.pace import spent
from tests.exchange.sources import Bytes


def read(data: bytes | str, **options: Any) -> tuple[list[dict[str, str]], list[Broken], VcardReader]:
    reader = VcardReader(Bytes(data.encode() if isinstance(data, str) else data), ReadOptions(**options))
    found: list[dict[str, str]] = []
    broken: list[Broken] = []
    for batch in reader.batches(2):
        found += [{f: v for f, v in zip(reader.fields, row, strict=True) if v is not MISSING} for row in batch.rows]
        assert len(batch.trees or []) == len(batch.rows) == len(batch.numbers) == len(batch.lines)
        broken += batch.broken
    reader.close()
    return found, broken, reader


def write(fields: list[str], rows: list[Row]) -> bytes:
    out = io.BytesIO()
    writer = VcardWriter(out, fields)
    writer.write(rows)
    writer.close()
    return out.getvalue()


KNOWN = [
    "fn", "n.family", "n.given", "n.prefix", "org", "org.unit", "title", "tel", "tel.cell", "tel.home.fax", "tel.cell.2",
    "email", "email.work", "adr.street", "adr.work.city", "adr.work.country", "bday", "note", "url", "uid", "nickname",
]  # fmt: skip
text = st.text(
    st.one_of(st.characters(exclude_categories=["Cs"], exclude_characters="\r"), st.sampled_from('\\;,:\n =^"é'))
)


@given(st.data())
def test_whatever_is_written_is_read(data: st.DataObject) -> None:
    name = st.one_of(
        st.sampled_from(KNOWN), text.filter(lambda t: t.split(".")[0].lower() not in {"tel", "adr", "categories"})
    )
    fields = data.draw(st.lists(name, min_size=1, max_size=6, unique=True))
    if "tel.cell.2" in fields and "tel.cell" not in fields:
        fields.remove("tel.cell.2")
        fields.append("x")
    fields = sorted(set(fields))
    rows = data.draw(st.lists(st.tuples(*[text] * len(fields)), min_size=1, max_size=4))
    rows = [tuple(v or "-" if f == "tel.cell" else v for f, v in zip(fields, row, strict=True)) for row in rows]
    found, broken, _ = read(write(fields, rows))
    assert not broken
    assert found == [{f: v for f, v in zip(fields, row, strict=True) if v} for row in rows]


def test_an_organisation_may_end_in_a_semicolon() -> None:
    for fields, row in ((["org"], (";",)), (["org", "org.unit"], ("a;", ";")), (["org"], ("\\;",))):
        assert read(write(fields, [row]))[0] == [dict(zip(fields, row, strict=True))]


def test_written_cards_are_read_by_others() -> None:
    fields = [
        "fn",
        "n.family",
        "n.given",
        "org",
        "tel.work.cell",
        "email",
        "adr.home.city",
        "note",
        "Site name",
        "n.suffix",
    ]
    data = write(fields, [("Dr. Ö" * 20, "Ö;x", "A,b", "Org; Inc", "+49", "a@b.example", "Köln", "l1\nl2", "S", None)])
    assert all(len(line) <= 75 for line in data.split(b"\r\n"))
    card = vobject.readOne(data.decode())
    assert (card.fn.value, card.n.value.family, card.n.value.given) == ("Dr. Ö" * 20, "Ö;x", "A,b")
    assert (card.tel.value, card.tel.params["TYPE"], card.adr.value.city) == ("+49", ["WORK", "CELL"], "Köln")
    assert (card.note.value, card.org.value) == ("l1\nl2", ["Org; Inc"])


@pytest.mark.parametrize("evil", ["a\r\nEND:VCARD\r\nBEGIN:VCARD", "a\nTEL:666", "a\rTEL:666", "\r\n TEL:666"])
@pytest.mark.parametrize("field", ["fn", "note", "tel", "n.family", "Any", "categories"])
def test_no_text_makes_a_line(field: str, evil: str) -> None:
    found, _, _ = read(write([field, evil], [(evil, evil)]))
    assert len(found) == 1
    assert set(found[0]) == {field, evil.replace("\r\n", "\n").replace("\r", "\n")} or "TEL:666" not in found[0]
    assert "666" not in found[0].get("tel", "") or field == "tel"
    assert write([field], [(evil,)]).count(b"\r\n") == len(write([field], [(evil,)]).split(b"\r\n")) - 1
    assert b"\r\nTEL:666" not in write([field, evil], [(evil, evil)])


OLD = """BEGIN:VCARD
VERSION:2.1
N;CHARSET=UTF-8;ENCODING=QUOTED-PRINTABLE:=4D=C3=BCller;J=C3=B6rg;;;
FN;CHARSET=UTF-8;ENCODING=QUOTED-PRINTABLE:J=C3=B6rg=20=
=4D=C3=BCller
TEL;CELL;VOICE:+49 1
TEL;CELL:+49 2
TEL;HOME;FAX:+49 3
X-MS:C:\\new
PHOTO;ENCODING=BASE64;JPEG:/9j/4AAQSkZJRgABAQAAAQABAAD
/9j/4AAQ=

NOTE;ENCODING=QUOTED-PRINTABLE;CHARSET=ISO-8859-1:a=E9=0D=0Ab
END:VCARD
"""


def test_cards_of_phones_are_repaired() -> None:
    found, broken, reader = read(OLD)
    assert not broken
    assert found == [
        {
            "n.family": "Müller", "n.given": "Jörg", "fn": "Jörg Müller", "tel.cell": "+49 1", "tel.cell.2": "+49 2",
            "tel.home.fax": "+49 3", "x-ms": "C:\\new", "note": "aé\nb",
        }
    ]  # fmt: skip
    assert [(f.what, f.value) for f in reader.findings][1:] == [("left out", "photo")]
    notes = "BEGIN:VCARD\nPROFILE:VCARD\nVERSION:3.0\nFN:Lotus\\, N\nitem1.EMAIL;TYPE=INTERNET,WORK:a@b\nEND:VCARD\n"
    assert read(notes)[0] == [{"fn": "Lotus, N", "email.work": "a@b"}]
    new = 'BEGIN:VCARD\nVERSION:4.0\nFN:A\nTEL;VALUE=uri;TYPE="voice,home":tel:+1\nADR;LABEL="x;y:z":;;S 1;C;;;DE\nEND:VCARD'
    assert read(new)[0] == [
        {"fn": "A", "tel.home": "tel:+1", "adr.street": "S 1", "adr.city": "C", "adr.country": "DE"}
    ]


def test_a_missing_end_and_a_damaged_card() -> None:
    cards = (
        "BEGIN:VCARD\nFN:A\nBEGIN:VCARD\nFN:B\nrubbish here!\nEND:VCARD\n\nstray\n"
        "BEGIN:VCARD\nFN:C\nAGENT:\nBEGIN:VCARD\nFN:D\nEND:VCARD\nTEL:1\nEND:VCARD\nBEGIN:VCARD\nFN:E"
    )
    found, broken, _ = read(cards)
    assert found == [{"fn": "A"}, {"fn": "C", "tel": "1"}, {"fn": "E"}]
    assert [(b.number, b.line) for b in broken] == [(2, 3), (3, 8)]
    assert "rubbish" in broken[0].raw


def test_encodings() -> None:
    card = "BEGIN:VCARD\nFN:名字\nEND:VCARD\n"
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-16-le"):
        assert read(card.encode(encoding))[0] == [{"fn": "名字"}]
    _, broken, _ = read(card.encode("gb18030"))
    assert "--encoding" in broken[0].reason
    assert read(card.encode("gb18030"), encoding="gb18030")[0] == [{"fn": "名字"}]
    assert "klingon" in read("BEGIN:VCARD\nFN;CHARSET=klingon:x\nEND:VCARD")[1][0].reason


@pytest.mark.parametrize("data", ["", "\n\n"])
def test_no_card_is_refused(data: str) -> None:
    with pytest.raises(FileRefused, match="no card"):
        read(data)


def test_trees_have_lists() -> None:
    reader = VcardReader(Bytes(OLD.encode()), ReadOptions())
    [batch] = reader.batches()
    assert batch.trees is not None
    assert batch.trees[0]["tel"][0] == {"value": "+49 1", "kinds": ["cell"]}
    assert batch.trees[0]["n"] == {"family": "Müller", "given": "Jörg"}


def test_half_characters_and_rows_of_another_length_are_refused() -> None:
    with pytest.raises(RowRefused):
        write(["fn"], [("\ud800",)])
    with pytest.raises(RowRefused, match="2 cells"):
        write(["fn"], [("a", "b")])


def test_a_picture_of_many_lines_takes_no_longer_than_its_size() -> None:
    picture = "PHOTO;ENCODING=b:AAAA\n" + " AAAAAAAA\n" * 300_000
    began = time.process_time()
    assert read(f"BEGIN:VCARD\nFN:A\n{picture}END:VCARD\n")[0] == [{"fn": "A"}]
    assert spent(began) < 5
