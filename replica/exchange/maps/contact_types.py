"""Phones to E.164 and e-mails to their normal form, as two well-kept libraries answer, but fast for what is plain.

The libraries (phonenumbers, email-validator with DNS off) take some 50 us a value. What is plain is answered by their own
rules, compiled once per country; whatever those do not accept goes to the library. One test each:

1. Any number and any country: the same answer as phonenumbers. An extension stays, as RFC 3966 has it (";ext=12").
2. Any address: the same answer as email-validator; IDN domains and addresses too.
3. A number that a spreadsheet has spoilt (8.6138E+12) is refused with advice.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import Any

from replica.exchange.maps.mapmodel import Bad, as_text
from replica.exchange.maps.numbers import lost_digits
from replica.exchange.rows import Cell
from replica.libraries import library

_LOCAL = r"[a-zA-Z0-9_!#$%&'*+\-/=?^`{|}~]+(?:\.[a-zA-Z0-9_!#$%&'*+\-/=?^`{|}~]+)*"
_LABEL = r"(?!..--)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_EMAIL = re.compile(rf"({_LOCAL})@({_LABEL}(?:\.{_LABEL})*\.(?!..--)(?:[a-z0-9][a-z0-9-]{{0,61}})?[a-z])\Z")
_PUNCTUATION = str.maketrans("", "", " -().\u00a0")
_ASIDE = re.compile(r"\([^()\d]+\)")
"""Words beside a number: (office), (Büro)."""
_EXTENSION = re.compile(r"转|轉|分机号?|分機號?|内線|Durchwahl|\bDW\b")
_WORD = re.compile(r"\d.*?(?!ext|xtn)[^\W\d_]{3}", re.IGNORECASE | re.DOTALL)
_LOST = "has lost digits in a spreadsheet: export the column as text again"
CACHE = 65_536
"""Answers of a library that are remembered; then it begins anew."""


@cache
def _special() -> tuple[str, ...]:
    with library("email-validator"):
        import email_validator

    return tuple(name for d in email_validator.SPECIAL_USE_DOMAIN_NAMES for name in (f".{d}", f"@{d}"))


@cache
def email() -> Callable[[Any], Cell]:
    """A reader of e-mail addresses: the normal form (domain in small letters, IDN in its own script). It raises Bad."""
    special = _special()
    plain = _EMAIL.match

    def one(cell: object) -> Cell:
        text: str = cell if cell.__class__ is str else as_text(cell)
        text = text.strip()
        found = plain(text)
        if found and found.end(1) <= 64 and len(text) <= 254 and not text.endswith(special):
            return text
        return _email_by_library(text)

    return one


def _email_by_library(text: str) -> str:
    with library("email-validator"):
        import email_validator

    if len(text) > 1_000:
        raise Bad("is too long for an e-mail address: correct it")
    try:
        return email_validator.validate_email(text, check_deliverability=False).normalized
    except email_validator.EmailNotValidError as error:
        why = str(error).rstrip(".")
    if re.search(r"[,;\s]\S+@", text) and text.count("@") > 1:
        raise Bad('holds several e-mail addresses: take one with split = { separator = ";", index = 1 }')
    if "<" in text and ">" in text:
        raise Bad("is a name with an e-mail address: keep only what stands between < and >")
    raise Bad(f"is no e-mail address ({why}): correct it, or let it be kept with on_error")


_KINDS = (
    "premium_rate", "toll_free", "shared_cost", "voip", "personal_number", "pager", "uan", "voicemail", "fixed_line",
)  # fmt: skip


class _Region:
    """What is a valid number of a region, by the library's metadata: one regex of all its types."""

    def __init__(self, meta: Any) -> None:
        general = _pattern(meta.general_desc)
        names = [*_KINDS, *([] if meta.same_mobile_and_fixed_line_pattern else ["mobile"])]
        kinds = [_pattern(getattr(meta, name)) for name in names if getattr(meta, name) is not None]
        self.valid = re.compile(f"(?={general}\\Z)(?:{'|'.join(kinds)})\\Z").match
        self.leading = re.compile(meta.leading_digits).match if meta.leading_digits is not None else None


def _pattern(desc: Any) -> str:
    if desc is None or not desc.national_number_pattern:
        return r"(?!)"
    lengths = "|".join(rf"[0-9]{{{n}}}\Z" for n in desc.possible_length)
    return f"(?:{f'(?={lengths})' if lengths else ''}(?:{desc.national_number_pattern})(?![0-9]))"


