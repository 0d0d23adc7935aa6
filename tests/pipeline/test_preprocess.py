"""The step from sound rows to tokens: nothing leaks, nothing is lost, and the bytes are always the same."""

import hashlib
import importlib
import json
import os
import shutil
import subprocess
import sys
import unicodedata
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from split_names import assign_splits

from pipeline.config import Recipe
from pipeline.data.rows import row_files
from pipeline.data.text import words
from pipeline.data.text.splits import SPLITS
from pipeline.data.tokens.shards import ShardedRows
from pipeline.data.tokens.tokenizer import load_tokenizer
from pipeline.data.tokens.vocabulary import Vocabulary
from pipeline.errors import SourceError, ValidationFailed
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
ROWS_PER_FILE = 50
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
    columns_of = {column: pa.array(found, pa.string()) for column, found in zip(columns, values, strict=True)}
    ids = pa.array([f"{name}:{number}" for number in range(2, len(entries) + 2)], pa.string())
    table = pa.table({"row_id": ids, **columns_of})
    (rows / name).mkdir(parents=True)
    for number, start in enumerate(range(0, len(table), ROWS_PER_FILE)):
        pq.write_table(table.slice(start, ROWS_PER_FILE), rows / name / f"{number:05d}.parquet")


def read_source(rows: Path, name: str) -> list[dict[str, str]]:
    found: list[dict[str, str]] = [
        row for path in row_files(rows / "rows", name) for row in pq.read_table(path).to_pylist()
    ]
    return found


def normalise(texts) -> list[str]:
    """Return the texts as decoding the tokens gives them."""
    return [unicodedata.normalize("NFKC", text) for text in words.normalise(pa.array(texts)).to_pylist()]


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


def decode_documents(tokens: Path, folder: str) -> list[str]:
    """Return the texts of the segments that begin a document."""
    tokenizer, rows = load_tokenizer(tokens / "tokenizer.json"), ShardedRows(tokens / folder)
    start, packed = Vocabulary.of(tokenizer).start, rows.take(np.arange(len(rows)))
    return [tokenizer.decode([token]) for token in packed.token_ids[packed.token_ids == start].tolist()]


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
    table = read_source(rows, "notes") + [row for row in read_source(rows, "terms") if row["group"]]
    held_out = {row["text"] for row in table if DEALT[row["group"]] != "train"}
    judged = {
        row["text"] for task in RECIPE["tasks"] for split in SPLITS[1:] for row in read_split(tokens, task, split)
    }
    assert len(held_out) > 60
    assert judged <= held_out
    forbidden = set(normalise(list(held_out)))
    trained = decode(tokens, "corpus/train")
    assert len(trained) > 100
    assert not forbidden & set(trained)
    # This text is in no evaluation split of the task season, which may learn from its other copy.
    forbidden -= {"the same text in two splits"}
    for task in RECIPE["tasks"]:
        assert not forbidden & set(decode(tokens, f"tasks/{task}/train"))
        assert not forbidden & set(normalise([row["text"] for row in read_split(tokens, task, "train")]))


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
            texts = normalise([row["text"] for row in found])
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


def test_every_document_of_the_corpus_knows_its_group(tokens) -> None:
    for split in ("train", "validation"):
        rows, groups = ShardedRows(tokens / "corpus" / split), np.load(tokens / "corpus" / split / "groups.npy")
        documents = rows.take(np.arange(len(rows))).documents
        owners = documents[documents >= 0]
        assert sorted(owners) == list(range(len(groups)))  # counted over all blocks, in pieces
        places: dict[int, set[str]] = {}
        for text, owner in zip(decode(tokens, f"corpus/{split}"), owners, strict=True):
            named = [place for place in PLACES if text.endswith((f" at {place}", f" of {place}"))]
            places.setdefault(int(groups[owner]), set()).update(named)
            assert groups[owner] >= 0 if named else "term" not in text or groups[owner] == -1
        assert places.pop(-1, set()) == set()
        assert all(len(named) <= 1 for named in places.values())
        assert {place for named in places.values() for place in named} == {p for p in PLACES if DEALT[p] == split}


