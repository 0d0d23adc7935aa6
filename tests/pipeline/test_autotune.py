"""Backend and precision are measured where the recipe says auto and the training is long, and what is found is kept."""

import json
from dataclasses import asdict

import keras
import pytest
from tiny_steps import make_recipe

from models.horizon import Horizon
from models.size import derive_dimensions
from pipeline import autotune
from pipeline.autotune import choose, probe
from pipeline.config import Pretrain

LOADED = keras.backend.backend()
DIMENSIONS = derive_dimensions("tiny", num_layers=1, hidden_dim=16, num_heads=2)
LONG = 10**15  # tokens
SPEEDS = {
    ("jax", "float32"): 2114.0,
    ("jax", "mixed_bfloat16"): 900.0,
    ("tensorflow", "float32"): 3013.0,
    ("torch", "float32"): 2964.0,
    ("torch", "mixed_bfloat16"): 193.0,
}


class Probes:
    """Stands in for the processes: speeds as given, and TensorFlow's bfloat16 fails."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict]] = []

    def __call__(self, backend: str, question: dict) -> tuple[list[dict], str]:
        self.asked.append((backend, question))
        rows = [
            {"backend": backend, "precision": precision, "tokens_per_second": SPEEDS[backend, precision]}
            for precision in question["precisions"]
            if (backend, precision) in SPEEDS
        ]
        return rows, "" if len(rows) == len(question["precisions"]) else "RuntimeError: no bfloat16"


@pytest.fixture
def probes(monkeypatch) -> Probes:
    stand_in = Probes()
    monkeypatch.setattr(autotune, "probe", stand_in)
    monkeypatch.setattr(autotune, "select_backend", lambda name: "jax" if name == "auto" else name)
    monkeypatch.setattr(autotune, "loaded_backend", lambda: None)
    monkeypatch.setattr(autotune, "installed_backends", lambda: ["jax", "tensorflow", "torch"])
    return stand_in


@pytest.fixture
def said() -> list[str]:
    return []


def ask(folder, said, backend="auto", precision="auto", tokens=LONG, **pretrain):
    recipe = make_recipe(runtime={"backend": backend, "precision": precision}, pretrain=pretrain)
    horizon = Horizon(
        steps=tokens // (recipe.pretrain.global_batch_size * 32),
        global_batch_size=recipe.pretrain.global_batch_size,
        sequence_length=32,
    )
    return choose(recipe, DIMENSIONS, 300, horizon, folder / "speeds", said.append)


def test_the_fastest_is_taken_and_all_are_told(probes, said, tmp_path) -> None:
    choice = ask(tmp_path, said)
    assert (choice.backend, choice.precision) == ("tensorflow", "float32")
    assert said[-1].startswith("auto: tensorflow float32, 3,013 tokens/s (torch float32 2,964, jax float32 2,114, ")
    assert said[-1].endswith("kept)")
    assert "auto: the probe of tensorflow failed: RuntimeError: no bfloat16" in said
    assert [question["best"] for _, question in probes.asked] == [0.0, 2114.0, 3013.0]


def test_what_was_measured_is_kept_for_the_same_model_only(probes, said, tmp_path, monkeypatch) -> None:
    first = ask(tmp_path, said)
    (kept,) = (tmp_path / "speeds").iterdir()
    found = json.loads(kept.read_text())
    assert len(found["table"]) == 5
    assert found["machine"]["packages"]["keras"] == keras.__version__
    again = ask(tmp_path, said)
    assert len(probes.asked) == 3
    assert (again.backend, again.precision) == (first.backend, first.precision)
    assert f"measured before: {kept}" in said[-1]
    monkeypatch.setattr(autotune, "quick_flops", lambda: 1e5)  # on a busy machine
    ask(tmp_path, said)
    assert len(probes.asked) == 3
    ask(tmp_path, said, optimizer="lion")
    assert len(probes.asked) == 6
    monkeypatch.setattr(autotune, "processor_name", lambda: "another")
    ask(tmp_path, said)
    assert len(probes.asked) == 9


def test_a_damaged_file_is_measured_anew(probes, said, tmp_path) -> None:
    ask(tmp_path, said)
    (kept,) = (tmp_path / "speeds").iterdir()
    kept.write_text(kept.read_text()[:40])
    ask(tmp_path, said)
    assert len(probes.asked) == 6
    assert len(json.loads(kept.read_text())["table"]) == 5


def test_one_value_may_be_fixed(probes, said, tmp_path) -> None:
    choice = ask(tmp_path, said, backend="torch")
    assert (choice.backend, choice.precision) == ("torch", "float32")
    choice = ask(tmp_path, said, precision="mixed_bfloat16")
    assert (choice.backend, choice.precision) == ("jax", "mixed_bfloat16")
    assert [backend for backend, _ in probes.asked] == ["torch", "jax", "tensorflow", "torch"]
    assert probes.asked[-1][1]["precisions"] == ("mixed_bfloat16",)


def test_nothing_is_measured_where_the_recipe_says_it_or_the_training_is_short(probes, said, tmp_path) -> None:
    fixed = ask(tmp_path, said, backend="torch", precision="float32")
    assert (fixed.backend, fixed.precision, said) == ("torch", "float32", [])
    short = ask(tmp_path, said, tokens=1000)
    assert short.backend == "jax"
    assert (short.backend, short.precision) == ("jax", "auto")
    assert said == ["auto: jax, not measured: a training of under 10 minutes"]
    assert probes.asked == []


def test_when_every_probe_fails_the_first_backend_is_taken(probes, said, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(autotune, "probe", lambda backend, question: ([], "out of memory"))
    choice = ask(tmp_path, said)
    assert choice.backend == "jax"
    assert choice.reason == "not measured: every probe failed"
    assert "auto: the probe of torch failed: out of memory" in said
    assert not (tmp_path / "speeds").exists()


def test_an_update_that_would_take_long_is_probed_with_fewer_rows(probes, said, tmp_path, monkeypatch) -> None:
    ask(tmp_path, said, global_batch_size=8)
    assert probes.asked[-1][1]["rows"] == 4  # the recipe's micro-batch
    monkeypatch.setattr(autotune, "quick_flops", lambda: 1e5)
    ask(tmp_path, said, global_batch_size=12)
    assert probes.asked[-1][1]["rows"] == 1


QUESTION = {
    "dimensions": asdict(DIMENSIONS),
    "config": Pretrain().model_dump(mode="json"),
    "vocabulary_size": 50,
    "sequence_length": 16,
    "rows": 2,
    "precisions": ["float32"],
    "best": 0.0,
}


def test_a_probe_trains_the_model_in_a_process_of_its_own() -> None:
    rows, failure = probe(LOADED, QUESTION)
    assert failure == ""
    (row,) = rows
    assert (row["backend"], row["precision"]) == (LOADED, "float32")
    assert row["tokens_per_second"] > 0
    assert row["device"]


def test_a_probe_that_fails_or_hangs_is_told() -> None:
    rows, failure = probe(LOADED, QUESTION | {"config": {"optimizer": "shampoo"}})
    assert rows == []
    assert "ValidationError" in failure
    assert probe(LOADED, QUESTION, limit=0.05) == ([], "it took more than 0 s")
