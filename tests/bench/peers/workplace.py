"""The folder in which the peers live: an environment of Python, one of Node, and the data. Made once, then used again.

What the peers' README says to do by hand. Packages come from the registries that pip and npm are set up for. What cannot
be had is told in words, and its jobs are left out; everything else goes on.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path

from tests.bench.figure import tell

ROOT = Path(__file__).resolve().parents[3]
INSTALL_SECONDS = 1_800
LINES = 5
"""Of what a tool said last, told when it failed."""


class Missing(Exception):
    """Something that the peers need cannot be had; says what."""


def _run(*command: str | Path, folder: Path) -> None:
    try:
        done = subprocess.run(
            [str(part) for part in command],
            cwd=folder, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise Missing(f"{Path(command[0]).name} was not done after {INSTALL_SECONDS} s") from None
    if done.returncode:
        last = "\n".join((done.stderr or done.stdout).strip().splitlines()[-LINES:])
        raise Missing(f"{' '.join(map(str, command))} ended with {done.returncode}:\n{last}")


def _content(files: Sequence[Path]) -> bytes:
    return b"".join(file.read_bytes() for file in files)


def _is_done(done: Path, wanted: Sequence[Path]) -> bool:
    return done.exists() and done.read_bytes() == _content(wanted)


def python(peers: Path, work: Path) -> None:
    """The peers' packages and this one, in `work`/venv. Raises Missing."""
    done = work / "venv" / ".done"
    wanted = (peers / "requirements.txt", ROOT / "constraints.txt", ROOT / "pyproject.toml")
    if not _is_done(done, wanted):
        tell(f"installing Python packages below {work}")
        venv.create(work / "venv", with_pip=True, clear=True)
        pip = work / "venv" / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"
        _run(*pip, "-r", peers / "requirements.txt", "-c", ROOT / "constraints.txt", "-e", ROOT, folder=work)
        done.write_bytes(_content(wanted))


def node(peers: Path, work: Path) -> None:
    """The peers' drivers with their packages, in `work`/node. Raises Missing."""
    there = shutil.which(os.environ.get("NODE", "node")), shutil.which("npm")
    if not all(there):
        raise Missing(" and ".join(n for n, path in zip(("node", "npm"), there, strict=True) if not path) + " not found")
    folder = work / "node"
    folder.mkdir(exist_ok=True)
    for file in peers.iterdir():
        if file.is_file():
            shutil.copyfile(file, folder / file.name)
    done, wanted = folder / ".done", (peers / "package.json",)
    if not _is_done(done, wanted):
        tell(f"installing Node packages below {work}")
        _run("npm", "install", "--no-audit", "--no-fund", folder=folder)
        done.write_bytes(_content(wanted))


def data(peers: Path, work: Path, records: int) -> Path:
    """The workload of so many records; returns its folder. Raises Missing."""
    folder = work / f"data-{records}"
    if not (folder / "edits.json").exists():  # It is written last.
        _run(sys.executable, "-B", peers / "workload.py", folder, str(records), folder=work)
    return folder