def test_the_result_counts_what_was_kept_and_dropped(rows, tmp_path) -> None:
    result = run(rows, tmp_path / "out")
    tokens = tmp_path / "out"
    corpus = {split: ShardedRows(tokens / "corpus" / split) for split in ("train", "validation")}
    labelled = {split: read_split(tokens, "kind", split) for split in SPLITS}
    decoder = load_tokenizer(tokens / "tokenizer.json")
    assert result.tasks["kind"] == {
        **{split: len(labelled[split]) for split in SPLITS},
        "classes": 4,
        "duplicates": 1,
        "conflicting_texts": 1,
        "unseen_labels": 1,
        "long_texts": sum(
            len(decoder.encode(row["text"], add_special_tokens=False).ids) >= 16
            for rows in labelled.values()
            for row in rows
        ),
    }
    assert 1 <= result.tasks["kind"]["long_texts"] < 10
    assert sum(map(len, labelled.values())) == 160 + 5 - 1 - 1 - 1
    assert result.tasks["season"]["unseen_labels"] == 0
    assert result.corpus_tokens == sum(part.tokens for part in corpus.values())
    for part in corpus.values():
        rows_of_part = part.take(np.arange(len(part)))
        texts = decoder.decode_batch([row[row > 0].tolist() for row in rows_of_part.token_ids.astype(int)])
        assert part.text_bytes == pytest.approx(sum(len(text.encode()) for text in texts), rel=0.15)
    capacity = sum(len(part) * part.sequence_length for part in corpus.values())
    assert result.packing_efficiency == pytest.approx(result.corpus_tokens / capacity, abs=1e-4)
    removed = pa.concat_tables([pq.read_table(path) for path in sorted((tokens / "removed").glob("*.parquet"))])
    rules = Counter(removed["rule"].to_pylist())
    assert rules == {
        "duplicate": result.corpus_duplicates,
        "equals a text that a task is judged on": result.corpus_removed_as_evaluated,
        "held out with its group": result.corpus_held_out,
    }
    assert result.corpus_held_out == sum(DEALT[row["group"]] == "test" for row in read_source(rows, "notes")) + sum(
        DEALT[row["group"]] == "test" for row in read_source(rows, "terms") if row["group"]
    )
    everything = len(read_source(rows, "notes")) + len(read_source(rows, "terms"))
    assert result.corpus_rows + rules.total() == everything
    assert result.corpus_duplicates >= 10
    assert len(set(removed["row_id"].to_pylist())) == rules.total()
    kept = len(decode_documents(tokens, "corpus/train")) + len(decode_documents(tokens, "corpus/validation"))
    assert kept == result.corpus_rows
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
    assert said.lines[-1:] == [
        f"1 rows set aside because no training row has their label: {tmp_path / 'out' / 'quarantine.jsonl'}"
    ]


def test_a_long_document_is_cut_in_the_corpus_and_truncated_in_a_task(tokens) -> None:
    tokenizer = load_tokenizer(tokens / "tokenizer.json")
    whole = tokenizer.encode(LONG, add_special_tokens=False).ids
    assert len(whole) > 100
    beginning = [Vocabulary.of(tokenizer).start, *whole]
    rows = ShardedRows(tokens / "corpus" / "train")
    packed = rows.take(np.arange(len(rows)))
    pieces = [
        ids[segments == number].tolist()
        for ids, segments in zip(packed.token_ids, packed.segment_ids, strict=True)
        for number in range(1, segments.max() + 1)
    ]
    assert all(beginning[start : start + 16] in pieces for start in range(0, len(beginning), 16))

    labelled = ShardedRows(tokens / "tasks" / "kind" / "train")
    parts = labelled.take(np.arange(len(labelled)))
    starts = [ids.tolist() for ids in parts.token_ids if ids.tolist() == beginning[:16]]
    assert len(starts) == 1
    assert LONG in [row["text"] for row in read_split(tokens, "kind", "train")]


def test_a_corpus_without_training_rows_is_refused(rows, tmp_path) -> None:
    folder = tmp_path / "few" / "rows"
    shutil.copytree(rows / "rows" / "notes", folder / "notes")
    write_source(folder, "terms", [(f"a term of {PLACE['test']}", PLACE["test"])], ("text", "group"))
    with pytest.raises(ValidationFailed, match=r"the pretraining corpus \(terms\) has no rows left to train on"):
        run(folder.parent, tmp_path / "out", data=RECIPE["data"] | {"corpus": ["terms"]})


