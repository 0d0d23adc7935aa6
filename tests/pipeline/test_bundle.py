"""A bundle answers the same wherever it is loaded and whatever it is asked beside, and runs no code from its files."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_bundle import LABELS, TEXTS, make_bundle

FILES = ("model.keras", "tokenizer.json", "bundle.json")
LONG = " ".join(f"pain {number} of the heart" for number in range(100))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="module")
def bundle(folder):
    from pipeline.bundle import Bundle

    return Bundle.load(folder)


@pytest.fixture
def copy(folder, tmp_path) -> Path:
    """A bundle that may be damaged."""
    return Path(shutil.copytree(folder, tmp_path / "copied"))


def load_error(folder: Path) -> str:
    from pipeline.bundle import Bundle, BundleError

    with pytest.raises(BundleError) as error:
        Bundle.load(folder)
    problem, expected = str(error.value).rsplit("; ", 1)
    assert problem.startswith(f"{folder} is not a ")
    assert expected == "expected model.keras, tokenizer.json and bundle.json as a fine-tuning writes them"
    return problem


def test_a_saved_bundle_answers_as_before(bundle, tmp_path) -> None:
    from pipeline.bundle import Bundle

    bundle.save(tmp_path / "again")
    again = Bundle.load(tmp_path / "again")
    assert (again.task, again.labels, again.sequence_length) == ("organ", LABELS, 32)
    np.testing.assert_array_equal(again.answer(TEXTS), bundle.answer(TEXTS))
    assert sorted(file.name for file in (tmp_path / "again").iterdir()) == sorted(FILES)


def test_windows_of_a_long_text_are_averaged_and_a_short_text_is_answered_as_ever(bundle, tmp_path) -> None:
    from pipeline.bundle import Bundle

    replace(bundle, long_texts="slide").save(tmp_path / "sliding")
    sliding = Bundle.load(tmp_path / "sliding")
    other_end = f"{LONG} {TEXTS[0]} {TEXTS[4]}"
    cut, slid = (one.answer([LONG, *TEXTS, other_end]) for one in (bundle, sliding))
    np.testing.assert_array_equal(cut[0], cut[-1])
    assert np.abs(slid[0] - slid[-1]).max() > 1e-4
    np.testing.assert_allclose(slid[1:-1], cut[1:-1], rtol=1e-5)
    np.testing.assert_allclose(slid.sum(axis=1), 1.0, rtol=1e-5)


def test_labels_of_any_script_survive(tmp_path) -> None:
    from pipeline.bundle import Bundle

    labels = ("Œil", "心", "رئة")
    assert Bundle.load(make_bundle(tmp_path, labels=labels)).labels == labels


def test_answers_are_probabilities(bundle) -> None:
    answers = bundle.answer(TEXTS)
    assert answers.shape == (12, 3)
    assert answers.dtype == np.float32
    assert (answers >= 0).all()
    np.testing.assert_allclose(answers.sum(axis=1), 1, atol=1e-6)
    assert len(np.unique(answers.round(4), axis=0)) > 6


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.text(max_size=30), min_size=1, max_size=12), st.randoms())
def test_an_answer_depends_on_its_text_alone(bundle, others, chance) -> None:
    asked = [*TEXTS, *others]
    expected = bundle.answer(TEXTS)
    order = list(range(len(asked)))
    chance.shuffle(order)
    answers = np.empty((len(asked), 3), np.float32)
    answers[order] = bundle.answer([asked[number] for number in order])
    np.testing.assert_allclose(answers[: len(TEXTS)], expected, atol=1e-5)
    np.testing.assert_allclose(bundle.answer(asked)[len(TEXTS) :], answers[len(TEXTS) :], atol=1e-5)


def test_one_text_is_answered_as_among_many(bundle) -> None:
    together = bundle.answer([*TEXTS, LONG])
    for text, expected in zip([*TEXTS, LONG], together, strict=True):
        np.testing.assert_allclose(bundle.answer([text]), [expected], atol=1e-5)


def test_more_texts_than_a_batch_are_all_answered(bundle) -> None:
    from pipeline.progress import SilentProgress

    class Counting(SilentProgress):
        seen: list[tuple[int, int | None]] = []

        def update(self, done, total=None, **figures) -> None:
            self.seen.append((done, total))

    many = [TEXTS[number % 12] for number in range(500)]
    answers = bundle.answer(many, progress=Counting())
    np.testing.assert_allclose(answers, np.tile(bundle.answer(TEXTS), (42, 1))[:500], atol=1e-5)
    assert len(Counting.seen) > 1
    assert Counting.seen[-1][0] == Counting.seen[-1][1]


def test_a_long_text_is_answered_by_its_beginning(bundle) -> None:
    answers = bundle.answer([LONG, f"{LONG} and nothing else matters", f"burn {LONG}"])
    np.testing.assert_allclose(answers[0], answers[1], atol=1e-5)
    assert np.abs(answers[0] - answers[2]).max() > 1e-3


def test_case_and_width_make_no_difference(bundle) -> None:
    plain, loud = bundle.answer(["pain of the eye", "  \uff30\uff21\uff29\uff2e of the Eye "])
    np.testing.assert_allclose(plain, loud, atol=1e-5)


def test_control_tokens_in_a_text_are_only_characters(bundle) -> None:
    plain, padded, lower = bundle.answer(["eye", "[PAD] eye [MASK]", "[pad] eye [mask]"])
    np.testing.assert_allclose(padded, lower, atol=1e-5)
    assert np.abs(plain - padded).max() > 1e-3


def test_no_texts_are_no_answers(bundle) -> None:
    assert bundle.answer([]).shape == (0, 3)


def test_a_folder_without_a_bundle_is_named(tmp_path) -> None:
    assert "it lacks model.keras, tokenizer.json, bundle.json" in load_error(tmp_path / "nowhere")


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_an_error(copy, name) -> None:
    (copy / name).unlink()
    assert load_error(copy) == f"{copy} is not a whole bundle: it lacks {name}"


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["cut", "empty", "noise"])
def test_a_damaged_file_is_an_error(copy, name, damage) -> None:
    content = (copy / name).read_bytes()
    noise = bytes(255 - byte for byte in content[:200]) + content[200:]
    (copy / name).write_bytes({"cut": content[: len(content) // 2], "empty": b"", "noise": noise}[damage])
    load_error(copy)


@pytest.mark.parametrize("key", ["task", "labels", "sequence_length"])
def test_a_card_without_a_key_is_an_error(copy, key) -> None:
    card = json.loads((copy / "bundle.json").read_text())
    del card[key]
    (copy / "bundle.json").write_text(json.dumps(card))
    assert f"KeyError: '{key}'" in load_error(copy)


def test_a_card_of_another_model_is_an_error(copy) -> None:
    card = json.loads((copy / "bundle.json").read_text())
    (copy / "bundle.json").write_text(json.dumps(card | {"labels": ["eye", "heart"]}))
    assert "bundle.json names 2 labels and model.keras answers 3" in load_error(copy)


def test_a_tokenizer_of_another_model_is_an_error(copy) -> None:
    from pipeline.config import Tokenizer
    from pipeline.data.tokens.tokenizer import make_tokenizer

    make_tokenizer(["a few words"], Tokenizer(vocabulary_size=300)).save(str(copy / "tokenizer.json"))
    assert "tokens and model.keras knows" in load_error(copy)


def test_another_kind_of_model_is_an_error(bundle, copy) -> None:
    bundle.model.encoder.save(copy / "model.keras")
    assert "model.keras holds a Encoder, not a SegmentClassifier" in load_error(copy)


def test_code_in_a_model_file_is_not_run(copy, tmp_path) -> None:
    import keras

    marker = tmp_path / "ran"
    path = str(marker)
    layer = keras.layers.Lambda(lambda x: (open(path, "w").close(), x)[1])  # noqa: PTH123
    keras.Sequential([keras.Input((2,)), layer]).save(copy / "model.keras")
    marker.unlink()
    keras.saving.load_model(copy / "model.keras", safe_mode=False)
    assert marker.exists()  # so this file does run code where it is let
    marker.unlink()
    assert "Lambda" in load_error(copy)
    assert not marker.exists()


def test_questions_are_cleaned_as_the_training_texts_were(bundle, tmp_path) -> None:
    from pipeline.bundle import Bundle
    from pipeline.config import Clean

    (broken,) = bundle.answer(["pain of the cafÃ© &amp; eye"])
    (sound,) = bundle.answer(["pain of the café & eye"])
    np.testing.assert_array_equal(broken, sound)
    strict = replace(bundle, clean=Clean(redact=["email"]))
    strict.save(tmp_path / "strict")
    again = Bundle.load(tmp_path / "strict")
    (asked,) = again.answer(["pain of the eye, write to jane.doe@example.com"])
    (redacted,) = again.answer(["pain of the eye, write to <EMAIL>"])
    np.testing.assert_array_equal(asked, redacted)
