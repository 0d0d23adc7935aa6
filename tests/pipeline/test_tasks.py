"""Every kind of task, from a label column to a bundle that answers: what it learns is what its rows say."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from kinds_notes import WEATHER, kinds_notes
from tiny_steps import make_backbone, make_recipe, view

from pipeline.answer import answers_of
from pipeline.bundle import Bundle
from pipeline.config import Recipe
from pipeline.data.tokens.tokenizer import load_tokenizer
from pipeline.errors import ValidationFailed
from pipeline.finetune import finetune
from pipeline.preprocess import preprocess
from pipeline.progress import SilentProgress
from pipeline.tasks import KINDS
from pipeline.training.batches import BatchShape

TASKS = {
    "topics": {"kind": "multi_label", "label": "topics"},
    "amount": {"kind": "regression", "label": "amount"},
    "terms": {"kind": "tagging", "label": "tags"},
}


def notes(rows=240):
    """Yield the notes as a source's columns of text."""
    for number, note in enumerate(kinds_notes(rows)):
        columns = {"topics": ";".join(note["topics"]), "amount": str(note["amount"]), "tags": " ".join(note["tags"])}
        yield {"row_id": f"notes:{number}", "text": " ".join(note["words"]), "group": str(number)} | columns


def recipe():
    finetune = {"epochs": 25, "global_batch_size": 8, "learning_rate": 0.01, "dropout": 0.0}
    tasks = {name: {"data": {"source": "notes"} | data, "finetune": finetune} for name, data in TASKS.items()}
    return Recipe.model_validate(make_recipe().model_dump() | {"tasks": tasks})


@pytest.fixture(scope="module")
def tokens(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kinds")
    (folder / "rows" / "notes").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(list(notes())), folder / "rows" / "notes" / "00000.parquet")
    (folder / "tokens").mkdir()
    preprocess(view(recipe(), "preprocess"), folder, folder / "tokens", SilentProgress())
    return folder / "tokens"


@pytest.fixture(scope="module")
def backbone(tokens, tmp_path_factory):
    return make_backbone(tmp_path_factory.mktemp("backbone"), tokens, recipe())


@pytest.fixture(scope="module")
def bundles(tokens, backbone, tmp_path_factory):
    """Return a function that gives the bundle of a task, trained once, and its result."""
    made = {}

    def bundle(task):
        if task not in made:
            out = tmp_path_factory.mktemp(task)
            seen = view(recipe(), "finetune", task)
            result = finetune(seen, task, tokens, backbone, out, SilentProgress())
            made[task] = Bundle.load(out / "bundle"), result
        return made[task]

    return bundle


def split(tokens, task, name="test"):
    return pq.read_table(tokens / "tasks" / task / f"{name}.parquet")


def test_rows_carry_typed_answers(tokens):
    assert split(tokens, "topics").schema.field("label").type == pa.list_(pa.string())
    assert split(tokens, "amount").schema.field("label").type == pa.float64()
    terms = split(tokens, "terms").to_pylist()
    assert all(len(row["words"]) == len(row["label"]) for row in terms)
    assert [json.loads((tokens / "tasks" / task / "labels.json").read_text()) for task in TASKS] == [
        ["goods", "weather"],
        [],
        ["B-goods", "B-weather", "O"],
    ]


