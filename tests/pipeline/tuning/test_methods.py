import json

import keras
import numpy as np
import pytest
from tiny_models import answers, make_classifier, packed_rows
from tiny_steps import KINDS, finetune_notes, make_backbone, make_recipe, make_tokens

from models.parallel import MeshShape
from pipeline.backbone import load_encoder
from pipeline.bundle import Bundle
from pipeline.config import Finetune
from pipeline.errors import BackendError, RecipeError
from pipeline.finetune import FinetuneResult
from pipeline.progress import SilentProgress
from pipeline.training.layer_rates import Share
from pipeline.tuning.adapters import AdapterError, load_adapters
from pipeline.tuning.methods import apply_method, layer_shares

TEXTS = [f"{one} and {other} on day 3" for kind in sorted(KINDS) for one, other in [KINDS[kind][:2]]]
MODEL = {"num_layers": 2}


class Broken(BaseException):
    """Stands for the end of the process, without paying for another one."""


class Watcher(SilentProgress):
    def __init__(self, break_at: int | None = None) -> None:
        self.said: list[str] = []
        self.break_at = break_at

    def update(self, done, total, **figures) -> None:
        if done == self.break_at:
            raise Broken

    def say(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture(scope="module")
def tokens(tmp_path_factory):
    return make_tokens(tmp_path_factory.mktemp("notes"))


@pytest.fixture(scope="module")
def backbone(tokens, tmp_path_factory):
    return make_backbone(tmp_path_factory.mktemp("backbone"), tokens, make_recipe(model=MODEL))


def run(tokens, backbone, out, progress=None, runtime=None, **config) -> FinetuneResult:
    sections = {"model": MODEL, "runtime": runtime or {}}
    return finetune_notes(tokens, backbone, out, progress or Watcher(), sections, **{"epochs": 6} | config)


def files(folder) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def weights_of(folder) -> list[np.ndarray]:
    return Bundle.load(folder / "bundle").model.get_weights()


BUNDLE = {"bundle/model.keras", "bundle/tokenizer.json", "bundle/bundle.json", "logs/metrics.jsonl"}


def test_lora_saves_adapters_alone_and_merges_them_for_export(tokens, backbone, tmp_path) -> None:
    watcher = Watcher()
    result = run(tokens, backbone, tmp_path, watcher, method="lora", lora={"rank": 2}, seeds=1)
    assert files(tmp_path) == BUNDLE | {"adapters/adapters.npz", "adapters/adapters.json"}
    assert json.loads((tmp_path / "adapters" / "adapters.json").read_text()) == {
        "rank": 2,
        "alpha": 16.0,
        "targets": "all",
    }
    small, whole = (tmp_path / name for name in ("adapters/adapters.npz", "bundle/model.keras"))
    assert small.stat().st_size < whole.stat().st_size / 3
    merged = Bundle.load(tmp_path / "bundle")
    assert not any("lora" in weight.name for weight in merged.model.weights)

    fresh = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(merged.model))
    fresh.encoder.set_weights(load_encoder(backbone, 0.0).get_weights())
    load_adapters(fresh, fresh.encoder, tmp_path / "adapters")
    inputs = packed_rows()
    before = merged.model.encoder.get_weights()[0] - load_encoder(backbone, 0.0).get_weights()[0]
    assert np.abs(before).max() == 0  # the embedding was frozen
    np.testing.assert_allclose(answers(fresh, inputs), answers(merged.model, inputs), atol=1e-5)

    adapters = 2 * (4 * (16 + 16) + 3 * (16 + 64)) * 2
    assert result.trainable_parameters == adapters + 16 * 2 + 2
    assert result.optimizer_slots == 2 * result.trainable_parameters
    assert result.parameters == merged.model.count_params() + adapters
    (sentence,) = [said for said in watcher.said if said.startswith("method lora: ")]
    assert f"{result.trainable_parameters:,} of {result.parameters:,} parameters are trained" in sentence
    assert "memory about" in sentence

    with pytest.raises(AdapterError, match=r"lacks adapters\.npz, adapters\.json; give the `adapters` folder"):
        load_adapters(fresh, fresh.encoder, tmp_path)
    other = make_classifier()
    with pytest.raises(AdapterError, match=r"adapters of another model: .* has the shape .* load the backbone"):
        load_adapters(other, other.encoder, tmp_path / "adapters")


