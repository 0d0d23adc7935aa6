"""A recipe with a task of each further kind, from one file to published models that answer, with the command line."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from kinds_notes import kinds_notes
from test_chain import tradewind

RECIPE = """
name: kinds
data: {{sources: {{notes: {{kind: files, path: {data}}}}}}}
preprocess:
  split: {{validation: 0.2, test: 0.2}}
  tokenizer: {{vocabulary_size: 300}}
  sequence_length: 32
model: {{size: tiny, num_layers: 1, hidden_dim: 32, num_heads: 2}}
pretrain: {{steps: 8, global_batch_size: 8}}
tasks:
  topics: {{data: {{source: notes, label: topics, kind: multi_label}}, finetune: &learn {learn}, gate: &free {gate}}}
  amount: {{data: {{source: notes, label: amount, kind: regression}}, finetune: *learn, gate: *free}}
  terms: {{data: {{source: notes, label: tags, kind: tagging}}, finetune: *learn, gate: {terms}}}
runtime: {{backend: jax, precision: float32, tracking: []}}
"""


def write_recipe(folder: Path) -> Path:
    lines = [json.dumps({"text": note.pop("words")} | note) for note in kinds_notes(300)]
    (folder / "notes.jsonl").write_text("\n".join(lines))
    recipe = folder / "kinds.yaml"
    learn = "{epochs: 20, learning_rate: 0.01, global_batch_size: 8}"
    gate = "{baseline: warning}"
    terms = "{baseline: 'off', thresholds: {f1: 0.9}}"
    recipe.write_text(RECIPE.format(data=folder / "notes.jsonl", learn=learn, gate=gate, terms=terms))
    return recipe


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("kinds")
    done = tradewind(folder / "workspace", "run", str(write_recipe(folder)))
    assert done.returncode == 0, done.stderr
    for task in ("topics", "amount", "terms"):
        assert f"published as kinds-{task} version 1" in done.stdout
    return folder / "workspace"


def ask(workspace: Path, model: str, text: str) -> dict:
    answer = tradewind(workspace, "predict", "--model", model, "--json", text)
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout)


@pytest.mark.slow
def test_published_models_answer_in_their_own_way(workspace: Path) -> None:
    assert ask(workspace, "kinds-topics", "rain silk here number7")["labels"] == ["goods", "weather"]
    assert ask(workspace, "kinds-topics", "here again today number7")["labels"] == []
    none, three = (
        ask(workspace, "kinds-amount", f"{text} number7")["value"] for text in ("here rain", "silk salt silk")
    )
    assert three - none > 20
    tagged = ask(workspace, "kinds-terms", "rain here silk number7")
    assert [word["tag"] for word in tagged["words"]] == ["B-weather", "O", "B-goods", "O"]
    assert [(span["type"], span["text"]) for span in tagged["spans"]] == [("weather", "rain"), ("goods", "silk")]


@pytest.mark.slow
def test_mlflow_gives_tags_in_the_columns_of_the_signature(workspace: Path, tmp_path: Path) -> None:
    code = f"""
import json, os
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
import mlflow
mlflow.set_tracking_uri("sqlite:///{workspace / "mlflow.db"}")
model = mlflow.pyfunc.load_model("models:/kinds-terms@champion")
answers = model.predict(["rain here silk number7"])
print(json.dumps([model.metadata.get_output_schema().input_names(), list(answers["tags"][0])]))
"""
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    names, tags = json.loads(process.stdout.splitlines()[-1])
    assert names == ["words", "tags"]
    assert tags == ["B-weather", "O", "B-goods", "O"]


@pytest.mark.slow
def test_the_report_and_predictions_are_of_the_kind(workspace: Path) -> None:
    page = next(workspace.glob("reports/*/index.html")).read_text()
    for words in ("RMSE", "span F1", "subset accuracy"):
        assert words.lower() in page.lower()
    assert "could not be rendered" not in page
    metrics = [json.loads(path.read_text()) for path in workspace.glob("artifacts/evaluate/*/metrics.json")]
    assert {entry["kind"] for entry in metrics} == {"multi_label", "regression", "tagging"}
