"""Pages: whatever a file says is text in them."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replica.exchange.quality.compare import Asked, compare
from replica.exchange.quality.page import compare_page, profile_page
from replica.exchange.quality.profile import profile
from tests.exchange.test_compare import side

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</style><script>alert(1)</script>",
    "</title><svg onload=alert(1)>",
    "<!--",
    "javascript:alert(1)",
    "&lt;script&gt;",
    "\u202etxt.exe\x00\x1b[2J",
    '=HYPERLINK("http://evil")',
]
TAGS = {
    "html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "div", "table", "tr", "th", "td", "svg", "rect",
    "span", "code",
}  # fmt: skip


class Parsed(HTMLParser):
    """Tags, attributes and text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self.opened: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag not in {"meta", "rect"}:
            self.opened.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_endtag(self, tag: str) -> None:
        if tag != "rect":
            assert self.opened.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_comment(self, data: str) -> None:
        raise AssertionError(data)


def pages(values: list[Any], field: str = "name") -> list[str]:
    """A profile and a comparison in which these values stand everywhere that values can."""
    rows = [(v, v, v) for v in values]
    fields = ["id", field, f"{field} 2"]
    other = [(v, "else", None) for v in values[1:]]
    result = compare(side(field, rows, fields), side("B", other, fields), Asked(("id",)))
    result.notes.append(field)
    return [profile_page(profile(side(field, rows, fields), ["id"])), compare_page(result)]


def check(page: str) -> Parsed:
    """The page is whole, runs nothing and loads nothing."""
    parsed = Parsed(page)
    assert parsed.opened == []
    assert parsed.tags <= TAGS
    assert not {name for name in parsed.attributes if name.startswith("on")}
    assert not parsed.attributes & {"src", "href", "style", "srcdoc", "action", "xlink:href"}
    assert "default-src 'none'" in page
    return parsed


@pytest.mark.parametrize("field", HOSTILE)
def test_a_hostile_value_is_text(field: str) -> None:
    for page in pages([*HOSTILE, *HOSTILE, *map(str.upper, HOSTILE)], field):
        parsed = check(page)
        assert "<script>alert(1)</script>" in parsed.text
        assert "\x1b" not in page
        assert "\u202e" not in page


@given(
    st.lists(
        st.one_of(
            st.none(),
            st.integers(-(1 << 63), (1 << 63) - 1),
            st.floats(allow_nan=False),
            st.binary(max_size=3),
            st.text(),
        ),
        max_size=4,
    )
)
def test_any_value_is_text(values: list[Any]) -> None:
    for page in pages(values):
        check(page).text.encode()


def test_the_page_stands_alone_in_light_and_dark() -> None:
    for page in pages(["x", "y"]):
        assert "prefers-color-scheme:dark" in page
        assert "http" not in page.replace("http-equiv", "")
        assert "url(" not in page
        assert "@import" not in page


def test_every_field_and_measure_is_in_it() -> None:
    first, second = pages(["x", "y", "N/A"], "Städte")
    for page in (first, second):
        assert "Städte 2" in page
    assert "says nothing, in words" in first
    assert "Missing in A" not in second
    assert "Extra in A" in second
    assert "<code>else</code>" in second
