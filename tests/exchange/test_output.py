"""Files that are written: the promises of replica/exchange/formats/output.py, by number."""

from __future__ import annotations

import fcntl
import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from replica.errors import FileRefused
from replica.exchange.formats.files import open_input
from replica.exchange.formats.output import open_output

TEXT = "id,name\n1,Zoë\n".encode() * 1000


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_1_an_output_appears_whole_and_always_with_the_same_bytes(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"out.csv{suffix}"
    made: list[bytes] = []
    for _ in range(2):
        with open_output(path) as out:
            out.write(TEXT[:5000])
            assert not made or path.read_bytes() == made[0]
            assert (out.part is None) == bool(suffix)
            out.write(TEXT[5000:])
        made.append(path.read_bytes())
    assert made[0] == made[1]
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    with open_input(path) as file:
        assert file.open().read() == TEXT


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt])
def test_2_a_failed_output_leaves_the_old_file_and_no_litter(
    suffix: str, failure: type[BaseException], tmp_path: Path
) -> None:
    path = tmp_path / f"out.csv{suffix}"
    path.write_bytes(b"old")
    with pytest.raises(failure), open_output(path) as out:
        out.write(TEXT)
        raise failure
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_2_failing_to_finish_is_failing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    (tmp_path / "out.csv").write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space") as raised, open_output(tmp_path / "out.csv") as out:
        out.write(TEXT)
    assert raised.value.filename == str(tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["out.csv"]


def test_3_links_modes_devices_and_standard_output(tmp_path: Path) -> None:
    (tmp_path / "real.csv").write_bytes(b"old")
    (tmp_path / "real.csv").chmod(0o640)
    (tmp_path / "link.csv").symlink_to("real.csv")
    with open_output(tmp_path / "link.csv") as out:
        out.write(b"new")
    assert (tmp_path / "link.csv").is_symlink()
    assert (tmp_path / "real.csv").read_bytes() == b"new"
    assert (tmp_path / "real.csv").stat().st_mode & 0o777 == 0o640
    with open_output("/dev/null") as out:
        out.write(b"gone")
    standard = io.BytesIO()
    with open_output("-", standard) as out:
        out.write(b"shown")
    assert standard.getvalue() == b"shown"
    with pytest.raises(FileRefused, match="is a folder"):
        open_output(tmp_path)
    with pytest.raises(FileRefused, match="cannot be written"):
        open_output(tmp_path / "no" / "such.csv")


KILLED = """
import os, signal, sys
from replica.exchange.formats.output import open_output
out = open_output(sys.argv[1])
out.write(b"half")
out._file.flush()
os.kill(os.getpid(), signal.SIGKILL)
"""


def left_by_a_killed_process(path: Path) -> Path:
    before = set(path.parent.iterdir())
    assert subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False).returncode == -signal.SIGKILL
    (left,) = set(path.parent.iterdir()) - before
    assert left.read_bytes() == b"half"
    return left


def test_4_what_a_killed_process_left_goes_with_the_next_output_of_that_name(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    left = left_by_a_killed_process(path)
    other = left_by_a_killed_process(tmp_path / "other.csv")
    strange = [tmp_path / f".out.csv.{text}.part" for text in ("mine", "12.xyz", f"{left.name}.1")]
    for one in strange:
        one.write_bytes(b"not ours")
    with open_output(path) as out:
        assert not left.exists()
        out.write(TEXT)
    assert set(tmp_path.iterdir()) == {path, other, *strange}


def test_4_what_somebody_is_writing_stays(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    elsewhere = left_by_a_killed_process(path)
    with elsewhere.open("rb") as held:
        # As one of another container does, whose number is nobody's here.
        fcntl.flock(held.fileno(), fcntl.LOCK_EX)
        first = open_output(path)
        first.write(b"first")
        with open_output(path) as second:
            assert elsewhere.exists()
            second.write(b"second")
        assert path.read_bytes() == b"second"
    first.commit()
    assert path.read_bytes() == b"first"
