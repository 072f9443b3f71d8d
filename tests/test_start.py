"""The begin of the program: interrupted at any import, it ends in words."""

from __future__ import annotations

import subprocess
import sys

import pytest

INTERRUPTED = """
import os, signal, sys

class Interrupts:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.SIGINT)

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
    program = INTERRUPTED.format(module=module, arguments=arguments)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n"), done.stdout) == (130, 1, "")
    assert done.stderr.startswith("interrupted: ")


def test_the_module_runs_the_command_line() -> None:
    done = subprocess.run([sys.executable, "-m", "replica", "--help"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: replica ")
