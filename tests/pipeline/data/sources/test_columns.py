import json
import logging

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from source_frames import frame

from pipeline.config import FilesSource
from pipeline.data.sources import read_source, source_content
from pipeline.errors import SourceError


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    return str(path)


def read(**keys):
    return frame(read_source("s", FilesSource(**keys)))


def test_columns_get_the_names_of_the_pipeline(tmp_path):
    path = write(
        tmp_path / "r.csv", "key,question,answer,topic,who,extra\nk1,why?,because,a,me,1\nk2,how?,so,b,you,2\n"
    )
    mapped = {"text": "question", "text_pair": "answer", "label": "topic", "id": "key", "group": "who"}
    rows = read(path=path, **mapped)
    assert list(rows.columns) == ["row_id", "text", "text_pair", "group", "label", "key", "who", "extra", "fault"]
    assert rows.loc[0].tolist()[:-1] == ["s:k1", "why?", "because", "me", "a", "k1", "me", "1"]
    assert list(read(path=path, **mapped, columns=["extra"]).columns)[5:] == ["extra", "fault"]


def test_a_row_without_id_keeps_its_line_and_says_so(tmp_path):
    rows = read(path=write(tmp_path / "r.csv", "text,key\na,k\nb, \n"), id="key")
    assert rows["row_id"].tolist() == ["s:k", "s:3"]
    assert rows["fault"].tolist()[1] == "no id in column key"


def test_a_record_that_cannot_be_read_keeps_its_line_as_row_id(tmp_path):
    rows = read(path=write(tmp_path / "r.csv", "text,key\na,k\nb\n"), id="key")
    assert rows["row_id"].tolist() == ["s:k", "s:3"]
    assert "malformed" in rows["fault"].tolist()[1]


def test_given_splits_name_every_row(tmp_path):
    for name in ("train", "more", "test"):
        write(tmp_path / f"{name}.csv", f"text\nof {name}\n")
    splits = {"train": [str(tmp_path / "train.csv"), str(tmp_path / "more.csv")], "test": str(tmp_path / "test.csv")}
    rows = read(splits=splits)
    assert dict(zip(rows["row_id"], rows["split"], strict=True)) == {
        "s:more.csv:2": "train",
        "s:train.csv:2": "train",
        "s:test.csv:2": "test",
    }
    swapped = FilesSource(splits={"train": splits["test"], "test": splits["train"]})
    assert source_content("s", FilesSource(splits=splits)) != source_content("s", swapped)
    with pytest.raises(SourceError, match=r"more\.csv is in train and in test"):
        read(splits={**splits, "test": str(tmp_path / "*.csv")})


@pytest.mark.parametrize(
    ("header", "keys", "words"),
    [
        ("text,label", {"label": "labl"}, ["label is 'labl'", "Did you mean 'label'?"]),
        ("text,answer", {"text_pair": "reply"}, ["text_pair is 'reply'", "it has: text, answer"]),
        ("text,x", {"columns": ["x", "y"]}, ["columns is 'y'"]),
        ("text,text_pair", {}, ["'text_pair'", "set `text_pair: text_pair`"]),
        ("text,topic,label", {"label": "topic"}, ["'label'", "rename it"]),
        ("text,fault", {}, ["'fault'", "rename it"]),
        ("text,row_id", {"group": "row_id"}, ["'row_id'"]),
    ],
)
def test_columns_that_cannot_be(tmp_path, header, keys, words):
    path = write(tmp_path / "r.csv", header + "\n" + ",".join("1" * len(header.split(","))) + "\n")
    with pytest.raises(SourceError) as raised:
        read(path=path, **keys)
    assert all(word in str(raised.value) for word in [*words, "r.csv"]), str(raised.value)


def test_a_column_called_split_is_the_source_s_own_unless_splits_are_given(tmp_path):
    path = write(tmp_path / "r.csv", "text,split\nx,dev\n")
    assert read(path=path).loc[0, "split"] == "dev"
    with pytest.raises(SourceError, match="'split'"):
        read(splits={"train": path})
    assert read(splits={"train": path}, columns=[]).loc[0, "split"] == "train"


