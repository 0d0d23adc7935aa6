import json

import numpy as np
import pytest
from judge_cases import make_recipe, write_split

from pipeline.baseline import baseline
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
