"""A task that writes, from its rows to a published model that answers: each step on what the one before it made."""

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sacrebleu
from tiny_steps import view
from translations import WORDS, make_recipe, make_tokens, translated

from pipeline.answer import answers_of
from pipeline.backbone import build_language_model, save_backbone
from pipeline.baseline import baseline
from pipeline.bundle import Bundle, BundleError
from pipeline.config import Decode
from pipeline.data.tokens.tokenizer import load_tokenizer
from pipeline.dimensions import dimensions_of
from pipeline.errors import PublishError
from pipeline.evaluate import evaluate
from pipeline.finetune import finetune
from pipeline.gate import gate
from pipeline.judge.predictions import read_metrics, read_predictions
from pipeline.likelihood import surprise
from pipeline.preprocess import preprocess
from pipeline.progress import SilentProgress
from pipeline.publish import publish
from pipeline.registry.signature import row_of, signature_of
from pipeline.report import render
from pipeline.writing import write

TASK = "translate"
ARCHITECTURES = ("encoder_decoder", "decoder")
# One layer is enough to write beside a source, and not quite enough to find the place in a prompt.
LEAST_RIGHT = {"encoder_decoder": 0.9, "decoder": 0.5}
PROMPTS = {"encoder_decoder": None, "decoder": "Translate: {text}"}


class Chain:
    """The artifacts of one recipe."""

    def __init__(self, folder, architecture):
        self.folder = folder
        self.recipe = make_recipe(architecture, data={"prompt": PROMPTS[architecture]})
        self.tokens = make_tokens(folder, self.recipe)
        backbone = self.made("backbone")
        load_tokenizer(self.tokens / "tokenizer.json").save(str(backbone / "tokenizer.json"))
        self.result = finetune(self.seen("finetune"), TASK, self.tokens, backbone, self.made("model"), SilentProgress())
        self.bundle = self.folder / "model" / "bundle"

    def made(self, name):
        (self.folder / name).mkdir()
        return self.folder / name

    def seen(self, step):
        return view(self.recipe, step, TASK)

    def evaluate(self, model, name="evaluation"):
        out = self.made(name)
        validated = self.folder / "validated"
        evaluate(self.seen("evaluate"), TASK, self.tokens, model, validated, out, SilentProgress())
        return out

    def publish(self, evaluation, verdict, name="published"):
        rows = self.folder / "validated"
        recipe_yaml = json.dumps(self.recipe.model_dump(mode="json"))
        out = self.made(name)
        seen = self.seen("publish")
        found = publish(
            seen, TASK, self.bundle, evaluation, verdict, rows, out, SilentProgress(), recipe_yaml=recipe_yaml
        )
        return found, out / "export"


@pytest.fixture(scope="module")
def chains(tmp_path_factory):
    """Return a function that gives the chain of an architecture, trained once."""
    made = {}

    def chain(architecture):
        if architecture not in made:
            made[architecture] = Chain(tmp_path_factory.mktemp(architecture), architecture)
        return made[architecture]

    return chain


@pytest.fixture(scope="module")
def judged(chains):
    """The chain of the encoder-decoder with its evaluation, baselines and verdict."""
    chain = chains("encoder_decoder")
    evaluation, rivals, verdict = chain.evaluate(chain.bundle), chain.made("baseline"), chain.made("gate")
    baseline(chain.seen("baseline"), TASK, chain.tokens, rivals, SilentProgress())
    gate(chain.seen("gate"), TASK, evaluation, rivals, None, verdict, SilentProgress())
    return chain, evaluation, rivals, verdict


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_what_was_never_seen_is_translated(chains, architecture) -> None:
    chain = chains(architecture)
    test = pq.read_table(chain.tokens / "tasks" / TASK / "test.parquet").to_pylist()
    bundle = Bundle.load(chain.bundle)
    said = answers_of(replace(bundle, decode=Decode(max_new_tokens=24)), [row["text"] for row in test], None, top=1)
    right = [answer["text"] == row["label"] for answer, row in zip(said, test, strict=True)]
    assert len(test) > 20
    assert np.mean(right) > LEAST_RIGHT[architecture]
    assert all(answer["finished"] and answer["score"] < 0 for answer in said)
    assert chain.result.metric == "token_accuracy"
    assert chain.result.validation_metric > LEAST_RIGHT[architecture] + 0.05


