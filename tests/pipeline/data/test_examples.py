"""Which rows a task and the corpus are made of."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import Preprocess, TaskData
from pipeline.data.examples import corpus_examples, task_examples, write_examples
from pipeline.data.split import SPLITS, assign_splits
from pipeline.data.tokenizer import normalise
from pipeline.errors import SourceError, ValidationFailed

CONFIG = Preprocess.model_validate({"split": {"validation": 0.2, "test": 0.2}})
TASK = TaskData(source="notes", label="kind")


def groups_of(split: str, count: int) -> list[str]:
    """Names of groups that are dealt to `split`."""
    names = [f"group {number}" for number in range(60 * count)]
    dealt = assign_splits(names, CONFIG.split)
    return [name for name, place in zip(names, dealt, strict=True) if place == split][:count]


GROUPS = {split: groups_of(split, 4) for split in SPLITS}


def write_rows(path: Path, rows: Sequence[Mapping[str, str | None]]) -> Path:
    """Write rows as `validate` does."""
    columns = ["row_id", "text", "group", *sorted({key for row in rows for key in row} - {"text", "group"})]
    data = {column: [row.get(column) for row in rows] for column in columns}
    data["row_id"] = [f"{path.stem}:{number}" for number in range(2, len(rows) + 2)]
    pq.write_table(pa.table({name: pa.array(column, pa.string()) for name, column in data.items()}), path)
    return path


def sound_rows() -> list[dict[str, str | None]]:
    """Two rows of each of two kinds in every split."""
    return [
        {"text": f"{kind} {number} of {group}", "group": group, "kind": kind, "place": "port"}
        for split in SPLITS
        for group in GROUPS[split][:2]
        for number, kind in enumerate(("rain", "salt"))
    ]


def note(split: str, text: str, kind: str | None, **more: str | None) -> dict[str, str | None]:
    return {"text": text, "group": GROUPS[split][0], "kind": kind, "place": "port"} | more


def read(tmp_path: Path, rows: Sequence[Mapping[str, str | None]], data: TaskData = TASK):
    return task_examples("weather", write_rows(tmp_path / "notes.parquet", rows), data, CONFIG)


def texts(examples) -> list[str]:
    return [example.text for example in examples]


def test_rows_follow_their_group(tmp_path) -> None:
    task = read(tmp_path, sound_rows())
    for split in SPLITS:
        assert {example.group for example in task.rows[split]} == set(GROUPS[split][:2])
        assert len(task.rows[split]) == 4
    assert task.labels == ["rain", "salt"]
    assert (task.unseen, task.duplicates, task.conflicts) == ([], 0, 0)


def test_where_keeps_only_rows_with_every_value(tmp_path) -> None:
    rows = sound_rows()
    others = [note("train", f"other {place}", "silk", place=place, day=day)
              for place, day in [("inn", "1"), (None, "1"), ("port", "2"), ("port", None)]]  # fmt: skip
    rows = [row | {"day": "1"} for row in rows] + others
    task = read(tmp_path, rows, TaskData(source="notes", label="kind", where={"place": "port", "day": "1"}))
    assert sum(map(len, task.rows.values())) == 12
    assert task.labels == ["rain", "salt"]


@pytest.mark.parametrize(
    ("data", "column"),
    [({"label": "knid"}, "knid"), ({"label": "kind", "where": {"plaec": "port"}}, "plaec")],
)
def test_a_column_that_does_not_exist_is_named_with_those_that_do(tmp_path, data, column) -> None:
    with pytest.raises(SourceError) as error:
        read(tmp_path, sound_rows(), TaskData(source="notes", **data))
    assert str(error.value) == (
        f"tasks.weather.data names column '{column}', which source 'notes' lacks; "
        "it has: row_id, text, group, kind, place"
    )


def test_of_equal_texts_the_first_is_kept(tmp_path) -> None:
    rows = [
        note("train", "Red sky at night", "rain"),
        *sound_rows(),
        note("test", "red  SKY at night ", "rain"),
        note("train", "red sky at night", "salt"),
    ]
    task = read(tmp_path, rows)
    kept = [example for split in SPLITS for example in task.rows[split] if example.key == "red sky at night"]
    assert [(example.row_id, example.split, example.label) for example in kept] == [("notes:2", "train", "rain")]
    assert task.duplicates == 2
    assert task.conflicts == 1


def test_an_accent_makes_another_text(tmp_path) -> None:
    task = read(tmp_path, [*sound_rows(), note("train", "maté", "rain"), note("train", "mate", "salt")])
    assert (task.duplicates, task.conflicts) == (0, 0)


def test_a_label_that_nothing_could_learn_is_set_aside(tmp_path) -> None:
    rows = [*sound_rows(), note("test", "silk today", "silk"), note("validation", "more silk", "silk")]
    task = read(tmp_path, rows)
    assert texts(task.unseen) == ["silk today", "more silk"]
    assert task.labels == ["rain", "salt"]
    assert not {"silk today", "more silk"} & {text for split in SPLITS for text in texts(task.rows[split])}


def test_a_label_whose_only_training_row_repeats_a_test_row_is_unseen(tmp_path) -> None:
    rows = [note("test", "silk today", "silk"), *sound_rows(), note("train", "Silk today", "silk")]
    task = read(tmp_path, rows)
    assert texts(task.unseen) == ["silk today"]
    assert task.labels == ["rain", "salt"]


def test_rows_without_a_label_are_left_out(tmp_path) -> None:
    rows = [*sound_rows(), note("train", "who knows", None), note("test", "nobody", None)]
    task = read(tmp_path, rows)
    assert sum(map(len, task.rows.values())) == 12
    assert task.unseen == []


@pytest.mark.parametrize(("kinds", "count", "names"), [(["rain"], 1, "rain"), ([None], 0, "none")])
def test_fewer_than_two_classes_are_refused(tmp_path, kinds, count, names) -> None:
    rows = [row | {"kind": kinds[0]} for row in sound_rows()]
    with pytest.raises(ValidationFailed) as error:
        read(tmp_path, rows)
    assert str(error.value) == (
        f"task 'weather' has {count} label in its training rows ({names}); a classifier needs at least two. "
        "Check tasks.weather.data.label and .where, or add data"
    )


def test_two_classes_of_which_one_is_never_trained_are_refused(tmp_path) -> None:
    rows = [row | {"kind": "rain" if row["group"] in GROUPS["train"] else "salt"} for row in sound_rows()]
    with pytest.raises(ValidationFailed, match=r"1 label in its training rows \(rain\)"):
        read(tmp_path, rows)


def test_an_empty_split_is_refused_with_the_counts(tmp_path) -> None:
    rows = [row for row in sound_rows() if row["group"] not in GROUPS["test"]]
    with pytest.raises(ValidationFailed) as error:
        read(tmp_path, rows)
    assert "'weather': the split left no test rows (train 4, validation 4, test 0)" in str(error.value)
    assert "preprocess.split.salt" in str(error.value)


def test_without_a_group_the_text_is_its_own(tmp_path) -> None:
    loose = [{"text": text, "group": group, "kind": "rain", "place": "port"}
             for text, group in [("Loose  Text", None), ("another text", "")]]  # fmt: skip
    task = read(tmp_path, [*sound_rows(), *loose])
    found = {e.text: e for split in SPLITS for e in task.rows[split] if e.text in ("Loose  Text", "another text")}
    assert {text: example.group for text, example in found.items()} == {
        "Loose  Text": "loose text",
        "another text": "another text",
    }
    assert [found["Loose  Text"].split] == assign_splits(["loose text"], CONFIG.split)


def test_no_corpus_row_equals_an_evaluated_text(tmp_path) -> None:
    rows = [note("train", "Held out", None), note("train", "kept", None), note("validation", "Held-out", None)]
    more = [note("train", "KEPT", None), note("train", "held OUT", None), note("test", "never read", None)]
    paths = [write_rows(tmp_path / "notes.parquet", rows), write_rows(tmp_path / "more.parquet", more)]
    kept, duplicates, removed = corpus_examples(paths, CONFIG, {"held out"})
    assert [(example.text, example.split) for example in kept] == [
        ("kept", "train"),
        ("Held-out", "validation"),
        ("never read", "test"),
    ]
    assert (duplicates, removed) == (2, 1)


@given(st.lists(st.text(alphabet="aAbB \u00a0é", min_size=1, max_size=4), min_size=1, max_size=12))
def test_deduplication_is_idempotent_and_leaves_one_of_each(tmp_path_factory, found) -> None:
    folder = tmp_path_factory.mktemp("rows")
    path = write_rows(folder / "notes.parquet", [{"text": text, "group": None} for text in found])
    once, duplicates, _ = corpus_examples([path], CONFIG, set())
    path = write_rows(folder / "again.parquet", [{"text": text, "group": None} for text in texts(once)])
    twice, none, _ = corpus_examples([path], CONFIG, set())
    assert texts(twice) == texts(once)
    assert none == 0
    assert len(once) + duplicates == len(found)
    assert normalise(texts(once), CONFIG.tokenizer) == list(dict.fromkeys(normalise(found, CONFIG.tokenizer)))


@given(st.randoms())
def test_the_order_of_rows_moves_none_to_another_split(tmp_path_factory, chance) -> None:
    folder = tmp_path_factory.mktemp("rows")
    rows = sound_rows()
    places = []
    for _ in range(2):
        task = read(folder, rows)
        places.append({example.text: split for split in SPLITS for example in task.rows[split]})
        chance.shuffle(rows)
    assert places[0] == places[1]


def test_examples_are_written_as_four_columns_of_text(tmp_path) -> None:
    task = read(tmp_path, sound_rows())
    write_examples(task.rows["test"], tmp_path / "test.parquet")
    table = pq.read_table(tmp_path / "test.parquet")
    assert table.schema.names == ["row_id", "text", "label", "group"]
    assert set(table.schema.types) == {pa.string()}
    assert table["text"].to_pylist() == texts(task.rows["test"])
    write_examples([], tmp_path / "none.parquet")
    assert pq.read_table(tmp_path / "none.parquet").schema == table.schema
