"""What came of an import: every row that was read is in exactly one of five buckets, and they add up."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

BUCKETS = ("created", "updated", "unchanged", "duplicate", "rejected")
SHOWN_MAX = 10
"""Differences, and rejected rows, that a report shows."""


@dataclass(slots=True)
class Difference:
    """What a row did to a record. `before`: the values that it overwrote, empty for a new record; `after`: empty if the
    row deleted it."""

    collection: str
    key: str
    line: int
    before: dict[str, object]
    after: dict[str, object]


@dataclass(slots=True)
class Rejected:
    """A row that is not in, and why. `file`: which, if the run reads several."""

    file: str
    number: int
    line: int
    reasons: tuple[str, ...]


@dataclass(slots=True)
class Outcome:
    """Counts of rows by bucket; of records by collection and fate; and the first of what a person wants to see."""

    run: str = ""
    dry_run: bool = False
    read: int = 0
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(BUCKETS, 0))
    records: dict[str, dict[str, int]] = field(default_factory=dict)
    newer: int = 0
    """Records with fields that were edited here after the file's time: kept."""
    deleted: int = 0
    """Records that were deleted here: kept so."""
    removed: int = 0
    """Records that were deleted because the file says so; their rows count as updated."""
    absent: int = 0
    """Records that the file says were deleted, and that are not here."""
    differences: list[Difference] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    rejects: str = ""
    """Where the rejected rows are, if a file was asked for."""
    seconds: float = 0.0
    stopped: str = ""
    """Why the run ended early, if it did."""

    @property
    def wrote(self) -> bool:
        """Whether anything in the store changed."""
        return bool(self.counts["created"] or self.counts["updated"])

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "run": self.run or None,
            "dry_run": self.dry_run,
            "read": self.read,
            **self.counts,
            "records": self.records,
            "kept_newer": self.newer,
            "kept_deleted": self.deleted,
            "deleted": self.removed,
            "deleted_elsewhere": self.absent,
            "differences": [
                {"collection": d.collection, "key": d.key, "line": d.line, "before": d.before, "after": d.after}
                for d in self.differences
            ],
            "first_rejected": [
                {"file": r.file, "row": r.number, "line": r.line, "reasons": list(r.reasons)} for r in self.rejected
            ],
            "findings": self.findings,
            "notes": self.notes,
            "rejects": self.rejects or None,
            "seconds": round(self.seconds, 3),
            "stopped": self.stopped or None,
        }
