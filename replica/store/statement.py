"""One SQL statement of the user's, looked at before it runs: what has no place in a store is refused.

One test each:

1. Statements about transactions, settings that would have no effect, temporary tables and triggers, and what would write
   the engine's own tables are refused, whatever comments stand before them.
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
_GAP = r"(?>\s|--[^\n]*\n|/\*.*?\*/)*+"
_TEMPORARY = re.compile(
    _BEFORE + rf"CREATE\b{_GAP}(?:TEMP(?:ORARY)?\b|(?:TABLE|VIEW|TRIGGER)\b{_GAP}(?:IF\b{_GAP}NOT\b{_GAP}EXISTS\b{_GAP})?"
    rf"[\"'`\[]?temp[\"'`\]]?{_GAP}\.)", re.I | re.S
)  # fmt: skip
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


def refuse_temporary(sql: str) -> None:
    """Raise UsageError where a statement makes what is temporary: a table of that name in the file would be out of the
    node's sight, and a trigger would act on what peers send."""
    if _TEMPORARY.match(sql):
        raise UsageError(
            "what is temporary has no place here: it would stand before tables of the file, for the node too. A program may "
            "open the file itself, and have it there"
        )


def statement(sql: str, parameters: Sequence[object] | dict[str, object] = ()) -> Callable[[Core], _Columns]:
    """One SQL statement: (columns, rows). Raises UsageError for one that is refused."""
    refuse_temporary(sql)
    if _KEYS.match(sql):
        raise UsageError(
            "PRAGMA foreign_keys has no effect here: what a node writes does not enforce foreign keys, and `status` counts "
            "the rows whose parent is missing; a program that opens the file itself may switch them on"
        )
    if control := _CONTROL.match(sql):
        raise UsageError(f"{control[1].upper()} has no place here: each call is one transaction of its own")
    if _OURS.search(sql) and not reads(sql):
        raise UsageError("the tables named _replica_… are the engine's own: writing them would break this node")

    def run(core: Core) -> _Columns:
        cursor = core.db.execute(sql, parameters)
        rows = cursor.fetchall() if cursor.description else []
        return [d[0] for d in cursor.description or ()], rows

    return run
