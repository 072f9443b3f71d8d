"""A batch under way: its rows as a map made records of them, and what is found out about each."""

from __future__ import annotations

from dataclasses import dataclass, field

from replica.exchange.importing.identity import externals
from replica.exchange.importing.recall import Part
from replica.exchange.maps.mapmodel import Mapped, Target
from replica.exchange.rows import Batch


@dataclass(slots=True)
class Keys:
    """Of the records of one target: external key, line, and a hash of all values."""

    texts: list[str]
    lines: list[int]
    hashes: list[int]

    @classmethod
    def of(cls, target: Target, mapped: Mapped, batch: Batch) -> Keys:
        """Of these records."""
        names = [f.name for f in target.fields]
        texts = externals([mapped.columns[names.index(n)] for n in target.key])
        plain = [c if set(map(type, c)) <= {str} else list(map(repr, c)) for c in mapped.columns]  # -1 hashes as -2 does.
        hashes = list(map(hash, zip(*plain, strict=True)))
        return cls(texts, [batch.lines[s] for s in mapped.sources], hashes)


@dataclass(slots=True)
class Work:
    """A batch under way. By index of the row: why it is rejected, for what it waits, of which row it is a duplicate (empty:
    with the same values). `part`: what the batch is a part of, if some of its rows are recalled or may be remembered."""

    batch: Batch
    mapped: list[Mapped]
    stamps: list[bytes]
    again: bool
    part: Part | None
    reasons: dict[int, list[str]] = field(default_factory=dict)
    later: dict[int, list[str]] = field(default_factory=dict)
    beside: dict[int, list[str]] = field(default_factory=dict)
    """Why rows are rejected because of others of the batch: looked at anew when one of those is."""
    duplicates: dict[int, str] = field(default_factory=dict)
    keys: list[Keys] = field(default_factory=list)
    repeated: dict[int, set[int]] = field(default_factory=dict)
    """Target -> indexes of records that an earlier row made already."""
    marked: list[int] = field(default_factory=list)
    """Rows that say that a record was deleted."""

    @property
    def outs(self) -> bool:
        """Whether any row is left out."""
        return bool(self.reasons or self.later or self.duplicates or self.beside)

    def out(self, row: int) -> bool:
        """Whether a row is left out."""
        return row in self.reasons or row in self.later or row in self.duplicates or row in self.beside
