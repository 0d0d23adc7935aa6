import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from judge_cases import make_recipe, write_split
from kind_cases import rows_of

from pipeline.baseline import baseline, labels_of
from pipeline.errors import SourceError
from pipeline.judge.predictions import read_metrics, read_predictions
from pipeline.progress import SilentProgress

WORDS = {
    "eye": ["retina", "cornea", "lens", "eyelid", "vision"],
    "heart": ["valve", "aorta", "atrial", "cardiac", "ventricle"],
    "lung": ["bronchus", "pleura", "airway", "pulmonary", "breath"],
}


def sentences(count: int, seed: int) -> tuple[list[str], list[str]]:
    random = np.random.default_rng(seed)
    labels = [str(label) for label in random.choice(list(WORDS), count)]
    texts = [
        f"{random.choice(['acute', 'chronic'])} pain of the {random.choice(WORDS[label])} {random.integers(1000)}"
        for label in labels
    ]
    return texts, labels


@pytest.fixture
def tokens(tmp_path):
    for seed, (split, count) in enumerate({"train": 240, "validation": 60, "test": 80}.items()):
        write_split(tmp_path, "organ", split, *sentences(count, seed))
    return tmp_path


def run(tokens, name="out", seed=17):
    (tokens / name).mkdir()
    recipe = make_recipe().model_copy(update={"seed": seed})
    return baseline(recipe, "organ", tokens, tokens / name, SilentProgress())


def test_it_learns_what_words_tell(tokens) -> None:
    result = run(tokens)
    assert result.metrics["accuracy"] == 1.0
    assert result.rows == 80
    predictions = read_predictions(tokens / "out")
    assert predictions.known == ("eye", "heart", "lung")
    np.testing.assert_allclose(predictions.probabilities.sum(axis=1), 1, atol=1e-5)
    assert read_metrics(tokens / "out")["model"] == "linear baseline"


def test_character_n_grams_reach_words_that_training_lacks(tokens) -> None:
    texts = ["retinal tear", "valvular leak", "cardiacs", "pulmonaryish", "bronchuses", "corneal scar"]
    write_split(tokens, "organ", "test", texts, ["eye", "heart", "heart", "lung", "lung", "eye"])
    assert run(tokens).metrics["accuracy"] == 1.0


def test_equal_seeds_give_equal_answers(tokens) -> None:
    run(tokens, "one")
    run(tokens, "two")
    one, two = (read_predictions(tokens / name) for name in ("one", "two"))
    np.testing.assert_array_equal(one.probabilities, two.probabilities)
    assert json.loads((tokens / "one/metrics.json").read_text()) == json.loads(
        (tokens / "two/metrics.json").read_text()
    )


def test_the_test_rows_do_not_choose_the_regularisation(tokens) -> None:
    strength = run(tokens, "one").regularisation
    texts, labels = sentences(80, 2)
    write_split(tokens, "organ", "test", texts, labels[::-1])
    assert run(tokens, "two").regularisation == strength


def test_labels_that_training_lacks_count_as_wrong(tokens) -> None:
    texts, labels = sentences(80, 2)
    write_split(tokens, "organ", "test", texts, ["skin"] * 20 + labels[20:])
    result = run(tokens)
    assert result.unseen_rows == 20
    assert result.metrics["accuracy"] == pytest.approx(0.75)


def test_texts_without_any_word_are_fine(tokens) -> None:
    for split in ("train", "validation", "test"):
        write_split(tokens, "organ", split, ["!!", "??"] * 10, ["loud", "unsure"] * 10)
    assert run(tokens).metrics["accuracy"] == 1.0


def test_one_class_only_is_an_error(tokens) -> None:
    write_split(tokens, "organ", "train", ["a text", "another text"], ["eye", "eye"])
    with pytest.raises(SourceError, match=r"1 label in its 2 training rows: \['eye'\].*at least two"):
        run(tokens)


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_an_empty_split_is_an_error(tokens, split) -> None:
    write_split(tokens, "organ", split, [], [])
    with pytest.raises(SourceError, match=f"no rows in its {split} split"):
        run(tokens)


def write_answers(tokens, split: str, texts: list[str], label: list, **columns) -> None:
    rows = rows_of(label, **columns).assign(text=texts)
    table = {name: pa.array(rows[name].tolist()) for name in ("row_id", "text", "label", *columns)}
    pq.write_table(pa.table(table), tokens / "tasks/organ" / f"{split}.parquet")


