import json
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from tiny_steps import KINDS, make_recipe, make_tokens, view

from pipeline.backbone import load_encoder
from pipeline.bundle import Bundle
from pipeline.data.tokens.groups import GROUPS
from pipeline.data.tokens.shards import ShardedRows
from pipeline.data.tokens.tokenizer import load_tokenizer
from pipeline.errors import Interrupted, RecipeError, TrainingError
from pipeline.finetune import finetune
from pipeline.pretrain import PretrainResult, pretrain
from pipeline.progress import SilentProgress
from pipeline.training.export import export_backbone


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


def read_log(out, figure: str = "loss") -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (out / "logs" / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if figure in line]


def test_the_loss_falls_and_the_result_tells_it(pretrained) -> None:
    out, result, watcher = pretrained
    log = read_log(out)
    assert isinstance(result, PretrainResult)
    assert log[0]["loss"] == pytest.approx(np.log(300), rel=0.15)  # nothing is known yet
    assert result.loss == log[-1]["loss"] < log[0]["loss"] - 1
    assert 0 < result.validation_loss < log[0]["loss"] - 1
    assert 0 < result.validation_accuracy <= 1
    assert result.language["masked_perplexity"] == pytest.approx(np.exp(result.validation_loss))
    assert set(result.language) == {"masked_perplexity", "masked_bits_per_byte"}
    assert any("masked bits per byte" in line for line in watcher.said)
    assert (result.steps, result.resumed_at, result.precision) == (40, 0, "float32")
    assert result.tokens_per_second > 0
    json.dumps(result.__dict__)
    assert any("cosine from 0.02" in line for line in watcher.said)  # the recipe's, not the derived one
    assert [line["step"] for line in read_log(out, "validation_loss")] == [8, 16, 24, 32, 40]
    assert 0 < result.model_flops_utilization < 1
    assert any(f"attention kernel {result.attention_kernel}" in line for line in watcher.said)


def test_the_artifact_holds_what_fine_tuning_needs(pretrained, tokens) -> None:
    out, result, _ = pretrained
    files = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert {name for name in files if "tensorboard" not in name} == {
        "backbone.weights.h5",
        "backbone.json",
        "tokenizer.json",
        "logs/metrics.jsonl",
    }
    assert (out / "tokenizer.json").read_bytes() == (tokens / "tokenizer.json").read_bytes()
    encoder = load_encoder(out, dropout=0.25)
    assert (encoder.hidden_dim, encoder.num_layers, encoder.stack.block["num_heads"], encoder.dropout) == (
        16,
        1,
        2,
        0.25,
    )
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
    pairs = zip(load_encoder(tmp_path, 0).get_weights(), load_encoder(whole, 0).get_weights(), strict=True)
    for actual, expected in pairs:
        np.testing.assert_array_equal(actual, expected)


def test_dimensions_that_do_not_fit_are_a_fault_of_the_recipe(tokens, tmp_path) -> None:
    recipe = make_recipe(model={"hidden_dim": 15})
    with pytest.raises(RecipeError, match=r"model: hidden_dim 15 does not divide into 2 heads"):
        pretrain(view(recipe, "pretrain"), tokens, tmp_path, Watcher())


@pytest.mark.parametrize("architecture", ["decoder", "encoder_decoder"])
def test_every_architecture_learns_and_a_classifier_starts_from_it(architecture, tokens, tmp_path) -> None:
    task = {"data": {"source": "notes", "label": "kind"}, "finetune": {"epochs": 12, "global_batch_size": 8}}
    task["finetune"] |= {"learning_rate": 0.01}
    recipe = make_recipe(model={"architecture": architecture}, tasks={"kind": task})
    result = pretrain(view(recipe, "pretrain"), tokens, tmp_path, Watcher())
    log = read_log(tmp_path)
    assert log[-1]["loss"] < log[0]["loss"] - 0.7
    assert result.validation_loss < log[0]["loss"]
    out = tmp_path / "kind"
    tuned = finetune(view(recipe, "finetune", "kind"), "kind", tokens, tmp_path, out, SilentProgress())
    assert tuned.loss < np.log(2) / 2
    bundle = Bundle.load(out / "bundle")
    assert bundle.answer(["rain and wind on day 3"]).shape == (1, 2)


