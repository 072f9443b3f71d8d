"""The file of rejected rows: each as it was read, with the reasons, so that it can be mended and imported again.

Its own columns begin with `replica:`, and an import leaves those alone. Of a row that could not be read, the raw text is
all there is: it stands in a column of its own.
"""

from __future__ import annotations

from collections.abc import Sequence

from replica.exchange.formats import opening as formats
from replica.exchange.importing import ledger
from replica.exchange.rows import MISSING, WriteOptions
from replica.store.core import Core

OWN = (f"{ledger.PREFIX}row", f"{ledger.PREFIX}line", f"{ledger.PREFIX}reason", f"{ledger.PREFIX}raw")


def write_rejects(core: Core, run: str, fields: Sequence[Sequence[str]], path: str) -> str:
    """Write what a run rejected, and second rows of a key with other values. `fields`: of each file. Returns the path."""
    names = [n for n in dict.fromkeys(n for some in fields for n in some) if n not in OWN]
    with formats.open_writer(path, [*names, *OWN], None, WriteOptions()) as writer:
        for part in ledger.kept(core, run, [ledger.REJECTED, ledger.DUPLICATE]):
            rows = []
            for row in part:
                cells = dict(zip(fields[row.source], row.cells, strict=True)) if row.cells else {}
                own = (row.number, row.line, "; ".join(row.reasons), row.raw or cells.get(OWN[3]) or MISSING)
                rows.append((*(cells.get(n, MISSING) for n in names), *own))
            writer.write(rows)
    return path
