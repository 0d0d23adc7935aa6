import json
import random
import shutil

import pytest

from pipeline.config import Recipe
from pipeline.data.quality.drift.reference import load, make_reference, save
from pipeline.data.quality.figures.profile import Chunk, Labels, Profile
from pipeline.drift import drift
from pipeline.errors import DriftError, ValidationFailed
from pipeline.progress import SilentProgress

COLOURS = ["red", "green", "blue", "amber", "grey", "white", "black", "brown"]
THINGS = ["boat", "cart", "house", "lamp", "river", "stone", "tower", "wheel"]
METALS = ["zinc", "lead", "iron", "gold", "silver", "copper", "nickel", "cobalt"]


class Listener(SilentProgress):
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


def texts(seed, *, words=THINGS, length=4, rows=300):
    draw = random.Random(seed)
    return [" ".join(draw.choice(COLOURS + words) for _ in range(length)) for _ in range(rows)]


def refer(folder, found, labels=("good", "bad")):
    import numpy as np
    import pyarrow as pa

    chunk, every = Chunk(pa.table({"text": pa.array(found, pa.string())})), np.ones(len(found), bool)
    profile, counts = Profile(folder / "scratch"), Labels(folder / "scratch")
    profile.add(chunk, every)
    names = [labels[number % len(labels)] for number in range(len(found))]
    counts.add(chunk.hashes, pa.array(names), pa.array(names))
    save(make_reference(profile, counts), folder, "mood")


@pytest.fixture
def compare(tmp_path):
    """Compare texts with a champion's; give `labels` to the new ones, in turn."""

    def compare(before, now, *, labels=("good", "bad"), progress=None, **settings):
        for folder in ("champions", "rows", "out"):
            shutil.rmtree(tmp_path / folder, ignore_errors=True)
        (tmp_path / "out").mkdir()
        refer(tmp_path / "rows" / "reference", now, labels)
        if before:
            refer(tmp_path / "champions" / "mood", before)
        champions = tmp_path / "champions" if before else None
        return drift(recipe(settings), tmp_path / "rows", champions, tmp_path / "out", progress or SilentProgress())

    return compare


def recipe(settings):
    return Recipe.model_validate(
        {
            "name": "test",
            "data": {"sources": {"reviews": {"path": "x.csv", "kind": "files"}}, "drift": settings},
            "tasks": {"mood": {"data": {"source": "reviews"}}},
        }
    )


def test_rows_of_the_same_kind_do_not_drift(compare, tmp_path):
    result = compare(texts(1), texts(2))
    assert (result.warnings, result.without_champion) == ([], [])
    assert result.tasks["mood"]["label_shift"] == 0
    assert result.tasks["mood"]["unknown_words"] == 0
    assert result.tasks["mood"]["separability"] == pytest.approx(0.5, abs=0.08)
    page = (tmp_path / "out" / "drift.html").read_text()
    assert page.count(">passed<") == 4
    assert "<script" not in page


def test_the_same_rows_and_more_of_their_kind_cannot_be_told_apart(compare):
    rows = texts(1)
    assert compare(rows, rows).tasks["mood"]["separability"] == pytest.approx(0.5, abs=0.02)
    assert compare(rows, [*rows, *texts(2)]).tasks["mood"]["separability"] == pytest.approx(0.5, abs=0.08)


@pytest.mark.parametrize(
    ("now", "labels", "metric", "value"),
    [
        (texts(2), ("good", "good", "good", "bad"), "label_shift", 0.25),
        (texts(2), ("good", "new"), "label_shift", 0.5),
        ([text.replace("e", "ee") for text in texts(2)], ("good", "bad"), "length_shift", None),
        (texts(2, words=METALS), ("good", "bad"), "unknown_words", 0.5),
        (texts(2, words=METALS), ("good", "bad"), "separability", 0.95),
    ],
)
def test_each_metric_sees_what_it_is_for(compare, tmp_path, now, labels, metric, value):
    listener = Listener()
    result = compare(texts(1), now, labels=labels, progress=listener)
    found = result.tasks["mood"][metric]
    assert found > 0.2 if value is None else found == pytest.approx(value, abs=0.05)
    assert any(f"task mood, {metric.replace('_', ' ')}: observed" in warning for warning in result.warnings)
    assert any(f"data.drift.max_{metric}" in said for said in listener.said)
    written = json.loads((tmp_path / "out" / "drift.json").read_text())["tasks"][0]["metrics"]
    assert [entry["passed"] for entry in written if entry["name"] == metric] == [False]