def changed(**sections: Any) -> dict[str, Any]:
    """Return the recipe's preprocess section with some keys changed."""
    return {"preprocess": RECIPE["preprocess"] | sections}


def test_the_number_of_processes_changes_no_byte(rows, tokens, tmp_path) -> None:
    run(rows, tmp_path / "out", runtime={"data_workers": 3})
    assert digests(tmp_path / "out") == digests(tokens)


class Killed(Exception):
    """Stands for the end of the process."""


@pytest.mark.parametrize("stage", ["prepare", "sift", "write"])
def test_a_killed_run_goes_on_at_the_block_it_was_on(rows, tokens, tmp_path, monkeypatch, stage) -> None:
    module = importlib.import_module(f"pipeline.data.stages.{stage}")
    name = {"prepare": "clean", "sift": "band_keys", "write": "_write_removed"}[stage]
    function, calls = getattr(module, name), []

    def die_at_the_third(*args: Any) -> Any:
        calls.append(args)
        if len(calls) == 3:
            raise Killed
        return function(*args)

    monkeypatch.setattr(module, name, die_at_the_third)
    with pytest.raises(Killed):
        run(rows, tmp_path / "out")
    assert not (tmp_path / "out" / "corpus" / "train" / "index.json").exists()
    before = len(calls)
    preprocess(Recipe.model_validate(RECIPE), rows, tmp_path / "out", SilentProgress())
    blocks = len(list((rows / "rows").rglob("*.parquet")))
    assert len(calls) - before == blocks - 2
    assert digests(tmp_path / "out") == digests(tokens)


@pytest.mark.parametrize("kind", ["wordpiece", "unigram"])
def test_other_tokenizers_serve_as_well(rows, tmp_path, kind) -> None:
    settings = changed(tokenizer={"kind": kind, "vocabulary_size": 320})
    result = run(rows, tmp_path / "out", **settings)
    assert 200 < result.vocabulary_size <= 320
    assert any("means nothing" in text for text in decode(tmp_path / "out", "corpus/train"))


def test_a_given_tokenizer_is_used_as_it_is(rows, tokens, tmp_path) -> None:
    given = changed(tokenizer={"kind": "file", "path": str(tokens / "tokenizer.json")})
    run(rows, tmp_path / "out", **given)
    assert digests(tmp_path / "out") == digests(tokens)


def write_rows(folder: Path, columns: dict[str, list[str | None]], name: str = "notes") -> Path:
    values = list(zip(*columns.values(), strict=True))
    (folder / "rows").mkdir(parents=True, exist_ok=True)
    write_source(folder / "rows", name, values, tuple(columns))
    return folder


def labelled(count: int) -> dict[str, list[str | None]]:
    """Return rows with a label, enough for every split."""
    return {
        "text": [f"note {number} about {'rain' if number % 2 else 'snow'} and more" for number in range(count)],
        "group": [None] * count,
        "kind": ["rain" if number % 2 else "snow" for number in range(count)],
    }


ONE_TASK = {
    "data": {"sources": {"notes": {"kind": "files", "path": "notes.csv"}}},
    "tasks": {"kind": {"data": {"source": "notes", "label": "kind"}}},
}


WITH_PAGES = ONE_TASK | {
    "data": {"sources": ONE_TASK["data"]["sources"] | {"pages": {"kind": "files", "path": "pages.txt"}}}
}


def test_a_given_split_is_kept(tmp_path) -> None:
    columns = labelled(120)
    columns["split"] = [("train", "train", "validation", "test")[number % 4] for number in range(120)]
    rows = write_rows(tmp_path, columns)
    run(rows, tmp_path / "out", **ONE_TASK)
    for split in SPLITS:
        expected = [text for text, given in zip(columns["text"], columns["split"], strict=True) if given == split]
        assert [row["text"] for row in read_split(tmp_path / "out", "kind", split)] == expected


def test_the_latest_rows_are_for_the_test(tmp_path) -> None:
    columns = labelled(120)
    columns["day"] = [f"2026-{1 + number // 28:02d}-{1 + number % 28:02d}" for number in range(120)]
    rows = write_rows(tmp_path, columns)
    config = changed(split={"method": "time", "column": "day", "validation": 0.25, "test": 0.25})
    run(rows, tmp_path / "out", **ONE_TASK, **config)
    found = {split: [row["text"] for row in read_split(tmp_path / "out", "kind", split)] for split in SPLITS}
    assert found["train"] + found["validation"] + found["test"] == columns["text"]
    assert len(found["validation"]) == len(found["test"]) == 30


