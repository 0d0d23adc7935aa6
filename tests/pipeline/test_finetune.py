import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import accuracy_score, f1_score
from tiny_steps import KINDS, finetune_notes, make_backbone, make_recipe, make_tokens

from pipeline.backbone import load_encoder
from pipeline.bundle import Bundle


@pytest.fixture(scope="module")
def tokens(tmp_path_factory):
    return make_tokens(tmp_path_factory.mktemp("notes"))


@pytest.fixture(scope="module")
def backbone(tokens, tmp_path_factory):
    return make_backbone(tmp_path_factory.mktemp("backbone"), tokens, make_recipe())


def test_it_learns_the_task_and_the_bundle_answers(tokens, backbone, tmp_path) -> None:
    result = finetune_notes(tokens, backbone, tmp_path / "out")
    log = [json.loads(line) for line in (tmp_path / "out" / "logs" / "metrics.jsonl").read_text().splitlines()]
    log = [line for line in log if "loss" in line]
    assert result.loss == log[-1]["loss"] < log[0]["loss"] / 2
    assert result.validation_accuracy > 0.9
    assert result.validation_loss < np.log(2) / 2
    judged = [json.loads(line) for line in (tmp_path / "out" / "logs" / "metrics.jsonl").read_text().splitlines()]
    judged = {line["step"]: line["validation_macro_f1"] for line in judged if "validation_macro_f1" in line}
    assert len(judged) == 4
    assert (result.metric, result.validation_metric) == ("macro_f1", max(judged.values()))
    assert result.kept_step == min(step for step, value in judged.items() if value == max(judged.values()))
    assert (result.method, result.trainable_parameters) == ("full", result.parameters)
    assert (result.task, result.classes, result.steps, result.resumed_at) == ("kind", 2, log[-1]["step"], 0)
    json.dumps(result.__dict__)
    files = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert files == {"bundle/model.keras", "bundle/tokenizer.json", "bundle/bundle.json", "logs/metrics.jsonl"}
    bundle = Bundle.load(tmp_path / "out" / "bundle")
    assert (bundle.task, bundle.labels, bundle.sequence_length) == ("kind", tuple(sorted(KINDS)), 32)
    texts = [f"{one} and {other} on day 3" for kind in sorted(KINDS) for one, other in [KINDS[kind][:2]]]
    answers = bundle.answer(texts)
    assert [bundle.labels[i] for i in answers.argmax(axis=1)] == sorted(KINDS)
    rows = pq.read_table(tokens / "tasks" / "kind" / "validation.parquet")
    predicted = [bundle.labels[i] for i in bundle.answer(rows["text"].to_pylist()).argmax(axis=1)]
    truth = rows["label"].to_pylist()
    assert result.validation_metric == pytest.approx(f1_score(truth, predicted, average="macro"))
    assert result.validation_accuracy == pytest.approx(accuracy_score(truth, predicted))


@pytest.mark.slow
@pytest.mark.parametrize("initialize", ["pretrained", "scratch"])
def test_it_starts_from_the_backbone_only_when_told_to(initialize, tokens, backbone, tmp_path) -> None:
    finetune_notes(
        tokens, backbone, tmp_path / "out", initialize=initialize, epochs=1, learning_rate=1e-12, label_smoothing=0.1
    )
    trained = Bundle.load(tmp_path / "out" / "bundle").model.encoder
    given = load_encoder(backbone, 0.0)
    largest = max(np.abs(a - b).max() for a, b in zip(trained.get_weights(), given.get_weights(), strict=True))
    assert (largest < 1e-6) == (initialize == "pretrained")
