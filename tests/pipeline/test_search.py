"""A search: which trial becomes the fine-tuning, and how a real one is interrupted, gone on with and kept."""

import json
from pathlib import Path

import pytest
from test_flow import RecordingDisplay

from pipeline import trial as trial_module
from pipeline.bundle import Bundle
from pipeline.config import Settings
from pipeline.errors import Diverged, Interrupted, RecipeError, StoreError, TrainingError
from pipeline.flow import Flow
from pipeline.recipes import load_recipe
from pipeline.search import Trial, recipe_of_trial, search
from pipeline.store import Artifact

SPACE = "{learning_rate: {low: 1.0e-4, high: 3.0e-2, log: true}, dropout: [0.0, 0.2]}"
SEARCH = f"tasks.kind.finetune.search={{trials: 3, parallel: 2, space: {SPACE}}}"


def trials_of(folder: Path, metrics: list[float | None]) -> list[Trial]:
    """Return trials that are done, with what each left in its folder."""
    trials = []
    for number, metric in enumerate(metrics, start=1):
        path = folder / str(number)
        (path / "bundle").mkdir(parents=True)
        (path / "bundle" / "model.keras").write_text(str(number))
        (path / "manifest.json").write_text("{}")
        result = {"value": metric, "diverged": None if metric is not None else "the loss became nan at update 3."}
        result |= {"metric": metric and "macro_f1", "finetuned": metric and {"metric": "macro_f1", "steps": number}}
        trials.append(Trial(number, {"epochs": number}, Artifact("trial", f"f{number}", path, "c", result, False, 1.5)))
    return trials


def test_the_first_of_the_best_is_kept_with_the_results_of_all(tmp_path) -> None:
    found = search(trials_of(tmp_path, [0.5, None, 0.9, 0.9]), tmp_path / "out")
    assert (found["best_trial"], found["metric"], found["steps"]) == (3, "macro_f1", 3)
    assert [(entry["trial"], entry["values"], entry["metric"]) for entry in found["trials"]] == [
        (1, {"epochs": 1}, 0.5),
        (2, {"epochs": 2}, None),
        (3, {"epochs": 3}, 0.9),
        (4, {"epochs": 4}, 0.9),
    ]
    assert found["trials"][1]["diverged"].startswith("the loss became nan")
    assert (found["trials"][2]["artifact"], found["trials"][2]["seconds"]) == ("trial/f3", 1.5)
    files = {path.relative_to(tmp_path / "out").as_posix(): path for path in (tmp_path / "out").rglob("*.*")}
    assert set(files) == {"bundle/model.keras"}
    assert files["bundle/model.keras"].read_text() == "3"