def test_every_label_has_its_share_of_a_stratified_split(tmp_path) -> None:
    columns = labelled(100)
    columns["kind"] = ["rare" if number < 10 else "common" for number in range(100)]
    rows = write_rows(tmp_path, columns)
    run(rows, tmp_path / "out", **ONE_TASK, **changed(split={"method": "stratified", "column": "kind"}))
    for split, rare, common in (("train", 8, 72), ("validation", 1, 9), ("test", 1, 9)):
        counts = Counter(row["label"] for row in read_split(tmp_path / "out", "kind", split))
        assert counts == {"rare": rare, "common": common}


def test_texts_are_repaired_everywhere_and_filtered_in_the_corpus_only(tmp_path) -> None:
    columns = labelled(120)
    columns["text"] = [f"{text} cafÃ©" for text in columns["text"] if text]
    columns["text"][3] = "short cafÃ©"
    rows = write_rows(tmp_path, columns)
    result = run(rows, tmp_path / "out", **ONE_TASK, **changed(filters={"min_words": 4}))
    assert result.corpus_filtered == {"min_words": 1}
    assert sum(result.cleaned.values()) >= 120
    texts = [row["text"] for split in SPLITS for row in read_split(tmp_path / "out", "kind", split)]
    assert "short café" in texts
    assert all(text.endswith("café") for text in texts)
    assert not any("short" in text for text in decode(tmp_path / "out", "corpus/train"))


def test_near_duplicates_leave_the_corpus_and_no_task(tmp_path) -> None:
    story = [f"word{number}" for number in range(300)]
    pages = [" ".join([*story[:150], f"copy{copy}", *story[150:]]) for copy in range(5)]
    rows = write_rows(tmp_path, labelled(60))
    write_rows(rows, {"text": [*pages], "group": [PLACE["train"]] * 5}, "pages")
    result = run(rows, tmp_path / "out", **WITH_PAGES)
    assert result.corpus_near_duplicates == 4
    kept = run(rows, tmp_path / "kept", **WITH_PAGES, **changed(deduplicate={"near": None}))
    assert (kept.corpus_near_duplicates, kept.corpus_rows) == (0, result.corpus_rows + 4)
    assert kept.tasks == result.tasks


def test_what_overlaps_an_evaluation_text_is_not_pretrained_on(tmp_path) -> None:
    rows = write_rows(tmp_path, labelled(120))
    run(rows, tmp_path / "first", **ONE_TASK)
    judged = read_split(tmp_path / "first", "kind", "test")[0]["text"]
    pages: dict[str, list[str | None]] = {
        "text": [f"page {number} begins with this {judged} ends with that {number}" for number in range(30)],
        "group": [f"page {number}" for number in range(30)],
    }
    write_rows(rows, pages, "pages")
    result = run(rows, tmp_path / "out", **WITH_PAGES)
    assert result.corpus_overlaps > 15
    assert not any("begins with" in text for text in decode(tmp_path / "out", "corpus/train"))


def test_second_texts_are_encoded_and_kept(tmp_path) -> None:
    columns = labelled(120)
    columns["text_pair"] = [f"answer {number}" if number % 3 else None for number in range(120)]
    rows = write_rows(tmp_path, columns)
    run(rows, tmp_path / "out", **ONE_TASK)
    found = read_split(tmp_path / "out", "kind", "train")
    assert {row["text"]: row["text_pair"] for row in found}.items() <= dict(
        zip(columns["text"], columns["text_pair"], strict=True)
    ).items()
    tokenizer = load_tokenizer(tmp_path / "out" / "tokenizer.json")
    packed = ShardedRows(tmp_path / "out" / "tasks" / "kind" / "train")
    separators = (packed.take(np.arange(len(packed))).token_ids == Vocabulary.of(tokenizer).separator).sum()
    assert separators == sum(row["text_pair"] is not None for row in found)