def test_beams_find_what_is_at_least_as_likely_and_a_short_limit_cuts_off(chains) -> None:
    bundle = Bundle.load(chains("encoder_decoder").bundle)
    texts = ["rain and sun", "salt silk salt silk salt"]
    greedy = write(bundle, texts)
    beams = write(replace(bundle, decode=Decode(num_beams=3, length_penalty=0.0, max_new_tokens=24)), texts)
    assert greedy.texts == beams.texts == [translated(text) for text in texts]
    short = write(replace(bundle, decode=Decode(max_new_tokens=1)), texts)
    assert not short.finished.any()
    assert all(text.startswith(cut) and text != cut for text, cut in zip(greedy.texts, short.texts, strict=True))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_what_a_target_costs_is_what_writing_it_scores(chains, architecture) -> None:
    """Teacher forcing and step-by-step decoding are two programs; they agree where the text is the same."""
    bundle = Bundle.load(chains(architecture).bundle)
    texts = ["rain", "salt and sea", "day sun wind silk sea"]
    written = write(bundle, texts)
    nats, tokens = surprise(bundle, texts, None, written.texts).T
    # Decoding leaves out what may never be written, such as the start token: some of the probability.
    np.testing.assert_allclose(-written.scores, nats / tokens, atol=2e-3)
    other, _ = surprise(bundle, texts, None, ["Wind", "Wind", "Wind"]).T
    assert (other > 3 * nats + 1).all()


def test_the_verdict_is_about_chrf_and_passes(judged) -> None:
    chain, evaluation, rivals, verdict = judged
    metrics, record = read_metrics(evaluation), json.loads((verdict / "gate.json").read_text())
    predictions = read_predictions(evaluation)
    answers, references = (predictions.rows[name].tolist() for name in ("predicted", "label"))
    assert metrics["bleu"] == pytest.approx(sacrebleu.corpus_bleu(answers, [references]).score)
    assert metrics["exact_match"] > 0.9
    assert metrics["perplexity"] < 2
    assert (record["verdict"], record["metric"]) == ("pass", "chrf")
    names = [rule["name"] for rule in record["rules"]]
    assert names[:2] == ["chrf > plain answer", "chrf > nearest neighbour"]
    assert record["scores"]["candidate"]["chrf"]["interval"][0] > record["scores"]["baseline"]["chrf"]["value"]
    nearest = read_predictions(rivals)
    trained = set(pq.read_table(chain.tokens / "tasks" / TASK / "train.parquet")["label"].to_pylist())
    assert set(nearest.rows["predicted"]) <= trained
    assert (verdict / "gate.md").read_text().count("nearest neighbour") >= 2


def test_it_is_published_with_its_settings_and_answers_as_before(judged) -> None:
    chain, evaluation, _, verdict = judged
    result, export = chain.publish(evaluation, verdict)
    proof = json.loads((export.parent / "proof.json").read_text())
    assert result.max_difference <= result.tolerance
    assert proof["same_texts"] == 1.0
    card = json.loads((export / "bundle.json").read_text())
    assert card["decode"] == chain.recipe.tasks[TASK].decode.model_dump()
    assert "the target of the most similar training text" in (export / "MODEL_CARD.md").read_text()
    assert signature_of(export).outputs.input_names() == ["text", "score", "finished"]
    (said,) = answers_of(Bundle.load(export), ["rain and sun"], None, top=1)
    assert row_of("generation", said) == said
    assert said["text"] == "Regen und Sonne"
    # A champion writes as it was published to, whatever the recipe says now.
    again = chain.evaluate(export, "champion")
    assert read_predictions(again).rows["predicted"].tolist() == read_predictions(evaluation).rows["predicted"].tolist()


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ("weights", "what a token of the reference costs differs by 0.5"),
        ("words", "writes the same as the evaluated model for 0% of the golden rows"),
    ],
)
def test_a_bundle_that_answers_otherwise_is_not_published(judged, monkeypatch, broken, message) -> None:
    chain, evaluation, _, verdict = judged

    def reopened(_export, golden, out, *_):
        written = ["Meer" if broken == "words" else text for text in golden.written]
        (out / "golden.json").write_text(json.dumps(written))
        return golden.answers + (0.5 if broken == "weights" else 0.0)

    monkeypatch.setattr("pipeline.publishing.proof.ask", reopened)
    with pytest.raises(PublishError, match=message):
        chain.publish(evaluation, verdict, f"published-{broken}")


def test_the_report_shows_what_there_is_of_a_text(judged, tmp_path) -> None:
    chain, evaluation, rivals, verdict = judged
    nodes = {"evaluate": evaluation, "baseline": rivals, "gate": verdict, "finetune": chain.folder / "model"}
    run = {
        "recipe": chain.recipe.model_dump(mode="json"),
        "recipe_name": "words",
        "run_id": "r",
        "outcome": "succeeded",
    }
    run |= {"created": "2026-01-01T00:00:00", "trigger": "test", "nodes": {}}
    page = render(run, {f"{step}[{TASK}]": folder for step, folder in nodes.items()}, tmp_path).read_text()
    assert "could not be rendered" not in page
    for words in ("BLEU", "chrF", "Exact match", "nearest neighbour", "Perplexity of a token", "Computed by sacreBLEU"):
        assert words in page
    for words in ("Confusion", "Calibration", "Macro averages"):
        assert words not in page
    wrong = read_metrics(evaluation)["exact_match"] < 1
    assert ("Worst answers" in page) == wrong


