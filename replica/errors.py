"""What can go wrong on a node, beside the protocol's own errors. Each says what, and what to do.

OurFault
├── StoreError           the file cannot serve
│   ├── NotAStore        no SQLite file, or one that is not part of any replication group
│   ├── NewerStore       made by a newer version of this program
│   ├── StoreBusy        another program holds the write lock
│   ├── StoreReadOnly    the file or its folder cannot be written
│   └── DiskFull         no room left; the change under way was not made
├── TableRefused         a table that cannot be replicated as it is
├── RowRefused           a row that a constraint refuses, or a value that has no place in SQLite
├── FileRefused          a file that cannot be read, or that attacks its reader
├── Unsure               what a file is cannot be told from it: the user must say
├── MapRefused           a map file that makes no sense
└── UsageError           an argument, an invite or an address that makes no sense
"""

import sqlite3
from contextlib import AbstractContextManager
from pathlib import Path

from protocol.errors import OurFault


class StoreError(OurFault):
    """The file cannot serve."""

    code = "store"


class NotAStore(StoreError):
    """No SQLite file, or not part of a group."""


class NewerStore(StoreError):
    """Made by a newer version."""


class StoreBusy(StoreError):
    """Another program holds the write lock."""


class StoreReadOnly(StoreError):
    """The file cannot be written."""


class DiskFull(StoreError):
    """No room left."""


class TableRefused(OurFault):
    """A table that cannot be replicated as it is."""


class RowRefused(OurFault):
    """A row that cannot be written."""


class FileRefused(OurFault):
    """A file that cannot be read, or that attacks its reader: over a limit, a DOCTYPE, a bomb."""


class Unsure(OurFault):
    """What a file is cannot be told from it: the user must say. `what` and `choices` are for asking, `option` for those who
    cannot be asked."""

    def __init__(self, text: str, what: str = "", choices: tuple[str, ...] = (), option: str = "") -> None:
        super().__init__(text)
        self.what, self.choices, self.option = what, choices, option


class MapRefused(OurFault):
    """A map file that makes no sense: names the place in it."""


class UsageError(OurFault):
    """An argument that makes no sense."""


def hopeless(where: str, what: str) -> StoreError:
    """What to say of damage that nothing in the file can mend."""
    return StoreError(f"{where} is damaged: {what}. Restore a backup, or join anew with an invite")


_UNDONE = "the change under way was not made, those before it stay"


class RowAtFault(sqlite3.IntegrityError):
    """Which of many rows a constraint refuses; `row` is its number, from 0."""

    def __init__(self, error: sqlite3.IntegrityError, row: int) -> None:
        super().__init__(*error.args)
        self.row, self.sqlite_errorname = row, error.sqlite_errorname


def from_sqlite(error: sqlite3.Error, path: str) -> Exception:
    """The error of ours that says what an SQLite error means for its user; SQLite's own for a mistake in SQL."""
    name = getattr(error, "sqlite_errorname", "") or ""
    text = str(error)
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return StoreBusy(f"{path} is locked by another program: close it, or try again in a moment ({text})")
    if name.startswith(("SQLITE_READONLY", "SQLITE_PERM")):
        return StoreReadOnly(f"{path} cannot be written: check the permissions of the file and its folder ({text})")
    if name.startswith("SQLITE_FULL"):
        return DiskFull(f"no room left for {path}: {_UNDONE}; free some space and run it again ({text})")
    if name.startswith("SQLITE_IOERR"):
        return StoreError(f"the disk failed under {path}: {_UNDONE}; check the disk ({name}: {text})")
    if name.startswith("SQLITE_CANTOPEN"):
        if Path(path).is_dir():
            return NotAStore(f"{path} is a folder: name the SQLite database in it")
        return StoreError(f"cannot open {path}: check that the folder exists and may be written ({text})")
    if name.startswith("SQLITE_NOTADB"):
        return NotAStore(f"{path} is not an SQLite database (or it is encrypted)")
    if name.startswith("SQLITE_CORRUPT"):
        return StoreError(f"{path} is damaged: restore a backup, or run sqlite3's .recover ({text})")
    if "no such table: _replica_" in text or "no such table: main._replica_" in text:
        return StoreError(
            f"{text}. Tables named _replica_… are the engine's own: unless a statement of yours named it, {path} is "
            "damaged; restore a backup, or join anew"
        )
    if name.startswith("SQLITE_MISMATCH"):
        text = f"its key must be a whole number ({text})"
    if name.startswith(("SQLITE_CONSTRAINT", "SQLITE_MISMATCH")) or isinstance(error, RowAtFault):
        which = f"row {error.row + 1}" if isinstance(error, RowAtFault) else "this row"
        return RowRefused(f"a constraint of the table refuses {which}: {text}")
    return error


class Reporting(AbstractContextManager[None]):
    """Turns SQLite's errors into ours, with `from_sqlite`. A class, not a generator: each call of a store passes here."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, sqlite3.Error) and (ours := from_sqlite(error, self._path)) is not error:
            raise ours from error
