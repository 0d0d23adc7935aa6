"""Great Expectations' Data Docs as a site that opens without a network.

Great Expectations renders one page per suite, which loads styles, scripts and a logo from seven hosts and is bare
without them. Here each page loses everything that is loaded, and its frame of menus that need those scripts; a small
stylesheet of ours takes their place. The index, which Great Expectations builds in the browser with those scripts, is
ours: figures, every check with the failed ones first, and links to the pages.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from pipeline.data.quality.expectations import Outcome, Page
from pipeline.data.quality.pages.rendering import render, statistics_page, stylesheet

VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
LOADING = {"script", "style", "link", "iframe", "img", "embed", "object", "video", "audio", "source", "base"}
MENUS = {"nav", "footer", "title", "meta"}
SIDEBAR = "col-lg-2"
STATUS = {True: "passed", False: "failed", None: "broke down"}


def write(folder: Path, pages: list[Page], outcomes: list[Outcome], statistics: Mapping[str, Any]) -> None:
    """Write `index.html`, `statistics.html` and one page per suite to `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    style = stylesheet()
    names = {page.title: re.sub(r"[^a-z0-9]+", "-", page.title.lower()).strip("-") + ".html" for page in pages}
    for page in pages:
        (folder / names[page.title]).write_text(offline(page.title, page.html, style), encoding="utf-8")
    checks = [_row(outcome) for outcome in _worst_first(outcomes)]
    index = render("data_docs.html.jinja", pages=names, sources=statistics, checks=checks)
    (folder / "index.html").write_text(index, encoding="utf-8")
    (folder / "statistics.html").write_text(statistics_page(statistics), encoding="utf-8")


def offline(title: str, html: str, style: str) -> str:
    """Return a page of Great Expectations that loads nothing, with our stylesheet inlined."""
    cleaner = _Cleaner()
    cleaner.feed(html)
    cleaner.close()
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{style}</style>"
    )
    top = f'<header><a href="index.html">Data checks</a><h1>{escape(title)}</h1></header>'
    body = re.sub(r"\n\s*\n+", "\n", "".join(cleaner.kept))
    page = re.sub(r"<head[^>]*>", lambda match: match.group() + head, body, count=1)
    return re.sub(r"<body[^>]*>", lambda match: match.group() + top, page, count=1)


class _Cleaner(HTMLParser):
    """Keeps a page's markup except for what is loaded from elsewhere and the menus around the content."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=False)
        self.kept: list[str] = []
        self.dropping = ""
        self.depth = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self.dropping:
            self.depth += tag == self.dropping
            return
        attributes = {name: value or "" for name, value in attrs}
        if tag in LOADING | MENUS or SIDEBAR in attributes.get("class", "").split():
            if tag not in VOID:
                self.dropping, self.depth = tag, 1
            return
        self.kept.append(f"<{tag}{_safe(attributes)}>")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.dropping:
            if tag not in LOADING | MENUS:
                self.kept.append(f"</{tag}>")
            return
        self.depth -= tag == self.dropping
        if not self.depth:
            self.dropping = ""

    def handle_data(self, data: str) -> None:
        if not self.dropping:
            self.kept.append(data)

    def handle_entityref(self, name: str) -> None:
        self.handle_data(f"&{name};")

    def handle_charref(self, name: str) -> None:
        self.handle_data(f"&#{name};")

    def handle_decl(self, decl: str) -> None:
        self.handle_data(f"<!{decl}>")


def _safe(attributes: Mapping[str, str]) -> str:
    """Return the attributes as markup, without styles, handlers, and links that leave the page."""
    kept = {
        name: value
        for name, value in attributes.items()
        if name not in ("style", "src", "srcset", "data", "background")
        and not name.startswith("on")
        and not (name == "href" and not value.startswith("#"))
    }
    return "".join(f' {name}="{escape(value)}"' for name, value in kept.items())


def _worst_first(outcomes: list[Outcome]) -> list[Outcome]:
    results, severities = [None, False, True], ["critical", "warning", "quarantine"]
    return sorted(
        outcomes,
        key=lambda outcome: (results.index(outcome.success), severities.index(outcome.check.severity)),
    )


def _row(outcome: Outcome) -> dict[str, str]:
    check = outcome.check
    observed = f"{outcome.observed:,.4g}" if isinstance(outcome.observed, float) else str(outcome.observed)
    return {
        "status": STATUS[outcome.success],
        "severity": check.severity,
        "subject": outcome.subject,
        "name": check.name,
        "observed": outcome.error or observed,
        "expected": check.expected,
        "fix": "" if outcome.success else check.fix or check.reason,
    }
