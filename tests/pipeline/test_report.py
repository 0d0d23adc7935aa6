import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from judge_cases import answer, make_recipe, write_split
from kind_cases import random_case

from pipeline.gate import gate
from pipeline.judge.predictions import predict, write_predictions
from pipeline.judge.worst import write_errors
from pipeline.progress import SilentProgress
from pipeline.report import duration, render

TRUTH = ["eye"] * 6 + ["heart"] * 5 + ["lung"] * 4
ANSWERS = ["eye"] * 5 + ["heart"] * 5 + ["eye"] + ["lung"] * 4
WORSE = ["eye"] * 9 + ["heart"] * 2 + ["eye"] * 2 + ["lung"] * 2
ATTACK = "<script>alert(1)</script>"
VOID = {"meta", "br", "line", "rect", "polyline", "link", "img", "hr", "input"}


class Page(HTMLParser):
    """Collects tags, attributes and visible text, and checks that tags are closed in order."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.words = ""
        self.feed(self.source)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data):
        if not self.open or self.open[-1] != "style":
            self.words += " " + data

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", self.words)


@pytest.fixture
def artifacts(tmp_path) -> dict[str, Path]:
    """Folders as the steps leave them, with one attack among the texts."""
    texts = [f"text {index}" for index in range(15)]
    texts[5] = ATTACK
    store = tmp_path / "store"
    found = {
        "validate": store / "validate",
        "preprocess": store / "preprocess",
        "pretrain": store / "pretrain",
        "evaluate[organ]": answer(store / "candidate", TRUTH, ANSWERS, texts=texts, confidence=0.97),
        "baseline[organ]": answer(store / "baseline", TRUTH, WORSE, texts=texts),
        "champion[organ]": answer(store / "champion", TRUTH, WORSE, texts=texts),
        "gate[organ]": store / "gate",
    }
    write_validated(found["validate"])
    for split, size in (("train", 40), ("validation", 10), ("test", 15)):
        write_split(found["preprocess"], "organ", split, ["x"] * size, ["eye"] * size)
    (found["preprocess"] / "tasks/organ/labels.json").write_text('["eye", "heart", "lung"]')
    lines = [
        {"step": step, "loss": 9 - step / 100, "tokens_per_second": 1200 + step, "note": "x"}
        for step in range(100, 700, 100)
    ]
    (found["pretrain"] / "logs").mkdir(parents=True)
    (found["pretrain"] / "logs/metrics.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    found["gate[organ]"].mkdir()
    judged = [found[f"{name}[organ]"] for name in ("evaluate", "baseline", "champion", "gate")]
    gate(make_recipe(thresholds={"accuracy": 0.8}), "organ", *judged, SilentProgress())
    return found


def write_validated(folder: Path) -> None:
    folder.mkdir(parents=True)
    figures = {"kept": 65, "quarantined": 3, "quarantined_by_reason": {"text is empty": 2, ATTACK: 1}}
    (folder / "statistics.json").write_text(json.dumps({"sources": {"notes": figures}}))
    check = {"source": "notes", "severity": "warning", "observed": 4, "expected": "at least 5"}
    checks = [check | {"name": "rows_per_label", "success": False}, check | {"name": "rows", "success": True}]
    (folder / "checks.json").write_text(json.dumps(checks))
    (folder / "data_docs").mkdir()
    (folder / "data_docs/index.html").write_text("pages")


def make_run(**changes) -> dict:
    nodes = {
        "validate": {"reference": "validate/" + "a" * 64, "hit": True, "seconds": 3.0, "status": "done"},
        "pretrain": {"reference": "pretrain/" + "b" * 64, "hit": False, "seconds": 125.0, "status": "done"},
    }
    run = {
        "run_id": "20260401-1200-clinic",
        "recipe": make_recipe(thresholds={"accuracy": 0.8}).model_dump(mode="json"),
        "recipe_name": "clinic",
        "created": "2026-04-01T12:00:00.000001+00:00",
        "trigger": "manual",
        "nodes": nodes,
        "outcome": "succeeded",
    }
    return run | changes


def test_the_page_shows_what_the_steps_wrote(tmp_path, artifacts) -> None:
    path = render(make_run(), artifacts, tmp_path / "reports" / "one")
    assert path == tmp_path / "reports" / "one" / "index.html"
    text = Page(path).text
    for expected in (
        "20260401-1200-clinic",
        "2026-04-01 12:00:00",
        "2 min 5 s",  # the reused step costs nothing
        "notes 65 3",
        "text is empty notes 2",
        "1 of 2 checks failed",
        "organ 40 10 15 3",
        "600 steps",
        "accuracy >= 0.8",
        "Accuracy is 0.867",
        "pass",
        "2 of 15 answers are wrong",
        "says heart at 97 %, labelled eye",
        "tradewind run configs/clinic.yaml",
        "pretrain/bbbb",
        "reused",
    ):
        assert expected in text, expected
    assert "could not be rendered" not in text


def test_scores_stand_side_by_side_with_their_intervals(tmp_path, artifacts) -> None:
    text = Page(render(make_run(), artifacts, tmp_path / "report")).text
    scores = json.loads((artifacts["gate[organ]"] / "gate.json").read_text())["scores"]
    for model in ("candidate", "baseline", "champion"):
        cell = scores[model]["macro_f1"]
        low, high = cell["interval"]
        assert f"{cell['value']:.3f} {low:.3f}\u2013{high:.3f}" in text


def test_what_the_pretrained_model_knows_of_the_language_is_told(tmp_path, artifacts) -> None:
    manifest = artifacts["pretrain"] / "manifest.json"
    manifest.write_text(json.dumps({"result": {"language": {"perplexity": 12.5, "bits_per_byte": 1.25}}}))
    text = Page(render(make_run(), artifacts, tmp_path / "report")).text
    assert "Of the corpus' validation texts: perplexity 12.5, bits per byte 1.25." in text
    assert "shown what surrounds" not in text
    manifest.write_text(json.dumps({"result": {"language": {"masked_perplexity": 12.5}}}))
    text = Page(render(make_run(), artifacts, tmp_path / "report")).text
    assert "masked perplexity 12.5. The model was shown what surrounds the tokens that it predicts" in text


def test_where_a_backbone_comes_from_and_which_recipe_was_run_is_told(tmp_path, artifacts) -> None:
    run = make_run() | {"trigger": "cli: mine/start.yaml"}
    run["recipe"]["pretrain"]["start_from"] = "run:such-1"
    (artifacts["pretrain"] / "manifest.json").write_text(json.dumps({"result": {"steps": 0}}))
    text = Page(render(run, artifacts, tmp_path / "report")).text
    assert "Nothing was pretrained: the backbone of run:such-1 is taken as it is." in text
    assert "tradewind run mine/start.yaml" in text
    (artifacts["pretrain"] / "manifest.json").write_text(json.dumps({"result": {"steps": 12}}))
    assert "Trained further from run:such-1" in Page(render(run, artifacts, tmp_path / "report")).text


def test_the_same_model_without_pretraining_stands_beside_the_others(tmp_path, artifacts) -> None:
    scratch = artifacts["scratch_evaluate[organ]"] = answer(tmp_path / "scratch", TRUTH, WORSE)
    recipe = make_recipe(thresholds={"accuracy": 0.8}, scratch="critical")
    judged = [artifacts[f"{name}[organ]"] for name in ("evaluate", "baseline", "champion", "gate")]
    gate(recipe, "organ", *judged, SilentProgress(), scratch)
    text = Page(render(make_run(), artifacts, tmp_path / "report")).text
    assert "The candidate beats the model without pretraining in macro-F1" in text
    assert "Metric candidate linear baseline model without pretraining champion majority answer" in text


def test_the_versions_of_the_registry_are_told(tmp_path, artifacts) -> None:
    artifacts["publish[organ]"] = tmp_path / "publish"
    artifacts["publish[organ]"].mkdir()
    (artifacts["publish[organ]"] / "proof.json").write_text('{"rows": 7, "max_difference": 3e-7, "tolerance": 1e-4}')
    run = make_run()
    done = {"reference": "x/y", "hit": False, "seconds": 1.0, "status": "done"}
    run["nodes"] |= {"champion[organ]": done | {"version": "3"}, "publish[organ]": done | {"version": "4"}}
    text = Page(render(run, artifacts, tmp_path / "report")).text
    assert "champion (version 3)" in text
    assert "Published as version 4. The export was reopened in a fresh process and answered 7 test rows" in text
    assert "3.0e-07" in text


def test_classes_come_worst_first(tmp_path, artifacts) -> None:
    text = Page(render(make_run(), artifacts, tmp_path / "report")).text
    table = text[text.index("Per class, worst first") : text.index("Most confident mistakes")]
    assert table.index(" heart ") < table.index(" eye ") < table.index(" lung ")


def test_texts_cannot_break_out_of_the_page(tmp_path, artifacts) -> None:
    run = make_run(run_id=ATTACK, recipe_name=ATTACK)
    run["recipe"]["description"] = ATTACK
    page = Page(render(run, artifacts, tmp_path / "report"))
    assert "script" not in page.tags
    assert page.text.count(ATTACK) >= 4  # run, recipe, reason of quarantine, mistaken text: all shown as text


def test_nothing_is_loaded_from_elsewhere(tmp_path, artifacts) -> None:
    page = Page(render(make_run(), artifacts, tmp_path / "report"))
    assert not re.search(r"https?:|//[a-z]|@import|url\(", page.source)
    targets = [value for name, value in page.attributes if name in ("href", "src", "srcset", "data", "action")]
    assert all(target.startswith("#") or target == "../store/validate/data_docs/index.html" for target in targets)
    assert "../store/validate/data_docs/index.html" in targets
    assert "prefers-color-scheme: dark" in page.source
    assert ("name", "viewport") in page.attributes


def test_links_within_the_page_lead_somewhere(tmp_path, artifacts) -> None:
    page = Page(render(make_run(), artifacts, tmp_path / "report"))
    ids = {value for name, value in page.attributes if name == "id"}
    assert {value[1:] for name, value in page.attributes if name == "href" and value.startswith("#")} <= ids


def test_a_broken_section_shows_its_error_and_the_rest_renders(tmp_path, artifacts, caplog) -> None:
    (artifacts["validate"] / "checks.json").write_text("{ not json")
    text = Page(render(make_run(), artifacts, tmp_path / "report")).text
    assert text.count("This section could not be rendered. JSONDecodeError") == 1
    assert "Accuracy is 0.867" in text
    assert "600 steps" in text
    assert "section Data could not be rendered" in caplog.text


@pytest.mark.parametrize("missing", ["champion[organ]", "gate[organ]", "evaluate[organ]", "pretrain", "preprocess"])
def test_what_a_run_did_not_reach_is_left_out(tmp_path, artifacts, missing) -> None:
    del artifacts[missing]
    if missing == "champion[organ]":
        judged = [artifacts[f"{name}[organ]"] for name in ("evaluate", "baseline")]
        gate(make_recipe(), "organ", *judged, None, artifacts["gate[organ]"], SilentProgress())
    text = Page(render(make_run(outcome="failed"), artifacts, tmp_path / "report")).text
    assert "could not be rendered" not in text
    assert ("did not reach a verdict" in text) == (missing == "gate[organ]")
    if missing == "champion[organ]":
        assert "There is no champion to compare with" in text


def test_calibration_slices_and_errors_have_their_place(tmp_path, artifacts) -> None:
    text = Page(render(make_run(), artifacts, tmp_path / "report")).text
    for expected in (
        "Expected calibration error: 0.103",
        "Reliability",
        "Most confident mistakes",
        "McNemar's test of the same rows",
        "majority answer",
    ):
        assert expected in text, expected


def test_the_trials_of_a_search_stand_beside_each_other(tmp_path, artifacts) -> None:
    folder = artifacts["finetune[organ]"] = tmp_path / "store" / "search"
    folder.mkdir()
    trials = [
        {"trial": number, "values": {"learning_rate": rate, "lora.rank": None}, "metric": metric, "seconds": 65.0}
        | {"diverged": None if metric else f"the loss became nan {ATTACK}", "artifact": f"trial/{number}"}
        for number, rate, metric in [(1, 0.0003, 0.61), (2, 0.02, None), (3, 0.001, 0.74)]
    ]
    result = {"metric": "macro_f1", "best_trial": 3, "trials": trials}
    (folder / "manifest.json").write_text(json.dumps({"result": result}))
    page = Page(render(make_run(), artifacts, tmp_path / "report"))
    assert "3 fine-tunings, compared by Macro-F1 on the validation rows. Trial 3 was kept." in page.text
    for expected in (
        "learning_rate lora.rank Macro-F1 Time",
        "1 0.0003 null 0.610",
        "2 0.02 null diverged 1 min 5 s",
        "3 best",
    ):
        assert expected in " ".join(page.text.split()), expected
    assert "could not be rendered" not in page.text


@pytest.mark.parametrize("broken", ["errors.json", "predictions.parquet", "metrics.json"])
def test_a_part_of_a_task_that_breaks_leaves_the_others(tmp_path, artifacts, broken) -> None:
    (artifacts["evaluate[organ]"] / broken).write_text("{ not json")
    page = Page(render(make_run(), artifacts, tmp_path / "report"))
    parts = {"errors.json": 1, "predictions.parquet": 0, "metrics.json": 4}[broken]
    assert page.text.count("This section could not be rendered") == parts
    assert "How to reproduce" in page.text


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (
            "multi_label",
            ["Per class, worst first", "Threshold", "Micro-F1", "are not answered with exactly their labels"],
        ),
        ("regression", ["Truth and answer", "Residuals", "RMSE", "Farthest off", "R²"]),
        ("tagging", ["Per type of span, worst first", "Span F1", "Word accuracy", "Likely label errors"]),
    ],
)
def test_every_kind_has_its_page(tmp_path, kind, expected) -> None:
    good, bad = random_case(kind, 120, seed=1), random_case(kind, 120, seed=1)
    worse = np.random.default_rng(2).permutation(120)
    if kind != "tagging":
        bad = predict(kind, bad.rows.drop(columns=["predicted", "confidence"]), bad.labels, bad.answers[worse])
    good.rows["slice.place"] = ["east", "west"] * 60
    folders = {name: tmp_path / "store" / name for name in ("evaluate", "baseline", "gate")}
    for name, predictions in {"evaluate": good, "baseline": bad, "baseline/majority": bad}.items():
        folder = tmp_path / "store" / name
        folder.mkdir(parents=True)
        write_predictions(folder, "organ", name, predictions, {"said": "always answering nothing"})
        write_errors(folder, predictions)
    folders["gate"].mkdir()
    gate(make_recipe(), "organ", folders["evaluate"], folders["baseline"], None, folders["gate"], SilentProgress())
    run = make_run()
    run["recipe"]["tasks"]["organ"]["data"]["kind"] = kind
    text = Page(render(run, {f"{name}[organ]": folder for name, folder in folders.items()}, tmp_path / "page")).text
    assert "could not be rendered" not in text
    assert "Reliability" not in text
    for words in [*expected, "Slices:", "place east", "majority answer"]:
        assert words in text, words


def test_a_forced_publication_is_told(tmp_path, artifacts) -> None:
    export = tmp_path / "store/publish/export"
    export.mkdir(parents=True)
    verdict = json.loads((artifacts["gate[organ]"] / "gate.json").read_text())
    (export / "gate.json").write_text(json.dumps(verdict | {"verdict": "fail", "forced": "the board <agreed>"}))
    proof = {"rows": 7, "max_difference": 1e-7, "tolerance": 1e-4}
    (export.parent / "proof.json").write_text(json.dumps(proof))
    text = Page(render(make_run(), artifacts | {"publish[organ]": export.parent}, tmp_path / "report")).text
    assert "Published against this verdict. Reason given: the board <agreed>" in text


def test_a_run_that_failed_at_once_still_has_a_page(tmp_path) -> None:
    node = {"reference": None, "hit": False, "seconds": 1.0, "status": "failed", "error": "SourceError: no such file"}
    text = Page(render(make_run(nodes={"validate": node}, outcome="failed"), {}, tmp_path / "report")).text
    assert text.index("SourceError: no such file") < text.index("This run has no validated data"), "first what matters"
    assert "could not be rendered" not in text


def test_rendering_again_replaces_the_page(tmp_path, artifacts) -> None:
    render(make_run(outcome="running"), artifacts, tmp_path / "report")
    text = Page(render(make_run(), artifacts, tmp_path / "report")).text
    assert "succeeded" in text
    assert "running" not in text


def test_durations_read_well() -> None:
    assert [duration(seconds) for seconds in (0.25, 42, 59.7, 125, 7900)] == [
        "0.2 s",
        "42 s",
        "1 min 0 s",
        "2 min 5 s",
        "2 h 11 min",
    ]
