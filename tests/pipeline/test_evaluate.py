import json
import shutil

import numpy as np
import pytest
from judge_cases import write_split
from tiny_bundle import LABELS, TEXTS, make_bundle

from pipeline.errors import SourceError, TradewindError
from pipeline.judge.predictions import read_metrics, read_predictions
from pipeline.progress import SilentProgress

TRUTH = [text.rsplit(" ", 1)[1] for text in TEXTS]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return make_bundle(tmp_path_factory.mktemp("bundle"))


def run(tmp_path, model, task="organ", **gate):
    from judge_cases import make_recipe

    from pipeline.evaluate import evaluate

    out = tmp_path / "out"
    out.mkdir()
    recipe = make_recipe(**gate)
    recipe = recipe.model_copy(update={"tasks": {task: recipe.tasks["organ"]}})
    return evaluate(recipe, task, tmp_path, model, tmp_path / "validated", out, SilentProgress()), out


def test_every_row_is_answered_as_the_bundle_answers_it(tmp_path, bundle) -> None:
    from pipeline.bundle import Bundle

    for split in ("train", "test"):
        write_split(tmp_path, "organ", split, TEXTS, TRUTH)
    result, out = run(tmp_path, bundle)
    expected = Bundle.load(bundle).answer(TEXTS)  # (rows, labels)
    predictions = read_predictions(out)
    np.testing.assert_allclose(predictions.probabilities, expected, atol=1e-6)
    assert predictions.rows["predicted"].tolist() == [LABELS[index] for index in expected.argmax(axis=1)]
    assert predictions.rows["text"].tolist() == TEXTS
    right = sum(LABELS[index] == label for index, label in zip(expected.argmax(axis=1), TRUTH, strict=True))
    assert result.metrics["accuracy"] == pytest.approx(right / len(TEXTS))
    assert result.rows == len(TEXTS)
    metrics = read_metrics(out)
    assert metrics["macro_f1"] == result.metrics["macro_f1"]
    assert metrics["labels"] == sorted(LABELS)
    assert predictions.rows["group"].tolist()[0] == "test 0"


def test_a_label_that_the_model_never_saw_counts_as_wrong(tmp_path, bundle) -> None:
    write_split(tmp_path, "organ", "train", TEXTS, TRUTH)
    write_split(tmp_path, "organ", "test", TEXTS, ["skin"] * 4 + TRUTH[4:])
    result, out = run(tmp_path, bundle)
    metrics = read_metrics(out)
    assert result.unseen_rows == metrics["unseen_rows"] == 4
    assert metrics["unseen_labels"] == {"skin": 4}
    assert metrics["per_class"]["skin"]["recall"] == 0
    assert result.metrics["accuracy"] <= 8 / 12


def test_an_empty_test_split_is_an_error(tmp_path, bundle) -> None:
    write_split(tmp_path, "organ", "test", [], [])
    with pytest.raises(SourceError, match=r"no rows in its test split.*preprocess\.split"):
        run(tmp_path, bundle)


def test_a_model_of_another_task_is_refused(tmp_path, bundle) -> None:
    shutil.copytree(bundle, tmp_path / "model")
    write_split(tmp_path, "severity", "test", TEXTS, TRUTH)
    with pytest.raises(TradewindError, match="trained for task 'organ', but is to be judged on 'severity'"):
        run(tmp_path, tmp_path / "model", task="severity")


def test_cost_slices_and_errors_are_kept_beside_the_answers(tmp_path, bundle) -> None:
    for split in ("train", "test"):
        write_split(tmp_path, "organ", split, TEXTS, TRUTH)
    _, out = run(tmp_path, bundle, max_milliseconds=1000)
    cost = read_metrics(out)["cost"]
    assert cost["megabytes"] == pytest.approx(sum(file.stat().st_size for file in bundle.iterdir()) / 1e6, abs=0.001)
    assert 0 < cost["milliseconds"] < 1000
    rows = read_predictions(out).rows
    assert rows["slice.length"].str.endswith("words").all()
    assert rows["slice.labels"].str.startswith("rare").all()
    errors = json.loads((out / "errors.json").read_text())
    wrong = rows[rows["label"] != rows["predicted"]]
    assert {row["row_id"] for row in errors["mistakes"]} == set(wrong["row_id"])


def test_time_is_not_measured_when_nobody_asks(tmp_path, bundle) -> None:
    for split in ("train", "test"):
        write_split(tmp_path, "organ", split, TEXTS, TRUTH)
    assert read_metrics(run(tmp_path, bundle)[1])["cost"]["milliseconds"] is None