def test_text_that_no_task_uses_needs_no_column_of_the_split_and_no_test_rows(tmp_path) -> None:
    columns = labelled(100)
    rows = write_rows(tmp_path, columns)
    pages: dict[str, list[str | None]] = {"text": [f"page {number} of a book {number * 7}" for number in range(200)]}
    write_rows(rows, pages, "pages")
    settings = changed(split={"method": "stratified", "column": "kind"})
    result = run(rows, tmp_path / "out", **WITH_PAGES, **settings)
    assert result.corpus_held_out == 10
    assert result.corpus_rows == 100 + 200 - 10 - result.corpus_overlaps
    with pytest.raises(SourceError, match=r"preprocess.split\.column names column 'kinds', which source 'notes' lacks"):
        run(rows, tmp_path / "typo", **WITH_PAGES, **changed(split={"method": "stratified", "column": "kinds"}))


def with_long_texts(what: str) -> dict[str, Any]:
    data = {"source": "notes", "label": "kind", "long_texts": what}
    return ONE_TASK | {"tasks": {"kind": {"data": data}}}


def test_long_texts_are_read_in_windows_with_the_answer_of_the_whole(tmp_path) -> None:
    columns = labelled(80)
    columns["text"] += [f"{LONG} {number}" for number in range(10)]
    columns["group"] += [None] * 10
    columns["kind"] += ["rain"] * 10
    rows, said = write_rows(tmp_path, columns), Said()
    result = run(rows, tmp_path / "out", said, **with_long_texts("slide"))
    assert result.tasks["kind"]["long_texts"] == 10
    assert any("10 texts of task 'kind' are longer" in line and "read in windows" in line for line in said.lines)
    found, packed = read_split(tmp_path / "out", "kind", "train"), ShardedRows(tmp_path / "out/tasks/kind/train")
    owners = packed.take(np.arange(len(packed))).documents
    counts = Counter(owners[owners >= 0].tolist())
    assert set(counts) == set(range(len(found)))
    assert {counts[place] > 5 for place, row in enumerate(found) if row["text"].startswith("wave")} == {True}
    assert {counts[place] for place, row in enumerate(found) if row["text"].startswith("note")} <= {1, 2}


def test_long_texts_are_refused_where_the_recipe_wants_none(tmp_path) -> None:
    columns = labelled(80)
    columns["text"][0] = LONG
    rows = write_rows(tmp_path, columns)
    settings = changed(sequence_length=64)
    with pytest.raises(
        ValidationFailed, match=r"1 texts of task 'kind' are longer.*64 tokens \(the longest has [0-9]+\)"
    ):
        run(rows, tmp_path / "out", **with_long_texts("error"), **settings)
    said = Said()
    run(rows, tmp_path / "cut", said, **with_long_texts("truncate"), **settings)
    assert any("they are cut off" in line for line in said.lines)


def test_a_class_that_the_recipe_names_and_no_training_row_has_is_refused(tmp_path) -> None:
    rows = write_rows(tmp_path, labelled(80))
    data = {"source": "notes", "label": "kind", "labels": ["rain", "snow", "hail"]}
    with pytest.raises(ValidationFailed, match=r"no training row carries 'hail', which tasks.kind.data.labels names"):
        run(rows, tmp_path / "out", **(ONE_TASK | {"tasks": {"kind": {"data": data}}}))


def test_the_same_number_in_all_training_rows_is_refused_before_training(tmp_path) -> None:
    columns = labelled(80)
    rows = write_rows(tmp_path, columns)
    run(rows, tmp_path / "dealt", **ONE_TASK)
    judged = {row["text"] for split in ("validation", "test") for row in read_split(tmp_path / "dealt", "kind", split)}
    same = ("2", "2.0")
    numbers = [str(place) if text in judged else same[place % 2] for place, text in enumerate(columns["text"])]
    numbered = write_rows(tmp_path / "numbered", columns | {"kind": numbers})
    data = {"source": "notes", "label": "kind", "kind": "regression"}
    with pytest.raises(ValidationFailed, match=r"has the same number, 2, in all its [0-9]+ training rows"):
        run(numbered, tmp_path / "out", **(ONE_TASK | {"tasks": {"kind": {"data": data}}}))


def test_classes_that_no_test_row_has_are_told(tmp_path) -> None:
    columns = labelled(80)
    columns["text"] += ["hail once"]
    columns["group"] += [PLACE["train"]]
    columns["kind"] += ["hail"]
    said = Said()
    run(write_rows(tmp_path, columns), tmp_path / "out", said, **ONE_TASK)
    assert "task 'kind': no test row carries 'hail', 1 of 3 classes; they are learned and not judged" in said.lines
