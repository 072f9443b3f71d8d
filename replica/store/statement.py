"""One SQL statement of the user's, looked at before it runs: what has no place in a store is refused.

One test each:

1. Statements about transactions, settings that would have no effect, what would write the engine's own tables or stand
   before one of the file's are refused, whatever comments stand before them.
2. What surely only reads is known as such.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from replica.errors import UsageError
from replica.store.core import Core

_BEFORE = r"(?>[\s;\ufeff]|--[^\n]*\n|/\*.*?\*/)*+"
"""What may stand before the first word of a statement."""
_CONTROL = re.compile(_BEFORE + r"(BEGIN|COMMIT|END|ROLLBACK|SAVEPOINT|RELEASE|VACUUM|ATTACH|DETACH)\b", re.I | re.S)
_KEYS = re.compile(
    _BEFORE + r"PRAGMA\b[^=(]*\bforeign_keys[\"'`\]]?(?>\s|--[^\n]*\n|/\*.*?\*/)*+[=(]", re.I | re.S
)
_DEFINES = re.compile(_BEFORE + r"(?:CREATE|ALTER)\b", re.I | re.S)
_HIDING = (
    "SELECT t.name FROM temp.sqlite_master AS t JOIN main.sqlite_master AS m ON m.name = t.name COLLATE NOCASE "
    "WHERE t.type IN ('table', 'view') LIMIT 1"
)
_READS = re.compile(_BEFORE + r"(?:SELECT|VALUES|EXPLAIN)\b", re.I | re.S)
_OURS = re.compile(
    r"\b(?:INTO|UPDATE(?:\s+OR\s+\w+)?|FROM|TABLE|TRIGGER|INDEX|ON|EXISTS)"
    r"[\s\"'`\[]+(?:main[\"'`\]]?\s*\.\s*[\"'`\[]?)?_replica_",
    re.I,
)

_Columns = tuple[list[str], list[Any]]


def reads(sql: str) -> bool:
    """Whether a statement surely only reads: its first word says so. That of one WITH something does not."""
    return bool(_READS.match(sql))


def statement(sql: str, parameters: Sequence[object] | dict[str, object] = ()) -> Callable[[Core], _Columns]:
    """One SQL statement: (columns, rows). Raises UsageError for one about transactions, or that writes tables of ours."""
    if _KEYS.match(sql):
        raise UsageError(
            "PRAGMA foreign_keys has no effect here: what a node writes does not enforce foreign keys, and `status` counts "
            "the rows whose parent is missing; a program that opens the file itself may switch them on"
        )
    if control := _CONTROL.match(sql):
        raise UsageError(f"{control[1].upper()} has no place here: each call is one transaction of its own")
    if _OURS.search(sql) and not reads(sql):
        raise UsageError("the tables named _replica_… are the engine's own: writing them would break this node")

    defines = _DEFINES.match(sql)

    def run(core: Core) -> _Columns:
        cursor = core.db.execute(sql, parameters)
        rows = cursor.fetchall() if cursor.description else []
        if defines and (hiding := core.db.execute(_HIDING).fetchone()):
            raise UsageError(
                f"a temporary table {hiding[0]!r} would stand before the table of that name in this file, for the node too: "
                "take another name"
            )
        return [d[0] for d in cursor.description or ()], rows

    return run
