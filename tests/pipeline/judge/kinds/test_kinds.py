"""What holds of every kind."""

import json
import math
from typing import get_args

import numpy as np
import pandas as pd
import pytest
from kind_cases import classified, found, labelled, numbered, random_case, tagged, written

from pipeline.config import Gate
from pipeline.config.judging import Metric
from pipeline.errors import TradewindError
from pipeline.judge.kinds import KINDS
from pipeline.judge.names import EVERY_METRIC, HEADLINES, MAIN, PLAIN, SMALLER_IS_BETTER
from pipeline.judge.predictions import predict, read_predictions, write_predictions
from pipeline.judge.ranking import RANKED
from pipeline.judge.worst import write_errors

ONE_ROW = {
    "classification": lambda: classified(["a"], ["a"]),
    "multi_label": lambda: labelled([[]], [[0.1, 0.2, 0.3]]),
    "regression": lambda: numbered([3.0], [4.0]),
    "tagging": lambda: tagged([["O"]], [["O"]]),
    "question_answering": lambda: found([[]], ["red"]),
    "generation": lambda: written(["rain"], [""]),
}


def test_every_kind_has_its_names() -> None:
    assert set(KINDS) == set(HEADLINES) == set(MAIN) == set(PLAIN)
    for kind, names in HEADLINES.items():
        assert {MAIN[kind], PLAIN[kind]} <= set(names)
    assert set(EVERY_METRIC) == set(get_args(Metric)) >= SMALLER_IS_BETTER


@pytest.mark.parametrize("kind", KINDS)
def test_sums_over_rows_give_what_the_libraries_give(kind) -> None:
    predictions = random_case(kind, 150, seed=1)
    sums = np.asarray(KINDS[kind].statistics(predictions, predictions.labels).sum(axis=0)).reshape(1, -1)
    scores = KINDS[kind].scores(sums, predictions.labels)
    measured = KINDS[kind].measure(predictions)
    assert set(HEADLINES[kind]) - set(scores) == ({"roc_auc", "pr_auc"} if kind in RANKED else set())
    for name, value in scores.items():
        assert value[0] == pytest.approx(measured[name], rel=1e-5), name


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_is_what_is_read(tmp_path, kind) -> None:
    predictions = random_case(kind, 30, seed=2)
    metrics = write_predictions(tmp_path, "organ", "transformer", predictions, {"cost": {}})
    again = read_predictions(tmp_path)
    assert (again.kind, again.labels, again.known) == (kind, predictions.labels, predictions.known)
    for column in ("row_id", "text", "label", "predicted"):
        assert again.rows[column].tolist() == predictions.rows[column].tolist()
    for one, other in zip(again.answers, predictions.answers, strict=True):
        np.testing.assert_array_equal(one, other)
    assert KINDS[kind].measure(again) == {name: metrics[name] for name in KINDS[kind].measure(again)}


@pytest.mark.parametrize("kind", KINDS)
def test_one_row_and_nothing_right_are_no_crash_and_no_nan(tmp_path, kind) -> None:
    metrics = write_predictions(tmp_path, "organ", "transformer", ONE_ROW[kind]())
    assert "NaN" not in (tmp_path / "metrics.json").read_text()
    for name in HEADLINES[kind]:
        assert (metrics[name] is None) == (name in metrics["undefined"])
    assert all(metrics["undefined"].values())
    write_errors(tmp_path, ONE_ROW[kind]())
    json.loads((tmp_path / "errors.json").read_text())


@pytest.mark.parametrize("kind", KINDS)
def test_an_answer_that_is_no_number_is_refused(kind) -> None:
    good = random_case(kind, 20, seed=3)
    answers = [np.array(row) for row in good.answers] if kind == "tagging" else np.array(good.answers)
    answers[4] = answers[4] * math.nan
    if kind == "generation":
        answers = pd.DataFrame({"text": good.rows["predicted"], "nats": answers, "tokens": 1.0})
    rows = good.rows.drop(columns=["predicted", "confidence"])
    with pytest.raises(TradewindError, match="with NaN or infinite numbers"):
        predict(kind, rows, good.labels, answers)


@pytest.mark.parametrize("kind", KINDS)
def test_mistakes_are_the_rows_that_are_wrong(kind) -> None:
    predictions = random_case(kind, 80, seed=4)
    right = KINDS[kind].right(predictions)
    wrong = KINDS[kind].mistakes(predictions)
    if right is None:
        error = (predictions.rows["label"] - predictions.rows["predicted"]).abs()
        assert wrong.idxmax() == error.idxmax()
    else:
        assert sorted(wrong.index) == list(np.flatnonzero(~right))
        assert 0 < len(wrong) < 80


def test_a_gate_about_a_metric_of_another_kind_is_refused() -> None:
    Gate(thresholds={"rmse": 3.5}).check("regression")
    with pytest.raises(
        ValueError, match=r"gate.thresholds.accuracy: accuracy is no metric of regression; expected.*rmse"
    ):
        Gate(thresholds={"accuracy": 0.9}).check("regression")
    with pytest.raises(
        ValueError, match="max_calibration_error is a rule for classification and multi_label, not for tagging"
    ):
        Gate(max_calibration_error=0.1).check("tagging")
