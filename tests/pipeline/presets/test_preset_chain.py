"""A recipe that starts from a KerasHub preset, up to a published version that answers in a fresh process."""

import json
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from tiny_presets import make_roberta
from tiny_steps import finetune_notes, make_recipe, make_tokens

from models.classifier import TokenClassifier
from pipeline.bundle import Bundle
from pipeline.config import Clean, Settings
from pipeline.data.tokens.tokenizer import load_tokenizer
from pipeline.errors import RecipeError
from pipeline.flow import Flow
from pipeline.preprocess import preprocess
from pipeline.presets import fetch as fetching
from pipeline.presets.load import load_preset
from pipeline.presets.worker import fetch
from pipeline.progress import SilentProgress
from pipeline.recipes import load_recipe


class QuietDisplay:
    @contextmanager
    def step(self, node):
        yield SilentProgress()

    def finished(self, node, hit, seconds, summary):
        pass


def start_from(recipe: Path, folder: Path, workspace: Path, *overrides: str) -> Flow:
    recipe.write_text(recipe.read_text().replace("  tokenizer: {vocabulary_size: 300}\n", ""))
    found = load_recipe(recipe, [f"pretrain.start_from={folder}", *overrides])
    return Flow.create(found, recipe, Settings(workspace=workspace))


@pytest.mark.slow
def test_a_preset_is_fine_tuned_proven_and_published(bert, tiny_recipe, tmp_path: Path, monkeypatch) -> None:
    tuning = ("tasks.kind.finetune.epochs=6", "tasks.kind.finetune.learning_rate=0.003")
    flow = start_from(tiny_recipe, bert, tmp_path / "workspace", *tuning)
    outcome = flow.run(None, None, QuietDisplay())
    assert outcome.tasks["kind"].version == "1"
    assert outcome.tasks["kind"].candidate["accuracy"] > 0.7  # six rows in seven can be answered
    nodes = flow.store.runs.load(flow.run_id)["nodes"]
    assert nodes["start"]["reference"].startswith("preset/")
    pretrained = flow.store.get(nodes["pretrain"]["reference"])
    assert (pretrained.result["steps"], pretrained.result["loss"]) == (0, None)
    tokens = flow.store.get(nodes["preprocess"]["reference"]).path
    index = json.loads((tokens / "tasks" / "kind" / "train" / "index.json").read_text())
    assert index["segments_per_row"] == 1
    export = flow.store.get(nodes["publish[kind]"]["reference"]).path / "export"
    assert "keras-hub==" in (export / "requirements.txt").read_text()
    # Nothing is fetched twice: a second run needs neither the network nor KerasHub's loader.
    monkeypatch.setattr(fetching, "_ask", None)
    again = start_from(tiny_recipe, bert, tmp_path / "workspace", *tuning)
    assert again.step("pretrain", None, QuietDisplay()).hit


@pytest.fixture(scope="module")
def roberta(tmp_path_factory) -> Path:
    """Return a fetched preset."""
    folder = tmp_path_factory.mktemp("roberta")
    fetch(str(make_roberta(folder / "saved")), folder)
    return folder


@pytest.fixture(scope="module")
def tokens(roberta, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("notes")
    make_tokens(folder)
    recipe = make_recipe().model_dump(mode="json")
    recipe["preprocess"]["tokenizer"] = {"kind": "start"}
    recipe["pretrain"]["start_from"] = str(roberta)
    out = folder / "by preset"
    out.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.preprocess.prove_tokenizer", lambda folder, texts: None)  # has a test of its own
        preprocess(type(make_recipe()).model_validate(recipe), folder, out, SilentProgress(), roberta)
    return out


def test_adapters_learn_and_neighbours_change_no_answer(roberta, tokens, tmp_path: Path) -> None:
    result = finetune_notes(tokens, roberta, tmp_path / "out", dropout=0.0, method="lora")
    assert result.trainable_parameters < result.parameters / 2
    assert result.validation_metric > 0.8
    bundle = Bundle.load(tmp_path / "out" / "bundle")
    texts = ["rain and wind on day 3", "silk", "silk and salt on day 4 and pepper and copper"]
    together = bundle.answer(texts)
    alone = np.concatenate([bundle.answer([text]) for text in texts])
    np.testing.assert_allclose(together, alone, atol=1e-5)  # a text never sees its neighbours
    assert together.argmax(axis=1).tolist() == [bundle.labels.index(kind) for kind in ("weather", "trade", "trade")]


def test_only_the_top_block_learns(roberta, tokens, tmp_path: Path) -> None:
    method = {"method": "partial", "trainable_layers": 1, "layer_decay": 0.5}
    finetune_notes(tokens, roberta, tmp_path / "out", epochs=1, **method)
    tuned, given = Bundle.load(tmp_path / "out" / "bundle").model.encoder, load_preset(roberta, 0.0)
    changed = {
        own.path.split("/")[0]
        for own, old in zip(tuned.weights, given.weights, strict=True)
        if np.abs(own.numpy() - old.numpy()).max() > 0
    }
    assert changed == {"transformer_layer_1"}


def test_a_tagger_reads_one_text_in_a_row(roberta) -> None:
    model = TokenClassifier(load_preset(roberta, 0.0), 2)
    model.build_from_config({})
    tokenizer = load_tokenizer(roberta / "tokenizer.json")
    bundle = Bundle("tags", "tagging", ("O", "B"), 32, tokenizer, Clean(), model)
    texts = ["rain and wind", "silk", "salt on day 3"]
    together, alone = bundle.answer(texts), [bundle.answer([text])[0] for text in texts]
    assert [len(said) for said in together] == [3, 1, 4]
    for some, one in zip(together, alone, strict=True):
        np.testing.assert_allclose(some, one, atol=1e-5)


def test_packed_rows_and_several_devices_are_refused_before_training(roberta, tokens, tmp_path: Path) -> None:
    packed = make_tokens(tmp_path)
    with pytest.raises(RecipeError, match=r"rows hold up to \d texts each, and a KerasHub preset reads one text in a"):
        finetune_notes(packed, roberta, tmp_path / "out")
    with pytest.raises(RecipeError, match=r"runtime.precision is float8, which is for models of ours"):
        finetune_notes(tokens, roberta, tmp_path / "out", sections={"runtime": {"precision": "float8"}})


def test_what_is_longer_than_its_positions_is_refused_before_the_run(
    bert, tiny_recipe, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr("pipeline.start.fetch_preset", fetch)  # in this process
    with pytest.raises(RecipeError, match=r"sequence_length is 128, and the BertBackbone .* knows positions up to 64"):
        start_from(tiny_recipe, bert, tmp_path / "workspace", "preprocess.sequence_length=128")
    assert not (tmp_path / "workspace" / "runs").exists()
