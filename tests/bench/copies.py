"""Copies of a store that is in nobody's use: built once, copied for each question that is put to it."""

from __future__ import annotations

import shutil
from pathlib import Path

from replica.store.identity import renew
from replica.store.store import Store


def twin(path: Path, folder: Path, name: str) -> tuple[Path, Path]:
    """Two copies in a folder: of the same content but for one record, with which the second tells its name; they do not
    know each other. All nodes on `path` must be closed."""
    left, right = folder / f"{name}-left.db", folder / f"{name}-right.db"
    shutil.copyfile(path, left)
    shutil.copyfile(path, right)
    with Store(right) as store, store.transaction() as core:
        renew(core, right.stem)
    return left, right


def copy(pair: tuple[Path, Path], folder: Path, name: str) -> tuple[Path, Path]:
    """Another such pair, made of one."""
    left, right = folder / f"{name}-left.db", folder / f"{name}-right.db"
    for path, target in zip(pair, (left, right), strict=True):
        shutil.copyfile(path, target)
    return left, right