def test_when_all_diverge_there_is_nothing_to_keep(tmp_path) -> None:
    with pytest.raises(TrainingError, match="all 2 trials of the search diverged; the first: the loss became nan"):
        search(trials_of(tmp_path, [None, None]), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_value_between_the_ends_that_the_recipe_refuses_is_said_before_it_trains(tiny_recipe) -> None:
    wide = "tasks.kind.finetune.search={trials: 3, space: {global_batch_size: {low: 4, high: 4000}}}"
    recipe = load_recipe(tiny_recipe, [wide, "runtime.micro_batch_size=4"])
    assert recipe_of_trial(recipe, "kind", {"global_batch_size": 8}).tasks["kind"].finetune.global_batch_size == 8
    with pytest.raises(
        RecipeError, match=r"space allows global_batch_size=6, which the recipe refuses: .* multiple of"
    ):
        recipe_of_trial(recipe, "kind", {"global_batch_size": 6})


class Killed:
    """The fine-tuning, which is interrupted the first time that it is to begin for the second time, and counts."""

    def __init__(self) -> None:
        self.train, self.calls = trial_module.finetune, []

    def __call__(self, recipe, task, tokens, backbone, out, progress):
        self.calls.append(recipe.tasks[task].finetune.learning_rate)
        if len(self.calls) == 2:
            raise Interrupted("stopped")
        if len(self.calls) == 4:
            (out / "checkpoints" / "step-3").mkdir(parents=True)
            (out / "logs").mkdir()
            raise Diverged("the loss became nan at update 3")
        return self.train(recipe, task, tokens, backbone, out, progress)


@pytest.mark.slow
def test_a_real_search_is_interrupted_and_goes_on_and_is_kept(tiny_recipe, tmp_path, monkeypatch) -> None:
    recipe = load_recipe(tiny_recipe, [SEARCH, "tasks.kind.finetune.epochs=1", "runtime.tracking=[]"])
    settings = Settings(workspace=tmp_path / "workspace")
    flow = Flow.create(recipe, tiny_recipe, settings)
    for step in ("validate", "drift", "preprocess", "pretrain"):
        flow.step(step, None, RecordingDisplay())
    proposed = flow.open_trials("kind", 1)
    assert [trial.number for trial in proposed] == [1, 2]
    assert proposed[0].label("kind").startswith("kind, trial 1: learning_rate=0.")
    assert flow.open_trials("kind", 2) == [], "not known before the first are done"
    with pytest.raises(StoreError, match="trial 3 of kind learns from trials before it, and trial 1 is not done"):
        flow.step("trial", "kind", RecordingDisplay(), trial=3)
    with pytest.raises(StoreError, match="the trial 4, and the task kind has the trials 1 to 3"):
        flow.step("trial", "kind", RecordingDisplay(), trial=4)

    killed = Killed()
    monkeypatch.setattr(trial_module, "finetune", killed)
    with pytest.raises(Interrupted):
        flow.step("finetune", "kind", RecordingDisplay())
    nodes = flow.store.runs.load(flow.run_id)["nodes"]
    assert {node: entry["status"] for node, entry in nodes.items() if "[" in node} == {
        "finetune[kind]": "interrupted",
        "trial[kind 1]": "done",
        "trial[kind 2]": "interrupted",
        "trial[kind 3]": "failed",  # asked for above
        "trial[kind 4]": "failed",
    }

    display = RecordingDisplay()
    again = Flow.create(recipe, tiny_recipe, settings)
    made = again.step("finetune", "kind", display)
    assert display.kept == {"trial[kind 1]"}
    assert display.computed == {"trial[kind 2]", "trial[kind 3]", "finetune[kind]"}
    assert killed.calls[1] == killed.calls[2], "the same trial goes on"
    assert len(set(killed.calls)) == 3
    entries = made.result["trials"]
    assert [entry["values"]["learning_rate"] for entry in entries] == [killed.calls[n] for n in (0, 2, 3)]
    assert [entry["values"] for entry in entries[:2]] == [trial.values for trial in proposed]
    assert (entries[2]["metric"], entries[2]["diverged"]) == (None, "the loss became nan at update 3")
    diverged = again.store.get(entries[2]["artifact"]).path
    assert {path.name for path in diverged.iterdir()} == {"logs", "manifest.json"}
    best = max(entries[:2], key=lambda entry: entry["metric"])
    assert (made.result["best_trial"], made.result["validation_metric"]) == (best["trial"], best["metric"])
    bundles = [again.store.get(entry["artifact"]).path / "bundle" / "model.keras" for entry in entries[:2]]
    assert (made.path / "bundle" / "model.keras").read_bytes() == bundles[best["trial"] - 1].read_bytes()
    assert Bundle.load(made.path / "bundle").labels == ("trade", "weather")
    manifest = json.loads((bundles[0].parent.parent / "manifest.json").read_text())
    assert manifest["recipe"]["tasks.kind.finetune"]["learning_rate"] == killed.calls[0]
    assert manifest["recipe"]["tasks.kind.finetune"]["search"] is None

    # A second run keeps all; more trials go on from those that are there.
    display = RecordingDisplay()
    third = Flow.create(recipe, tiny_recipe, settings)
    assert third.step("finetune", "kind", display).hit
    assert (display.kept, display.computed, len(killed.calls)) == ({"finetune[kind]"}, set(), 4)
    assert third.open_trials("kind", 1) == [], "nothing is left to search"
    more = Flow.create(
        load_recipe(tiny_recipe, [SEARCH.replace("3, p", "4, p"), "tasks.kind.finetune.epochs=1"]), "", settings
    )
    assert [trial.artifact is not None for trial in more.trials("kind")] == [True, True, True, False]