def test_a_bundle_is_of_one_origin(chains, tmp_path) -> None:
    bundle = Bundle.load(chains("encoder_decoder").bundle)
    bundle.save(tmp_path / "odd")
    card = json.loads((tmp_path / "odd" / "bundle.json").read_text())
    (tmp_path / "odd" / "bundle.json").write_text(json.dumps(card | {"kind": "tagging"}))
    with pytest.raises(BundleError, match="holds a SpanLanguageModel, not a TokenClassifier"):
        Bundle.load(tmp_path / "odd")
    bundle.tokenizer.add_tokens(["more"])
    bundle.save(tmp_path / "other")
    with pytest.raises(BundleError, match=r"has 3\d\d tokens and model\.keras knows"):
        Bundle.load(tmp_path / "other")


def test_adapters_are_learned_on_the_whole_pretrained_backbone(chains, tmp_path) -> None:
    """Of a pretrained encoder-decoder, whose ids go on behind the tokenizer's: none of these is ever written."""
    chain = chains("encoder_decoder")
    recipe = make_recipe(finetune={"initialize": "pretrained", "method": "lora", "epochs": 1})
    tokenizer = load_tokenizer(chain.tokens / "tokenizer.json")
    size = tokenizer.get_vocab_size()
    backbone = build_language_model(dimensions_of(recipe.model), size + 4, dropout=0.0).backbone
    sentinels = np.zeros((size + 4, 48), np.float32)
    sentinels[size:] = 9.0  # likelier than any word
    embedding = backbone.encoder.embedding.embeddings
    embedding.assign(embedding + sentinels)
    (tmp_path / "backbone").mkdir()
    save_backbone(backbone, tmp_path / "backbone")
    tokenizer.save(str(tmp_path / "backbone" / "tokenizer.json"))
    (tmp_path / "out").mkdir()
    seen = view(recipe, "finetune", TASK)
    result = finetune(seen, TASK, chain.tokens, tmp_path / "backbone", tmp_path / "out", SilentProgress())
    assert result.trainable_parameters < result.parameters / 2
    bundle = Bundle.load(tmp_path / "out" / "bundle")
    np.testing.assert_array_equal(np.asarray(bundle.model.backbone.encoder.embedding.embeddings), np.asarray(embedding))
    assert (tmp_path / "out" / "adapters" / "adapters.npz").is_file()
    (written,) = write(replace(bundle, decode=Decode(max_new_tokens=5)), ["rain and sun"]).texts
    assert written


def test_targets_are_repaired_counted_and_set_aside(tmp_path) -> None:
    """Tokenizer and corpus know both languages; a target that cleaning empties is set aside, a long one is cut off."""
    recipe = make_recipe()
    values = recipe.model_dump(mode="json", exclude_unset=True)
    values["preprocess"]["clean"] = {"boilerplate": ["^Anzeige"]}
    recipe = type(recipe).model_validate(values)
    words = list(WORDS)
    rows = [
        {"row_id": f"notes:{n}", "text": f"{words[n % 8]} {n}", "group": str(n), "target": f"{WORDS[words[n % 8]]} {n}"}
        for n in range(60)
    ]
    rows[5]["target"] = "Anzeige: hier"
    rows[6]["target"] = "caf\u00c3\u00a9"
    rows[7]["target"] = "Meer " * 60
    (tmp_path / "rows" / "notes").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "rows" / "notes" / "00000.parquet")
    tokens = tmp_path / "tokens"
    tokens.mkdir()
    result = preprocess(view(recipe, "preprocess"), tmp_path, tokens, SilentProgress())
    (aside,) = [json.loads(line) for line in (tokens / "quarantine.jsonl").read_text().splitlines()]
    assert (aside["row_id"], aside["reason"]) == ("notes:5", "no target: column target is empty")
    counts = result.tasks[TASK]
    assert sum(counts[split] for split in ("train", "validation", "test")) == 59
    assert (counts["cut_off_targets"], counts["cut_off_sources"], counts["classes"]) == (1, 0, 0)
    parts = [pq.read_table(tokens / "tasks" / TASK / f"{split}.parquet") for split in ("train", "validation", "test")]
    targets = {row["row_id"]: row["label"] for part in parts for row in part.to_pylist()}
    assert targets["notes:6"] == "café"
    tokenizer = load_tokenizer(tokens / "tokenizer.json")
    assert len(tokenizer.encode("Sonne", add_special_tokens=False).ids) < len("Sonne")
    corpus = np.load(next((tokens / "corpus" / "train").glob("*.token_ids.npy")))
    assert "Sonne" in tokenizer.decode(corpus.ravel().tolist())
    assert json.loads((tokens / "tasks" / TASK / "labels.json").read_text()) == []
