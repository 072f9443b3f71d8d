"""Is this row a header, and what are the columns called.

A header is text above numbers, dates and addresses, or words that name things; a row looks like the rows below it. One test
each:

1. Headers and rows are told apart in both directions, in English, German and Chinese.
2. Names become unique and none is empty, and each change is a finding.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import Final

from replica.exchange.rows import Finding
from replica.words import clean

_KINDS: Final = (
    ("number", re.compile(r"[+-]?[€$£¥]? ?\d[\d., '’]*(?:[eE][+-]?\d+)?\s?[%€$£¥]?")),
    ("date", re.compile(r"\d{1,4}[-/.年]\d{1,2}(?:[-/.月]\d{1,4}日?)?(?:[T ]\d{1,2}:\d{2}.*)?")),
    ("mail", re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")),
    ("link", re.compile(r"(?:https?|ftp)://\S+|www\.\S+")),
    ("phone", re.compile(r"\+?[\d ()./-]{6,}")),
    ("truth", re.compile(r"(?i:true|false|yes|no|y|n|ja|nein|是|否)")),
    ("code", re.compile(r"(?=.*\d)[A-Za-z\d_.-]*\d{3,}[A-Za-z\d_.-]*")),
)  # fmt: skip

_WORDS: Final = re.compile(
    r"(?i:\b(?:id|uuid|key|code|no|nr|num|number|name|title|first|last|given|family|surname|full|company|account|organi[sz]ation"
    r"|firm|e-?mail|mail|phone|tel|telephone|mobile|fax|address|street|city|town|state|country|zip|postal|region|date|time|created"
    r"|modified|updated|birthday|birth|dob|age|gender|sex|status|stage|type|kind|category|source|owner|amount|price|value|total"
    r"|quantity|qty|currency|note|notes|comment|comments|description|website|url|web|department|role|job|position|industry|tags?"
    r"|vorname|nachname|firma|strasse|straße|ort|plz|land|datum|betrag|preis|menge|telefon|anrede|nombre|apellido|correo|ciudad"
    r"|nom|prénom|ville|pays|adresse|anschrift|kunde|kundennummer|score|text|lat|lon|product|order|customer|contact|lead|deal|user"
    r")\b|(?:_id|_at|_name|id|name|_no|_date)$)"
    r"|名称|姓名|名字|编号|編號|電話|电话|手机|手機|邮箱|郵箱|地址|公司|客户|客戶|日期|时间|時間|备注|備註|性别|性別|年龄|金额|金額|数量|數量"
    r"|价格|單價|单价|状态|狀態|类型|類型|城市|省份|部门|部門|职位|職位|联系人|聯絡人|行业|来源|负责人|氏名|名前|住所|会社|メール|이름|전화|주소|회사"
)
_YEAR: Final = re.compile(r"(?:19|20)\d\d")
_IDENTIFIER: Final = re.compile(r"[^\W\d][\w\-./#%]*")
"""How programs name columns; people begin names of people and places with a capital."""


def kind(cell: str) -> str:
    """What a cell looks like: "" for an empty one, "text" for anything else."""
    cell = cell.strip()
    if not cell:
        return ""
    return next((name for name, pattern in _KINDS if pattern.fullmatch(cell)), "text")


def header_odds(head: Sequence[str], rows: Sequence[Sequence[str]]) -> float:
    """How likely the first row names the columns (0 to 1), given those below it."""
    evidence, rows = 0.0, rows[:200]
    for i, cell in enumerate(head):
        own, below = kind(cell), Counter(kind(row[i]) for row in rows if i < len(row))
        below.pop("", None)
        most, times = below.most_common(1)[0] if below else ("", 0)
        typed = most not in {"", "text"} and times * 5 >= below.total() * 4
        if own in {"text", "code"} and _WORDS.search(cell):
            evidence += 1.0
        if own == "text" and typed:
            evidence += 1.0
        elif own not in {"", "text"}:
            year = _YEAR.fullmatch(cell.strip()) and not any(i < len(row) and _YEAR.fullmatch(row[i]) for row in rows)
            evidence -= 0.1 if year else 1.5 if typed and own == most else 0.7
        if (
            own == "text"
            and len(cell) <= 60
            and sum(1 for row in rows if i < len(row) and row[i] == cell) * 10 > len(rows)
        ):
            evidence -= 0.7
    names = [cell.strip() for cell in head if cell.strip()]
    if names and all(_IDENTIFIER.fullmatch(name) and name.islower() for name in names):
        evidence += 0.25
    if any(len(name) > 80 for name in names) or not names:
        evidence -= 1.0
    if len(set(names)) < len(names):
        evidence -= 0.2
    evidence /= max(1.0, math.sqrt(len(head)) / 1.5)
    return min(0.99, max(0.01, 1 / (1 + math.exp(-(0.7 + 1.6 * evidence)))))


def unique_names(head: Sequence[str]) -> tuple[list[str], list[Finding]]:
    """(names that are unique and not empty, what was changed). "name" twice: "name (2)"; none in column 3: "column 3"."""
    names: list[str] = []
    taken = {cell.strip() for cell in head}
    twice: list[str] = []
    empty: list[str] = []
    for i, cell in enumerate(head, 1):
        name = cell.strip()
        if not name:
            name = f"column {i}"
            if name in taken:
                name = _free(name, taken)
            empty.append(name)
        elif name in names:
            name = _free(name, taken)
            twice.append(name)
        taken.add(name)
        names.append(name)
    findings = []
    if twice:
        findings.append(Finding("duplicate headers", clean(", ".join(twice[:20])), 0.9))
    if empty:
        findings.append(Finding("empty headers", clean(", ".join(empty[:20])), 0.9))
    return names, findings


def _free(name: str, taken: set[str]) -> str:
    number = 2
    while f"{name} ({number})" in taken:
        number += 1
    return f"{name} ({number})"
