"""The begin of the program: interrupted at any import or later, it ends in words, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from replica.store.store import initialize

INTERRUPTED = """
import os, signal, sys

class Interrupts:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.{signal})

sys.meta_path.insert(0, Interrupts())
sys.argv = ["replica", *{arguments!r}]
from replica.start import main
sys.exit(main())
"""


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("replica.cli", ["--help"]),
        ("protocol.session", ["--help"]),
        ("replica.store.store", ["status", "none.db"]),
        ("replica.exchange.commands_import", ["import", "none.db", "none.csv"]),
        ("replica.exchange.commands_quality", ["profile", "--help"]),
    ],
)
def test_ctrl_c_while_modules_are_imported(module: str, arguments: list[str]) -> None:
    program = INTERRUPTED.format(module=module, arguments=arguments, signal="SIGINT")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n"), done.stdout) == (130, 1, "")
    assert done.stderr.startswith("interrupted: ")


@pytest.mark.parametrize("module", ["replica.cli", "replica.exchange.commands_import"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_2_it_ends_so_while_modules_are_imported(number: signal.Signals, module: str) -> None:
    program = INTERRUPTED.format(module=module, arguments=["import", "none.db", "none.csv"], signal=number.name)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n"), done.stdout) == (128 + number, 1, "")
    assert done.stderr.startswith("interrupted: ")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_2_no_copy_of_standard_input_stays(number: signal.Signals, tmp_path: Path) -> None:
    store, folder = tmp_path / "s.db", tmp_path / "copies"
    initialize(store, "s")
    folder.mkdir()
    child = subprocess.Popen(
        [sys.executable, "-m", "replica", "import", store, "-", "--collection", "y", "--key", "a"],
        stdin=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, "TMPDIR": str(folder)},
    )  # fmt: skip
    assert child.stdin is not None
    with child:
        child.stdin.write(b"a\n" + b"y\n" * 1_000_000)  # More than a pipe holds: most of it is in the copy now.
        child.stdin.flush()
        assert [*folder.iterdir()]
        child.send_signal(number)
        with pytest.raises(BrokenPipeError):
            while True:
                child.stdin.write(b"y\n" * 100_000)
        with contextlib.suppress(BrokenPipeError):  # Of what is buffered here.
            child.stdin.close()
        assert child.wait() == 128 + number
        assert child.stderr is not None
        assert b"interrupted: what was finished is kept" in child.stderr.read()
    assert [*folder.iterdir()] == []


def test_2_a_meeting_ends_so_too(tmp_path: Path) -> None:
    store = tmp_path / "s.db"
    initialize(store, "s")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"ws://127.0.0.1:{silent.getsockname()[1]}"
        with subprocess.Popen(
            [sys.executable, "-m", "replica", "sync", store, url], stderr=subprocess.PIPE, text=True
        ) as child:
            with silent.accept()[0]:
                child.send_signal(signal.SIGTERM)
                assert child.wait() == 128 + signal.SIGTERM
            assert child.stderr is not None
            assert child.stderr.read() == "interrupted: what was finished is kept, nothing is lost\n"


def test_2_what_is_ignored_stays_ignored() -> None:
    program = (
        "import signal, sys; import replica.cli; from replica.start import main\n"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "replica.cli.main = lambda: signal.raise_signal(signal.SIGHUP) or 7\nsys.exit(main())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (7, "", "")


@pytest.mark.parametrize("module", ["replica", "replica.start", "replica.cli"])
def test_the_module_runs_the_command_line(module: str) -> None:
    done = subprocess.run([sys.executable, "-m", module, "--help"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: replica ")