@pytest.mark.parametrize(
    ("precision", "method"),
    [
        ("mixed_bfloat16", {"method": "lora"}),
        ("float32", {"method": "feature_extraction", "class_weights": "balanced"}),
    ],
)
def test_killed_and_resumed_it_is_the_same(precision, method, tokens, backbone, tmp_path, monkeypatch) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    options = {"runtime": {"precision": precision, "checkpoint_seconds": 1e-9}, "keep": "last"} | method
    expected = run(tokens, backbone, whole, **options)
    with pytest.raises(Broken):
        run(tokens, backbone, broken, Watcher(break_at=20), **options)
    result = run(tokens, backbone, broken, **options)
    keras.config.set_dtype_policy("float32")
    assert result.resumed_at == 18  # the checkpoint of the third evaluation
    assert (result.loss, result.validation_metric) == (expected.loss, expected.validation_metric)
    for actual, wanted in zip(weights_of(broken), weights_of(whole), strict=True):
        np.testing.assert_array_equal(actual, wanted)


def test_features_teach_the_head_what_a_frozen_backbone_would(tokens, backbone, tmp_path, monkeypatch) -> None:
    options = {"dropout": 0.0, "class_weights": "balanced", "keep": "last"}
    quick = run(tokens, backbone, tmp_path / "features", method="feature_extraction", **options)
    assert files(tmp_path / "features") == BUNDLE
    # The same head on a backbone that computes each time: nothing but the final norm's block is left to freeze.
    monkeypatch.setattr("pipeline.tuning.methods._head", lambda model, backbone, mesh: frozen(model))
    monkeypatch.setattr("pipeline.tuning.batches.with_features", lambda model, batches, *_: batches)
    slow = run(tokens, backbone, tmp_path / "whole", method="feature_extraction", **options)
    assert quick.trainable_parameters == slow.trainable_parameters == 16 * 2 + 2
    for name in ("loss", "validation_loss", "validation_metric"):
        assert getattr(quick, name) == pytest.approx(getattr(slow, name), rel=1e-5)
    pairs = zip(weights_of(tmp_path / "features"), weights_of(tmp_path / "whole"), strict=True)
    assert max(np.abs(one - other).max() for one, other in pairs) < 1e-5


def frozen(model):
    for variable in model.encoder.weights:
        variable.trainable = False
    return model


def test_shares_follow_the_depth_of_what_is_trained() -> None:
    model = make_classifier()
    config = Finetune(method="partial", trainable_layers=1, layer_decay=0.5, gradual_unfreezing=True)
    trained = apply_method(model, model.encoder, config, "float32", MeshShape())
    paths = [variable.path for variable in trained.trainable_variables]
    shares = dict(zip(paths, layer_shares(model, model.encoder, config, 10), strict=True))
    assert {share for path, share in shares.items() if "block_1" in path} == {Share(0.5, 5)}
    assert {share for path, share in shares.items() if "block_1" not in path} == {Share(1.0, 0)}
    assert layer_shares(model, model.encoder, Finetune(), 10) == ()


def test_what_does_not_go_together_is_told_before_training() -> None:
    model = make_classifier()

    def refused(kind, match, precision="float32", mesh=None, of=model, **config) -> None:
        with pytest.raises(kind, match=match):
            apply_method(of, of.encoder, Finetune(**config), precision, mesh or MeshShape())

    for method in ("lora", "feature_extraction"):
        refused(RecipeError, "float8, which quantises kernels, .* set runtime.precision", "float8", method=method)
    refused(RecipeError, "partial: trainable_layers is 3 and the backbone has 2", method="partial", trainable_layers=3)
    refused(
        BackendError,
        "feature_extraction, which runs on one device, and runtime.mesh has 2; remove",
        mesh=MeshShape(data=2),
        method="feature_extraction",
    )
    assert all(variable.trainable for variable in model.weights)
