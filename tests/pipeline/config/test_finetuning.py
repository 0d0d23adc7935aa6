import pytest
from pydantic import ValidationError

from pipeline.config import Finetune, Recipe, Task


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"early_stopping_patience": 4}, "patience is 4 and there are 4 evaluations, .* set evaluations to 5 or more"),
        ({"trainable_layers": 2}, "trainable_layers is of method partial, and method is full; set method to partial"),
        ({"method": "lora", "train_only": "norms"}, "train_only is of method partial, and method is lora"),
        ({"method": "lora", "layer_decay": 0.9}, "layer_decay is of method full and partial, and method is lora"),
        ({"method": "feature_extraction", "gradual_unfreezing": True}, "gradual_unfreezing is of method full and"),
        ({"lora": {"rank": 4}}, "lora is of method lora, and method is full; set method to lora, or remove lora"),
        ({"method": "partial"}, "method partial trains everything as it stands; set trainable_layers to"),
        ({"method": "lora", "optimizer": "muon"}, "muon is made for whole kernels, and method lora trains none"),
    ],
)
def test_keys_that_do_not_go_together_say_how_to_mend_it(config, message) -> None:
    with pytest.raises(ValidationError, match=message):
        Finetune(**config)


@pytest.mark.parametrize(
    "config",
    [
        {"method": "partial", "trainable_layers": 2, "layer_decay": 0.9, "gradual_unfreezing": True},
        {"method": "partial", "train_only": "norms"},
        {"layer_decay": 0.9, "early_stopping_patience": 2},
        {"method": "lora", "lora": {"rank": 4, "alpha": 8, "targets": "attention"}},
    ],
)
def test_those_that_do_are_taken(config) -> None:
    assert Finetune(**config).model_dump(exclude_unset=True, exclude_defaults=True) == config


def test_methods_that_freeze_kernels_do_not_go_with_a_precision_that_quantises_them() -> None:
    recipe = {
        "name": "notes",
        "data": {"sources": {"notes": {"kind": "files", "path": "notes.csv"}}},
        "tasks": {"kind": {"data": {"source": "notes"}, "finetune": {"method": "lora"}}},
    }
    Recipe.model_validate(recipe)
    with pytest.raises(ValidationError, match=r"and tasks\.kind\.finetune\.method lora freezes them"):
        Recipe.model_validate(recipe | {"runtime": {"precision": "float8"}})


@pytest.mark.parametrize("finetune", [{"method": "lora"}, {"initialize": "scratch"}])
def test_the_model_without_pretraining_needs_all_its_weights_to_learn(finetune) -> None:
    task = {"data": {"source": "notes"}, "gate": {"scratch": "warning"}}
    Task.model_validate(task)
    with pytest.raises(ValidationError, match=f"finetune.*{' '.join(finetune)}.*{' '.join(finetune.values())}"):
        Task.model_validate(task | {"finetune": finetune})


@pytest.mark.parametrize(
    ("model", "source", "message"),
    [
        ({"architecture": "decoder"}, {"group": "place"}, "group_weight is 0.5, which an encoder learns by, and model"),
        ({}, {}, r"no source of the corpus \(notes\) has groups; name their column with data.sources.notes.group"),
    ],
)
def test_groups_are_learned_by_an_encoder_from_a_source_that_has_them(model, source, message) -> None:
    recipe = {
        "name": "notes",
        "data": {"sources": {"notes": {"kind": "files", "path": "notes.csv"} | source}},
        "tasks": {"kind": {"data": {"source": "notes", "label": "kind"}}},
        "pretrain": {"group_weight": 0.5},
    }
    with pytest.raises(ValidationError, match=message):
        Recipe.model_validate(recipe | {"model": model})
    mended = {"notes": recipe["data"]["sources"]["notes"] | {"group": "place"}}
    assert Recipe.model_validate(recipe | {"data": {"sources": mended}}).pretrain.group_weight == 0.5
