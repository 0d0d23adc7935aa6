import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from source_frames import frame

from pipeline.config import FilesSource, Icd10Source
from pipeline.data.sources import read_source, source_content
from pipeline.errors import SourceError

ROWS = [("plain", "a"), ('comma, "quote"', "b"), ("NA", "null"), ("two\nlines", "None"), ("naïve", "é")]


def source(path, **keys) -> FilesSource:
    return FilesSource(path=[str(entry) for entry in path] if isinstance(path, list) else str(path), **keys)


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def read(path, **keys):
    return frame(read_source("s", source(path, **keys)))


def test_csv_keeps_quotes_newlines_and_words_that_look_null(tmp_path):
    lines = ["text,label"] + [f'"{text.replace(chr(34), chr(34) * 2)}",{label}' for text, label in ROWS]
    frame = read(write(tmp_path / "rows.csv", "\ufeff" + "\r\n".join(lines) + "\r\n"))
    assert list(zip(frame["text"], frame["label"], strict=True)) == ROWS
    assert list(frame["row_id"]) == ["s:2", "s:3", "s:4", "s:5", "s:7"]
    assert frame["fault"].isna().all()
    assert frame["group"].isna().all()


def test_tsv_takes_quotes_as_ordinary_characters(tmp_path):
    frame = read(write(tmp_path / "rows.tsv", 'text\tlabel\n"opened\t1\nclosed"\t0\n'))
    assert list(frame["text"]) == ['"opened', 'closed"']


def test_json_lines_of_every_value_type(tmp_path):
    lines = [
        {"text": "one", "label": 1, "score": 0.5, "flag": True, "extra": {"b": [1], "a": "é"}},
        {"text": "two", "label": "1", "flag": None},
        {"text": None, "label": "x"},
        {"label": "x"},
    ]
    content = "\n\n".join(json.dumps(line) for line in lines)
    frame = read(write(tmp_path / "rows.ndjson", content))
    assert list(frame["text"]) == ["one", "two", "", ""]
    assert list(frame["row_id"]) == ["s:1", "s:3", "s:5", "s:7"]
    assert frame.loc[0, ["label", "score", "flag", "extra"]].tolist() == ["1", "0.5", "true", '{"a": "é", "b": [1]}']
    assert frame.loc[1, "label"] == "1"
    assert frame.loc[1, ["score", "flag", "extra"]].isna().all()


def test_parquet_of_every_value_type(tmp_path):
    table = pa.table(
        {
            "body": ["one", None, "NA"],
            "label": pa.array([1, 2, None], pa.int64()),
            "coded": pa.array(["x", "y", "x"]).dictionary_encode(),
        }
    )
    pq.write_table(table, tmp_path / "rows.parquet")
    frame = read(tmp_path / "rows.parquet", text="body", group="coded")
    assert list(frame["text"]) == ["one", "", "NA"]
    assert list(frame["label"].dropna()) == ["1", "2"]
    assert list(frame["group"]) == list(frame["coded"]) == ["x", "y", "x"]
    assert "body" not in frame
    assert list(frame["row_id"]) == ["s:1", "s:2", "s:3"]


def test_parquet_bytes_that_are_not_utf8_are_a_fault(tmp_path):
    damaged = pa.Array.from_buffers(pa.string(), 2, pa.array([b"sound", b"caf\xe9"]).buffers())
    pq.write_table(pa.table({"text": damaged}), tmp_path / "rows.parquet")
    frame = read(tmp_path / "rows.parquet")
    assert frame["fault"].isna().tolist() == [True, False]
    assert frame.loc[1, "text"] == "caf\\xe9"


def test_plain_text_is_one_document_a_line(tmp_path):
    frame = read(write(tmp_path / "notes.txt", "first\n\n  \nsecond, with a comma\n"))
    assert list(frame["text"]) == ["first", "second, with a comma"]
    assert list(frame["row_id"]) == ["s:1", "s:4"]


def test_format_overrides_the_suffix(tmp_path):
    assert list(read(write(tmp_path / "rows.data", "text\nx\n"), format="csv")["text"]) == ["x"]


