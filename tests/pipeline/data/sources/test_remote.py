import contextlib
import gzip
import hashlib
import http.server
import json
import logging
import threading
import traceback
from functools import partial
from urllib.parse import unquote, urlsplit

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem
from source_frames import frame

from pipeline.config import FilesSource
from pipeline.data.sources import read_source, source_content
from pipeline.errors import RecipeError, SourceError

CSV = "text,label\n" + "".join(f"line {number},{number % 3}\n" for number in range(3000))


def read(**keys):
    return frame(read_source("s", FilesSource(**keys)))


@pytest.fixture
def memory():
    system = MemoryFileSystem()
    system.store.clear()
    yield system
    system.store.clear()


@contextlib.contextmanager
def serving(handler):
    """Run a server on this machine and yield its address."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves a folder, without a word; files whose name holds `tagged` have an entity tag."""

    def log_message(self, *arguments):
        pass

    def end_headers(self):
        if "tagged" in self.path:
            self.send_header("ETag", '"v1"')
        super().end_headers()

    def do_GET(self):
        if "denied" in self.path:
            self.send_error(403)
        else:
            super().do_GET()


def test_a_glob_behind_an_address(memory):
    memory.pipe("/bucket/a/r.csv", b"text\nfirst\n")
    memory.pipe("/bucket/b/r.csv.gz", gzip.compress(b"text\nsecond\n"))
    memory.pipe("/bucket/b/.hidden.csv", b"text\nhidden\n")
    rows = read(path="memory://bucket/*/*.csv*")
    assert rows["row_id"].tolist() == ["s:a/r.csv:2", "s:b/r.csv.gz:2"]
    assert rows["text"].tolist() == ["first", "second"]


def test_content_of_files_without_a_checksum_is_their_bytes(memory):
    memory.pipe("/r.csv", b"text\nx\n")
    source = FilesSource(path="memory://r.csv")
    before = source_content("s", source)
    memory.pipe("/r.csv", b"text\nx\n")
    assert source_content("s", source) == before
    memory.pipe("/r.csv", b"text\ny\n")
    assert source_content("s", source) != before


def test_remote_files_that_are_not_there(memory):
    memory.pipe("/bucket/r.csv", b"text\nx\n")
    with pytest.raises(SourceError, match=r"there is no file 'memory://bucket/q\.csv'; check the path"):
        read(path="memory://bucket/q.csv")
    with pytest.raises(SourceError, match=r"no file matches 'memory://bucket/\*\.tsv'"):
        read(path="memory://bucket/*.tsv")
    with pytest.raises(SourceError, match=r"'memory://bucket' is a folder; .* memory://bucket/\*\.csv"):
        read(path="memory://bucket")
    with pytest.raises(SourceError, match=r"nowhere://bucket/r\.csv' cannot be reached: .*nowhere"):
        read(path="nowhere://bucket/r.csv")


def test_files_on_the_web(tmp_path):
    (tmp_path / "r.csv").write_text(CSV)
    (tmp_path / "r.csv.gz").write_bytes(gzip.compress(CSV.encode()))
    pq.write_table(pa.table({"text": ["x"], "label": [1.0]}), tmp_path / "r.parquet")
    with serving(partial(Quiet, directory=str(tmp_path))) as address:
        rows = read(path=f"{address}/r.csv?download=1")
        assert rows["text"].tolist()[-1] == "line 2999"
        assert rows["row_id"].tolist()[0] == "s:2"
        assert read(path=f"{address}/r.csv.gz").equals(rows)
        assert read(path=f"{address}/r.parquet")["label"].tolist() == ["1"]
        listed = read(path=[f"{address}/r.csv", f"{address}/r.parquet"])
        assert {row_id.rpartition(":")[0] for row_id in listed["row_id"]} == {"s:r.csv", "s:r.parquet"}
        with pytest.raises(SourceError, match=r"there is no file .*absent\.csv"):
            read(path=f"{address}/absent.csv")
        with pytest.raises(SourceError, match=r"denied\.csv.* 403"):
            read(path=f"{address}/denied.csv")


def test_a_strong_entity_tag_stands_for_the_content(tmp_path):
    for name in ("tagged.csv", "plain.csv"):
        (tmp_path / name).write_text("text\nx\n")
    with serving(partial(Quiet, directory=str(tmp_path))) as address:
        sources = [FilesSource(path=f"{address}/{name}.csv") for name in ("tagged", "plain")]
        before = [source_content("s", source) for source in sources]
        for name in ("tagged.csv", "plain.csv"):
            (tmp_path / name).write_text("text\ny\n")
        after = [source_content("s", source) for source in sources]
    assert [one == other for one, other in zip(before, after, strict=True)] == [True, False]


def test_a_server_that_goes_away_is_named(tmp_path):
    with serving(partial(Quiet, directory=str(tmp_path))) as address:
        pass
    with pytest.raises(SourceError, match=r"r\.csv' cannot be reached: .*Connect"):
        read(path=f"{address}/r.csv")


class Guarded(MemoryFileSystem):
    """A file system that wants a token, and shows it when something fails."""

    protocol = "guarded"
    cachable = False

    def __init__(self, token, fails="", **options):
        super().__init__(**options)
        self.token, self.fails = token, fails
        if not token.startswith("right"):
            raise ValueError(f"{token!r} is not a token")

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(path.removeprefix("guarded://"))

    def info(self, path, **options):
        if self.fails == "info":
            raise PermissionError(f"{self.token} may not look at {path}")
        return super().info(path, **options)

    def open(self, path, *arguments, **options):
        if self.fails == "open":
            raise RuntimeError(f"refused: {self.token}")
        return super().open(path, *arguments, **options)


