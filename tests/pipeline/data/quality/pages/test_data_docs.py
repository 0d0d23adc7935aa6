import re
from html.parser import HTMLParser

import pandas as pd
import pytest

from pipeline.data.quality.checks import Check
from pipeline.data.quality.expectations import Inspector
from pipeline.data.quality.pages import data_docs

HOSTILE = "<script src=http://evil.example/x.js> <img src=//evil.example/p.png> $5 ${x}"


class Loads(HTMLParser):
    """Collects what a browser would fetch, run, or show."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.links: list[str] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.open.append(tag)
        if tag in ("script", "iframe", "object", "embed", "link", "img"):
            self.fetched.append(tag)
        self.fetched += [name for name in attributes if name in ("src", "srcset", "style") or name.startswith("on")]
        if tag == "a" and "href" in attributes:
            self.links.append(attributes["href"])

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data_docs")
    inspector = Inspector()
    frame = pd.DataFrame({"row_id": ["r:1", "r:2", "r:3"], "text": ["fine", HOSTILE, "fine"]})
    own = {"own": True}
    checks = [
        Check(
            "no markup", "critical", "expect_column_values_to_not_match_regex", {"column": "text", "regex": "<"}, "x"
        ),
        Check("few", "warning", "expect_table_row_count_to_be_between", {"max_value": 9}, "every text once"),
        Check("broken", "warning", "expect_column_values_to_match_regex", {"column": "text", "regex": "("}, "", **own),
        Check(
            "shares",
            "warning",
            "expect_column_kl_divergence_to_be_less_than",
            {"column": "text", "partition_object": {"values": ["fine"], "weights": [1.0]}, "threshold": 0.1},
            "few new words",
            **own,
        ),
    ]
    outcomes = inspector.run("r", "sound rows", frame, checks)
    figures = {
        "rows": 3,
        "kept": 3,
        "quarantined": 0,
        "distinct_texts": 2,
        "characters": {"median": 4.0, "max": 80.0},
        "words": {"median": 1.0, "max": 5.0},
        "length_ranges": [[4, 9, 2], [10, 80, 1]],
        "vocabulary": {
            "words": 7,
            "distinct_words": 6,
            "held_out": "x",
            "out_of_vocabulary": 0.5,
            "top_words": {"fine": 2, "<img": 1},
        },
        "quarantined_by_reason": {"empty text": 2},
        "tasks": {"t": {"rows": 3, "labels": {HOSTILE: 2, "neg": 1}, "shares": {HOSTILE: 2 / 3, "neg": 1 / 3}}},
    }
    data_docs.write(folder, inspector.pages, outcomes, {"r": figures})
    return folder


def test_nothing_is_loaded_from_anywhere(site):
    pages = sorted(site.rglob("*"))
    assert [page.name for page in pages] == ["index.html", "r-sound-rows.html", "statistics.html"]
    for page in pages:
        found = Loads(page.read_text())
        assert found.fetched == [], page
        assert all(link.startswith("#") or (site / link).is_file() for link in found.links), found.links
        style = page.read_text().split("<style>")[1].split("</style>")[0]
        assert "@import" not in style
        assert "url(" not in style


def test_every_page_is_linked_from_the_index_and_back(site):
    assert "r-sound-rows.html" in Loads((site / "index.html").read_text()).links
    assert "index.html" in Loads((site / "r-sound-rows.html").read_text()).links


def test_rows_with_markup_are_shown_as_text(site):
    found = Loads((site / "r-sound-rows.html").read_text())
    assert HOSTILE in found.text
    assert "every text once" in found.text
    assert HOSTILE in Loads((site / "index.html").read_text()).text


def test_pictures_have_a_bar_for_every_value_and_show_names_as_text(site):
    found = Loads((site / "statistics.html").read_text())
    assert "<script src=http://evil" in found.text
    assert found.open.count("rect") == 2 + 2 + 2  # lengths, words, labels
    assert "66.7%" in found.text
    assert "img" not in found.open


def test_index_shows_each_check_with_the_failed_first(site):
    text = Loads((site / "index.html").read_text()).text
    assert "4 checks by Great Expectations: 1 passed" in text
    results = re.findall(r"^(passed|failed|broke down)(critical|warning)", text, flags=re.MULTILINE)
    assert results == [("broke down", "warning"), ("failed", "critical"), ("failed", "warning"), ("passed", "warning")]
    assert "Invalid regular expression" in text
    assert "1 of 3 (33.33%) break it" in text


def test_page_keeps_the_content_of_great_expectations(site):
    found = Loads((site / "r-sound-rows.html").read_text())
    assert found.open.count("h1") == 1
    assert "Successful Expectations" in found.text
    assert "Kullback-Leibler" in found.text
    assert "newsletter" not in found.text
