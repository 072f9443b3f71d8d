"""A profile or a comparison as one HTML file: no script, nothing loaded, charts as SVG in the text.

Names and values come from files of others. All of them go through `_text`, which escapes them, and a content policy
forbids every script and every load, should that ever fail. One test each:

1. A hostile value appears as text, runs nothing and loads nothing.
2. The page needs no other file, and follows the reader's choice of light or dark.
3. Every field and every measure is in it.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

from replica.exchange.quality.compare import Result
from replica.exchange.quality.measures import MARKS
from replica.exchange.quality.profile import FieldProfile, Profile
from replica.words import clean

_STYLE = """
:root{color-scheme:light dark;--ink:#1c2024;--soft:#60646c;--line:#d9dce1;--page:#fff;--box:#f6f7f9;--bar:#3a6ea5;
--bar2:#8aa9c8;--warn:#b3541e;--track:#e4e7ec}
@media(prefers-color-scheme:dark){:root{--ink:#e7e9ec;--soft:#a0a6b0;--line:#3a3f47;--page:#15181c;--box:#1d2126;
--bar:#6ea3d8;--bar2:#41658a;--warn:#e08a54;--track:#2b3037}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--page);max-width:70rem;
margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem}h2{font-size:1.1rem;margin-top:2rem}table{border-collapse:collapse;width:100%;margin:.5rem 0}
th,td{text-align:left;padding:.25rem .6rem;border-bottom:1px solid var(--line);vertical-align:top;overflow-wrap:anywhere}
th{color:var(--soft);font-weight:600}td.n,th.n{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
.box{background:var(--box);border:1px solid var(--line);border-radius:6px;padding:.6rem 1rem;margin:1rem 0}
.soft{color:var(--soft)}.warn{color:var(--warn)}.scroll{overflow-x:auto}code{white-space:pre-wrap}
rect.t{fill:var(--track)}rect.a{fill:var(--bar)}rect.b{fill:var(--bar2)}rect.w{fill:var(--warn)}
"""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def profile_page(profile: Profile, reference: Result | None = None) -> str:
    """The HTML of a profile, and of its comparison with a reference."""
    body = [
        f"<p>{_count(profile.records, 'record')}, {_count(len(profile.fields), 'field')}, "
        f"{_share(profile.completeness)} of all values filled.</p>"
    ]
    if profile.key:
        key = _text(", ".join(profile.key))
        said = f"{profile.key_repeats} rows repeat a key, {profile.keyless} have none"
        body.append(f'<p class="{_worry(profile.key_repeats + profile.keyless)}">Key {key}: {said}.</p>')
        rows = [[_text(", ".join(map(str, k))), str(n)] for k, n in profile.key_examples]
        body += _table(["repeated key", "rows"], rows, numeric=(1,)) if rows else []
    body += ["<h2>Completeness</h2>", *_measures(profile)]
    for p in profile.fields:
        body += _field(p)
    if reference is not None:
        body += [f"<h1>Compared with {_text(reference.b.name)}</h1>", *_comparison(reference)]
    return _page(f"Profile of {profile.name}", [*body, *_notes(profile.notes)])


def compare_page(result: Result) -> str:
    """The HTML of a comparison."""
    return _page(f"Comparison of {result.a.name} with {result.b.name}", [*_comparison(result), *_notes(result.notes)])


def _comparison(result: Result) -> list[str]:
    a, b = result.a, result.b
    body = [
        f"<p>{'Equal.' if result.equal else 'They differ.'} A is {_text(a.name)}, B, the reference, is {_text(b.name)}; "
        f"records are matched by {_text(', '.join(result.key))}.</p>",
        *_table(
            ["", "rows", "records", "repeat a key", "without key", "fields of its own"],
            [
                [which, *map(str, (s.rows, s.records, s.repeated, s.keyless)), _text(", ".join(s.only_fields))]
                for which, s in (("A", a), ("B", b))
            ],
            numeric=(1, 2, 3, 4),
        ),
        "<h2>Records</h2>",
        *_split([("same", result.common - result.differing, "a"), ("differing", result.differing, "w"),
                 ("missing in A", result.missing, "b"), ("extra in A", result.extra, "b")]),
        f"<p>Consistency {_share(result.consistency)}, completeness {_share(result.completeness)}.</p>",
        "<h2>Fields</h2>",
        *_table(
            ["field", "differing", "consistency", "accuracy", "", "filled in A", "filled in B"],
            [
                [_text(f.name), str(f.differing), _share(f.consistency), _share(f.accuracy), _bar(f.accuracy),
                 _share(f.completeness_a), _share(f.completeness_b)]
                for f in result.fields
            ],
            numeric=(1, 2, 3, 5, 6),
        ),
    ]  # fmt: skip
    differences = [[_text(", ".join(map(str, k))), _text(f), _value(x), _value(y)] for k, f, x, y in result.differences]
    body += _listed("Differences", ["key", "field", "A", "B"], differences, None)
    for title, keys, total in (
        ("Missing in A", result.missing_keys, result.missing),
        ("Extra in A", result.extra_keys, result.extra),
        ("Keys that A has twice", a.duplicates, None),
        ("Keys that B has twice", b.duplicates, None),
    ):
        body += _listed(title, ["key"], [[_text(", ".join(map(str, k)))] for k in keys], total)
    return body


# --- parts ------------------------------------------------------------------------------------------------------------


def _field(p: FieldProfile) -> list[str]:
    facts = [f"{p.filled} filled, {p.distinct} different"]
    facts += [f"from {_value(p.least)} to {_value(p.most)}"] if p.filled else []
    if p.length_mean is not None:
        facts.append(f"{p.length_least} to {p.length_most} characters, {p.length_mean:.1f} on average")
    facts += [f"{_share(p.validity)} valid by rule"] if p.validity is not None else []
    facts += [f"not valid: {', '.join(map(_value, p.invalid))}"] if p.invalid else []
    out = [f"<h2>{_text(p.name)}</h2><p>{'; '.join(facts)}.</p>"]
    out += _split([(what, rows, "ab"[n % 2]) for n, (what, rows) in enumerate(p.kinds.items())])
    for s in p.suspicions:
        examples = ", ".join(_value(e) for e in s.examples)
        out.append(f'<p class="warn">{s.rows} rows: {_text(MARKS.get(s.mark, s.mark))}: {examples}</p>')
    if p.variant_groups:
        groups = "; ".join(" = ".join(f"{_value(v)} ({n})" for v, n in group) for group in p.variants)
        out.append(f'<p class="warn">{_count(p.variant_groups, "value")} written in several ways: {groups}</p>')
    if p.repeats:
        out.append(f'<p class="warn">nearly a key, but {p.repeats} rows repeat a value: '
                   + ", ".join(f"{_value(v)} ({n})" for v, n in p.repeated) + "</p>")  # fmt: skip
    most = max((rows for _, rows in p.top), default=1)
    rows = [[_value(v), str(n), _bar(n / most)] for v, n in p.top] if p.top and most > 1 else []
    return out + (_table(["most frequent", "rows", ""], rows, numeric=(1,)) if rows else [])


def _measures(profile: Profile) -> list[str]:
    rows = [
        [
            _text(p.name),
            _share(p.completeness),
            _bar(p.completeness),
            _share(p.uniqueness),
            str(len(p.suspicions) or ""),
        ]
        for p in profile.fields
    ]
    return _table(["field", "filled", "", "different", "marks"], rows, numeric=(1, 3, 4))


def _listed(title: str, columns: Sequence[str], rows: list[list[str]], total: int | None) -> list[str]:
    if not rows:
        return []
    more = (
        f" <span class='soft'>(the first {len(rows)} of {total})</span>"
        if total is not None and total > len(rows)
        else ""
    )
    return [f"<h2>{title}{more}</h2>", *_table(columns, rows)]


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]], numeric: Sequence[int] = ()) -> list[str]:
    """Cells are HTML already."""

    def cells(tag: str, row: Sequence[str]) -> str:
        return "".join(f"<{tag}{' class=n' if i in numeric else ''}>{c}</{tag}>" for i, c in enumerate(row))

    lines = [f"<tr>{cells('td', row)}</tr>" for row in rows]
    return ['<div class="scroll"><table>', f"<tr>{cells('th', columns)}</tr>", *lines, "</table></div>"]


def _bar(share: float | None) -> str:
    """A bar of this share, 0 to 1."""
    if share is None:
        return ""
    width = round(160 * min(max(share, 0.0), 1.0), 1)
    return (
        f'<svg width="160" height="12" role="img" aria-label="{share:.1%}"><rect class="t" width="160" height="12" rx="2"/>'
        f'<rect class="a" width="{width}" height="12" rx="2"/></svg>'
    )


def _split(parts: Sequence[tuple[str, int, str]]) -> list[str]:
    """One bar of several parts (name, size, colour), and what they are."""
    total = sum(size for _, size, _ in parts)
    if not total:
        return []
    at, rects = 0.0, []
    for name, size, colour in parts:
        width = 640 * size / total
        title = f"<title>{_text(name)}: {size}</title>"
        rects.append(f'<rect class="{colour}" x="{at:.1f}" width="{width:.1f}" height="18">{title}</rect>')
        at += width
    said = ", ".join(f"{_text(name)} {size} ({size / total:.0%})" for name, size, _ in parts if size)
    return [f'<svg viewBox="0 0 640 18" width="100%" height="18" preserveAspectRatio="none">{"".join(rects)}</svg>'
            f'<p class="soft">{said}</p>']  # fmt: skip


def _notes(notes: Sequence[str]) -> list[str]:
    return [f'<div class="box">{_text(note)}</div>' for note in notes]


def _page(title: str, body: Sequence[str]) -> str:
    head = (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{_text(title)}</title><style>{_STYLE}</style></head><body>"
    )
    return "\n".join([head, f"<h1>{_text(title)}</h1>", *body, "</body></html>", ""])


def _text(text: object) -> str:
    """Anything of others as HTML text."""
    return html.escape(clean(text))


def _value(value: object) -> str:
    if value is None:
        return '<span class="soft">nothing</span>'
    shown = f"x'{value.hex()}'" if isinstance(value, bytes) else str(value)
    return f"<code>{_text(shown if len(shown) <= 200 else shown[:199] + '…')}</code>"


def _share(share: float | None) -> str:
    if share is None:
        return "–"
    return f"{share:.1%}" if share in {0.0, 1.0} else f"{min(max(share, 0.001), 0.999):.1%}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _worry(number: int) -> str:
    return "warn" if number else "soft"