def test_critical_drift_stops_after_everything_is_written(compare, tmp_path):
    with pytest.raises(ValidationFailed, match=r"(?s)unknown words.*max_unknown_words.*Fix: look at.*drift\.html"):
        compare(texts(1), texts(2, words=METALS), severity="critical")
    assert (tmp_path / "out" / "drift.html").stat().st_size > 1000
    assert json.loads((tmp_path / "out" / "drift.json").read_text())["tasks"]


def test_a_limit_that_is_raised_lets_the_rows_pass(compare):
    limits = {"max_length_shift": 1, "max_unknown_words": 1, "max_separability": 1}
    assert compare(texts(1), texts(2, words=METALS), severity="critical", **limits).warnings == []


def test_without_a_champion_nothing_is_compared_which_is_said(compare, tmp_path):
    listener = Listener()
    result = compare(None, texts(2), progress=listener)
    assert (result.tasks, result.without_champion) == ({}, ["mood"])
    assert listener.said == ["no champion yet, so nothing to compare with: mood"]
    assert "No champion yet" in (tmp_path / "out" / "drift.html").read_text()


def test_comparison_that_is_switched_off_is_said(compare, tmp_path):
    listener = Listener()
    assert compare(texts(1), texts(2, words=METALS), reference="off", progress=listener).tasks == {}
    assert "data.drift.reference is off" in listener.said[0]
    assert "data.drift.reference is off" in (tmp_path / "out" / "drift.html").read_text()


@pytest.mark.parametrize("few", ["champion", "rows"])
def test_too_few_rows_are_an_error(compare, few):
    sides = (texts(1, rows=30), texts(2)) if few == "champion" else (texts(1), texts(2, rows=30))
    with pytest.raises(DriftError, match=r"task mood: the .*rows have \d+ texts that differ.*expected at least 50"):
        compare(*sides)


def test_texts_without_words_cannot_be_compared(compare):
    with pytest.raises(DriftError, match="the rows have 1 texts that differ in the words"):
        compare(texts(1), ["!" * number for number in range(2, 200)])


def without_file(folder):
    (folder / "mood.npz").unlink()


def cut_short(folder):
    content = (folder / "mood.npz").read_bytes()
    (folder / "mood.npz").write_bytes(content[: len(content) // 2])


def of_another_format(folder):
    text = (folder / "mood.json").read_text()
    (folder / "mood.json").write_text(text.replace("tradewind-reference-1", "tradewind-reference-9"))


def without_a_value(folder):
    values = json.loads((folder / "mood.json").read_text())
    (folder / "mood.json").write_text(json.dumps({key: value for key, value in values.items() if key != "labels"}))


@pytest.mark.parametrize("damage", [without_file, cut_short, of_another_format, without_a_value])
def test_a_missing_or_damaged_reference_is_an_error_and_no_pass(compare, tmp_path, damage):
    compare(texts(1), texts(2))
    damage(tmp_path / "champions" / "mood")
    with pytest.raises(DriftError, match=r"task mood: .*cannot be read.*data\.drift\.reference=off"):
        drift(recipe({}), tmp_path / "rows", tmp_path / "champions", tmp_path / "out", SilentProgress())


def test_no_text_can_be_read_from_a_reference(tmp_path):
    refer(tmp_path, ["Ada Lovelace lives at 12 Secret Street", *texts(1)])
    content = (tmp_path / "mood.json").read_bytes()
    reference = load(tmp_path, "mood")
    assert b"ecret" not in content
    assert {str(getattr(reference, name).dtype) for name in ("known", "times", "buckets", "ends")} == {
        "uint32",
        "uint16",
        "int64",
    }