def extended(steps: int, **pretraining):
    """A schedule whose stable phase does not depend on how long it lasts."""
    shared = {"steps": steps, "schedule": "warmup_stable_decay", "warmup_steps": 4, "decay_fraction": 0.25}
    return view(make_recipe(pretrain=shared | pretraining), "pretrain")


def test_a_training_extended_from_its_stable_phase_is_the_longer_training(tokens, tmp_path) -> None:
    long, short, more = tmp_path / "long", tmp_path / "short", tmp_path / "more"
    pretrain(extended(40), tokens, long, Watcher())
    pretrain(extended(24), tokens, short, Watcher())
    result = pretrain(extended(40, start_from=str(short), resume_stable=True), tokens, more, Watcher(), short)
    assert result.resumed_at == 18
    # Not bit for bit: the number of updates is a constant of the compiled program, which rounds by it.
    pairs = zip(load_encoder(more, 0).get_weights(), load_encoder(long, 0).get_weights(), strict=True)
    assert max(np.abs(actual - expected).max() for actual, expected in pairs) < 2e-5
    different = load_encoder(short, 0).get_weights()
    pairs = zip(different, load_encoder(long, 0).get_weights(), strict=True)
    assert max(np.abs(a - b).max() for a, b in pairs) > 1e-3


def test_an_earlier_backbone_is_trained_further(pretrained, tokens, tmp_path) -> None:
    out, result, _ = pretrained
    recipe = make_recipe(pretrain={"steps": 10, "start_from": str(out), "warmup_fraction": 0.2})
    assert recipe.preprocess.tokenizer.path is None  # the recipe names a tokenizer of its own
    further = pretrain(view(recipe, "pretrain"), tokens, tmp_path, Watcher(), out)
    assert read_log(tmp_path)[0]["loss"] < read_log(out)[0]["loss"] - 0.7
    assert further.validation_loss < result.validation_loss + 0.3
    other = make_recipe(model={"num_layers": 2}, pretrain={"start_from": str(out)})
    with pytest.raises(RecipeError, match=r"another architecture than this recipe's model: num_layers 1 -> 2; set"):
        pretrain(view(other, "pretrain"), tokens, tmp_path / "other", Watcher(), out)
    stable = extended(40, start_from=str(out), resume_stable=True)
    with pytest.raises(RecipeError, match=r"has no stable/; give the artifact of a pretraining with schedule"):
        pretrain(stable, tokens, tmp_path / "other", Watcher(), out)


def test_an_earlier_backbone_is_taken_as_it_is_unless_its_tokenizer_is_another(pretrained, tokens, tmp_path) -> None:
    out, _, _ = pretrained
    recipe = view(make_recipe(pretrain={"start_from": str(out), "train": False}), "pretrain")
    result = pretrain(recipe, tokens, tmp_path / "taken", Watcher(), out)
    assert (result.steps, result.loss, result.tokens_per_second) == (0, None, None)
    pairs = zip(load_encoder(tmp_path / "taken", 0).get_weights(), load_encoder(out, 0).get_weights(), strict=True)
    for actual, expected in pairs:
        np.testing.assert_array_equal(actual, expected)
    other = Path(shutil.copytree(out, tmp_path / "other"))
    tokenizer = json.loads((other / "tokenizer.json").read_text())
    (other / "tokenizer.json").write_text(json.dumps(tokenizer | {"normalizer": None}))
    with pytest.raises(RecipeError, match=r"300 tokens, 0 of them with another number .* remove preprocess.tokenizer"):
        pretrain(recipe, tokens, tmp_path / "refused", Watcher(), other)
    assert not (tmp_path / "refused").exists()


def test_averaged_weights_are_what_is_judged_and_saved(pretrained, tokens, tmp_path) -> None:
    recipe = make_recipe(pretrain={"ema_decay": 0.9})
    averaged = pretrain(view(recipe, "pretrain"), tokens, tmp_path, Watcher())
    _, result, _ = pretrained
    assert averaged.loss == result.loss  # the same training
    assert averaged.validation_loss != result.validation_loss


