"""The step from sound rows to tokens: nothing leaks, nothing is lost, and the bytes are always the same."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.config import Recipe
from pipeline.data.shards import ShardedRows
from pipeline.data.split import SPLITS, assign_splits
from pipeline.data.tokenizer import START_ID, load_tokenizer, normalise
from pipeline.errors import ValidationFailed
from pipeline.preprocess import preprocess
from pipeline.progress import SilentProgress

RECIPE: dict[str, Any] = {
    "name": "weather",
    "data": {
        "sources": {
            "notes": {"kind": "files", "path": "notes.csv", "group": "place"},
            "terms": {"kind": "files", "path": "terms.csv"},
        }
    },
    "preprocess": {
        "split": {"validation": 0.2, "test": 0.2},
        "tokenizer": {"vocabulary_size": 320},
        "sequence_length": 16,
        "rows_per_shard": 7,
    },
    "tasks": {
        "kind": {"data": {"source": "notes", "label": "kind"}},
        "season": {"data": {"source": "notes", "label": "season", "where": {"kind": "rain"}}},
    },
}
PLACES = [f"place {number}" for number in range(20)]
DEALT = dict(zip(PLACES, assign_splits(PLACES, Recipe.model_validate(RECIPE).preprocess.split), strict=True))
PLACE = {split: next(place for place in PLACES if DEALT[place] == split) for split in SPLITS}
LONG = " ".join(f"wave{number}" for number in range(60))

RUN = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from test_preprocess import run
run(Path(sys.argv[2]), Path(sys.argv[3]))
"""