def test_glob_and_list_name_the_file_in_the_row_id(tmp_path):
    write(tmp_path / "b" / "rows.csv", "text,label\nsecond,1\n")
    write(tmp_path / "a" / "rows.csv", "text,extra\nfirst,2\n")
    frame = read(tmp_path / "*" / "rows.csv")
    assert list(frame["row_id"]) == ["s:a/rows.csv:2", "s:b/rows.csv:2"]
    assert list(frame["text"]) == ["first", "second"]
    assert frame["label"].isna().tolist() == [True, False]
    same = read([tmp_path / "b" / "rows.csv", tmp_path / "a" / "rows.csv", tmp_path / "a" / "rows.csv"])
    assert list(same["row_id"]) == list(frame["row_id"])


@pytest.mark.parametrize(
    ("name", "content", "text", "place"),
    [
        ("r.csv", b"text,label\nfine,1\ncaf\xe9,2\n", "caf\\xe9", "byte 0xe9 in column text (r.csv:3)"),
        ("r.csv", b"text,label\nfine,1\nfine,\xff\n", "fine", "byte 0xff in column label (r.csv:3)"),
        ("r.jsonl", b'{"text": "fine"}\n\n{"text": "caf\xe9"}\n', "caf\\xe9", "byte 0xe9 in column text (r.jsonl:3)"),
        ("r.jsonl", b'{"text": "fine"}\n\n{"text": "\\ud800"}\n', "\\ud800", "lone surrogate U+D800"),
        ("r.txt", b"fine\n\ncaf\xe9\n", "caf\\xe9", "byte 0xe9 in column text (r.txt:3)"),
    ],
)
def test_bytes_that_are_not_utf8_make_a_fault_and_stay_readable(tmp_path, name, content, text, place):
    frame = read(write(tmp_path / name, content))
    assert frame["fault"].isna().tolist() == [True, False]
    assert frame.loc[1, "row_id"] == "s:3"
    assert frame.loc[1, "text"] == text
    assert frame.loc[1, "fault"].startswith("not UTF-8: ")
    assert place in frame.loc[1, "fault"]


@pytest.mark.parametrize(
    ("name", "content", "raw", "fault"),
    [
        ("r.csv", "text,label\na,1\nb,2,3\nc,3\n", "b,2,3", "malformed: 3 fields, the header has 2 (r.csv:3)"),
        ("r.csv", "text,label\na,1\nb\nc,3\n", "b", "malformed: 1 fields, the header has 2 (r.csv:3)"),
        ("r.csv", 'text,label\na,1\n"b" x,2\nc,3\n', '"b" x,2', "malformed: ',' expected after '\"' (r.csv:3-3)"),
        ("r.jsonl", '{"text": "a"}\n\n{"text": \n{"text": "c"}\n', '{"text": ', "malformed: not JSON, Expecting value"),
        ("r.jsonl", '{"text": "a"}\n\n[1]\n{"text": "c"}\n', "[1]", "malformed: a JSON list, expected an object"),
    ],
)
def test_malformed_record_is_a_fault_and_the_next_is_read(tmp_path, name, content, raw, fault):
    frame = read(write(tmp_path / name, content))
    assert list(frame["text"]) == ["a", raw, "c"]
    assert frame["fault"].isna().tolist() == [True, False, True]
    assert frame.loc[1, "row_id"] == "s:3"
    assert frame.loc[1, "fault"].startswith(fault)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("empty.csv", "", ["empty.csv", "0 bytes"]),
        ("empty.jsonl", "\n\n", ["empty.jsonl", "no rows"]),
        ("header.csv", "text,label\n", ["header.csv", "no rows"]),
        ("blank.csv", "\n", ["blank.csv:1", "column names"]),
        ("rows.csv", "review,label\nx,1\n", ["'text'", "review, label"]),
        ("rows.csv", "texts,label\nx,1\n", ["Did you mean 'texts'?"]),
        ("rows.jsonl", '{"review": "x"}\n', ["'text'", "it has: review"]),
        ("rows.csv", "text,text\nx,1\n", ["text appears twice"]),
        ("rows.csv", "text,group\nx,1\n", ["'group'", "group: group"]),
        ("rows.csv", b"text,caf\xe9\nx,1\n", ["rows.csv:1", "not UTF-8: byte 0xe9"]),
        ("rows.csv", 'text,label\nx,1\n"open,2\ny,3\n', ["rows.csv:3", "never closed", "2 lines"]),
        ("rows.parquet", "not parquet", ["rows.parquet", "Parquet"]),
        ("rows.xlsx", "text\nx\n", [".xlsx", ".jsonl", "format"]),
    ],
)
def test_unreadable_source_says_what_and_how_to_fix(tmp_path, name, content, words):
    with pytest.raises(SourceError) as raised:
        read(write(tmp_path / name, content))
    assert all(word in str(raised.value) for word in words), str(raised.value)


