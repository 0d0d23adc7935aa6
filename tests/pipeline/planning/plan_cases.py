"""A recipe to plan, and devices whose figures are round."""

from dataclasses import replace
from typing import Any

from pipeline.config import Recipe
from pipeline.planning.devices import Cluster, Device

ROUND = Device("round", "gpu", "", 1e9, 0.0, inside=1e9, between=1e8, per_host=4, flops=1e12)


def make_recipe(**sections: Any) -> Recipe:
    """A decoder of 2 layers x 64; `sections` overlay the recipe's."""
    recipe: dict[str, Any] = {
        "name": "planned",
        "data": {"sources": {"notes": {"kind": "files", "path": "notes.csv"}}},
        "preprocess": {"tokenizer": {"vocabulary_size": 512}, "sequence_length": 32},
        "model": {"architecture": "decoder", "num_layers": 2, "hidden_dim": 64, "num_heads": 4},
        "pretrain": {"steps": 100, "global_batch_size": 64},
        "tasks": {"kind": {"data": {"source": "notes", "label": "kind"}}},
        "runtime": {"precision": "float32"},
    }
    for name, section in sections.items():
        recipe[name] = recipe.get(name, {}) | section
    return Recipe.model_validate(recipe)


def cluster(devices: int = 8, hosts: int = 1, **changes: Any) -> Cluster:
    """Devices of 1 TFLOP/s with 1 GB each, 1 GB/s between those of a host and 0.1 GB/s between hosts."""
    return Cluster(replace(ROUND, **changes), hosts, devices // hosts)
