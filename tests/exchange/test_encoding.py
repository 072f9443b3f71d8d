"""Encodings: the promises of replica/exchange/formats/encoding.py and replica/exchange/formats/letters.py, by number."""

from __future__ import annotations

import io
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replica.errors import FileRefused, Unsure, UsageError
from replica.exchange.formats.encoding import BAD, Decoder, Encoding, codec, damage, detect, texts
from replica.exchange.formats.files import open_input
from replica.exchange.formats.letters import plausible
from replica.exchange.rows import SURE
from tests.exchange.pace import spent

PEOPLE = {
    "张伟,北京市朝阳区建国路88号\n李娜,上海浦东新区\n": ["gb18030", "gbk", "utf-8", "utf-16-le", "utf-16-be", "utf-16",
        "utf-8-sig", "utf-32"],
    "id,姓名\n1,张三\n": ["gb18030"],
    "id,姓名\n1,陳大文\n": ["big5"],
    "田中太郎,東京都渋谷区\nカタカナ株式会社,ひらがな\n": ["shift_jis", "euc_jp"],
    "김민수,서울시 강남구\n이영희,부산\n": ["euc_kr"],
    "id,name\n1,Müller\n2,Jäger\n3,Größe\n4,Schröder\n": ["cp1252", "cp850", "iso8859-1"],
    "id,nom\n1,Hélène\n2,François\n3,Jérôme\n4,Benoît\n": ["cp1252", "cp850"],
    "id,nombre\n1,José García\n2,Muñoz\n3,Ibáñez\n": ["cp1252", "cp850"],
    "id,name\n1,Łukasz Wójcik\n2,Żaneta Dąbrowska\n3,Łódź\n": ["cp1250", "iso8859-2", "cp852"],
    "id,name\n1,Jiří Dvořák\n2,Tomáš Novotný\n3,Růžena\n4,Plzeň\n": ["cp1250", "iso8859-2"],
    "id,name\n1,Kovács Győző\n2,Tóth Jenő\n3,Szűcs\n": ["cp1250", "iso8859-2"],
    "id,name\n1,Иванов\n2,Москва\n3,Петров\n": ["cp1251", "koi8-r", "cp866"],
    "id,name\n1,Παπαδόπουλος\n2,Αθήνα\n": ["cp1253"],
    "id,name\n1,Ayşe Yılmaz\n2,İbrahim Çağlar\n3,Gülşah\n": ["cp1254"],
    "id,name\n1,Müller\n": ["cp1252"],
}  # fmt: skip


def found(data: bytes, said: str | None = None) -> Encoding:
    with open_input("-", io.BytesIO(data)) as file:
        return detect(file, said)


def decoded(data: bytes, said: str | None = None) -> str:
    with open_input("-", io.BytesIO(data)) as file:
        return "".join(texts(file, detect(file, said), 7))


@pytest.mark.parametrize(("text", "name"), [(t, n) for t, names in PEOPLE.items() for n in names])
def test_1_an_encoding_is_found_out_from_few_names(text: str, name: str) -> None:
    data = text.encode(name)
    assert decoded(data) == text
    assert SURE <= found(data).finding.confidence <= 1
    assert decoded(data, name) == text
    assert found(data, name).finding.confidence == 1


def test_1_strict_utf_8_wins_over_the_whole_file_and_a_late_byte_counts() -> None:
    head = b"id,name\n" + b"1,Ann\n" * 300_000
    assert found(head).finding.confidence == 1
    assert found(head + "2,Zoë\n".encode()).codec == "utf-8"
    late = head + "2,Müller\n3,Jäger\n4,Größe\n".encode("cp1252")
    assert decoded(late).endswith("2,Müller\n3,Jäger\n4,Größe\n")


def test_1_what_cannot_be_told_is_asked() -> None:
    with pytest.raises(Unsure) as unsure:
        found(b"id,x\n1,a\xc3b\n2,\xd0c\n3,\xdd\n")
    assert unsure.value.choices[0] == "cp1252"
    assert unsure.value.option == "--encoding"
    with pytest.raises(FileRefused, match="empty"):
        found(b"")
    assert found(b"id,name\n1,\0a\0b\0c\n22").codec == "utf-8"


def test_1_time_does_not_grow_with_the_length_of_a_line() -> None:
    began = time.process_time()
    assert found("é".encode() + b"x" * 3_000_000).codec == "utf-8"
    assert spent(began) < 1


def test_2_a_bad_byte_is_marked_where_it_stands() -> None:
    data = ("id\nZoë é é é é\n" * 5).encode() + b"a\xffb\n" + b"c\xe4\xbd\nlast \xc3"
    assert decoded(data) == "id\nZoë é é é é\n" * 5 + "a\udcffb\nc\udce4\udcbd\nlast \udcc3"
    assert found(data).codec == "utf-8"
    assert found(b"id,n\n1,a\xffb\n2,c\n").codec == "utf-8"
    chinese = "张伟,北京市朝阳区\n" * 20
    assert (
        decoded(chinese.encode("gb18030") + b"x,\xff\n" + chinese.encode("gb18030")) == f"{chinese}x,\udcff\n{chinese}"
    )


@given(st.binary(max_size=40), st.integers(1, 9), st.sampled_from(["utf-8", "gb18030", "cp932", "utf-16-le", "cp1252"]))
def test_2_no_bytes_stop_a_decoder_and_pieces_do_not_matter(data: bytes, size: int, name: str) -> None:
    decoder = Decoder(name)
    text = "".join(decoder.decode(data[i : i + size]) for i in range(0, len(data), size)) + decoder.decode(b"", True)
    try:
        assert text == data.decode(name)
    except UnicodeDecodeError:
        assert BAD.search(text)


def test_3_damage_in_the_data_is_told() -> None:
    for text in ("MÃ¼ller", "锟斤拷", "a\ufffdb", "é ????", "itâ€™s"):
        finding = damage(f"id,name\n1,{text}\n")
        assert finding is not None
        assert finding.what == "mojibake"
    assert damage("id,name\n1,Müller, Ãlvaro?, José, 张伟 ???\n") is None


def test_4_names_are_those_that_people_use() -> None:
    for name in ("GB2312", "gbk", "GB18030", "cp936"):
        assert codec(name) == "gb18030"
    assert [codec(n) for n in ("UTF8", "windows-1252", "Big5", "Shift-JIS", "latin-1", "ANSI")] == [
        "utf-8", "cp1252", "cp950", "cp932", "iso8859-1", "cp1252",
    ]  # fmt: skip
    for wrong in ("utf-7", "no such", "rot13", "base64", "idna", "unicode_escape", "x\0y"):
        with pytest.raises(UsageError):
            codec(wrong)
    with pytest.raises(FileRefused, match="UTF-7"):
        found(b"+/v8-id,name\n")


def test_letters_1_and_2() -> None:
    assert plausible("Müller")[0] > 0.9
    assert plausible("M³ller")[0] < 0.3
    assert plausible("MÜller")[0] > plausible("MüÜüller")[0]
    assert plausible("Mжller")[0] < 0.3
    assert plausible("plain") == (1.0, 0)
    assert plausible("张伟")[0] > plausible("黮黯")[0]
