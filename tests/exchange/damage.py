"""A corpus of damaged files, made from one table: what went in is known, so what should come out is."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

FIELDS = ["id", "name", "email", "phone", "city", "note"]
FIRST = ["Ann", "Zoë", "José", "Łukasz", "Mia", "Otto", "Ben", "Eva", "Noé", "Ida"]
LAST = ["Lee", "Müller", "García", "Smith", "O'Neil", "Novák", "Berg", "Rossi"]
CHINESE = ["编号", "姓名", "邮箱", "电话", "城市", "备注"]
CITIES = ["Vienna", "Paris, France", "Madrid", "New York, NY", "Graz", "Oslo"]
NOTES = ["", "calls on Monday", 'says "hello" often', "two\nlines", "6 pm; or later", "a|b", "long-standing customer"]

Table = list[list[str]]


def table(size: int = 60) -> Table:
    """Rows of people, with commas, quotes and line ends in some cells."""
    return [
        [
            str(1000 + i),
            f"{FIRST[i % 10]} {LAST[i % 8]}",
            f"user{i}@example.com",
            f"+43 1 {555_000 + i * 37}",
            CITIES[i % 6],
            NOTES[i % 7],
        ]
        for i in range(size)
    ]


def text(
    rows: Table,
    head: list[str] | None = None,
    delimiter: str = ",",
    end: str = "\n",
    quote: str = '"',
    every: bool = False,
) -> str:
    """RFC 4180, by the standard library."""
    out = io.StringIO()
    quoting: Literal[0, 1] = csv.QUOTE_ALL if every else csv.QUOTE_MINIMAL
    writer = csv.writer(out, delimiter=delimiter, lineterminator=end, quotechar=quote, quoting=quoting)
    writer.writerows([FIELDS if head is None else head, *rows] if head != [] else rows)
    return out.getvalue()


def ascii_only(rows: Table) -> Table:
    """The rows without letters beyond ASCII."""
    return [[c.encode("ascii", "replace").decode() for c in row] for row in rows]


@dataclass(frozen=True)
class Case:
    """A file, the fields and rows that it holds, and how many records of it are broken (None: any number)."""

    name: str
    data: bytes
    fields: list[str]
    rows: Table
    broken: int | None = 0


def whole_files() -> list[Case]:
    """Damage of the file as a whole, and ways of writing that a reader must find out."""
    rows = table()
    plain = text(rows)
    lines = ["id", "name", "email", "phone", "city", "note"]
    one_line = [[c.replace("\n", " ") for c in row] for row in rows]
    chinese = [[r[0], "王小明", r[2], r[3], "北京市朝阳区", "客户"] for r in rows]
    western = [[c.replace("Łukasz", "Luis").replace("Novák", "Noël") for c in r] for r in rows]
    polish = [[r[0], "Łukasz Wójcik", r[2], r[3], "Łódź", "świeża żółć"] for r in rows]

    def case(
        name: str, content: str | bytes, got: Table = rows, fields: list[str] = lines, broken: int | None = 0
    ) -> Case:
        return Case(name, content.encode() if isinstance(content, str) else content, fields, got, broken)

    mixed = "".join(line + ("\n", "\r\n", "\r")[i % 3] for i, line in enumerate(text(one_line).splitlines()))
    spaced = "\n\n".join(text(one_line).splitlines())
    padded = "Contacts,,,,,\n,,,,,\n"
    backslash = "".join(
        ",".join('"' + c.replace("\\", "\\\\").replace('"', '\\"') + '"' for c in row) + "\n" for row in [FIELDS, *rows]
    )
    german = [[r[0], r[1], r[2], f"{i},50", r[4], r[5]] for i, r in enumerate(one_line)]
    second = "\ncurrency,rate\nEUR,1\nUSD,1.1\n"
    return [
        case("plain", plain),
        case("semicolon", text(rows, delimiter=";")),
        case("tab", text(rows, delimiter="\t")),
        case("pipe", text(rows, delimiter="|")),
        case("unit separator", text(rows, delimiter="\x1f")),
        case("caret", text(rows, delimiter="^")),
        case("semicolon, decimal comma", text(german, [*FIELDS[:3], "amount", *FIELDS[4:]], ";"), german,
             [*FIELDS[:3], "amount", *FIELDS[4:]]),
        case("quoted all", text(rows, every=True)),
        case("single quotes", text(rows, quote="'", every=True)),
        case("backslash", backslash),
        case("utf-8 with mark", b"\xef\xbb\xbf" + plain.encode()),
        case("two marks", b"\xef\xbb\xbf" * 2 + plain.encode()),
        case("utf-16 with mark", plain.encode("utf-16")),
        case("utf-16 be with mark", b"\xfe\xff" + plain.encode("utf-16-be")),
        case("utf-16 le", plain.encode("utf-16-le")),
        case("utf-16 be", plain.encode("utf-16-be")),
        case("gb18030", text(chinese).encode("gb18030"), chinese),
        case("gb18030 with names", text(chinese, CHINESE).encode("gb18030"), chinese,
             CHINESE),
        case("cp1252", text(western).encode("cp1252"), western),
        case("cp1250", text(polish).encode("cp1250"), polish),
        case("sep line", "sep=;\r\n" + text(rows, delimiter=";", end="\r\n")),
        case("sep line, mark", b"\xef\xbb\xbf" + ('"sep=;"\n' + text(rows, delimiter=";")).encode()),
        case("preamble", "Contacts of the Vienna office\nExported on 2024-01-02\n\n" + plain),
        case("preamble with delimiters", padded + plain),
        case("blank lines first", "\n\n\n" + plain),
        case("totals", plain + "Total,,,,,60\n", broken=1),
        case("totals in Chinese", plain + "合计,,60,,,\n", broken=1),
        case("narrow totals after a blank line", plain + "\nTotal: 60\nEnd of report\n", broken=2),
        case("words after a blank line", plain + "\nGenerated by a program\n", broken=1),
        case("trailing delimiter", text([[*r, ""] for r in rows], [*FIELDS, ""])),
        case("trailing delimiter, not in the header", text([[*r, ""] for r in rows])),
        case("trailing delimiter, only in the header", text(rows, [*FIELDS, ""])),
        case("mixed line ends", mixed, one_line),
        case("lone CR", text(one_line, end="\r"), one_line),
        case("CR LF", text(rows, end="\r\n")),
        case("no last line end", plain.rstrip("\n")),
        case("blank lines between", spaced, one_line),
        case("duplicate names", text(rows, ["id", "name", "email", "phone", "name", "note"]), rows,
             ["id", "name", "email", "phone", "name (2)", "note"]),
        case("empty names", text(rows, ["id", "name", "", "phone", "city", "note"]), rows,
             ["id", "name", "column 3", "phone", "city", "note"]),
        case("spaces around names", text(rows, ["id", " name ", "email", "phone", "city ", "note"])),
        case("no header", text(rows, []), rows, [f"column {i}" for i in range(1, 7)]),
        case("second table", plain + second, broken=3),
        case("put together", plain + text(table(3)), [*rows, *table(3)], broken=1),
        case("NUL in a cell", text([[r[0], "A\0nn", *r[2:]] for r in rows]), [[r[0], "A\0nn", *r[2:]] for r in rows]),
        case("NULs at the end", plain.encode() + bytes(512), broken=1),
        case("control Z at the end", plain + "\x1a", broken=1),
        case("cut off", plain[: plain.rindex("@")], rows[:-1], broken=1),
        case("header only", ",".join(FIELDS) + "\n", []),
        case("header only, no line end", ",".join(FIELDS), []),
        case("one row", text(rows[:1]), rows[:1]),
        case("wide note", text([[*r[:5], "x" * 200_000] for r in rows[:3]]), [[*r[:5], "x" * 200_000] for r in rows[:3]]),
        case("gzip", gzip.compress(plain.encode())),
    ]  # fmt: skip


ROW_DAMAGE: dict[str, Callable[[list[str]], str]] = {
    "opened, not closed": lambda r: f'{r[0]},"{r[1]},{r[2]},{r[3]},{r[0]},x\n',
    "closed, not opened, with a comma in it": lambda r: f'{r[0]},{r[1]}, Dr.",{r[2]},{r[3]},{r[0]},x\n',
    "quote inside quotes": lambda r: f'{r[0]},"{r[1]} "Bob" X",{r[2]},{r[3]},{r[0]},x\n',
    "opened in the last cell": lambda r: f'{r[0]},{r[1]},{r[2]},{r[3]},{r[0]},"x\n',
    "opened in the first cell": lambda r: f'"{r[0]},{r[1]},{r[2]},{r[3]},{r[0]},x\n',
    "all quoted, one not closed": lambda r: f'"{r[0]}","{r[1]},"{r[2]}","{r[3]}","{r[0]}","x"\n',
    "a cell too few": lambda r: f"{r[0]},{r[1]},{r[2]},{r[3]},{r[0]}\n",
    "a cell too many": lambda r: f"{r[0]},{r[1]},{r[2]},{r[3]},{r[0]},x,y\n",
    "one cell": lambda r: f"{r[0]}\n",
    "a bad byte": lambda r: f"{r[0]},{r[1]}\udcff,{r[2]},{r[3]},{r[0]},x\n",
    "half a character": lambda r: f"{r[0]},{r[1]}\udce4\udcbd,{r[2]},{r[3]},{r[0]},x\n",
    "a line end in an open cell": lambda r: f"{r[0]},{r[1]}\n{r[1]},{r[2]},{r[3]},{r[0]},x\n",
    "a quote after a quoted cell": lambda r: f'{r[0]},"{r[1]}"",{r[2]},{r[3]},{r[0]},x\n',
    "words after a quoted cell": lambda r: f'{r[0]},"{r[1]}" (old),{r[2]},{r[3]},{r[0]},x\n',
    "another delimiter": lambda r: f"{r[0]};{r[1]};{r[2]};{r[3]};{r[0]};x\n",
}  # fmt: skip


def damaged_rows(size: int = 60) -> list[Case]:
    """One damaged row at several places, in files with few and with many quotes: all the other rows are known."""
    cases = []
    for every in (False, True):
        for name, spoil in ROW_DAMAGE.items():
            for at in (0, 1, size // 2, size - 1):
                rows = table(size)
                lines = [text([row], [], every=every) for row in rows]
                lines[at] = spoil(rows[at])
                content = text([], every=every) + "".join(lines)
                left = rows[:at] + rows[at + 1 :]
                label = f"{name}, row {at}{', all quoted' if every else ''}"
                cases.append(Case(label, content.encode("utf-8", "surrogateescape"), FIELDS, left, None))
    return cases
