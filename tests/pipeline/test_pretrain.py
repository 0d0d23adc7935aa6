import json
import os
import signal

import numpy as np
import pytest
from tiny_steps import make_recipe, make_tokens, view

from pipeline.backbone import load_backbone
from pipeline.errors import Interrupted, RecipeError
from pipeline.pretrain import PretrainResult, pretrain
from pipeline.progress import SilentProgress


class Watcher(SilentProgress):
    """Keeps what is said, and asks the process to stop after `stop_at` steps."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.stop_at = stop_at
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    def update(self, done: float, total: float, **figures: float | str) -> None:
        if done == self.stop_at:
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.fixture(scope="module")
def tokens(tmp_path_factory):
    return make_tokens(tmp_path_factory.mktemp("notes"))


@pytest.fixture(scope="module")
def pretrained(tokens, tmp_path_factory):
    out, watcher = tmp_path_factory.mktemp("pretrain"), Watcher()
    return out, pretrain(view(make_recipe(), "pretrain"), tokens, out, watcher), watcher


def read_log(out) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "logs" / "metrics.jsonl").read_text().splitlines()]


def test_the_loss_falls_and_the_result_tells_it(pretrained) -> None:
    out, result, watcher = pretrained
    log = read_log(out)
    assert isinstance(result, PretrainResult)
    assert log[0]["loss"] == pytest.approx(np.log(300), rel=0.15)  # nothing is known yet
    assert result.loss == log[-1]["loss"] < log[0]["loss"] - 1
    assert 0 < result.validation_loss < log[0]["loss"] - 1
    assert 0 < result.validation_accuracy <= 1
    assert (result.steps, result.resumed_at, result.precision) == (40, 0, "float32")
    assert result.tokens_per_second > 0
    json.dumps(result.__dict__)
    assert any("learning_rate 0.02" in line for line in watcher.said)  # the recipe's, not the derived one


def test_the_artifact_holds_what_fine_tuning_needs(pretrained, tokens) -> None:
    out, result, _ = pretrained
    files = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert files == {"backbone.weights.h5", "backbone.json", "tokenizer.json", "logs/metrics.jsonl"}
    assert (out / "tokenizer.json").read_bytes() == (tokens / "tokenizer.json").read_bytes()
    encoder = load_backbone(out, dropout=0.25)
    assert (encoder.hidden_dim, encoder.num_layers, encoder.num_heads, encoder.dropout) == (16, 1, 2, 0.25)
    # The head of the masked model: a kernel of 16 x 16 and a scale of 16.
    assert encoder.count_params() == result.parameters - 16 * 16 - 16


@pytest.mark.slow
def test_stopped_by_sigterm_it_continues_to_the_very_same_backbone(pretrained, tokens, tmp_path) -> None:
    whole, result, _ = pretrained
    recipe = view(make_recipe(), "pretrain")
    with pytest.raises(Interrupted, match="stopped by SIGTERM at step 20 of 40; its state is saved"):
        pretrain(recipe, tokens, tmp_path, Watcher(stop_at=20))
    assert not (tmp_path / "backbone.weights.h5").exists()
    watcher = Watcher()
    continued = pretrain(recipe, tokens, tmp_path, watcher)
    assert continued.resumed_at == 20
    assert "continuing at step 20" in watcher.said
    assert [line["step"] for line in read_log(tmp_path)] == [1, 10, 20, 30, 40]
    assert (continued.loss, continued.validation_loss) == (result.loss, result.validation_loss)
    pairs = zip(load_backbone(tmp_path, 0).get_weights(), load_backbone(whole, 0).get_weights(), strict=True)
    for actual, expected in pairs:
        np.testing.assert_array_equal(actual, expected)


def test_dimensions_that_do_not_fit_are_a_fault_of_the_recipe(tokens, tmp_path) -> None:
    recipe = make_recipe(model={"hidden_dim": 15})
    with pytest.raises(RecipeError, match=r"model: hidden_dim 15 does not divide into 2 heads"):
        pretrain(view(recipe, "pretrain"), tokens, tmp_path, Watcher())