def test_missing_file_names_the_closest_one(tmp_path):
    write(tmp_path / "reviews.csv", "text\nx\n")
    with pytest.raises(SourceError, match=r"no file .*review\.csv.*did you mean .*reviews\.csv"):
        read(tmp_path / "review.csv")
    with pytest.raises(SourceError, match=r"no file matches .*\*\.tsv"):
        read(tmp_path / "*.tsv")
    with pytest.raises(SourceError, match=r"is a folder.*\*\.csv"):
        read(tmp_path)


def test_missing_group_column(tmp_path):
    with pytest.raises(SourceError, match=r"group is 'patient'.*it has: text, label"):
        read(write(tmp_path / "r.csv", "text,label\nx,1\n"), group="patient")
    with pytest.raises(SourceError, match=r"group is 'section'.*category"):
        frame(read_source("icd10", Icd10Source(kind="icd10cm", group="section")))


def test_long_field_is_read_whole(tmp_path):
    frame = read(write(tmp_path / "r.csv", f"text\n{'x' * 500_000}\n"))
    assert len(frame.loc[0, "text"]) == 500_000


def test_content_changes_with_bytes_and_names_and_with_nothing_else(tmp_path):
    first = write(tmp_path / "a.csv", "text\nx\n")
    write(tmp_path / "b.csv", "text\ny\n")
    everything = source(tmp_path / "*.csv")
    before = source_content("notes", everything)
    assert before == source_content("notes", source(str(tmp_path / "[ab].csv")))
    first.touch()
    assert source_content("notes", everything) == before
    write(first, "text\nz\n")
    changed = source_content("notes", everything)
    first.rename(tmp_path / "c.csv")
    assert len({before, changed, source_content("notes", everything)}) == 3
    with pytest.raises(SourceError, match="no file"):
        source_content("notes", source(tmp_path / "absent.csv"))