class Said(SilentProgress):
    """Remembers what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, message: str) -> None:
        self.lines.append(message)


def write_source(rows: Path, name: str, entries: list[tuple[str | None, ...]], columns: tuple[str, ...]) -> None:
    values = zip(*entries, strict=True)
    table = {column: pa.array(found, pa.string()) for column, found in zip(columns, values, strict=True)}
    ids = pa.array([f"{name}:{number}" for number in range(2, len(entries) + 2)], pa.string())
    pq.write_table(pa.table({"row_id": ids, **table}), rows / f"{name}.parquet")


def make_rows(folder: Path) -> Path:
    """Write what `validate` leaves: 20 places with 8 notes each, and terms of which some equal a note."""
    rows = folder / "rows"
    rows.mkdir(parents=True)
    notes: list[tuple[str | None, ...]] = [
        (f"{kind} in the {season} at {place}", place, kind, season)
        for place in PLACES
        for season in ("spring", "autumn")
        for kind in ("rain", "wind", "snow", "sun")
    ]
    notes += [
        ("The same text in two splits", PLACE["train"], "rain", "spring"),
        ("the same TEXT in two splits", PLACE["test"], "wind", "spring"),
        ("only here is fog", PLACE["test"], "fog", "autumn"),
        (LONG, PLACE["train"], "rain", "autumn"),
        ("nobody labelled this", PLACE["train"], None, None),
    ]
    write_source(rows, "notes", notes, ("text", "group", "kind", "season"))
    evaluated = [str(text) for text, place, *_ in notes if DEALT[str(place)] != "train"]
    terms = [(text.upper(), None) for text in evaluated]
    terms += [(f"term {number} means nothing", None) for number in range(60)]
    terms += [(f"term {number}  means NOTHING", None) for number in range(10)]
    # Of these, the group decides: the same place is in `notes`.
    terms += [(f"a further note of {place}", place) for place in PLACES]
    write_source(rows, "terms", terms, ("text", "group"))
    return folder


def run(rows: Path, out: Path, progress: SilentProgress | None = None, **changes: Any):
    out.mkdir()
    return preprocess(Recipe.model_validate(RECIPE | changes), rows, out, progress or SilentProgress())


def decode(tokens: Path, folder: str) -> list[str]:
    """Return the text of every segment of packed rows."""
    tokenizer, rows = load_tokenizer(tokens / "tokenizer.json"), ShardedRows(tokens / folder)
    packed = rows.take(np.arange(len(rows)))
    return [
        tokenizer.decode(ids[segments == number].tolist()).strip()
        for ids, segments in zip(packed.token_ids, packed.segment_ids, strict=True)
        for number in range(1, segments.max() + 1)
    ]


def read_split(tokens: Path, task: str, split: str) -> list[dict[str, str]]:
    found: list[dict[str, str]] = pq.read_table(tokens / "tasks" / task / f"{split}.parquet").to_pylist()
    return found


def digests(folder: Path) -> dict[str, str]:
    files = (file for file in sorted(folder.rglob("*")) if file.is_file())
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


@pytest.fixture(scope="module")
def rows(tmp_path_factory) -> Path:
    return make_rows(tmp_path_factory.mktemp("validated"))


@pytest.fixture(scope="module")
def tokens(rows, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("preprocess") / "out"
    run(rows, out)
    return out


def test_no_text_of_a_held_out_group_is_trained_on(rows, tokens) -> None:
    config = Recipe.model_validate(RECIPE).preprocess
    table = pq.read_table(rows / "rows" / "notes.parquet").to_pylist()
    table += [row for row in pq.read_table(rows / "rows" / "terms.parquet").to_pylist() if row["group"]]
    held_out = {row["text"] for row in table if DEALT[row["group"]] != "train"} - {"the same TEXT in two splits"}
    judged = {
        row["text"] for task in RECIPE["tasks"] for split in SPLITS[1:] for row in read_split(tokens, task, split)
    }
    assert len(held_out) > 60
    assert judged <= held_out
    forbidden = set(normalise(held_out, config.tokenizer))
    trained = decode(tokens, "corpus/train")
    assert len(trained) > 100
    assert not forbidden & set(trained)
    for task in RECIPE["tasks"]:
        assert not forbidden & set(decode(tokens, f"tasks/{task}/train"))
        assert not forbidden & set(
            normalise([row["text"] for row in read_split(tokens, task, "train")], config.tokenizer)
        )


def test_groups_stay_together_in_every_task(tokens) -> None:
    for task in RECIPE["tasks"]:
        for split in SPLITS:
            found = read_split(tokens, task, split)
            assert found
            assert {DEALT[row["group"]] for row in found} == {split}


def test_the_packed_task_is_the_readable_one(tokens) -> None:
    config = Recipe.model_validate(RECIPE).preprocess
    for task in RECIPE["tasks"]:
        for split in SPLITS:
            found, packed = read_split(tokens, task, split), ShardedRows(tokens / "tasks" / task / split)
            parts = packed.take(np.arange(len(packed)))
            tokenizer = load_tokenizer(tokens / "tokenizer.json")
            texts = normalise([row["text"] for row in found], config.tokenizer)
            owners = parts.documents[parts.documents >= 0].tolist()
            assert sorted(owners) == list(range(len(found)))
            assert packed.segments_per_row <= config.sequence_length // 4
            for ids, segments, numbers in zip(parts.token_ids, parts.segment_ids, parts.documents, strict=True):
                for segment, owner in enumerate(numbers[numbers >= 0], start=1):
                    text = tokenizer.decode(ids[segments == segment].tolist()).strip()
                    assert text
                    assert texts[owner].startswith(text)


def test_labels_are_those_of_the_training_rows(tokens) -> None:
    assert json.loads((tokens / "tasks/kind/labels.json").read_text()) == ["rain", "snow", "sun", "wind"]
    assert json.loads((tokens / "tasks/season/labels.json").read_text()) == ["autumn", "spring"]


def test_another_process_writes_the_same_bytes(rows, tokens, tmp_path) -> None:
    environment = os.environ | {"PYTHONHASHSEED": "7", "RAYON_NUM_THREADS": "1"}
    command = [sys.executable, "-c", RUN, str(Path(__file__).parent), str(rows), str(tmp_path / "out")]
    subprocess.run(command, check=True, env=environment)
    assert digests(tmp_path / "out") == digests(tokens)


def test_the_result_counts_what_was_kept_and_dropped(rows, tmp_path) -> None:
    result = run(rows, tmp_path / "out")
    tokens = tmp_path / "out"
    corpus = {split: ShardedRows(tokens / "corpus" / split) for split in ("train", "validation")}
    labelled = {split: read_split(tokens, "kind", split) for split in SPLITS}
    assert result.tasks["kind"] == {
        **{split: len(labelled[split]) for split in SPLITS},
        "classes": 4,
        "duplicates": 1,
        "conflicting_texts": 1,
        "unseen_labels": 1,
    }
    assert sum(map(len, labelled.values())) == 160 + 5 - 1 - 1 - 1
    assert result.tasks["season"]["unseen_labels"] == 0
    assert result.corpus_tokens == sum(part.tokens for part in corpus.values())
    capacity = sum(len(part) * part.sequence_length for part in corpus.values())
    assert result.packing_efficiency == pytest.approx(result.corpus_tokens / capacity, abs=1e-4)
    held_out = len(
        [row for row in pq.read_table(rows / "rows/notes.parquet").to_pylist() if DEALT[row["group"]] != "train"]
    )
    assert result.corpus_duplicates == 1 + held_out + 10
    assert result.vocabulary_size == load_tokenizer(tokens / "tokenizer.json").get_vocab_size() == 320


def test_terms_that_a_task_is_judged_on_leave_the_corpus(rows, tmp_path) -> None:
    # Alone, the terms are ungrouped, so most capital copies of evaluated notes would be training rows.
    result = run(rows, tmp_path / "out", data=RECIPE["data"] | {"corpus": ["terms"]})
    judged = {
        row["text"].lower() for task in RECIPE["tasks"] for split in SPLITS[1:]
        for row in read_split(tmp_path / "out", task, split)
    }  # fmt: skip
    assert result.corpus_removed_as_evaluated > 20
    trained = decode(tmp_path / "out", "corpus/train")
    assert not judged & set(trained)
    assert not any(" in the spring" in text for text in trained)
    assert any(text.startswith("term ") for text in trained)


def test_rows_set_aside_are_in_the_quarantine_with_the_reason(rows, tmp_path) -> None:
    said = Said()
    run(rows, tmp_path / "out", said)
    lines = (tmp_path / "out" / "quarantine.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == [
        {
            "row_id": "notes:164",
            "task": "kind",
            "reason": "label 'fog' is in the test split but in no training row",
            "text": "only here is fog",
        }
    ]
    assert said.lines == [
        f"1 rows set aside because no training row has their label: {tmp_path / 'out' / 'quarantine.jsonl'}"
    ]


def test_a_long_document_is_cut_in_the_corpus_and_truncated_in_a_task(tokens) -> None:
    tokenizer = load_tokenizer(tokens / "tokenizer.json")
    whole = tokenizer.encode(LONG, add_special_tokens=False).ids
    assert len(whole) > 100
    rows = ShardedRows(tokens / "corpus" / "train")
    packed = rows.take(np.arange(len(rows)))
    pieces = {}
    for ids, segments, owners in zip(packed.token_ids, packed.segment_ids, packed.documents, strict=True):
        for number, owner in enumerate(owners[owners >= 0], start=1):
            pieces[int(owner)] = ids[segments == number].tolist()
    stream = [token for owner in sorted(pieces) for token in pieces[owner]]
    beginning = [START_ID, *whole]
    assert any(stream[start : start + len(beginning)] == beginning for start in range(len(stream)))

    labelled = ShardedRows(tokens / "tasks" / "kind" / "train")
    parts = labelled.take(np.arange(len(labelled)))
    starts = [ids.tolist() for ids in parts.token_ids if ids.tolist() == beginning[:16]]
    assert len(starts) == 1
    assert LONG in [row["text"] for row in read_split(tokens, "kind", "train")]


def test_a_corpus_without_training_rows_is_refused(rows, tmp_path) -> None:
    source = pq.read_table(rows / "rows" / "notes.parquet")
    folder = tmp_path / "few" / "rows"
    folder.mkdir(parents=True)
    pq.write_table(source, folder / "notes.parquet")
    write_source(folder, "terms", [(f"a term of {PLACE['test']}", PLACE["test"])], ("text", "group"))
    with pytest.raises(ValidationFailed, match=r"the pretraining corpus \(terms\) has no rows left to train on"):
        run(folder.parent, tmp_path / "out", data=RECIPE["data"] | {"corpus": ["terms"]})
