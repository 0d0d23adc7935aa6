import codecs
import csv
import gzip
import itertools
import random
import re
import tempfile
import tracemalloc
from pathlib import Path

import pytest
from backports import zstd
from hypothesis import given, settings
from hypothesis import strategies as st
from source_frames import frame

from pipeline.config import FilesSource
from pipeline.data.sources import read_source, streams
from pipeline.errors import SourceError

CSV = "text,label\n" + "".join(f'"line {number}, ""quoted""\nand more",{number % 3}\n' for number in range(5000))


def read(path, **keys):
    return frame(read_source("s", FilesSource(path=str(path), **keys)))


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize("chunk", [1, 7, 4096])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_where_the_stream_is_cut_changes_nothing(tmp_path, monkeypatch, chunk, encoding):
    monkeypatch.setattr(streams, "CHUNK", chunk)
    rows = 'text,label\n"é, ""q""\r\n\nmore",1\r\nplain,2\rold,3\n\n𝄞,4'
    found = read(write(tmp_path / "r.csv", rows.encode(encoding)))
    assert found["text"].tolist() == ['é, "q"\r\n\nmore', "plain", "old", "𝄞"]
    assert found["row_id"].tolist() == ["s:2", "s:5", "s:6", "s:8"]


@pytest.mark.parametrize("suffix", ["csv.gz", "csv.zst", "csv"])
@pytest.mark.parametrize("compress", [gzip.compress, zstd.compress])
def test_compressed_files_are_known_by_their_first_bytes(tmp_path, suffix, compress):
    plain = read(write(tmp_path / "plain.csv", CSV))
    halves = compress(CSV[:700].encode()) + compress(CSV[700:].encode())
    assert read(write(tmp_path / f"r.{suffix}", halves)).equals(plain)
    assert len(plain) == 5000


@pytest.mark.parametrize("name", ["notes.txt.gz", "notes.jsonl.zst", "notes.tsv.gz"])
def test_every_text_format_may_be_compressed(tmp_path, name):
    content = {"txt": "a\nb\n", "jsonl": '{"text": "a"}\n{"text": "b"}\n', "tsv": "text\na\nb\n"}[name.split(".")[1]]
    compress = gzip.compress if name.endswith("gz") else zstd.compress
    assert read(write(tmp_path / name, compress(content.encode())))["text"].tolist() == ["a", "b"]


def noise(lines):
    """Return text whose first half makes up about half of its compressed bytes."""
    chance = random.Random(5)
    return "text\n" + "".join(f"{chance.getrandbits(64):016x}\n" for _ in range(lines))


