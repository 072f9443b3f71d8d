"""What cannot be told from a file is asked, if somebody is there to answer; else refused, with the option that says it.

1. An answer is one of the choices, or its number if no choice is a number, and counts as an option of the command would.
2. Where nobody sits at standard input, or `--json` speaks to a program, nothing is asked.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any, TypeVar

from replica.errors import FileRefused, Unsure
from replica.exchange.rows import ReadOptions
from replica.words import clean

T = TypeVar("T")
Work = Callable[[ReadOptions, "str | None"], T]
"""How to read, order of dates -> what comes of it."""


def asking(read: ReadOptions, date: str | None, work: Work[T], *, silent: bool) -> T:
    """Do it, as often as an answer lets it go further. `silent`: ask nothing. Raises Unsure; FileRefused when the answers
    end before the questions."""
    while True:
        try:
            return work(read, date)
        except Unsure as unsure:
            told = re.findall(r"--([a-z-]+)", unsure.option)
            name = told[-1].replace("-", "_") if told else ""
            known = {f.name for f in fields(ReadOptions)} | {"date"}
            if silent or not sys.stdin.isatty() or name not in known or not unsure.choices:
                raise
            answer = _ask(unsure)
            said: Any = int(answer) if name == "header" else answer
            if name == "date":
                date = answer
            else:
                read = replace(read, **{name: said})


def _ask(unsure: Unsure) -> str:
    numbered = not any(choice.isdecimal() for choice in unsure.choices)
    print(clean(unsure), file=sys.stderr)
    for number, choice in enumerate(unsure.choices, 1):
        print(f"  {number}  {clean(choice)}" if numbered else f"  {clean(choice)}", file=sys.stderr)
    while True:
        print(f"{unsure.what}? ", end="", file=sys.stderr, flush=True)
        answer = sys.stdin.readline()
        if not answer:
            raise FileRefused(str(unsure))
        answer = answer.strip()
        if answer in unsure.choices:
            return answer
        if numbered and answer.isdecimal() and 0 < int(answer) <= len(unsure.choices):
            return unsure.choices[int(answer) - 1]
