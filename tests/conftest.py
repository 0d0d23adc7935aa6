"""What several folders of tests share."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

from pipeline.training.compile_cache import JAX_FOLDER, kind_of_machine

# A slow machine is no failure.
settings.register_profile("tradewind", deadline=None)
settings.load_profile("tradewind")


def pytest_configure(config: pytest.Config) -> None:
    """Let all tests, and the processes they start, compile each JAX program once."""
    if not config.pluginmanager.has_plugin("cacheprovider"):
        return
    kept = {
        JAX_FOLDER: str(config.cache.mkdir(f"jax-{kind_of_machine('jax')}")),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    for name, value in kept.items():
        os.environ.setdefault(name, value)


PLACES = ("harbour", "meadow", "mountain", "village", "river", "forest", "island", "market")
KINDS = {"weather": ("rain", "wind", "snow", "sun"), "trade": ("silk", "salt", "copper", "pepper")}

RECIPE = """
name: tiny
description: Two kinds of notes, in seconds.
data:
  sources:
    notes: {{kind: files, path: {data}, text: note, group: place}}
preprocess:
  split: {{validation: 0.2, test: 0.2}}
  tokenizer: {{vocabulary_size: 300}}
  sequence_length: 32
model: {{size: tiny, num_layers: 1, hidden_dim: 16, num_heads: 2}}
pretrain: {{steps: 4, global_batch_size: 4}}
tasks:
  kind:
    data: {{source: notes, label: kind}}
    finetune: {{epochs: 2, global_batch_size: 4}}
    gate: {{thresholds: {{accuracy: 0.1}}, baseline: "off"}}
runtime: {{backend: jax}}
airflow:
  retries: 1
  retry_delay_seconds: 1
"""


@pytest.fixture
def tiny_recipe(tmp_path: Path) -> Path:
    """Return a recipe, alone in its folder, whose whole chain takes seconds and ends in a published model."""
    return write_tiny_recipe(tmp_path)


@pytest.fixture(scope="session")
def tiny_recipe_in() -> Callable[[Path], Path]:
    """Return what writes that recipe into any folder, for fixtures that outlive a test."""
    return write_tiny_recipe


def write_tiny_recipe(folder: Path) -> Path:
    """Write the recipe and its rows; one in seven has words drawn without regard to its label, so none is perfect."""
    chance = random.Random(5)
    rows = ["place,kind,note"]
    for number in range(240):
        place, kind = PLACES[number % len(PLACES)], chance.choice(list(KINDS))
        goods = " and ".join(chance.sample(KINDS[chance.choice(list(KINDS)) if number % 7 == 0 else kind], 2))
        rows.append(f"{place} {number % 40},{kind},{goods} at the {place} on day {number}")
    data = folder / "notes.csv"
    data.write_text("\n".join(rows) + "\n", encoding="utf-8")
    file = folder / "recipes" / "tiny.yaml"
    file.parent.mkdir()
    file.write_text(RECIPE.format(data=data), encoding="utf-8")
    return file
