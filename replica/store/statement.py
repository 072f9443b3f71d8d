"""One SQL statement of the user's, looked at before it runs: what has no place in a store is refused.

One test each:

1. Statements about transactions, settings that would have no effect or hold for all that the node does, temporary tables
   and triggers, and what would write the engine's own tables are refused, whatever comments stand before them.
2. What surely only reads is known as such.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from replica.errors import UsageError
from replica.store.core import Core
from replica.store.schema import PREFIX

_GAP = r"(?>\s|--[^\n]*\n|/\*.*?\*/)*+"
_BEFORE = r"(?>[\s;\ufeff]|--[^\n]*\n|/\*.*?\*/)*+"
"""What may stand before the first word of a statement."""
_CONTROL = re.compile(_BEFORE + r"(BEGIN|COMMIT|END|ROLLBACK|SAVEPOINT|RELEASE|VACUUM|ATTACH|DETACH)\b", re.I | re.S)
_SETTING = re.compile(
    _BEFORE + rf"PRAGMA\b{_GAP}(?:[\"'`\[]?\w+[\"'`\]]?{_GAP}\.{_GAP})?[\"'`\[]?(\w+)[\"'`\]]?{_GAP}[=(]", re.I | re.S
)
_HARMLESS = frozenset({
    "analysis_limit", "application_id", "foreign_key_check", "foreign_key_list", "incremental_vacuum", "index_info",
    "index_list", "index_xinfo", "integrity_check", "optimize", "quick_check", "table_info", "table_list", "table_xinfo",
    "user_version", "wal_checkpoint",
})  # fmt: skip
"""PRAGMAs with a value that ask something, or say it of the file."""
_MAKES = re.compile(_BEFORE + r"CREATE\b", re.I | re.S)
_READS = re.compile(_BEFORE + r"(?:SELECT|VALUES|EXPLAIN)\b", re.I | re.S)
_OURS = re.compile(
    r"\b(?:INTO|UPDATE(?:\s+OR\s+\w+)?|FROM|TABLE|TRIGGER|INDEX|ON|EXISTS|TO)"
    r"[\s\"'`\[]+(?:main[\"'`\]]?\s*\.\s*[\"'`\[]?)?_replica_",
    re.I,
)

_TEMPORARY = f"SELECT 1 FROM temp.sqlite_master WHERE substr(name, 1, {len(PREFIX)}) <> '{PREFIX}'"

_Columns = tuple[list[str], list[Any]]


def reads(sql: str) -> bool:
    """Whether a statement surely only reads: its first word says so. That of one WITH something does not."""
    return bool(_READS.match(sql))


def makes(sql: str) -> bool:
    """Whether a statement makes a table, or another thing with a name."""
    return bool(_MAKES.match(sql))


def refuse(sql: str) -> None:
    """Raise UsageError for a statement that has no place in a node's connection."""
    if (setting := _SETTING.match(sql)) and (name := setting[1].lower()) not in _HARMLESS:
        if name == "foreign_keys":
            raise UsageError(
                "PRAGMA foreign_keys has no effect here: what a node writes does not enforce foreign keys, and `status` "
                "counts the rows whose parent is missing; a program that opens the file itself may switch them on"
            )
        raise UsageError(
            f"PRAGMA {name} has no place here: it would hold for whatever this node does; a program that opens the file "
            "itself may set it"
        )
    if control := _CONTROL.match(sql):
        raise UsageError(f"{control[1].upper()} has no place here: each call is one transaction of its own")
    if _OURS.search(sql) and not reads(sql):
        raise UsageError("the tables named _replica_… are the engine's own: writing them would break this node")


def statement(sql: str, parameters: Sequence[object] | dict[str, object] = ()) -> Callable[[Core], _Columns]:
    """One SQL statement: (columns, rows). Raises UsageError for one that is refused; a temporary table of a name that the
    file has would be out of the node's sight, and a temporary trigger would act on what peers send."""
    refuse(sql)

    def run(core: Core) -> _Columns:
        cursor = core.db.execute(sql, parameters)
        rows = cursor.fetchall() if cursor.description else []
        if makes(sql) and core.db.execute(_TEMPORARY).fetchone():
            raise UsageError(
                "what is temporary has no place here: it would stand before tables of the file, for the node too. A program "
                "may open the file itself, and have it there"
            )
        return [d[0] for d in cursor.description or ()], rows

    return run
