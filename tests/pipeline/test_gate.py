import json
from pathlib import Path

import numpy as np
import pytest
from judge_cases import answer, make_recipe
from kind_cases import numbered, random_case, tagged

from pipeline.config import Gate
from pipeline.errors import TradewindError
from pipeline.gate import GateResult, gate
from pipeline.judge.names import HEADLINES, MAIN
from pipeline.judge.predictions import predict, read_predictions, write_predictions
from pipeline.progress import SilentProgress

TRUTH = ["eye"] * 50 + ["heart"] * 30 + ["lung"] * 20


def wrong(count: int, start: int = 0) -> list[str]:
    """The truth with `count` rows answered wrongly, from row `start` on."""
    other = {"eye": "heart", "heart": "lung", "lung": "eye"}
    return [other[label] if start <= row < start + count else label for row, label in enumerate(TRUTH)]


def judge(tmp_path: Path, recipe, candidate, baseline, champion=None) -> tuple[GateResult, dict]:
    (tmp_path / "gate").mkdir(parents=True, exist_ok=True)
    result = gate(
        recipe,
        "organ",
        answer(tmp_path / "candidate", TRUTH, candidate),
        answer(tmp_path / "baseline", TRUTH, baseline, model="linear baseline"),
        answer(tmp_path / "champion", TRUTH, champion) if champion else None,
        tmp_path / "gate",
        SilentProgress(),
    )
    record = json.loads((tmp_path / "gate" / "gate.json").read_text())
    assert (record["verdict"], record["reasons"]) == (result.verdict, result.reasons)
    assert result.verdict in (tmp_path / "gate" / "gate.md").read_text().splitlines()[0]
    return result, record


def test_thresholds_that_hold_pass(tmp_path) -> None:
    recipe = make_recipe(thresholds={"accuracy": 0.9, "macro_f1": 0.8})
    result, record = judge(tmp_path, recipe, wrong(10), wrong(30))
    assert result.verdict == "pass"
    assert result.reasons == ["Every critical rule holds."]
    rule = record["rules"][0]
    assert (rule["value"], rule["bound"], rule["severity"], rule["passed"]) == (0.9, 0.9, "critical", True)
    assert rule["interval"][0] < 0.9 < rule["interval"][1]
    assert record["rows"] == 100


def test_one_threshold_missed_fails_and_says_by_how_much(tmp_path) -> None:
    recipe = make_recipe(thresholds={"accuracy": 0.95, "macro_f1": 0.5})
    result, record = judge(tmp_path, recipe, wrong(10), wrong(30))
    assert result.verdict == "fail"
    assert len(result.reasons) == 1
    assert "Accuracy is 0.900" in result.reasons[0]
    assert "falls short of the threshold of 0.95, by 0.050" in result.reasons[0]
    assert [rule["passed"] for rule in record["rules"]] == [False, True, True, True]
    assert "FAILS" in (tmp_path / "gate" / "gate.md").read_text()


def test_without_thresholds_the_default_is_stated_and_applied(tmp_path) -> None:
    recipe = make_recipe(baseline="off")
    result, _ = judge(tmp_path, recipe, ["eye"] * 100, wrong(30))
    assert result.verdict == "fail"
    assert "No thresholds are declared (tasks.organ.gate.thresholds)" in result.reasons[0]
    assert 'always answering "eye", 0.500' in result.reasons[0]
    result, record = judge(tmp_path, recipe, wrong(40), wrong(30))
    assert result.verdict == "pass"
    assert "No thresholds are declared" in record["rules"][0]["sentence"]
    assert record["rules"][0]["bound"] == 0.5


@pytest.mark.parametrize(("severity", "verdict"), [("critical", "fail"), ("warning", "pass"), ("off", "pass")])
def test_losing_to_the_linear_baseline(tmp_path, severity, verdict) -> None:
    recipe = make_recipe(thresholds={"accuracy": 0.5}, baseline=severity, metric="accuracy")
    result, record = judge(tmp_path, recipe, wrong(20), wrong(5))
    assert result.verdict == verdict
    rules = {rule["name"]: rule for rule in record["rules"]}
    if severity == "off":
        assert "accuracy > linear baseline" not in rules
        assert result.reasons == ["Every critical rule holds."]
        return
    rule = rules["accuracy > linear baseline"]
    assert rule["value"] == pytest.approx(-0.15)
    assert rule["interval"][1] < 0
    assert "does not beat the linear baseline in accuracy: 0.800 against 0.950" in rule["sentence"]
    assert any(rule["sentence"] in reason for reason in result.reasons)
    assert any(reason.startswith("Warning: ") for reason in result.reasons) == (severity == "warning")


