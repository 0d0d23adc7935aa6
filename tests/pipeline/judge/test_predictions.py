import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from pipeline.errors import TradewindError
from pipeline.judge.predictions import (
    pairs_of,
    predict,
    read_metrics,
    read_predictions,
    same_rows,
    whole_texts,
    write_predictions,
)

ROWS = pd.DataFrame(
    {
        "row_id": ["n:1", "n:2", "n:3"],
        "text": ["x", "y", "z"],
        "text_pair": ["w", None, None],
        "label": ["a", "b", "new"],
        "group": ["g", None, None],
    }
)
PROBABILITIES = np.array([[0.75, 0.25], [0.625, 0.375], [0.125, 0.875]], np.float32)
KNOWN = ("a", "b")


def test_the_most_probable_label_wins_and_a_label_unknown_to_the_model_is_wrong() -> None:
    predictions = predict("classification", ROWS, KNOWN, PROBABILITIES)
    assert predictions.rows["predicted"].tolist() == ["a", "a", "b"]
    assert predictions.rows["confidence"].tolist() == [0.75, 0.625, 0.875]
    assert predictions.labels == ("a", "b", "new")
    assert predictions.probabilities[:, 2].tolist() == [0, 0, 0]
    assert predictions.unseen == {"new": 1}


def test_columns_follow_the_labels_when_the_model_orders_them_otherwise() -> None:
    predictions = predict("classification", ROWS, ("b", "a"), PROBABILITIES[:, ::-1])
    assert predictions.rows["predicted"].tolist() == ["a", "a", "b"]
    np.testing.assert_array_equal(predictions.probabilities[:, :2], PROBABILITIES)


def test_what_is_written_is_what_is_read(tmp_path) -> None:
    predictions = predict("classification", ROWS, KNOWN, PROBABILITIES)
    metrics = write_predictions(tmp_path, "organ", "transformer", predictions)
    assert metrics == read_metrics(tmp_path)
    assert metrics["unseen_rows"] == 1
    assert metrics["accuracy"] == pytest.approx(1 / 3)
    assert metrics["macro_recall"] == pytest.approx(1 / 3)
    again = read_predictions(tmp_path)
    assert (again.labels, again.known, again.unseen) == (predictions.labels, KNOWN, {"new": 1})
    np.testing.assert_array_equal(again.probabilities, predictions.probabilities)
    for column in ("row_id", "text", "label", "predicted", "confidence"):
        assert again.rows[column].tolist() == predictions.rows[column].tolist()
    assert pairs_of(again.rows) == ["w", None, None]
    assert whole_texts(again.rows) == ["x\nw", "y", "z"]
    assert again.rows["group"].isna().tolist() == [False, True, True]
    schema = pq.read_schema(tmp_path / "predictions.parquet")
    assert str(schema.field("probabilities").type) == "list<element: float>"


def test_a_model_that_answers_nan_is_refused() -> None:
    broken = PROBABILITIES.copy()
    broken[1, 0] = np.nan
    with pytest.raises(TradewindError, match="1 of 3 test rows with NaN"):
        predict("classification", ROWS, KNOWN, broken)


def test_same_rows_brings_every_model_into_the_order_of_the_first() -> None:
    one = predict("classification", ROWS, KNOWN, PROBABILITIES)
    shuffled = predict("classification", ROWS.iloc[[2, 0, 1]].reset_index(drop=True), KNOWN, PROBABILITIES[[2, 0, 1]])
    aligned = same_rows("organ", {"candidate": one, "champion": shuffled})["champion"]
    assert aligned.rows["row_id"].tolist() == ["n:1", "n:2", "n:3"]
    assert aligned.rows["predicted"].tolist() == one.rows["predicted"].tolist()
    np.testing.assert_array_equal(aligned.probabilities, one.probabilities)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda rows: rows.assign(row_id=["n:1", "n:2", "n:4"]), "1 only by the candidate, 1 only by the champion"),
        (lambda rows: rows.iloc[:2], "1 only by the candidate, 0 only by the champion"),
        (lambda rows: rows.assign(label=["a", "a", "new"]), "1 with another label"),
        (lambda rows: rows.assign(row_id=["n:1", "n:2", "n:2"]), "answer 1 rows twice"),
    ],
)
def test_other_rows_are_refused(change, said) -> None:
    other = change(ROWS)
    answers = {
        "candidate": predict("classification", ROWS, KNOWN, PROBABILITIES),
        "champion": predict("classification", other, KNOWN, PROBABILITIES[: len(other)]),
    }
    with pytest.raises(TradewindError, match=said):
        same_rows("organ", answers)
