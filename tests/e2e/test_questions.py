"""A recipe whose task is to answer questions about texts, from SQuAD's rows to a published model that answers."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from asked_notes import asked_notes
from test_chain import tradewind

RECIPE = """
name: asked
data: {{sources: {{articles: {{kind: files, path: {data}, text: context, text_pair: question}}}}}}
preprocess:
  split: {{validation: 0.2, test: 0.2}}
  tokenizer: {{vocabulary_size: 300}}
  sequence_length: 64
model: {{size: tiny, num_layers: 1, hidden_dim: 32, num_heads: 2}}
pretrain: {{steps: 8, global_batch_size: 8}}
tasks:
  find:
    data: {{source: articles, kind: question_answering, label: answers}}
    finetune: {{epochs: 50, learning_rate: 0.01, global_batch_size: 8}}
    gate: {{thresholds: {{token_f1: 0.7}}, baseline: warning}}
runtime: {{backend: jax, precision: float32, tracking: []}}
"""
CONTEXT = "Thing 3. Its colour is pale blue. Its size is small."


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("asked")
    rows = [row | {"answers": json.loads(row["answers"])} for row in asked_notes(240)]
    rows[5]["answers"] = {"text": ["purple"], "answer_start": [9]}
    (folder / "articles.jsonl").write_text("\n".join(map(json.dumps, rows)))
    recipe = folder / "asked.yaml"
    recipe.write_text(RECIPE.format(data=folder / "articles.jsonl"))
    done = tradewind(folder / "workspace", "run", str(recipe))
    assert done.returncode == 0, done.stderr
    assert "published as asked-find version 1" in done.stdout
    assert "1 of 240 rows quarantined (1 answer not in the text)" in done.stderr + done.stdout
    return folder / "workspace"


@pytest.mark.slow
def test_the_published_model_answers_from_the_command_line_and_through_mlflow(workspace: Path, tmp_path: Path) -> None:
    told = tradewind(workspace, "predict", CONTEXT, "--pair", "what colour has it", "--json")
    assert told.returncode == 0, told.stderr
    said = json.loads(told.stdout)
    assert (said["answer"], CONTEXT[said["start"] : said["end"]]) == ("pale blue", "pale blue")
    assert len(said["top"]) == 3
    code = f"""
import json, os
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
import mlflow, pandas
mlflow.set_tracking_uri("sqlite:///{workspace / "mlflow.db"}")
model = mlflow.pyfunc.load_model("models:/asked-find@champion")
rows = pandas.DataFrame({{"text": [{CONTEXT!r}], "text_pair": ["what colour has it"]}})
names = [model.metadata.get_input_schema().input_names(), model.metadata.get_output_schema().input_names()]
print(json.dumps([*names, model.predict(rows)["answer"].tolist()]))
"""
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    assert json.loads(process.stdout.splitlines()[-1]) == [
        ["text", "text_pair"],
        ["answer", "start", "end", "confidence"],
        ["pale blue"],
    ]


@pytest.mark.slow
def test_the_report_and_the_card_are_of_the_kind(workspace: Path) -> None:
    page = next(workspace.glob("reports/*/index.html")).read_text()
    for words in ("Token F1", "Exact match", "of the questions have an answer in their text", "unanswerable"):
        assert words.lower() in page.lower()
    assert "could not be rendered" not in page
    (card,) = workspace.glob("artifacts/publish/*/export/MODEL_CARD.md")
    assert "the stretch of it that answers a question" in card.read_text()
    assert '--pair "your question" --model asked-find' in card.read_text()
    (proof,) = workspace.glob("artifacts/publish/*/proof.json")
    assert json.loads(proof.read_text())["rows"] > 5