def test_a_tie_with_the_linear_baseline_does_not_beat_it(tmp_path) -> None:
    recipe = make_recipe(thresholds={"accuracy": 0.5})
    assert judge(tmp_path, recipe, wrong(10), wrong(10))[0].verdict == "fail"


@pytest.mark.parametrize(("severity", "verdict"), [("critical", "fail"), ("warning", "pass")])
def test_the_same_model_without_pretraining_is_met_on_the_same_draws(tmp_path, severity, verdict) -> None:
    recipe = make_recipe(thresholds={"accuracy": 0.5}, scratch=severity, metric="accuracy", baseline="off")
    (tmp_path / "gate").mkdir()
    candidate = answer(tmp_path / "candidate", TRUTH, wrong(20))
    baseline, scratch = (answer(tmp_path / name, TRUTH, wrong(15)) for name in ("baseline", "scratch"))
    arguments = (candidate, baseline, None, tmp_path / "gate", SilentProgress(), scratch)
    assert gate(recipe, "organ", *arguments).verdict == verdict
    record = json.loads((tmp_path / "gate" / "gate.json").read_text())
    rule = next(rule for rule in record["rules"] if rule["name"] == "accuracy > model without pretraining")
    assert (rule["severity"], rule["value"]) == (severity, pytest.approx(-0.05))
    assert rule["interval"][0] < -0.05 < rule["interval"][1]
    assert record["mcnemar"]["scratch"] == {"only_candidate": 0, "only_opponent": 5, "p": pytest.approx(0.0625)}
    assert "model without pretraining" in (tmp_path / "gate" / "gate.md").read_text()


def test_a_difference_that_chance_explains_is_called_that(tmp_path) -> None:
    recipe = make_recipe(thresholds={"accuracy": 0.5}, metric="accuracy")
    _, record = judge(tmp_path, recipe, wrong(10), wrong(11, start=40))
    rule = record["rules"][1]
    assert rule["passed"]
    assert rule["interval"][0] < 0 < rule["interval"][1]
    assert "chance could explain it" in rule["sentence"]
    _, record = judge(tmp_path, recipe, wrong(2), wrong(40))
    assert "chance" not in record["rules"][1]["sentence"]


def test_no_champion_is_said_and_passes(tmp_path) -> None:
    _, record = judge(tmp_path, make_recipe(), wrong(10), wrong(30))
    rule = record["rules"][-1]
    assert rule["passed"]
    assert rule["value"] is None
    assert "no champion to compare with" in rule["sentence"]
    assert "champion" not in record["scores"]


@pytest.mark.parametrize(
    ("margin", "errors", "verdict"),
    [(0.0, 9, "pass"), (0.0, 11, "fail"), (0.02, 12, "pass"), (0.02, 13, "fail"), (0.0, 10, "pass")],
)
def test_not_worse_than_the_champion_by_more_than_the_margin(tmp_path, margin, errors, verdict) -> None:
    recipe = make_recipe(thresholds={"accuracy": 0.5}, metric="accuracy", champion_margin=margin)
    result, record = judge(tmp_path, recipe, wrong(errors, start=20), wrong(40), wrong(10))
    assert result.verdict == verdict
    rule = record["rules"][-1]
    assert (rule["severity"], rule["bound"]) == ("critical", pytest.approx(-margin))
    assert rule["value"] == pytest.approx((10 - errors) / 100)
    assert f"0.{100 - errors:02}0 against 0.900" in rule["sentence"]


def test_identical_answers_keep_the_champion(tmp_path) -> None:
    recipe = make_recipe(thresholds={"accuracy": 0.5}, champion_margin=0.1)
    result, _ = judge(tmp_path, recipe, wrong(10), wrong(30), wrong(10))
    assert result.verdict == "fail"
    assert "no better than the champion: their answers are identical" in result.reasons[0]