@pytest.mark.parametrize("task", TASKS)
def test_batches_ask_for_the_answers_of_the_rows(tokens, task):
    learned = KINDS[TASKS[task]["kind"]](tokens, task)
    shape = BatchShape.of(len(learned.splits["train"]), None)
    (batch,) = list(learned.batches("train", shape, seed=0).in_order())
    rows = split(tokens, task, "train").to_pylist()
    asked = batch["targets"][0][batch["weights"][0] > 0]
    if task == "topics":
        found = sorted("".join(map(str, row)) for row in asked)
        expected = sorted("".join(str(int(label in row["label"])) for label in learned.labels) for row in rows)
    elif task == "amount":
        found, expected = sorted(asked.tolist()), sorted(row["label"] for row in rows)
    else:
        # Per tag, the pieces at which it is asked for spell its words.
        tokenizer = load_tokenizer(tokens / "tokenizer.json")
        pieces = batch["token_ids"][0][batch["weights"][0] > 0]
        found = {tokenizer.decode([piece]).strip()[:1] for piece in pieces[asked == learned.labels.index("B-weather")]}
        expected = {word[:1] for word in WEATHER}
        assert len(asked) == sum(len(row["label"]) for row in rows)
    assert found == expected


def test_sets_of_labels_are_learned(tokens, bundles):
    bundle, result = bundles("topics")
    rows = split(tokens, "topics").to_pylist()
    said = answers_of(bundle, [row["text"] for row in rows], None, top=2)
    assert np.mean([answer["labels"] == row["label"] for answer, row in zip(said, rows, strict=True)]) > 0.9
    assert result.validation_accuracy > 0.9


def test_numbers_are_learned_in_their_own_units(tokens, bundles):
    bundle, _ = bundles("amount")
    rows = split(tokens, "amount").to_pylist()
    said = np.array([answer["value"] for answer in answers_of(bundle, [row["text"] for row in rows], None, top=1)])
    truth = np.array([row["label"] for row in rows])
    assert np.abs(said - truth).mean() < 0.5 * truth.std()
    assert np.corrcoef(said, truth)[0, 1] > 0.9


def test_tags_are_learned_word_by_word(tokens, bundles):
    bundle, _ = bundles("terms")
    rows = split(tokens, "terms").to_pylist()
    said = answers_of(bundle, [row["text"] for row in rows], None, top=1)
    right = [
        word["tag"] == tag
        for answer, row in zip(said, rows, strict=True)
        for word, tag in zip(answer["words"], row["label"], strict=True)
    ]
    assert np.mean(right) > 0.95


def test_a_long_text_is_tagged_to_its_end_and_neighbours_change_nothing(bundles):
    bundle, _ = bundles("terms")
    long = " ".join(["rain here silk"] * 40)
    together = answers_of(bundle, ["silk", long, "wind today"], None, top=1)
    assert [len(answer["words"]) for answer in together] == [1, 120, 2]
    assert together[1]["words"][-1]["tag"] == "B-goods"
    (alone,) = answers_of(bundle, [long], None, top=1)
    for one, other in zip(together[1]["words"], alone["words"], strict=True):
        assert one["confidence"] == pytest.approx(other["confidence"], abs=1e-5)


def test_a_text_whose_words_are_not_its_tags_is_set_aside(tokens, tmp_path):
    rows = [*notes(60)]
    rows[7]["tags"] = "O"
    (tmp_path / "rows" / "notes").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "rows" / "notes" / "00000.parquet")
    (tmp_path / "tokens").mkdir()
    result = preprocess(view(recipe(), "preprocess"), tmp_path, tmp_path / "tokens", SilentProgress())
    counts = result.tasks["terms"]
    assert sum(counts[name] for name in ("train", "validation", "test")) == 59
    (aside,) = [json.loads(line) for line in (tmp_path / "tokens" / "quarantine.jsonl").read_text().splitlines()]
    assert (aside["row_id"], aside["task"]) == ("notes:7", "terms")
    assert "1 tags for" in aside["reason"]


def test_labels_that_are_everywhere_the_same_are_refused(tmp_path):
    rows = [row | {"topics": "goods"} for row in notes(60)]
    (tmp_path / "rows" / "notes").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "rows" / "notes" / "00000.parquet")
    (tmp_path / "tokens").mkdir()
    with pytest.raises(ValidationFailed, match="task 'topics' has 1 label"):
        preprocess(view(recipe(), "preprocess"), tmp_path, tmp_path / "tokens", SilentProgress())
