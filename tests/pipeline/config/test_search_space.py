import pytest
from pydantic import ValidationError

from pipeline.config import Finetune
from pipeline.config.search import Range, spoken_values, with_values
from pipeline.errors import RecipeError
from pipeline.recipes import load_recipe


def finetune(space, trials=2, **section) -> Finetune:
    return Finetune(search={"trials": trials, "space": space}, **section)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"learning_rate": {"low": 1e-4, "high": 30}}, "space.learning_rate: received high: 30; expected a number, ab"),
        ({"dropout": [0.1, 1.0]}, "space.dropout: received 1.0; expected a number, at least 0.0 and below 1.0"),
        ({"epochs": {"low": 2, "high": 4.5}}, "space.epochs: received high: 4.5; expected a whole number, at least 1"),
        ({"epochs": ["many", 2]}, 'space.epochs: received "many"; expected a whole number, at least 1'),
        ({"class_weights": ["none", "some"]}, 'space.class_weights: received "some"; expected one of none, balanced'),
        ({"class_weights": {"low": 0, "high": 1}}, "space.class_weights: received low: 0; expected one of none, bal"),
        ({"lora.rank": [-1, 2]}, "space.lora.rank: received -1; expected a whole number, above 0"),
        ({"gradual_unfreezing": {"low": 0, "high": 1}}, "the key takes no numbers; list the values"),
        ({"epochs": [4, 4]}, "space.epochs: a value stands twice"),
        ({"dropout": {"low": 0.3, "high": 0.1}}, "low is 0.3 and high is 0.1; low must be below high"),
        ({"dropout": {"low": 0, "high": 0.1, "log": True}}, "a logarithm needs low above 0"),
        ({"learning_rte": [0.1, 0.2]}, 'the unknown key "learning_rte", did you mean "learning_rate"?'),
        ({"lora": [1, 2]}, 'the unknown key "lora", did you mean "lora.rank"?'),
        ({"seeds": [1, 2]}, "space.seeds: seeds cannot be searched"),
        ({"search": [1, 2]}, "space.search: search cannot be searched"),
        ({"epochs": [4]}, "trials is 2, and the space has 1 different combinations; set trials to 1"),
        ({"lora.rank": [4, 8]}, "space allows lora.rank=4, which is no fine-tuning: lora is of method lora"),
        (
            {"early_stopping_patience": [2, 4], "evaluations": {"low": 4, "high": 8}},
            "space allows early_stopping_patience=4, evaluations=4, which is no fine-tuning: .* set evaluations to 5",
        ),
    ],
)
def test_a_space_that_the_section_would_refuse(space, message) -> None:
    with pytest.raises(ValidationError, match=message):
        finetune(space)


def test_values_are_those_that_the_keys_read() -> None:
    space = {"lora.rank": [4, 8], "epochs": {"low": 2.0, "high": 3}, "learning_rate": [None, 1], "dropout": [0]}
    found = finetune(space, method="lora")
    assert found.search.space == {
        "lora.rank": [4, 8],
        "epochs": Range(low=2, high=3),
        "learning_rate": [None, 1.0],
        "dropout": [0.0],
    }
    assert isinstance(found.search.space["epochs"].low, int)
    assert found.search.size() == 8
    assert Finetune.model_validate(found.model_dump(mode="json")) == found, "what a run records reads the same"
    tried = with_values(found, {"lora.rank": 4, "learning_rate": 1e-3})
    assert (tried.lora.rank, tried.learning_rate, tried.method, tried.search) == (4, 1e-3, "lora", None)
    assert spoken_values(
        {"lora.rank": 4, "learning_rate": 3e-4, "keep": "best", "ema_decay": None, "decay_all": True}
    ) == ("lora.rank=4, learning_rate=0.0003, keep=best, ema_decay=null, decay_all=true")


def test_a_large_space_is_looked_at_in_part() -> None:
    wide = {key: [0.1, 0.2, 0.3, 0.4] for key in ("dropout", "warmup_fraction", "beta_1", "beta_2", "weight_decay")}
    found = finetune(wide)
    assert (found.search.size(), len(found.variants())) == (4**5, 1000)
    with pytest.raises(ValidationError, match="which is no fine-tuning: early_stopping_patience is 4"):
        finetune(wide | {"early_stopping_patience": [1, 4]})


@pytest.mark.parametrize(
    ("search", "message"),
    [
        (
            "{trials: 2, space: {epochs: {low: 1, hihg: 2}}}",
            r'space\.epochs\.hihg: received the unknown key "hihg", did',
        ),
        ("{trials: 2, space: {epochs: 5}}", r"search\.space\.epochs: received 5; expected"),
        ("{trials: 2, space: {}}", r"search\.space: received an empty mapping; expected a mapping with at least one"),
        ("{trials: 900, space: {epochs: [1]}}", r"search\.trials: received 900; expected a whole number, at least 1"),
        ("{trials: 2, space: {z_loss: [0, 0.1]}}", "finetune.z_loss is for classification and tagging"),
        ("{trials: 2, space: {global_batch_size: [4, 6]}}", "finetune.global_batch_size is 6, not a multiple of"),
    ],
)
def test_a_recipe_says_where_its_search_is_wrong(tiny_recipe, search, message) -> None:
    text = tiny_recipe.read_text().replace("epochs: 2, global_batch_size: 4}", f"search: {search}}}")
    text = text.replace("{backend: jax}", "{backend: jax, micro_batch_size: 4}")
    if "z_loss" in search:
        text = text.replace("label: kind}", "label: kind, kind: multi_label}").replace("accuracy: 0.1", "micro_f1: 0.1")
    tiny_recipe.write_text(text)
    with pytest.raises(RecipeError, match=rf"tiny\.yaml:\d+: tasks\.kind[^\n]*{message}"):
        load_recipe(tiny_recipe)