def test_scores_hold_every_model_and_metric_with_an_interval(tmp_path) -> None:
    _, record = judge(tmp_path, make_recipe(), wrong(10), wrong(30), wrong(12, start=3))
    assert list(record["scores"]) == ["candidate", "baseline", "champion", "majority"]
    for model, accuracy in (("candidate", 0.9), ("baseline", 0.7), ("champion", 0.88), ("majority", 0.5)):
        score = record["scores"][model]["accuracy"]
        assert score["value"] == pytest.approx(accuracy)
        assert score["interval"][0] < accuracy < score["interval"][1]


def test_the_verdict_is_the_same_each_time(tmp_path) -> None:
    records = [judge(tmp_path / name, make_recipe(), wrong(10), wrong(30), wrong(12))[1] for name in ("one", "two")]
    assert records[0] == records[1]


def test_a_model_judged_on_other_rows_is_refused(tmp_path) -> None:
    (tmp_path / "gate").mkdir()
    candidate = answer(tmp_path / "candidate", TRUTH, wrong(10))
    other = answer(tmp_path / "baseline", TRUTH, wrong(10), row_ids=[f"other:{row}" for row in range(100)])
    with pytest.raises(TradewindError, match=r"different test rows.*same preprocess artifact"):
        gate(make_recipe(), "organ", candidate, other, None, tmp_path / "gate", SilentProgress())


def test_the_order_of_the_rows_does_not_matter(tmp_path) -> None:
    (tmp_path / "gate").mkdir()
    ids = [f"notes:{row}" for row in range(100)]
    candidate = answer(tmp_path / "candidate", TRUTH, wrong(10))
    backwards = answer(tmp_path / "champion", TRUTH[::-1], wrong(10)[::-1], row_ids=ids[::-1])
    baseline = answer(tmp_path / "baseline", TRUTH, wrong(30))
    result = gate(make_recipe(), "organ", candidate, baseline, backwards, tmp_path / "gate", SilentProgress())
    assert "identical" in result.reasons[0]


def test_rows_of_a_group_widen_the_interval_and_are_told(tmp_path) -> None:
    (tmp_path / "gate").mkdir()
    groups = [f"patient {row // 10}" for row in range(100)]
    folders = [answer(tmp_path / f"m{count}", TRUTH, wrong(count), groups=groups) for count in (10, 30)]
    gate(make_recipe(thresholds={"accuracy": 0.5}), "organ", *folders, None, tmp_path / "gate", SilentProgress())
    record = json.loads((tmp_path / "gate" / "gate.json").read_text())
    assert record["bootstrap"]["units"] == 10
    assert record["rules"][0]["interval"][0] <= 0.75
    assert "10 groups of rows that belong together" in (tmp_path / "gate" / "gate.md").read_text()


@pytest.mark.parametrize(("hold", "verdict"), [("value", "pass"), ("bound", "fail")])
def test_a_threshold_may_be_held_against_the_end_of_the_interval(tmp_path, hold, verdict) -> None:
    recipe = make_recipe(thresholds={"accuracy": 0.88}, hold=hold)
    result, record = judge(tmp_path, recipe, wrong(10), wrong(30))
    assert result.verdict == verdict
    low = record["rules"][0]["interval"][0]
    assert low < 0.88 < record["rules"][0]["value"]
    if hold == "bound":
        assert (
            f"the lower end, {low:.3f}, falls short of the threshold of 0.88, by {0.88 - low:.3f}" in result.reasons[0]
        )


def test_an_error_must_stay_below_its_threshold(tmp_path) -> None:
    result, record = judge(tmp_path, make_recipe(thresholds={"log_loss": 2.0}), wrong(10), wrong(30))
    assert (result.verdict, record["rules"][0]["name"]) == ("pass", "log_loss <= 2")
    result, _ = judge(tmp_path, make_recipe(thresholds={"log_loss": 0.1}), wrong(10), wrong(30))
    assert result.verdict == "fail"
    assert "Log loss is 0.394" in result.reasons[0]
    assert "exceeds the threshold of 0.1, by 0.294" in result.reasons[0]