def test_too_large_a_model_is_refused_before_it_is_built(tokens, tmp_path) -> None:
    recipe = make_recipe(model={"size": "base", "num_layers": 4000, "hidden_dim": None, "num_heads": None})
    with pytest.raises(TrainingError, match=r"training needs about .* of memory \(weights .*; set runtime|; choose"):
        pretrain(view(recipe, "pretrain"), tokens, tmp_path, Watcher())
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def by_kind(tokens, tmp_path) -> Path:
    """The notes with their kind for a group; it is in every other word of theirs, so it can be learned."""
    copied = shutil.copytree(tokens, tmp_path / "by_kind")
    rows, tokenizer = ShardedRows(copied / "corpus" / "train"), load_tokenizer(copied / "tokenizer.json")
    groups = np.zeros(len(np.load(copied / "corpus" / "train" / GROUPS)), np.int32)
    for packed in (rows.take(np.array([number])) for number in range(len(rows))):
        for place, document in enumerate(packed.documents[0]):
            if document >= 0:
                text = tokenizer.decode(packed.token_ids[0][packed.segment_ids[0] == place + 1].tolist())
                groups[document] = any(word in text for word in KINDS["trade"])
    assert 0.3 < groups.mean() < 0.7
    np.save(copied / "corpus" / "train" / GROUPS, groups)
    return copied


def apart(folder: Path, tokens: Path) -> float:
    """Return how far the mean states of the two kinds of notes lie apart, in spreads within a kind."""
    encoder, tokenizer = load_encoder(folder, 0.0), load_tokenizer(tokens / "tokenizer.json")
    means = []
    for words in KINDS.values():
        texts = [f"{one} and {other} on day 7" for one in words for other in words if one != other]
        ids = np.array([(tokenizer.encode(text).ids + [0] * 32)[:32] for text in texts], np.int32)
        states = encoder.predict_on_batch({"token_ids": ids, "segment_ids": (ids > 0).astype(np.int32)})
        means.append((np.asarray(states) * (ids > 0)[..., None]).sum(axis=1) / (ids > 0).sum(axis=1, keepdims=True))
    between = np.linalg.norm(means[0].mean(axis=0) - means[1].mean(axis=0))
    return float(between / np.mean([np.linalg.norm(each - each.mean(axis=0), axis=1).mean() for each in means]))


def test_groups_that_are_told_lie_apart_in_the_backbone(pretrained, by_kind, tokens, tmp_path) -> None:
    plain, result, _ = pretrained
    watcher, out = Watcher(), tmp_path / "out"
    grouped = pretrain(view(make_recipe(pretrain={"group_weight": 2.0}), "pretrain"), by_kind, out, watcher)
    assert any("one of 2, which counts 2" in line for line in watcher.said)
    assert apart(out, tokens) > 1.5 * apart(plain, tokens)
    assert read_log(out)[0]["loss"] == pytest.approx(np.log(300) + 2 * np.log(2), rel=0.15)
    assert grouped.validation_loss < result.validation_loss + 0.5  # of tokens alone


def test_a_training_with_groups_goes_on_from_its_checkpoint_which_can_be_exported(by_kind, tmp_path) -> None:
    recipe, out = view(make_recipe(pretrain={"group_weight": 0.5, "steps": 12}), "pretrain"), tmp_path / "out"
    with pytest.raises(Interrupted):
        pretrain(recipe, by_kind, out, Watcher(stop_at=10))
    checkpoint = max((out / "checkpoints").glob("step-*"))
    stopped = export_backbone(checkpoint, tmp_path / "early")
    result = pretrain(recipe, by_kind, out, Watcher())
    assert result.resumed_at == stopped
    assert result.steps == 12
    early, late = (load_encoder(folder, 0.0).get_weights() for folder in (tmp_path / "early", out))
    assert 0 < max(np.abs(one - other).max() for one, other in zip(early, late, strict=True)) < 0.2


def test_a_corpus_without_groups_teaches_none(by_kind, tmp_path) -> None:
    groups = by_kind / "corpus" / "train" / GROUPS
    recipe = view(make_recipe(pretrain={"group_weight": 0.5}), "pretrain")
    np.save(groups, np.zeros_like(np.load(groups)))
    with pytest.raises(RecipeError, match=r"group_weight is set, and the training rows .* have a single group; name"):
        pretrain(recipe, by_kind, tmp_path / "out", Watcher())
    np.save(groups, np.arange(len(np.load(groups)), dtype=np.int32))
    with pytest.raises(RecipeError, match=r"groups, which only 0 of [\d,]+ rows share with another row; name"):
        pretrain(recipe, by_kind, tmp_path / "out", Watcher())
    groups.unlink()
    with pytest.raises(RecipeError, match=r"have no group; name a column .* with data.sources.<source>.group, or"):
        pretrain(recipe, by_kind, tmp_path / "out", Watcher())
    assert not (tmp_path / "out").exists()
