"""Pages as a browser reads them, with the rules that hold for every page."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import requests

from tests.support.gateway import LocalGateway

POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
# Texts that are meant to do harm where a page shows them.
SCRIPT = """<script>alert(1)</script>"'`{{7*7}}</textarea><img src=x onerror=alert(2)>"""
#: Turns the direction of what follows, ends lines, and is no character at all.
ODD = "\u202egnp.exe\u2066\x00\x1b[31m\ud800&amp;%s{count}"
LONG = "n" * 10_000
_VOID = {"meta", "link", "input", "br", "hr", "img"}
_INLINE = {"a", "b", "small", "span", "time", "code", "mark"}
_INTERACTIVE = {"a", "button", "select", "textarea", "summary"}


class Page(HTMLParser):
    """One page: its elements in order, each with attributes and text; a fault of the markup fails the test."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.html = html
        self.elements: list[Element] = []
        self._open: list[Element] = []
        self.feed(html)
        self.close()
        assert not self._open, f"never closed: {[element.tag for element in self._open]}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"<{tag}> has an attribute twice: {names}"
        element = Element(tag, {name: value or "" for name, value in attrs}, list(self._open))
        self.elements.append(element)
        if tag not in _VOID:
            self._open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self._open, f"</{tag}> closes nothing"
        element = self._open.pop()
        assert element.tag == tag, f"</{tag}> closes <{element.tag}> {element.attributes}"
        if tag not in _INLINE:
            self.handle_data(" ")

    def handle_data(self, data: str) -> None:
        for element in self._open:
            element.text += data

    def all(self, tag: str, **attributes: str) -> list[Element]:
        """Give the elements of a kind with these attributes; ``class_`` is one of the classes."""
        return [element for element in self.elements if element.tag == tag and element.has(attributes)]

    def one(self, tag: str, **attributes: str) -> Element:
        found = self.all(tag, **attributes)
        assert len(found) == 1, f"{len(found)} of <{tag}> {attributes}"
        return found[0]

    @property
    def title(self) -> str:
        return self.all("title")[0].words

    @property
    def heading(self) -> str:
        return self.one("h1").words

    @property
    def words(self) -> str:
        """The text of the page's own part."""
        return self.one("main").words

    def links(self) -> list[str]:
        return [element.attributes["href"] for element in self.elements if "href" in element.attributes]

    def check(self, lang: str) -> None:
        """Check what every page has to keep to."""
        assert self.html.startswith("<!DOCTYPE html>")
        assert self.one("html").attributes["lang"] == lang
        assert self.title and self.heading
        ids = [element.attributes["id"] for element in self.elements if "id" in element.attributes]
        assert len(ids) == len(set(ids)), "an id stands twice"
        for element in self.elements:
            element.check(set(ids))
        labelled = {label.attributes.get("for") for label in self.all("label")}
        for tag in ("input", "select", "textarea"):
            for field in self.all(tag):
                is_in_label = any(outer.tag == "label" for outer in field.outer)
                is_seen = field.attributes.get("type") != "hidden" and "hidden" not in field.attributes
                assert not is_seen or is_in_label or field.attributes["id"] in labelled
        for table in self.all("table"):
            heads = [element for element in self.all("th") if table in element.outer]
            assert heads and all(head.attributes.get("scope") in ("col", "row") for head in heads)


class Element:
    def __init__(self, tag: str, attributes: dict[str, str], outer: list[Element]) -> None:
        self.tag = tag
        self.attributes = attributes
        self.outer = outer
        self.text = ""

    @property
    def words(self) -> str:
        return re.sub(r"\s+", " ", self.text).strip()

    def has(self, attributes: dict[str, str]) -> bool:
        for name, value in attributes.items():
            name = name.rstrip("_").replace("_", "-")
            own = self.attributes.get(name)
            if own is None or value not in (own.split() if name == "class" else [own]):
                return False
        return True

    def check(self, ids: set[str]) -> None:
        """Check one element: nothing that the policy forbids, nothing that points to nowhere in the page."""
        assert self.tag not in ("script", "style", "iframe", "font", "center"), self.tag
        for name, value in self.attributes.items():
            assert not name.startswith("on") and name != "style", (self.tag, name)
            if name in ("aria-labelledby", "aria-describedby", "for", "list"):
                assert set(value.split()) <= ids, (self.tag, name, value)
            if name == "href" and value.startswith("#"):
                assert value[1:] in ids, value
            if name in ("href", "src", "action"):
                assert value.startswith(("/", "#", "?")) and not value.startswith("//"), value
        if self.tag in _INTERACTIVE - {"select", "textarea"}:
            assert self.words or "aria-label" in self.attributes, f"<{self.tag}> without a name: {self.attributes}"
            assert not any(outer.tag in _INTERACTIVE for outer in self.outer), f"<{self.tag}> in another control"


#: No page that people are meant to look at is larger.
MAX_BYTES = 100_000


def visit(
    gateway: LocalGateway,
    path: str,
    *,
    lang: str = "en",
    status: int = 200,
    max_bytes: int = MAX_BYTES,
    **options: Any,
) -> Page:
    """Ask for a page, in a language, and check what holds for all pages."""
    headers = {"Accept-Language": lang, **options.pop("headers", {})}
    return read(gateway.get(path, headers=headers, **options), lang=lang, status=status, max_bytes=max_bytes)


def read(answer: requests.Response, *, lang: str = "en", status: int = 200, max_bytes: int = MAX_BYTES) -> Page:
    """Check an answer that is a page, and give it."""
    assert answer.status_code == status, (answer.status_code, answer.text[:2000])
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert answer.headers["Content-Security-Policy"] == POLICY
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "Accept-Language" in answer.headers["Vary"]
    assert len(answer.content) < max_bytes
    page = Page(answer.text)
    page.check(lang)
    return page