def test_a_smaller_error_beats_the_baseline_and_the_champion(tmp_path) -> None:
    recipe = make_recipe(thresholds={"accuracy": 0.5}, metric="log_loss")
    result, record = judge(tmp_path, recipe, wrong(10), wrong(30), wrong(20))
    assert result.verdict == "pass"
    rules = {rule["name"]: rule for rule in record["rules"]}
    assert rules["log_loss < linear baseline"]["value"] < 0
    assert rules["log_loss <= champion"]["passed"]
    assert judge(tmp_path, recipe, wrong(20), wrong(30), wrong(10))[0].verdict == "fail"


def test_a_missed_review_threshold_asks_a_person_and_a_critical_one_still_fails(tmp_path) -> None:
    recipe = make_recipe(thresholds={"accuracy": 0.8}, review={"accuracy": 0.95})
    result, _ = judge(tmp_path, recipe, wrong(10), wrong(30))
    assert result.verdict == "needs_review"
    assert result.reasons[0] == "Every critical rule holds."
    assert result.reasons[1].startswith("For review: Accuracy is 0.900")
    assert judge(tmp_path, recipe, wrong(3), wrong(30))[0].verdict == "pass"
    assert judge(tmp_path, recipe, wrong(25), wrong(30))[0].verdict == "fail"


def test_only_a_review_threshold_leaves_the_default_in_force(tmp_path) -> None:
    result, record = judge(tmp_path, make_recipe(review={"accuracy": 0.1}), wrong(60), wrong(70))
    assert result.verdict == "fail"
    assert record["rules"][0]["name"] == "accuracy > majority answer"


def test_the_calibration_bound(tmp_path) -> None:
    recipe = make_recipe(thresholds={"accuracy": 0.5}, max_calibration_error=0.05)
    assert judge(tmp_path, recipe, wrong(10), wrong(30))[0].verdict == "pass", "confident at 0.9, right at 0.9"
    result, _ = judge(tmp_path, recipe, wrong(25), wrong(30))
    assert result.verdict == "fail"
    assert "Calibration error is 0.150" in result.reasons[0]


@pytest.mark.parametrize(
    ("cost", "verdict", "said"),
    [
        ({"megabytes": 4.0, "milliseconds": 9.0}, "pass", "The bundle takes 4 MB, within the bound of 5 MB."),
        ({"megabytes": 6.0, "milliseconds": 9.0}, "fail", "The bundle takes 6 MB, above the bound of 5 MB."),
        ({"megabytes": 4.0, "milliseconds": 12.5}, "fail", "text takes 12.5 ms, above the bound of 10 ms."),
        ({"megabytes": 4.0, "milliseconds": None}, "fail", "The milliseconds of the candidate were not measured"),
    ],
)
def test_latency_and_size_bounds(tmp_path, cost, verdict, said) -> None:
    (tmp_path / "gate").mkdir()
    candidate, baseline = (answer(tmp_path / f"m{count}", TRUTH, wrong(count)) for count in (10, 30))
    metrics = json.loads((candidate / "metrics.json").read_text())
    (candidate / "metrics.json").write_text(json.dumps(metrics | {"cost": cost}))
    recipe = make_recipe(thresholds={"accuracy": 0.5}, max_megabytes=5, max_milliseconds=10)
    assert gate(recipe, "organ", candidate, baseline, None, tmp_path / "gate", SilentProgress()).verdict == verdict
    assert said in (tmp_path / "gate" / "gate.md").read_text()


def test_a_slice_that_became_worse_fails_although_the_whole_is_better(tmp_path) -> None:
    recipe = make_recipe(thresholds={"accuracy": 0.5}, metric="accuracy", slice_margin=0.05)
    parts = ["old"] * 70 + ["new"] * 30
    result, record = sliced(tmp_path, recipe, wrong(9, start=70), wrong(40), wrong(15), parts)
    assert result.verdict == "fail"
    (sentence,) = result.reasons
    assert "On the slice part = new (30 rows) the candidate is worse than the champion by more than" in sentence
    assert "0.700 against 1.000, a difference of -0.300" in sentence
    assert [entry["slice"] for entry in record["slices"]] == ["old", "new"]
    assert [rule["name"] for rule in record["rules"][-2:]] == ["accuracy on part = new", "accuracy on slices"]
    assert "Of the other slices (1) none is worse" in record["rules"][-1]["sentence"]
    assert "| part: new | 30 | 0.700 (" in (tmp_path / "gate" / "gate.md").read_text()
    gentle = make_recipe(thresholds={"accuracy": 0.5}, metric="accuracy", slice_margin=0.3)
    assert sliced(tmp_path, gentle, wrong(9, start=70), wrong(40), wrong(15), parts)[0].verdict == "pass"
    person = recipe.tasks["organ"].gate.model_copy(update={"slice_severity": "review"})
    recipe = make_recipe(**person.model_dump())
    assert sliced(tmp_path, recipe, wrong(9, start=70), wrong(40), wrong(15), parts)[0].verdict == "needs_review"