@pytest.fixture
def guarded(memory, monkeypatch):
    fsspec.register_implementation("guarded", Guarded, clobber=True)
    memory.pipe("/r.csv", b"text\nx\n")
    return memory


def test_secrets_reach_the_file_system_and_nothing_else(guarded, monkeypatch):
    monkeypatch.setenv("TOKEN", "right/hunter2")
    assert read(path="guarded://r.csv", storage={"token": "${TOKEN}"})["text"].tolist() == ["x"]
    monkeypatch.delenv("TOKEN")
    with pytest.raises(RecipeError, match=r"data\.sources\.s\.storage\.token names the environment variable TOKEN"):
        read(path="guarded://r.csv", storage={"token": "${TOKEN}"})


@pytest.mark.parametrize(
    ("secret", "options"),
    [
        ("wrong/hunter2", {}),
        ("right/hunter2", {"fails": "info"}),
        ("right/hunter2", {"fails": "open"}),
    ],
)
def test_no_storage_option_in_any_message(guarded, monkeypatch, caplog, secret, options):
    monkeypatch.setenv("TOKEN", secret)
    source = FilesSource(path="guarded://r.csv", storage={"token": "${TOKEN}", **options})
    for action in (lambda: frame(read_source("s", source)), lambda: source_content("s", source)):
        with caplog.at_level(logging.DEBUG), pytest.raises(SourceError) as raised:
            action()
        shown = "".join(traceback.format_exception(raised.value)) + caplog.text
        assert "hunter2" not in shown
        assert "***" in shown


def test_a_file_that_vanishes_while_it_is_read(tmp_path):
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text("text\nx\n")
    tables = read_source("s", FilesSource(path=str(tmp_path / "*.csv")))
    next(tables)
    (tmp_path / "b.csv").unlink()
    with pytest.raises(SourceError, match=r"b\.csv is gone since the run began to read the source"):
        list(tables)


@pytest.mark.parametrize("change", ["vanish", "grow", "shrink", "replace"])
def test_a_file_that_changes_while_it_is_read(tmp_path, change):
    path = tmp_path / "a.csv"
    path.write_text("text\n" + "row\n" * 200_000)
    tables = read_source("s", FilesSource(path=str(path)))
    next(tables)
    if change == "vanish":
        path.unlink()
    elif change == "grow":
        with path.open("a") as file:
            file.write("another\n")
    elif change == "shrink":
        with path.open("r+") as file:
            file.truncate(100_000)
    else:
        (tmp_path / "new").write_text("text\n" + "new\n" * 200_000)
        (tmp_path / "new").replace(path)
    with pytest.raises(SourceError, match=r"a\.csv (is gone|changed while it was read)"):
        list(tables)


def test_a_file_that_breaks_because_it_changes_says_that_it_changed(tmp_path):
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(CSV.encode() * 400, 1))
    tables = read_source("s", FilesSource(path=str(path)))
    next(tables)
    path.write_bytes(gzip.compress(b"text\n")[:-9])
    with pytest.raises(SourceError, match=r"a\.csv\.gz changed while it was read \(size \d+ -> \d+"):
        list(tables)


def test_local_paths_are_read_as_files_on_this_machine(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "odd #1 [x].csv").write_text("text\nx\n")
    with pytest.raises(SourceError, match=r"\(odd #1 \[x\]\.csv\): the recipe's text is 'body'"):
        read(path="odd #1 [[]x].csv", text="body")
    assert isinstance(fsspec.url_to_fs("x")[0], LocalFileSystem)


class Hub(Quiet):
    """What the hub answers for one data set."""

    def __init__(self, files, *arguments):
        self.files = files
        super().__init__(*arguments)

    def do_POST(self):
        paths = json.loads(self.rfile.read(int(self.headers["Content-Length"]))).get("paths", [])
        self._answer([entry for entry in self._tree() if entry["path"] in paths])

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        path = unquote(urlsplit(self.path).path)
        if "/resolve/" in path:
            self._file(path.rpartition("/")[2])
        elif "/tree/" in path:
            self._answer(self._tree())
        else:
            self._answer({"id": "team/notes", "sha": "1" * 40, "siblings": [], "tags": [], "private": False})

    def _tree(self):
        files = sorted(self.files.items())
        return [
            {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
            for name, data in files
        ]

    def _answer(self, value):
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _file(self, name):
        data = self.files[name]
        first, last = 0, len(data) - 1
        if given := self.headers.get("Range"):
            first, last = (int(part or last) for part in given.removeprefix("bytes=").split("-"))
        body = data[first : last + 1]
        self.send_response(206 if given else 200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{hashlib.sha1(data).hexdigest()}"')
        self.send_header("X-Repo-Commit", "1" * 40)
        if given:
            self.send_header("Content-Range", f"bytes {first}-{first + len(body) - 1}/{len(data)}")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def test_a_data_set_of_the_hub():
    files = {"a.csv": CSV.encode(), "b.csv": b"text,label\nlast,1\n", "README.md": b"notes"}
    with serving(partial(Hub, files)) as address:
        storage = {"endpoint": address, "token": False}
        rows = read(path="hf://datasets/team/notes/*.csv", storage=storage)
        assert rows["row_id"].tolist()[-2:] == ["s:a.csv:3001", "s:b.csv:2"]
        last = FilesSource(path="hf://datasets/team/notes/b.csv", storage=storage)
        assert frame(read_source("s", last))["text"].tolist() == ["last"]
        before = source_content("s", last)
        assert source_content("s", last) == before
        files["b.csv"] = b"text,label\nother,1\n"
        assert source_content("s", last) != before
        with pytest.raises(SourceError, match=r"there is no file 'hf://datasets/team/notes/c\.csv'"):
            read(path="hf://datasets/team/notes/c.csv", storage=storage)
