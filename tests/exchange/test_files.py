"""Files as they lie: the promises of replica/exchange/formats/files.py, by number."""

from __future__ import annotations

import gzip
import io
import os
import time
import types
import zipfile
from pathlib import Path

import pytest
import zstandard
from blake3 import blake3

from replica.errors import FileRefused, Unsure
from replica.exchange.formats import files
from replica.exchange.formats.files import open_input
from tests.exchange.pace import spent

TEXT = "id,name\n1,Zoë\n".encode() * 1000


def packed(kind: str, data: bytes = TEXT) -> bytes:
    if kind == "gzip":
        return gzip.compress(data, mtime=0)
    if kind == "zstd":
        return zstandard.ZstdCompressor(write_checksum=True).compress(data)
    if kind == "zip":
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as z:
            z.writestr("data.csv", data)
        return out.getvalue()
    return data


@pytest.mark.parametrize("kind", ["", "gzip", "zip", "zstd"])
def test_1_packing_is_told_from_the_bytes_and_the_file_is_read_as_often_as_wanted(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "lies.xlsx"
    path.write_bytes(packed(kind))
    with open_input(path) as file:
        assert file.packing == kind
        assert file.path == (None if kind else path)
        assert file.open().read() == file.open().read() == TEXT
        first, second = file.open(), file.open()
        assert (first.read(10), second.read(20), first.read(10)) == (TEXT[:10], TEXT[:20], TEXT[10:20])
    with open_input("-", io.BytesIO(packed(kind))) as file:
        assert (file.name, file.packing, file.path) == ("standard input", kind, None)
        assert [file.open().read() for _ in range(2)] == [TEXT, TEXT]


def test_1_several_frames_are_one_stream_and_the_inner_name_is_known(tmp_path: Path) -> None:
    for kind, suffix in (("gzip", ".gz"), ("zstd", ".ZST")):
        path = tmp_path / f"a.csv{suffix}"
        path.write_bytes(packed(kind, b"one\n") + packed(kind, b"two\n"))
        with open_input(path) as file:
            assert file.open().read() == b"one\ntwo\n"
            assert file.inner.endswith("a.csv")


def test_1_a_spreadsheet_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "book"
    with zipfile.ZipFile(path, "w") as z:
        z.writestr("[Content_Types].xml", "<Types/>")
        z.writestr("xl/workbook.xml", "<workbook/>")
    with open_input(path) as file:
        assert file.packing == ""
        assert file.open().read() == path.read_bytes()
    with open_input(f"{path}!xl/workbook.xml") as file:
        assert file.open().read() == b"<workbook/>"


def test_2_a_zip_with_several_members_asks_which(tmp_path: Path) -> None:
    path = tmp_path / "all.zip"
    with zipfile.ZipFile(path, "w") as z:
        for name in ("a.csv", "folder/b.csv", "__MACOSX/._a.csv"):
            z.writestr(name, f"id\n{name}\n")
    with pytest.raises(Unsure) as unsure:
        open_input(path)
    assert unsure.value.choices == ("a.csv", "folder/b.csv")
    with open_input(f"{path}!folder/b.csv") as file:
        assert file.open().read() == b"id\nfolder/b.csv\n"
        assert file.inner == "folder/b.csv"
    with pytest.raises(FileRefused, match=r"no member c\.csv; it has a\.csv"):
        open_input(f"{path}!c.csv")
    plain = tmp_path / "odd!name.csv"
    plain.write_bytes(b"id\n")
    with open_input(plain) as file:
        assert file.open().read() == b"id\n"
    with pytest.raises(FileRefused, match="is no zip"):
        open_input(f"{plain}!x")


def attack(kind: str) -> bytes:
    if kind == "nested":
        return packed("gzip", packed("gzip"))
    if kind.startswith("cut "):
        data = packed(kind[4:], os.urandom(100_000))
        return data[: len(data) // 2]
    if kind.startswith("bent "):
        bent = bytearray(packed(kind[5:], os.urandom(1000).hex().encode() * 50))
        bent[len(bent) // 2] ^= 0xFF
        return bytes(bent)
    kind, size = kind.split()
    return packed(kind, bytes(int(size) << 20))


@pytest.mark.parametrize(
    "kind",
    [
        "gzip 300",
        "zip 300",
        "zstd 300",
        "nested",
        "cut gzip",
        "cut zip",
        "cut zstd",
        "bent gzip",
        "bent zip",
        "bent zstd",
    ],
)
def test_3_an_attack_is_refused_within_a_second(kind: str) -> None:
    data = attack(kind)
    began = time.process_time()
    with pytest.raises(FileRefused), open_input("-", io.BytesIO(data)) as file:
        stream = file.open()
        while stream.read(1 << 20):
            pass
    assert spent(began) < 1


def test_3_caps_on_what_comes_in_and_out(tmp_path: Path) -> None:
    with pytest.raises(FileRefused, match="more than 1,000 bytes"):
        open_input("-", io.BytesIO(bytes(1001)), unpacked_max=1000)
    with (
        pytest.raises(FileRefused, match="bomb"),
        open_input("-", io.BytesIO(packed("gzip")), unpacked_max=9000) as file,
    ):
        file.open().read()
    noise = os.urandom(200_000).hex().encode()
    with open_input("-", io.BytesIO(packed("gzip", noise * 60))) as file:  # 24 MB of honest text
        assert len(file.open().read()) == len(noise) * 60


def test_3_what_is_not_there_or_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileRefused, match="is not there"):
        open_input(tmp_path / "nothing.csv")
    with pytest.raises(FileRefused, match="is a folder"):
        open_input(tmp_path)
    with pytest.raises(FileRefused, match="cannot be read"):
        open_input("a\0b")
    (tmp_path / "bad.zip").write_bytes(packed("zip")[:-30])
    with pytest.raises(FileRefused, match="damaged zip"):
        open_input(tmp_path / "bad.zip")
    (tmp_path / "empty.zip").write_bytes(b"PK\x05\x06" + bytes(18))
    with pytest.raises(FileRefused, match="empty zip"):
        open_input(tmp_path / "empty.zip")


def test_3_a_pipe_is_read_twice(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.write(write, b"id\n1\n")
    os.close(write)
    try:
        with open_input(f"/dev/fd/{read}") as file:
            assert [file.open().read() for _ in range(2)] == [b"id\n1\n"] * 2
    finally:
        os.close(read)


def test_4_digest_and_progress_are_of_the_file_as_it_lies(tmp_path: Path) -> None:
    data = packed("gzip", os.urandom(3_000_000))
    (tmp_path / "a.gz").write_bytes(data)
    with open_input(tmp_path / "a.gz") as file:
        assert file.digest() == blake3(data).hexdigest()
        stream = file.open()
        assert file.progress() == (0, len(data))
        stream.read(1_500_000)
        done, size = file.progress()
        assert 0.4 * size < done < 0.7 * size
        stream.read()
        assert file.progress() == (size, size)
        assert file.digest() == blake3(data).hexdigest()


class Endless(io.RawIOBase):
    """A stream that never ends, and counts what was read."""

    def __init__(self, head: bytes, piece: bytes) -> None:
        self.head, self.piece, self.given = head, piece, 0

    def read(self, size: int = -1) -> bytes:
        said = self.piece * (size // len(self.piece)) if self.given else self.head
        self.given += len(said)
        return said


@pytest.mark.parametrize(("head", "most"), [(b"\0\0", 1 << 20), (b"id,name\n1,", 1 << 20), (b"\xef\xbb\xbf[1,", 3 << 20)])
def test_5_a_stream_without_line_breaks_is_refused(head: bytes, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "LINE_MAX", 1 << 20)
    monkeypatch.setattr(files, "MARKUP_MAX", 3 << 20)
    stream = Endless(head, b"0")
    with pytest.raises(FileRefused, match=f"standard input gives {most:,} bytes and more without a line break"):
        open_input("-", stream)  # type: ignore[arg-type]
    assert stream.given <= most + (1 << 19)
    with pytest.raises(FileRefused, match="gives more than 5,000,000 bytes"):
        open_input("-", Endless(head, b"1\r"), unpacked_max=5_000_000)  # type: ignore[arg-type]
    binary = Endless(b"PAR1", b"\0")
    with pytest.raises(FileRefused, match="gives more than 5,000,000 bytes"):
        open_input("-", binary, unpacked_max=5_000_000)  # type: ignore[arg-type]


def test_6_a_stream_leaves_half_of_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("shutil.disk_usage", lambda _: types.SimpleNamespace(free=5_000_000))
    stream = Endless(b"id,name\n", b"1,Ana\n")
    with pytest.raises(FileRefused, match=r"gives more than 2,500,000 bytes, half of what .* had free: .* TMPDIR"):
        open_input("-", stream)  # type: ignore[arg-type]
    assert stream.given < 3_000_000
    assert not list(tmp_path.iterdir())
    with open_input("-", io.BytesIO(b"id,name\n" * 300_000)) as file:
        assert file.size == 2_400_000


def test_6_a_disk_that_is_full_sooner_is_told() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no device that is always full")
    with Path("/dev/full").open("wb", buffering=0) as full, pytest.raises(FileRefused, match=r"after 8 bytes: .*No space"):
        files.spool(io.BytesIO(b"id,name\n"), full)


def test_5_a_device_is_a_stream() -> None:
    with pytest.raises(FileRefused, match="/dev/zero gives 67,108,864 bytes and more without a line break"):
        open_input("/dev/zero")