def sliced(tmp_path: Path, recipe, candidate, baseline, champion, parts: list[str]) -> tuple[GateResult, dict]:
    judge(tmp_path, recipe, candidate, baseline, champion)
    predictions = read_predictions(tmp_path / "candidate")
    predictions.rows["slice.part"] = parts
    write_predictions(tmp_path / "candidate", "organ", "transformer", predictions)
    folders = [tmp_path / name for name in ("candidate", "baseline", "champion", "gate")]
    result = gate(recipe, "organ", *folders, SilentProgress())
    return result, json.loads((tmp_path / "gate" / "gate.json").read_text())


def test_mcnemar_of_every_opponent_is_kept_and_told(tmp_path) -> None:
    _, record = judge(tmp_path, make_recipe(), wrong(10), wrong(30), wrong(12))
    assert record["mcnemar"]["baseline"]["only_candidate"] == 20
    assert record["mcnemar"]["champion"]["only_opponent"] == 0
    assert set(record["mcnemar"]) == {"baseline", "champion", "majority"}
    assert "20 rows only the candidate has right, 0 only the linear baseline" in (tmp_path / "gate/gate.md").read_text()


@pytest.mark.parametrize("kind", ["multi_label", "regression", "tagging"])
def test_other_kinds_are_judged_by_their_own_metrics(tmp_path, kind) -> None:
    good, bad = random_case(kind, 80, seed=1), random_case(kind, 80, seed=1)
    order = np.random.default_rng(2).permutation(80)
    if kind == "tagging":
        bad = tagged(bad.rows["label"].tolist(), [["O"] * len(row) for row in bad.rows["label"]])
    else:
        bad = predict(kind, bad.rows.drop(columns=["predicted", "confidence"]), bad.labels, bad.answers[order])
    for name, predictions in {"candidate": good, "baseline": bad, "baseline/majority": bad, "champion": bad}.items():
        (tmp_path / name).mkdir()
        write_predictions(tmp_path / name, "organ", name, predictions, {"said": "always answering nothing"})
    (tmp_path / "gate").mkdir()
    folders = [tmp_path / name for name in ("candidate", "baseline", "champion", "gate")]
    result = gate(make_recipe(), "organ", *folders, SilentProgress())
    record = json.loads((tmp_path / "gate/gate.json").read_text())
    assert result.verdict == "pass"
    assert record["metric"] == MAIN[kind]
    assert set(record["scores"]["candidate"]) == set(HEADLINES[kind])
    folders[0], folders[2] = folders[2], folders[0]
    assert gate(make_recipe(), "organ", *folders, SilentProgress()).verdict == "fail"


def test_an_undefined_metric_fails_its_threshold_and_says_why(tmp_path) -> None:
    flat, near = numbered([2.0, 2.0, 2.0], [1.0, 2.0, 3.0]), numbered([2.0, 2.0, 2.0], [2.0, 2.5, 2.0])
    for name, predictions in {"candidate": near, "baseline": flat, "baseline/majority": flat}.items():
        (tmp_path / name).mkdir()
        write_predictions(tmp_path / name, "organ", name, predictions, {"said": "always answering nothing"})
    (tmp_path / "gate").mkdir()
    recipe = make_recipe()
    task = recipe.tasks["organ"].model_copy(update={"gate": Gate(thresholds={"pearson": 0.5})})
    recipe = recipe.model_copy(update={"tasks": {"organ": task}})
    result = gate(
        recipe, "organ", tmp_path / "candidate", tmp_path / "baseline", None, tmp_path / "gate", SilentProgress()
    )
    assert result.verdict == "fail"
    assert "Pearson correlation is undefined" in result.reasons[0]
    assert "every test row has the same truth" in result.reasons[0]
    assert "Pearson correlation | undefined" in (tmp_path / "gate/gate.md").read_text()
