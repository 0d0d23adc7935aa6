"""The whole chain on a tiny recipe: what a run publishes, keeps, refuses, and how it goes on after a failure."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline import validate as validate_module
from pipeline.config import Settings
from pipeline.errors import BackendError, RecipeError, SourceError, StoreError, ValidationFailed
from pipeline.flow import STEPS, Flow
from pipeline.progress import SilentProgress
from pipeline.recipes import load_recipe
from pipeline.steps import GRAPH

ALWAYS = [name for name, step in GRAPH.items() if not (step.asked_by or step.part_of)]
NODES = {*ALWAYS[:4], *(f"{step}[kind]" for step in ALWAYS[4:])}


class RecordingDisplay:
    """Remembers which nodes were computed and which were kept."""

    def __init__(self) -> None:
        self.computed: set[str] = set()
        self.kept: set[str] = set()

    @contextmanager
    def step(self, node):
        yield SilentProgress()

    def finished(self, node, hit, seconds, summary):
        (self.kept if hit else self.computed).add(node)


def run(recipe: Path, workspace: Path, *overrides: str, restart: str | None = None):
    """Run a recipe and return the outcome, the display and the flow."""
    flow = Flow.create(load_recipe(recipe, overrides), recipe, Settings(workspace=workspace))
    display = RecordingDisplay()
    return flow.run(None, restart, display), display, flow


def run_until_drift(recipe: Path, workspace: Path):
    flow = Flow.create(load_recipe(recipe), recipe, Settings(workspace=workspace))
    display = RecordingDisplay()
    flow.step("validate", None, display)
    return flow.step("drift", None, display), display, flow


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    return tmp_path / "workspace"


def test_a_column_to_slice_by_that_is_not_there_is_told_before_training(tiny_recipe, workspace):
    recipe = load_recipe(tiny_recipe, ["tasks.kind.evaluate.slices=[language]"])
    flow = Flow.create(recipe, tiny_recipe, Settings(workspace=workspace))
    flow.step("validate", None, RecordingDisplay())
    with pytest.raises(SourceError, match=r"evaluate\.slices names the column 'language'"):
        flow.step("preprocess", None, RecordingDisplay())


@pytest.mark.slow
def test_a_second_run_keeps_everything_and_a_refused_candidate_leaves_the_champion(tiny_recipe, workspace):
    first, display, flow = run(tiny_recipe, workspace)

    assert display.computed == NODES
    assert first.tasks["kind"].verdict == "pass"
    assert first.tasks["kind"].champion is None
    champion = flow.registry.champion("tiny-kind")
    assert champion is not None
    assert champion.version == first.tasks["kind"].version == "1"
    assert first.report.is_file()
    record = flow.store.runs.load(flow.run_id)
    assert record["outcome"] == "succeeded"
    assert set(record["nodes"]) == NODES
    assert (champion.bundle / "recipe.yaml").is_file()

    second, display, flow = run(tiny_recipe, workspace)

    assert display.computed == set()
    assert display.kept == NODES
    assert second.tasks["kind"].version == "1"

    # How the recipe runs is no part of what it makes.
    changes = ("airflow.retries=5", "runtime.checkpoint_seconds=7", "publish.approval={}")
    third, display, _ = run(tiny_recipe, workspace, *changes)
    assert display.computed == set()
    assert (third.tasks["kind"].version, third.tasks["kind"].waits) == ("1", False), "the champion waits for nobody"

    # Only what a rule decides is decided again; the model stays the same version's.
    refused, display, flow = run(tiny_recipe, workspace, "tasks.kind.gate.baseline=critical")
    assert display.computed == {"gate[kind]"}
    assert refused.tasks["kind"].verdict == "fail"
    assert refused.tasks["kind"].version is None
    assert any("linear baseline" in reason for reason in refused.tasks["kind"].reasons)
    assert flow.registry.champion("tiny-kind").version == "1"

    # The same model without pretraining is trained where it is asked for, and nothing else is made anew.
    asked = ("tasks.kind.gate.scratch=warning", "tasks.kind.gate.thresholds={accuracy: 1.0}")
    compared, display, flow = run(tiny_recipe, workspace, *asked)
    assert display.computed == {"scratch[kind]", "scratch_evaluate[kind]", "gate[kind]"}
    assert compared.tasks["kind"].scratch["rows"] == first.tasks["kind"].candidate["rows"]
    made = {name: flow._made(name, "kind").path / "bundle" / "model.keras" for name in ("scratch", "finetune")}
    assert made["scratch"].read_bytes() != made["finetune"].read_bytes()
    verdict = json.loads((flow._made("gate", "kind").path / "gate.json").read_text())
    assert verdict["scores"]["scratch"]["accuracy"]["value"] == compared.tasks["kind"].scratch["accuracy"]
    assert "model without pretraining" in compared.report.read_text()

    # Another model meets the champion on the same rows.
    rival, display, flow = run(tiny_recipe, workspace, "tasks.kind.finetune.epochs=3")
    assert {"finetune[kind]", "evaluate[kind]", "champion[kind]", "gate[kind]"} <= display.computed
    assert display.kept == {"validate", "drift", "preprocess", "pretrain", "baseline[kind]"}
    assert rival.tasks["kind"].champion["accuracy"] == pytest.approx(first.tasks["kind"].candidate["accuracy"])
    assert flow.store.runs.load(flow.run_id)["nodes"]["champion[kind]"]["version"] == "1"
    expected = "2" if rival.tasks["kind"].verdict == "pass" else "1"
    assert flow.registry.champion("tiny-kind").version == expected

    # What a gate refuses is published all the same when a person says why, and that is kept.
    strict = "tasks.kind.gate.thresholds={accuracy: 1.0}"
    recipe = load_recipe(tiny_recipe, [strict, "tasks.kind.finetune.epochs=3", "tasks.kind.evaluate.slices=[place]"])
    flow = Flow.create(recipe, tiny_recipe, Settings(workspace=workspace))
    flow.force = "the harbour master needs it today"
    forced = flow.run(None, None, RecordingDisplay()).tasks["kind"]
    assert (forced.verdict, forced.forced) == ("fail", "the harbour master needs it today")
    gate = flow.store.get(flow.store.runs.load(flow.run_id)["nodes"]["gate[kind]"]["reference"]).path
    verdict = json.loads((gate / "gate.json").read_text())
    assert {entry["slice"] for entry in verdict["slices"] if entry["by"] == "place"}
    champion = flow.registry.champion("tiny-kind")
    assert champion.version == forced.version
    assert champion.tags["forced"] == "the harbour master needs it today"

    # The model without pretraining knows no backbone, so another one leaves it as it is.
    _, display, _ = run(tiny_recipe, workspace, *asked, "pretrain.steps=3")
    assert {"scratch[kind]", "scratch_evaluate[kind]"} <= display.kept

    # Other rows than the champion's are noticed before anything is trained on them.
    data = Path(load_recipe(tiny_recipe).data.sources["notes"].path)
    header, *rows = data.read_text().splitlines()
    data.write_text("\n".join([header, *(row.replace(" on day ", " brought by the ship of year ") for row in rows)]))
    with pytest.raises(ValidationFailed, match=r"(?s)the rows drifted from the champion's:.*task kind, unknown words"):
        run(tiny_recipe, workspace, "data.drift.severity=critical")
    warned, display, flow = run_until_drift(tiny_recipe, workspace)
    assert display.computed == {"drift"}
    assert warned.result["warnings"]


@pytest.mark.slow
def test_a_crash_between_export_and_registry_is_made_good(tiny_recipe, workspace):
    flow = Flow.create(load_recipe(tiny_recipe), tiny_recipe, Settings(workspace=workspace))
    display = RecordingDisplay()
    for step in ALWAYS:
        flow.step(step, None if step in ALWAYS[:4] else "kind", display)
    assert flow.registry.champion("tiny-kind") is None

    again = Flow.resume(flow.run_id, Settings(workspace=workspace))
    assert again.register("kind").version == "1"
    assert again.register("kind").version == "1"
    champion = flow.registry.champion("tiny-kind")
    assert champion.version == "1"
    assert (champion.tags["data"], champion.tags["run"]) == (flow._made("validate", None).content, flow.run_id)
    assert {"backbone", "finetune", "code", "source"} <= set(champion.tags)

    # Another target makes no other version; one that fails leaves the champion, and the next run goes on.
    target = workspace.parent / "models"
    target.touch()
    asked = f'publish.targets=["{target.as_uri()}/{{recipe}}"]'
    with pytest.raises(RecipeError, match="is not a folder that can be written"):
        run(tiny_recipe, workspace, asked)
    target.unlink()
    outcome, display, _ = run(tiny_recipe, workspace, asked)
    assert (display.computed, outcome.tasks["kind"].version) == (set(), "1")
    assert outcome.tasks["kind"].delivered == [f"{target.as_uri()}/tiny/tiny-kind/1"]
    assert (target / "tiny" / "tiny-kind" / "1" / "model.keras").is_file()


def test_a_step_says_which_artifact_it_lacks(tiny_recipe, workspace):
    flow = Flow.create(load_recipe(tiny_recipe), tiny_recipe, Settings(workspace=workspace))
    with pytest.raises(StoreError, match=r"(?s)step 'validate'.*tradewind step validate RECIPE"):
        flow.step("preprocess", None, RecordingDisplay())


def test_a_step_takes_what_an_earlier_run_of_the_same_recipe_made(tiny_recipe, workspace):
    recipe = load_recipe(tiny_recipe)
    earlier = Flow.create(recipe, tiny_recipe, Settings(workspace=workspace))
    rows = earlier.step("validate", None, RecordingDisplay())

    later = Flow.create(recipe, tiny_recipe, Settings(workspace=workspace))
    tokens = later.step("preprocess", None, RecordingDisplay())

    assert later.store.manifest(tokens.reference).inputs == {"rows": rows.content}


def test_restarting_from_a_step_computes_it_again(tiny_recipe, workspace):
    recipe = load_recipe(tiny_recipe)
    settings = Settings(workspace=workspace)
    flow = Flow.create(recipe, tiny_recipe, settings)
    display = RecordingDisplay()
    before = flow.step("validate", None, display)
    flow._again = STEPS[STEPS.index("validate") :]
    after = flow.step("validate", None, display)
    assert after.reference == before.reference
    assert not after.hit


def test_new_rows_in_the_source_are_new_input(tiny_recipe, workspace):
    recipe, settings = load_recipe(tiny_recipe), Settings(workspace=workspace)
    first = Flow.create(recipe, tiny_recipe, settings).step("validate", None, RecordingDisplay())
    with Path(recipe.data.sources["notes"].path).open("a") as file:
        file.write("harbour 7,trade,silk once more\n")
    second = Flow.create(recipe, tiny_recipe, settings).step("validate", None, RecordingDisplay())
    assert second.fingerprint != first.fingerprint
    assert second.result["rows"] == first.result["rows"] + 1


def test_a_failure_is_recorded_with_its_reason(tiny_recipe, workspace):
    recipe = load_recipe(tiny_recipe, ["data.sources.notes.path=nowhere.csv"])
    flow = Flow.create(recipe, tiny_recipe, Settings(workspace=workspace))
    with pytest.raises(SourceError, match=r"nowhere\.csv"):
        flow.run(None, None, RecordingDisplay())
    record = flow.store.runs.load(flow.run_id)
    assert record["outcome"] == "failed"
    assert not list(workspace.glob("artifacts/*/*"))


def test_a_missing_backend_is_told_before_anything_starts(tiny_recipe, workspace, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "torch" else object())
    recipe = load_recipe(tiny_recipe, ["runtime.backend=torch"])
    with pytest.raises(BackendError, match=r"(?s)'torch', which is not installed.*tradewind\[torch\]"):
        Flow.create(recipe, tiny_recipe, Settings(workspace=workspace))
    assert not workspace.exists()


def test_a_source_that_changes_while_it_is_read_is_of_no_use(tiny_recipe, workspace, monkeypatch):
    data = Path(load_recipe(tiny_recipe).data.sources["notes"].path)
    before = data.read_text()
    report = validate_module._report

    def write_while_somebody_adds_a_row(*arguments, **named):
        with data.open("a") as file:
            file.write("harbour 1,trade,silk and salt at the harbour on day 999\n")
        return report(*arguments, **named)

    flow = Flow.create(load_recipe(tiny_recipe), tiny_recipe, Settings(workspace=workspace))
    with monkeypatch.context() as patch:
        patch.setattr(validate_module, "_report", write_while_somebody_adds_a_row)
        with pytest.raises(SourceError, match=r"data\.sources\.notes changed while it was validated"):
            flow.step("validate", None, RecordingDisplay())
    assert not list(workspace.glob("artifacts/validate/*"))
    data.write_text(before)
    assert flow.step("validate", None, RecordingDisplay()).result["rows"] == 240


@pytest.mark.slow
def test_a_killed_pretraining_goes_on_from_its_checkpoint(tiny_recipe, workspace):
    overrides = ["pretrain.steps=400", "runtime.checkpoint_seconds=0.2"]
    command = [sys.executable, "-m", "pipeline.cli", "run", str(tiny_recipe), *(f"--set={o}" for o in overrides)]
    environment = os.environ | {"TRADEWIND_WORKSPACE": str(workspace), "KERAS_BACKEND": "jax"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 180
    while not list(workspace.glob("partial/pretrain/*/checkpoints/step-*/checkpoint.json")):
        assert process.poll() is None, "pretraining ended before it was killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not list(workspace.glob("artifacts/pretrain/*"))

    flow = Flow.create(load_recipe(tiny_recipe, overrides), tiny_recipe, Settings(workspace=workspace))
    artifact = flow.step("pretrain", None, RecordingDisplay())

    assert artifact.result["resumed_at"] > 0
    log = [json.loads(line) for line in (artifact.path / "logs" / "metrics.jsonl").read_text().splitlines()]
    steps = [line["step"] for line in log if "loss" in line]
    assert steps == sorted(set(steps))
    assert steps[-1] == 400