class _Code:
    """What is a valid number after a country's calling code: its regions in the library's order, and its prefix."""

    def __init__(self, code: int) -> None:
        with library("phonenumbers"):
            import phonenumbers

        metas = phonenumbers.PhoneMetadata.metadata_for_region
        regions = phonenumbers.COUNTRY_CODE_TO_REGION_CODE[code]
        main = metas(regions[0], None)
        self.regions = [_Region(meta) for region in regions if (meta := metas(region, None)) is not None]
        self.alone = len(regions) == 1
        prefix = main.national_prefix_for_parsing if main else None
        self.prefix = re.compile(prefix).match if prefix else None
        self.transforms = bool(main and main.national_prefix_transform_rule)
        self.general = re.compile(f"{_general(main)}\\Z").match

    def significant(self, digits: str) -> str | None:
        """The number without its national prefix, if it is valid; None: ask the library."""
        if self.prefix is not None and (found := self.prefix(digits)):
            if found.re.groups and found.group(found.re.groups) is not None:
                return None
            rest = digits[found.end() :]
            if not rest or (self.general(digits) and not self.general(rest)):
                return None
            digits = rest
        for region in self.regions:
            if region.leading is not None and not self.alone:
                if region.leading(digits):
                    return digits if region.valid(digits) else None
            elif region.valid(digits):
                return digits
        return None


def _general(meta: Any) -> str:
    return f"(?:{meta.general_desc.national_number_pattern})" if meta else r"(?!)"


@cache
def _code(code: int) -> _Code:
    return _Code(code)


@cache
def _codes() -> dict[str, int]:
    with library("phonenumbers"):
        import phonenumbers

    return {str(c): c for c, r in phonenumbers.COUNTRY_CODE_TO_REGION_CODE.items() if r != ("001",)}


@cache
def countries() -> frozenset[str]:
    """Codes of the countries (ISO 3166) whose phone numbers are known."""
    with library("phonenumbers"):
        import phonenumbers

    return frozenset(phonenumbers.SUPPORTED_REGIONS)


@cache
def phone(country: str | None) -> Callable[[Any], Cell]:
    """A reader of phone numbers of this country, or with + and a country code: E.164. It raises Bad."""
    with library("phonenumbers"):
        import phonenumbers

    codes = _codes()
    home = phonenumbers.country_code_for_region(country) if country else 0
    own = _code(home) if home and phonenumbers.region_code_for_country_code(home) == country else None
    abroad = None
    if country:
        meta = phonenumbers.PhoneMetadata.metadata_for_region(country, None)
        prefix = meta.international_prefix if meta else None
        abroad = re.compile(f"(?:{prefix})|{home}").match if prefix else re.compile(str(home)).match
    memo: dict[str, tuple[str, str]] = {}

    def one(cell: object) -> Cell:
        text: str = cell if cell.__class__ is str else as_text(cell)
        digits = text.translate(_PUNCTUATION)
        if digits[:1] == "+" and (rest := digits[1:]).isdigit() and rest.isascii():
            for size in (2, 1, 3):
                code = codes.get(rest[:size])
                if code is not None and 5 <= len(rest) <= 17 and (found := _code(code).significant(rest[size:])):
                    return f"+{code}{found}"
        elif (
            own is not None
            and digits.isdigit()
            and digits.isascii()
            and not (abroad and abroad(digits))
            and 5 <= len(digits) <= 17
            and (found := own.significant(digits))
        ):
            return f"+{home}{found}"
        got = memo.get(text)
        if got is None:
            try:
                got = _phone_by_library(text, country), ""
            except Bad as bad:
                got = "", str(bad)
            if len(memo) >= CACHE:
                memo.clear()
            if len(text) <= 100:
                memo[text] = got
        if got[1]:
            raise Bad(got[1])
        return got[0]

    return one


def _phone_by_library(text: str, country: str | None) -> str:
    with library("phonenumbers"):
        import phonenumbers

    if lost_digits(text):
        raise Bad(_LOST)
    try:
        made = phonenumbers.parse(_EXTENSION.sub(" ext ", _ASIDE.sub("", text)), country)
    except phonenumbers.NumberParseException as error:
        if error.error_type == phonenumbers.NumberParseException.INVALID_COUNTRY_CODE and not country:
            raise Bad('has no country code: write it with + or say country = "DE" or the like') from None
        raise Bad(
            f"is no phone number ({str(error).rstrip('.')}): correct it, or let it be kept with on_error"
        ) from None
    if not phonenumbers.is_valid_number(made):
        where = phonenumbers.region_code_for_country_code(made.country_code or 0)
        raise Bad(f"is no valid phone number of {where}: correct it, or let it be kept with on_error")
    said = len(phonenumbers.national_significant_number(made)) + len(made.extension or "")
    # Only in North America (1-800-FLOWERS) are numbers dialled by letters.
    if made.country_code != 1 and said > sum(map(str.isdigit, text)) and _WORD.search(text):
        raise Bad("has words in it, which a phone would read as digits: take them out, or let it be kept with on_error")
    plain: str = phonenumbers.format_number(made, phonenumbers.PhoneNumberFormat.E164)
    return f"{plain};ext={made.extension}" if made.extension else plain