def run_kind(tokens, kind: str):
    (tokens / kind).mkdir()
    recipe = make_recipe()
    task = recipe.tasks["organ"]
    task = task.model_copy(update={"data": task.data.model_copy(update={"kind": kind})})
    recipe = recipe.model_copy(update={"tasks": {"organ": task}})
    return baseline(recipe, "organ", tokens, tokens / kind, SilentProgress())


def test_several_labels_a_text(tokens) -> None:
    for seed, split in enumerate(("train", "validation", "test")):
        random = np.random.default_rng(seed)
        label = [sorted(name for name in WORDS if random.random() < 0.4) for _ in range(150)]
        texts = ["pain " + " ".join(str(random.choice(WORDS[name])) for name in row) for row in label]
        write_answers(tokens, split, texts, label)
    result = run_kind(tokens, "multi_label")
    assert result.metrics["micro_f1"] > 0.95
    assert result.majority["micro_f1"] < 0.6
    predictions = read_predictions(tokens / "multi_label")
    assert set(predictions.tuned) == set(WORDS)
    assert read_metrics(tokens / "multi_label/majority")["said"].startswith("always answering")


def test_a_number_a_text(tokens) -> None:
    worth = {"poor": 1.0, "fair": 2.0, "good": 4.0, "superb": 8.0}
    for seed, split in enumerate(("train", "validation", "test")):
        random = np.random.default_rng(seed)
        words = random.choice(list(worth), (120, 2))
        texts = [f"a {one} start and a {two} end {random.integers(99)}" for one, two in words]
        write_answers(tokens, split, texts, [worth[one] + worth[two] for one, two in words])
    result = run_kind(tokens, "regression")
    assert result.metrics["r2"] > 0.9
    assert result.majority["r2"] == pytest.approx(0, abs=0.05)
    assert result.majority["pearson"] is None
    assert result.metrics["rmse"] < result.majority["rmse"] / 3
    assert "always answering the mean" in read_metrics(tokens / "regression/majority")["said"]


def test_a_tag_a_word(tokens) -> None:
    for seed, split in enumerate(("train", "validation", "test")):
        random = np.random.default_rng(seed)
        words, tags = [], []
        for _ in range(120):
            name = str(random.choice(["Anna", "Bert", "Cleo", f"X{random.integers(999)}"]))
            verb, place = str(random.choice(["met", "saw"])), str(random.choice(["Mr", "old"]))
            words.append([verb, place, name, name.lower(), "today"])
            tags.append(["O", "O", "B-PER" if place == "Mr" else "O", "I-PER" if place == "Mr" else "O", "O"])
        write_answers(tokens, split, [" ".join(row) for row in words], tags, words=words)
    result = run_kind(tokens, "tagging")
    assert result.metrics["f1"] == 1.0, "the word before tells"
    assert result.majority["f1"] < 0.7, "the word alone does not"
    assert result.majority["token_accuracy"] > 0.6


@pytest.mark.parametrize(
    ("kind", "label", "said"),
    [
        ("regression", [2.5, 2.5], r"the same number, 2\.5, in all its 2 training rows"),
        ("multi_label", [[], []], r"0 labels in its 2 training rows: \[\]. A multi-label model needs at least one"),
        ("tagging", [["O"], ["O"]], r"1 label in its 2 training rows: \['O'\]. A tagger needs at least two"),
    ],
)
def test_nothing_to_tell_apart_is_an_error_of_every_kind(kind, label, said) -> None:
    with pytest.raises(SourceError, match=said):
        labels_of(kind, "organ", rows_of(label))


def test_the_majority_answer_is_kept_beside_the_linear_one(tokens) -> None:
    write_split(tokens, "organ", "train", ["a lens", "a valve", "an aorta"], ["eye", "heart", "heart"])
    result = run(tokens)
    plain = read_predictions(tokens / "out/majority")
    assert set(plain.rows["predicted"]) == {"heart"}
    assert plain.rows["confidence"].iloc[0] == pytest.approx(2 / 3)
    assert result.majority["accuracy"] == pytest.approx(np.mean(plain.rows["label"] == "heart"))
