"""Recipes of tasks that write: what they may say, and what follows from it."""

import re

import pytest
from pydantic import ValidationError
from translations import make_recipe

from pipeline.config import Decode, Recipe, TaskData


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("Translate: {txt}", r"prompt names {txt}; a published model is asked a text.*\{text\} and \{text_pair\} only"),
        ("Translate: {}", "prompt names {}"),
        ("Translate", r"without \{text\}; expected one such as 'Translate to German: \{text\}'"),
        ("{text_pair}", r"without \{text\}"),
        ("{text", "cannot be filled in .*expected '}' before end of string"),
        ("{text!r}", "with a format in braces"),
        ("{text:>10}", "with a format in braces"),
    ],
)
def test_a_prompt_that_cannot_be_filled_in_is_refused(prompt, message) -> None:
    with pytest.raises(ValidationError, match=message):
        make_recipe(data={"prompt": prompt})


def test_a_prompt_may_name_both_texts_and_hold_braces() -> None:
    prompt = "{{sum}} of {text} and {text_pair}"
    data = {"source": "notes", "kind": "generation", "label": "target", "prompt": prompt}
    assert TaskData.model_validate(data).prompt == prompt


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"num_beams": 4, "temperature": 0.5}, "num_beams is 4 and temperature 0.5: .* set num_beams to 1"),
        ({"top_k": 5}, "top_k says what tokens are drawn from, and temperature 0 draws none"),
        ({"top_p": 0.9}, "top_p says what tokens are drawn from"),
        ({"length_penalty": 0.6}, "length_penalty compares beams, and num_beams is 1"),
        ({"max_new_tokens": 0}, "greater than 0"),
    ],
)
def test_settings_of_decoding_that_do_not_go_together_are_refused(config, message) -> None:
    with pytest.raises(ValidationError, match=message):
        Decode(**config)


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        (
            {"architecture": "encoder"},
            "translate.data.kind is generation, and model.architecture is encoder, which writes",
        ),
        ({"data": {"labels": ["a"]}}, "kind is generation, whose answers are texts of any wording; remove labels"),
        ({"data": {"label": "text"}}, "label is text, which the model reads; name the column that it is to write"),
        ({"data": {"kind": "tagging", "prompt": "{text}"}}, "prompt is of kind generation, and kind is tagging"),
        ({"data": {"kind": "tagging"}}, "decode is of kind generation, and kind is tagging; remove it"),
        (
            {"finetune": {"method": "feature_extraction"}},
            "and generation has no head: .* set method to full, or to lora",
        ),
        (
            {"finetune": {"method": "partial", "train_only": "norms"}},
            "translate.finetune: method partial goes by the depth",
        ),
        ({"finetune": {"layer_decay": 0.9}}, "layer_decay goes by the depth of a block, .* use method full or lora"),
        (
            {"finetune": {"class_weights": "balanced"}},
            "class_weights is for classification and tagging, and kind is gen",
        ),
        (
            {"gate": {"metric": "accuracy"}},
            "accuracy is no metric of generation; expected one of bleu, chrf, exact_match",
        ),
    ],
)
def test_what_does_not_go_with_writing_is_refused_before_anything_runs(sections, message) -> None:
    with pytest.raises(ValidationError, match=message):
        make_recipe(**sections)


@pytest.mark.parametrize(
    "sections", [{"method": "lora"}, {"z_loss": 1e-4}, {"label_smoothing": 0.1, "early_stopping_patience": 2}]
)
def test_what_goes_with_writing_is_taken(sections) -> None:
    make_recipe(finetune=sections)
    make_recipe("decoder", finetune={"method": "partial", "trainable_layers": 1, "layer_decay": 0.9})


def test_a_tokenizer_of_texts_to_be_written_keeps_their_case() -> None:
    values = make_recipe().model_dump(mode="json", exclude_unset=True)
    assert not make_recipe().preprocess.tokenizer.lowercase
    values["preprocess"]["tokenizer"] = {"lowercase": True}
    assert Recipe.model_validate(values).preprocess.tokenizer.lowercase
    values["tasks"]["translate"] = {"data": {"source": "notes", "label": "target"}}
    values["preprocess"]["tokenizer"] = {"vocabulary_size": 330}
    assert Recipe.model_validate(values).preprocess.tokenizer.lowercase
    values["tasks"]["translate"]["data"]["kind"] = "generation"
    values["preprocess"] = {}
    values["pretrain"] = {"start_from": "earlier"}
    kept = Recipe.model_validate(values).preprocess.tokenizer
    assert (kept.kind, kept.path) == ("start", None)


def test_a_classification_recipe_reads_what_it_read() -> None:
    plain = {"name": "demo", "data": {"sources": {"notes": {"kind": "files", "path": "notes.csv"}}}}
    recipe = Recipe.model_validate(plain | {"tasks": {"kind": {"data": {"source": "notes"}}}})
    assert recipe.tasks["kind"].data.kind == "classification"
    assert recipe.tasks["kind"].data.prompt is None
    assert recipe.preprocess.tokenizer.lowercase
    assert re.search("generation", str(recipe)) is None


def test_a_second_text_in_the_prompt_needs_a_second_text_in_the_source() -> None:
    values = make_recipe().model_dump(mode="json", exclude_unset=True)
    values["tasks"]["translate"]["data"]["prompt"] = "Of {text_pair}: {text}"
    with pytest.raises(
        ValidationError, match=r"has no second text; name its column with data\.sources\.notes\.text_pair"
    ):
        Recipe.model_validate(values)
    values["data"]["sources"]["notes"]["text_pair"] = "other"
    assert Recipe.model_validate(values).tasks["translate"].data.prompt == "Of {text_pair}: {text}"


@pytest.mark.parametrize("name", ["x/{task}", "mood model: 1", "{task}@home", " "])
def test_a_name_that_no_registry_takes_is_refused_at_once(name) -> None:
    values = make_recipe().model_dump(mode="json", exclude_unset=True) | {"publish": {"registered_model": name}}
    with pytest.raises(ValidationError, match="which names a model"):
        Recipe.model_validate(values)


def test_what_writes_is_published_for_keras_alone() -> None:
    values = make_recipe().model_dump(mode="json", exclude_unset=True)
    Recipe.model_validate(values | {"publish": {"formats": ["keras"]}})
    with pytest.raises(ValidationError, match=r"publish.formats has onnx, and .* set publish.formats to \[keras\]"):
        Recipe.model_validate(values | {"publish": {"formats": ["keras", "onnx"]}})
    with pytest.raises(ValidationError, match="Input should be 'keras', 'savedmodel', 'onnx' or 'onnx_int8'"):
        Recipe.model_validate(values | {"publish": {"formats": ["tflite"]}})
