import numpy as np
import pandas as pd
import pytest
from kind_cases import classified, labelled, numbered, rows_of
from sklearn.metrics import accuracy_score

from pipeline.config import Evaluate
from pipeline.errors import SourceError
from pipeline.judge.slices import OTHER, VALUES, judge_slices, with_columns, with_slices

TRAIN = pd.DataFrame({"label": ["a"] * 30 + ["b"] * 5})


def test_rows_are_sliced_by_length_rare_labels_and_named_columns() -> None:
    rows = rows_of(["a", "b", "new"], language=["en", None, "de"], channel=["", "mail", " "], unused=[1, 2, 3])
    rows["text"] = ["one two", "one two three", "one"]
    sliced = with_slices(
        "classification", rows, TRAIN, Evaluate(slices=["language", "channel"], lengths=[2], rare_rows=10)
    )
    assert sliced["slice.language"].tolist() == ["en", "(none)", "de"]
    assert sliced["slice.channel"].tolist() == ["(none)", "mail", "(none)"]
    assert sliced["slice.length"].tolist() == ["1 to 2 words", "over 2 words", "1 to 2 words"]
    assert [name.split()[0] for name in sliced["slice.labels"]] == ["common", "rare", "rare"]
    assert "unused" not in sliced


def test_a_column_of_many_values_keeps_the_most_frequent() -> None:
    codes = ["often"] * 3 + [f"code {index:02}" for index in range(40)]
    sliced = with_slices("regression", rows_of([1.0] * 43, code=codes), TRAIN, Evaluate(slices=["code"]))
    found = sliced["slice.code"].value_counts()
    assert found["often"] == 3
    assert found[OTHER] == 43 - 3 - (VALUES - 1)
    assert "slice.labels" not in sliced


def test_a_row_with_any_rare_label_is_rare() -> None:
    train = pd.DataFrame({"label": [["a"], ["a", "b"], ["a"]]})
    rows = labelled([["a"], ["a", "b"], []], np.full((3, 3), 0.5)).rows
    sliced = with_slices("multi_label", rows, train, Evaluate(rare_rows=2))
    assert [name.split()[0] for name in sliced["slice.labels"]] == ["common", "rare", "common"]


def test_a_column_that_was_not_kept_is_an_error() -> None:
    with pytest.raises(
        SourceError, match=r"evaluate\.slices names the column 'age', which the rows do not have.*'sex'"
    ):
        with_slices("classification", rows_of(["a"], sex=["f"]), TRAIN, Evaluate(slices=["age"]))


def test_columns_come_from_the_validated_rows_whatever_their_order(tmp_path) -> None:
    folder = tmp_path / "rows/notes"
    folder.mkdir(parents=True)
    for number, (ids, places) in enumerate(([["n:2", "n:9"], ["c", "z"]], [["n:1", "n:0"], ["b", None]])):
        pd.DataFrame({"row_id": ids, "text": "x", "place": places}).to_parquet(folder / f"{number:05}.parquet")
    rows = with_columns(rows_of(["a", "b", "c"]), tmp_path, "notes", ["place"])
    assert [value if isinstance(value, str) else None for value in rows["place"]] == [None, "b", "c"]
    assert with_columns(rows, tmp_path / "none", "notes", []) is rows
    with pytest.raises(
        SourceError, match=r"names the column 'plaice', which source 'notes' does not have; it has.*'place'"
    ):
        with_columns(rows, tmp_path, "notes", ["plaice"])


def test_the_label_itself_may_be_a_dimension() -> None:
    sliced = with_slices("classification", rows_of(["a", "b"]), TRAIN, Evaluate(slices=["label"]))
    assert sliced["slice.label"].tolist() == ["a", "b"]


def test_every_slice_has_the_metrics_of_its_rows() -> None:
    random = np.random.default_rng(1)
    truth = [str(label) for label in random.choice(["a", "b"], 100)]
    answers = {
        model: classified(truth, [one if random.random() < skill else "a" for one in truth])
        for model, skill in (("candidate", 0.9), ("champion", 0.5))
    }
    places = np.array(["x"] * 70 + ["y"] * 25 + ["z"] * 5)
    answers["candidate"].rows["slice.place"] = places
    answers["candidate"].rows["slice.length"] = "all the same"
    found = {entry["slice"]: entry for entry in judge_slices(answers, "accuracy", least=20, seed=3)}
    assert list(found) == ["x", "y", "z"], "the largest first, and none that is the whole"
    assert (found["z"]["rows"], found["z"]["scores"], found["z"]["difference"]) == (5, {}, None)
    for name in ("x", "y"):
        for model, predictions in answers.items():
            rows = predictions.rows[places == name]
            cell = found[name]["scores"][model]["accuracy"]
            assert cell["value"] == pytest.approx(accuracy_score(rows["label"], rows["predicted"]))
            assert cell["interval"][0] <= cell["value"] <= cell["interval"][1]
        ours, theirs = (found[name]["scores"][model]["accuracy"]["value"] for model in ("candidate", "champion"))
        assert found[name]["difference"]["value"] == pytest.approx(ours - theirs)


def test_without_a_champion_there_is_no_difference() -> None:
    candidate = numbered([1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 5.0])
    candidate.rows["slice.side"] = ["l", "l", "r", "r"]
    found = judge_slices({"candidate": candidate}, "rmse", least=2, seed=1)
    assert [entry["difference"] for entry in found] == [None, None]
    assert found[0]["scores"]["candidate"]["mae"]["value"] == 0