def test_two_columns_of_one_name(tmp_path):
    with pytest.raises(SourceError, match=r"r\.csv:1: the column text appears twice"):
        read(path=write(tmp_path / "r.csv", "text,label,text\nx,1,y\n"))
    pq.write_table(pa.table([pa.array(["x"]), pa.array(["y"])], names=["text", "text"]), tmp_path / "r.parquet")
    with pytest.raises(SourceError, match=r"r\.parquet: the column text appears twice"):
        read(path=str(tmp_path / "r.parquet"))


def test_parquet_files_of_differing_schemas(tmp_path):
    pq.write_table(pa.table({"text": ["a"], "label": [1]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"text": ["b"], "label": ["1"], "more": [2.5]}), tmp_path / "b.parquet")
    rows = read(path=str(tmp_path / "*.parquet"), label="label")
    assert rows["label"].tolist() == ["1", "1"]
    assert rows["more"].isna().tolist() == [True, False]
    pq.write_table(pa.table({"text": ["c"], "more": [2]}), tmp_path / "c.parquet")
    with pytest.raises(SourceError, match=r"c\.parquet.*label is 'label'.*it has: text, more"):
        read(path=str(tmp_path / "*.parquet"), label="label")


def test_json_objects_may_lack_a_column_that_another_has(tmp_path):
    path = write(tmp_path / "r.jsonl", '{"text": "a"}\n{"text": "b", "kind": "k"}\n')
    rows = read(path=path, label="kind")
    assert rows["label"].isna().tolist() == [True, False]


def test_json_whose_keys_are_values(tmp_path):
    lines = [json.dumps({f"id {number}": {"text": "x"}}) for number in range(2000)]
    with pytest.raises(SourceError, match=r"r\.jsonl:1001: .*more than 1000 different keys"):
        read(path=write(tmp_path / "r.jsonl", "\n".join(lines)))


def test_an_empty_partition_is_told_and_all_of_them_are_an_error(tmp_path, caplog):
    write(tmp_path / "a.csv", "text\nx\n")
    write(tmp_path / "b.csv", "text\n")
    write(tmp_path / "c.csv", "")
    pq.write_table(pa.table({"text": pa.array([], pa.string())}), tmp_path / "d.parquet")
    with caplog.at_level(logging.WARNING, logger="tradewind"):
        assert read(path=str(tmp_path / "*"))["text"].tolist() == ["x"]
    told = [record.getMessage() for record in caplog.records]
    assert [("b.csv holds no rows" in text, "c.csv is empty" in text, "d.parquet holds" in text) for text in told] == [
        (True, False, False),
        (False, True, False),
        (False, False, True),
    ]
    with pytest.raises(SourceError, match=r"b\.csv holds no rows; .*c\.csv is empty \(0 bytes\)"):
        read(path=str(tmp_path / "[bc].csv"))


def test_a_parquet_file_that_is_damaged_names_file_and_row(tmp_path):
    path = tmp_path / "r.parquet"
    table = pa.table({"text": [f"text {number:06}" for number in range(70_000)]})
    pq.write_table(table, path, row_group_size=65_536, compression="none", use_dictionary=False)
    data = path.read_bytes()
    path.write_bytes(data[:-2000])
    with pytest.raises(SourceError, match=r"r\.parquet is not a sound Parquet file \(after 0 rows: "):
        read(path=str(path))
    second = data.index(b"text 065536") - 40
    path.write_bytes(data[:second] + b"\xff" * 36 + data[second + 36 :])
    with pytest.raises(SourceError, match=r"r\.parquet is not a sound Parquet file \(after 65,536 rows: "):
        read(path=str(path))


@pytest.mark.parametrize("use_dictionary", [True, False])
def test_a_row_group_of_any_size_comes_in_bounded_tables(tmp_path, use_dictionary):
    table = pa.table({"text": ["x" * 2**14] * 4000, "label": range(4000)})
    pq.write_table(table, tmp_path / "r.parquet", use_dictionary=use_dictionary)
    tables = list(read_source("s", FilesSource(path=str(tmp_path / "r.parquet"))))
    assert max(table.nbytes for table in tables) < 40 * 2**20
    assert [row_id for table in tables for row_id in table["row_id"].to_pylist()] == [f"s:{n}" for n in range(1, 4001)]


def test_what_is_not_kept_cannot_be_at_fault(tmp_path):
    path = write(tmp_path / "r.csv", "text,other\nx,bro\0ken\n")
    assert read(path=path)["fault"].notna().all()
    assert read(path=path, columns=[])["fault"].isna().all()