@pytest.mark.parametrize(("suffix", "compress"), [("gz", gzip.compress), ("zst", zstd.compress)])
def test_a_truncated_file_names_the_line_it_breaks_at(tmp_path, suffix, compress):
    content = compress(noise(100_000).encode())
    with pytest.raises(SourceError) as raised:
        read(write(tmp_path / f"r.csv.{suffix}", content[: len(content) // 2]))
    where, _, rest = str(raised.value).partition(": ")
    assert where.rpartition(":")[0] == str(tmp_path / f"r.csv.{suffix}")
    assert 40_000 < int(where.rpartition(":")[2]) < 60_000
    assert "breaks off" in rest
    assert "again" in rest


def test_the_line_a_truncated_file_breaks_at_is_exact(tmp_path):
    content = gzip.compress(b"text\nfirst\nsecond\n", mtime=0)
    with pytest.raises(SourceError, match=r"r\.csv\.gz:4: the file breaks off"):
        read(write(tmp_path / "r.csv.gz", content[:-8]))
    damaged = content[:-5] + bytes([content[-5] ^ 1]) + content[-4:]
    with pytest.raises(SourceError, match=r"r\.csv\.gz:\d: the file breaks off or is damaged"):
        read(write(tmp_path / "r.csv.gz", damaged))


def test_utf16_that_ends_in_half_a_character(tmp_path):
    with pytest.raises(SourceError, match=r"r\.csv:3: .*truncated"):
        read(write(tmp_path / "r.csv", "text\nx\ny\n".encode("utf-16")[:-1]))


@pytest.mark.parametrize("mark", [codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE])
def test_utf16_of_either_order(tmp_path, mark):
    encoding = "utf-16-le" if mark == codecs.BOM_UTF16_LE else "utf-16-be"
    rows = read(write(tmp_path / "r.jsonl", mark + '{"text": "naïve 𝄞"}\n'.encode(encoding)))
    assert rows["text"].tolist() == ["naïve 𝄞"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("r.csv", "text,label\nfine,1\nbro\0ken,2\n"),
        ("r.jsonl", '{"text": "fine"}\n\n{"text": "bro\\u0000ken"}\n'),
        ("r.txt", "fine\n\nbro\0ken\n"),
    ],
)
def test_a_nul_is_a_fault_that_names_the_line(tmp_path, name, content):
    rows = read(write(tmp_path / name, content))
    assert rows["fault"].tolist()[1:] == [f"NUL character in column text ({name}:3)"]
    assert rows["text"].tolist() == ["fine", "bro\\x00ken"]


def test_utf16_without_a_mark_is_told_by_its_header(tmp_path):
    with pytest.raises(SourceError, match=r"r\.csv:1: the header is no text: NUL character.*UTF-16"):
        read(write(tmp_path / "r.csv", "text\nx\n".encode("utf-16-le")))


@pytest.fixture
def short_lines(monkeypatch):
    """Let 100 bytes be a line too long."""
    for module in ("streams", "delimited", "line_formats"):
        monkeypatch.setattr(f"pipeline.data.sources.{module}.LONGEST", 100)
    monkeypatch.setattr(streams, "BEGINNING", 10)
    monkeypatch.setattr("pipeline.data.sources.line_formats.BEGINNING", 10)


@pytest.mark.parametrize("chunk", [1, 64, 99])
@pytest.mark.parametrize(
    ("name", "row", "header"),
    [("r.csv", '"{}, ""q""",2\n', "text,label\n"), ("r.jsonl", '{{"text": "{}"}}\n', ""), ("r.txt", "{}\n", "")],
)
def test_a_line_too_long_is_a_fault_and_the_next_is_read(tmp_path, monkeypatch, short_lines, chunk, name, row, header):
    monkeypatch.setattr(streams, "CHUNK", chunk)
    line = row.format("x" * 300)
    rows = read(write(tmp_path / name, header + row.format("a") + line + row.format("b") + line))
    first = 2 if header else 1
    assert rows["row_id"].tolist() == [f"s:{first + number}" for number in range(4)]
    assert rows["fault"].isna().tolist() == [True, False, True, False]
    expected = f"too long: a line of {len(line)} bytes, of which at most 100 are read ({name}:{first + 1})"
    assert rows.loc[1, "fault"] == expected
    assert rows.loc[1, "text"] == line[:10]


def test_a_quoted_line_too_long_in_the_middle_of_a_field(tmp_path, monkeypatch, short_lines):
    monkeypatch.setattr(streams, "CHUNK", 64)
    content = 'text,label\na,1\n"open\n' + "x" * 300 + '\nclosed",2\nb,3\n'
    rows = read(write(tmp_path / "r.csv", content))
    assert rows["text"].tolist() == ["a", '"open\nxxxxxxxxxx\nclosed",2', "b"]
    assert rows["row_id"].tolist() == ["s:2", "s:3", "s:6"]


def test_a_quote_that_is_never_closed_stops_before_the_end_of_a_large_file(tmp_path, short_lines):
    content = 'text,label\na,1\n"open,2\n' + "more,3\n" * 1000
    with pytest.raises(SourceError, match=r"r\.csv:3: a quote opened here is not closed within 100 characters"):
        read(write(tmp_path / "r.csv", content))
    assert csv.field_size_limit() == 131_072


def test_a_line_of_100_megabytes_is_never_held_whole(tmp_path):
    path = tmp_path / "r.txt.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(b"first\n")
        for _ in range(100):
            file.write(b"x" * 2**20)
        file.write(b"\nlast\n")
    tracemalloc.start()
    rows = read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert rows["text"].str.len().tolist() == [5, 1000, 4]
    assert (
        rows.loc[1, "fault"]
        == "too long: a line of 104,857,601 bytes, of which at most 33,554,432 are read (r.txt.gz:2)"
    )
    assert peak < 50 * 2**20


@pytest.mark.parametrize(
    ("document", "texts", "lines"),
    [
        ("line", ["Title", "one", "two", "three"], [2, 4, 5, 8]),
        ("block", ["Title", "one\ntwo", "three"], [2, 4, 8]),
        ("file", ["Title\n\none\ntwo\n \n\nthree"], [2]),
    ],
)
def test_what_a_document_of_plain_text_is(tmp_path, document, texts, lines):
    rows = read(write(tmp_path / "n.txt", "\nTitle\r\n\r\none\r\ntwo\n \n\nthree\n\n"), document=document)
    assert rows["text"].tolist() == texts
    assert rows["row_id"].tolist() == [f"s:{line}" for line in lines]


@pytest.mark.parametrize(("document", "lines"), [("block", [1, 42]), ("file", [1])])
def test_a_document_too_long_is_a_fault(tmp_path, short_lines, document, lines):
    rows = read(write(tmp_path / "n.txt", "abcde\n" * 40 + "\nshort\n"), document=document)
    assert rows["row_id"].tolist() == [f"s:{line}" for line in lines]
    assert rows.loc[0, "fault"] == "too long: a document of more than 100 characters (n.txt:1)"
    assert rows.loc[0, "text"] == "abcde\nabcd"


def test_tables_are_bounded_in_rows_and_bytes(tmp_path, monkeypatch):
    path = write(tmp_path / "r.csv", "text\n" + "".join(f"{number}\n" for number in range(70_000)))
    sizes = [len(table) for table in read_source("s", FilesSource(path=str(path)))]
    assert sizes == [65_536, 4_464]
    write(path, "text\n" + ("x" * 2**20 + "\n") * 40)
    tables = list(read_source("s", FilesSource(path=str(path))))
    assert [table.nbytes < 20 * 2**20 for table in tables] == [True] * 3
    assert sum(map(len, tables)) == 40


def test_the_first_table_comes_before_the_file_is_read(tmp_path):
    path = write(tmp_path / "r.csv", "text\n" + "fine\n" * 200_000 + '"never closed\n')
    first = next(iter(read_source("s", FilesSource(path=str(path)))))
    assert len(first) == 65_536
    assert list(itertools.islice(first["row_id"].to_pylist(), 2)) == ["s:2", "s:3"]


ODD = st.text(st.sampled_from('ab,"\r\n\t é{}:1'), max_size=60)


@settings(max_examples=150, deadline=None)
@given(content=ODD, kind=st.sampled_from(["csv", "tsv", "jsonl", "text"]), chunk=st.integers(2, 9))
def test_any_content_reads_alike_wherever_it_is_cut(content, kind, chunk):
    def outcome(size):
        with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            patch.setattr(streams, "CHUNK", size)
            source = FilesSource(path=str(write(Path("r"), "text,label\n" + content)), format=kind, columns=[])
            try:
                return frame(read_source("s", source)).to_dict("records")
            except SourceError as error:
                return str(error)

    whole = outcome(2**20)
    assert str(outcome(chunk)) == str(whole)
    if kind == "text":
        lines = re.split("\r\n|\r|\n", "text,label\n" + content)
        assert [row["text"] for row in whole] == [line for line in lines if line.strip()]


def test_columns_between_semicolons(tmp_path):
    path = write(tmp_path / "r.csv", 'text;label\n"a; b";1\n')
    assert read(path, delimiter=";").iloc[0][["text", "label"]].tolist() == ["a; b", "1"]
    with pytest.raises(SourceError, match=r"the header is one column, 'text;label'; .* set delimiter: ';'"):
        read(path)
    with pytest.raises(SourceError, match=r"set format: tsv"):
        read(write(tmp_path / "t.csv", "text\tlabel\na\t1\n"))


@pytest.mark.parametrize("keys", [{"delimiter": ";;"}, {"delimiter": '"'}, {"delimiter": ";", "format": "tsv"}])
def test_a_delimiter_that_cannot_be(keys):
    with pytest.raises(ValueError, match="delimiter"):
        FilesSource(path="r.csv", **keys)


def test_a_file_of_another_encoding_than_named_says_which_key_to_set(tmp_path):
    path = write(tmp_path / "r.csv", "text\nschön\n".encode("latin-1"))
    with pytest.raises(SourceError, match=r"the file is not utf-8 .* set data\.sources\.SOURCE\.encoding .* latin-1"):
        read(path, encoding="utf-8")
    assert read(path, encoding="latin-1")["text"].tolist() == ["schön"]