def test_content_hash_needs_no_heavy_import():
    script = (
        "import sys; from pipeline.config import Icd10Source; from pipeline.data.sources import source_content;"
        "assert len(source_content('icd10', Icd10Source(kind='icd10cm'))) == 64;"
        "heavy = {'pandas', 'pyarrow', 'great_expectations', 'simple_icd_10_cm'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_a_file_in_an_encoding_that_is_named(tmp_path):
    path = write(tmp_path / "rows.csv", "text,label\ncafé,1\n".encode("latin-1"))
    assert read(path, encoding="latin-1")["text"].tolist() == ["café"]
    assert "not UTF-8" in read(path)["fault"][0]


def test_a_table_without_a_header(tmp_path):
    path = write(tmp_path / "rows.tsv", "1\tgood\tfine words\n2\tbad\tother words\n")
    frame = read(path, header=["id", "label", "text"])
    assert frame[["row_id", "id", "label", "text"]].values.tolist() == [
        ["s:1", "1", "good", "fine words"],
        ["s:2", "2", "bad", "other words"],
    ]
    assert "3 fields, the header has 2" in read(path, header=["label", "text"])["fault"][0]


def test_lines_are_taken_apart_by_a_pattern(tmp_path):
    path = write(tmp_path / "questions.txt", "NUM:date When ?\nno colon\n\nLOC:city Where is it ?\n")
    frame = read(path, pattern=r"(?P<coarse>\w+):(?P<fine>\w+) (?P<text>.*)")
    assert frame["coarse"].tolist()[::2] == ["NUM", "LOC"]
    assert frame["coarse"].isna().tolist() == [False, True, False]
    assert frame["text"].tolist() == ["When ?", "no colon", "Where is it ?"]
    assert "does not match" in frame["fault"][1]
    assert "questions.txt:2" in frame["fault"][1]


def test_files_whose_lines_belong_together(tmp_path):
    write(tmp_path / "train" / "seq.in", "play it\n\nstop\n")
    write(tmp_path / "train" / "seq.out", "O O\n\nO\n")
    write(tmp_path / "train" / "label", "Play\n\nStop\n")
    keys = {"aligned": {"tags": "seq.out", "intent": "label"}}
    frame = read(tmp_path / "train" / "seq.in", **keys)
    assert frame[["row_id", "text", "tags", "intent"]].values.tolist() == [
        ["s:1", "play it", "O O", "Play"],
        ["s:3", "stop", "O", "Stop"],
    ]
    before = source_content("s", source(tmp_path / "train" / "seq.in", **keys))
    write(tmp_path / "train" / "label", "Play\n\nPause\n")
    assert source_content("s", source(tmp_path / "train" / "seq.in", **keys)) != before
    write(tmp_path / "train" / "label", "Play\n")
    with pytest.raises(SourceError, match=r"label ends before line 2 of .*seq.in; expected as many lines"):
        read(tmp_path / "train" / "seq.in", **keys)


def test_a_suffix_names_the_aligned_file(tmp_path):
    write(tmp_path / "train.en", "a dog\n")
    write(tmp_path / "train.de", "ein Hund\n")
    frame = read(tmp_path / "train.en", aligned={"german": ".de"})
    assert frame[["text", "german"]].values.tolist() == [["a dog", "ein Hund"]]
    with pytest.raises(SourceError, match=r"aligned.french is '.fr', and there is no file .*train.fr"):
        read(tmp_path / "train.en", aligned={"french": ".fr"})


def test_sentences_with_a_word_and_its_tags_a_line(tmp_path):
    content = "-DOCSTART- X O\n\nEU NNP B-ORG\nrejects VB O\n\nPeter NNP\n\n\nBonn NNP B-LOC\n"
    frame = read(write(tmp_path / "train.conll", content))
    assert frame[["row_id", "text", "column_2", "tags"]].values.tolist()[::2] == [
        ["s:3", "EU rejects", "NNP VB", "B-ORG O"],
        ["s:9", "Bonn", "NNP", "B-LOC"],
    ]
    assert "2 fields, expected 3 (train.conll:6)" in frame["fault"][1]


def test_words_in_a_list_are_a_text(tmp_path):
    lines = [{"text": ["EU", "rejects"], "tags": ["B-ORG", "O"]}, {"text": '["a" or "b"]'}, {"text": "[a]"}]
    frame = read(write(tmp_path / "rows.jsonl", "\n".join(map(json.dumps, lines))))
    assert frame["text"].tolist() == ["EU rejects", '["a" or "b"]', "[a]"]
    assert frame["tags"][0] == '["B-ORG", "O"]'
    pq.write_table(pa.table({"text": [["EU", "rejects"]]}), tmp_path / "rows.parquet")
    assert read(tmp_path / "rows.parquet")["text"].tolist() == ["EU rejects"]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"encoding": "latin-0"}, "encoding is 'latin-0'; expected a codec"),
        ({"pattern": "("}, "pattern is no regular expression"),
        ({"pattern": "(?P<label>.)"}, r"pattern names the columns \['label'\]; expected 'text'"),
        ({"format": "csv", "pattern": "(?P<text>.)"}, "pattern is of the format text, and format is csv"),
        ({"aligned": {"a": ".b"}, "document": "block"}, "aligned needs a line for each row"),
    ],
)
def test_keys_that_do_not_fit_are_refused(keys, message):
    with pytest.raises(ValueError, match=message):
        FilesSource(path="rows", **keys)
