"""A text whose answer stands at its end, beyond what the model reads at once."""

import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tiny_steps import make_recipe, view

from pipeline.bundle import Bundle
from pipeline.finetune import finetune
from pipeline.preprocess import preprocess
from pipeline.progress import SilentProgress

FILLER = ("the", "ship", "came", "late", "with", "some", "goods", "from", "another", "harbour")


def make_notes(folder: Path, count: int = 240) -> None:
    chance = random.Random(5)
    kinds = [chance.choice(("rain", "silk")) for _ in range(count)]
    texts = [f"{' '.join(chance.choices(FILLER, k=30))} {kind}" for kind in kinds]
    table = {"row_id": [f"notes:{number}" for number in range(count)], "text": texts, "kind": kinds}
    (folder / "rows" / "notes").mkdir(parents=True)
    pq.write_table(pa.table(table), folder / "rows" / "notes" / "00000.parquet")


def test_what_stands_late_in_a_long_text_is_learned_and_answered_in_windows(tmp_path) -> None:
    make_notes(tmp_path)
    recipe = make_recipe(
        preprocess={"sequence_length": 16},
        tasks={
            "kind": {
                "data": {"source": "notes", "label": "kind", "long_texts": "slide"},
                "finetune": {"initialize": "scratch", "epochs": 6, "global_batch_size": 8, "learning_rate": 0.01},
            }
        },
    )
    tokens, out = tmp_path / "tokens", tmp_path / "out"
    tokens.mkdir()
    assert preprocess(recipe, tmp_path, tokens, SilentProgress()).tasks["kind"]["long_texts"] == 240
    finetune(view(recipe, "finetune", "kind"), "kind", tokens, tokens, out, SilentProgress())
    bundle = Bundle.load(out / "bundle")
    test = pq.read_table(tokens / "tasks" / "kind" / "test.parquet").to_pydict()
    answers = np.array(bundle.labels)[bundle.answer(test["text"]).argmax(axis=1)]
    assert np.mean(answers == np.array(test["label"])) > 0.9, "half is chance, and all that a beginning tells"
