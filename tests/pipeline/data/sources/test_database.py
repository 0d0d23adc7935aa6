import json
import logging
import sqlite3
import traceback

import pytest
from source_frames import frame

from pipeline.config import SqlSource
from pipeline.data.sources import read_source, source_content
from pipeline.errors import RecipeError, SourceError

SECRET = "pa/ss:w@rd%41"


def assert_hidden(error, log=""):
    """Check that neither the traceback nor the log shows the secret, or a telling part of it, in any form."""
    shown = "".join(traceback.format_exception(error)) + log
    assert not [form for form in (SECRET, "pa%2Fss", "w%40rd", "w@rd") if form in shown]


@pytest.fixture
def database(tmp_path):
    path = tmp_path / "notes.db"
    with sqlite3.connect(path) as connection:
        connection.execute("create table notes (id integer, note text, kind real, raw blob)")
        rows = [(number, f"note {number}: 12:30 % done", number % 2, None) for number in range(3000)]
        connection.executemany("insert into notes values (?, ?, ?, ?)", rows)
        connection.execute("update notes set note = null where id = 1")
        connection.execute("update notes set raw = x'ff' where id = 2")
    return path


def sql(query, **address):
    return SqlSource(kind="sql", query=query, **address)


def test_the_rows_of_a_query(database):
    source = sql(
        "select id, note, kind, raw from notes where note is null or note like '% 12:30 %' order by id",
        url=f"sqlite:///{database}",
        text="note",
        label="kind",
        id="id",
    )
    rows = frame(read_source("s", source))
    assert len(rows) == 3000
    assert rows["row_id"].tolist()[:2] == ["s:0", "s:1"]
    assert rows["text"].tolist()[:2] == ["note 0: 12:30 % done", ""]
    assert set(rows["label"]) == {"0", "1"}
    assert rows["fault"].dropna().tolist() == ["not UTF-8: byte 0xff in column raw"]
    assert rows.loc[2, "raw"] == "\\xff"


def test_rows_without_an_id_are_counted(database):
    rows = frame(read_source("s", sql("select note as text from notes", url=f"sqlite:///{database}")))
    assert rows["row_id"].tolist()[-1] == "s:3000"


def test_content_follows_the_rows_and_nothing_else(database):
    source = sql("select id, note as text from notes order by id", url=f"sqlite:///{database}")
    before = source_content("s", source)
    assert source_content("s", source) == before
    with sqlite3.connect(database) as connection:
        connection.execute("update notes set note = 'another' where id = 2999")
    assert source_content("s", source) != before


@pytest.mark.parametrize(
    "value",
    [
        "sqlite://{path}",
        "sqlite:///{path}?mode=ro",
        "sqlite://{encoded}",
        '{{"conn_type": "sqlite", "host": "{path}"}}',
        '{{"conn_type": "sqlite", "host": "{path}", "extra": "{{}}"}}',
    ],
)
def test_an_airflow_connection_in_either_form(database, monkeypatch, value):
    encoded = str(database).replace("/", "%2F")
    monkeypatch.setenv("AIRFLOW_CONN_NOTES", value.format(path=database, encoded=encoded))
    assert len(frame(read_source("s", sql("select note as text from notes", connection="notes")))) == 3000


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("delete from notes", ["begins with ['delete']", "SELECT"]),
        ("with gone as (select 1) delete from notes", ["readonly"]),
        ("select absent from notes", ["no such column: absent"]),
        ("select note as text from notes where id > 9999", ["no rows"]),
        ("select note as text, id as text from notes", ["text appears twice", "AS"]),
        ("select note as texts from notes", ["Did you mean 'texts'?"]),
    ],
)
def test_queries_that_cannot_be(database, query, words):
    with pytest.raises(SourceError) as raised:
        frame(read_source("s", sql(query, url=f"sqlite:///{database}")))
    assert all(word in str(raised.value) for word in ["data.sources.s", *words]), str(raised.value)
    with sqlite3.connect(database) as connection:
        assert connection.execute("select count(*) from notes").fetchone() == (3000,)


def test_comments_and_brackets_before_the_select(database):
    query = "-- all\n/* of\nthem */ (\nselect note as text from notes limit 1"
    with pytest.raises(SourceError, match="syntax error"):
        frame(read_source("s", sql(query, url=f"sqlite:///{database}")))
    query = "-- all\n/* of\nthem */ SELECT note as text from notes limit 1"
    assert len(frame(read_source("s", sql(query, url=f"sqlite:///{database}")))) == 1


def test_a_missing_database_is_not_made(tmp_path):
    with pytest.raises(SourceError, match=r"there is no database .*absent\.db"):
        frame(read_source("s", sql("select 1 as text", url=f"sqlite:///{tmp_path}/absent.db")))
    assert not list(tmp_path.iterdir())


def test_a_database_that_breaks_off_names_the_row(database):
    # sqlite3 meets the bytes that are not UTF-8 when it comes to the row.
    with sqlite3.connect(database) as connection:
        connection.execute("update notes set note = cast(x'ff' as text) where id = 2500")
    query = sql("select note as text from notes order by id", url=f"sqlite:///{database}")
    with pytest.raises(SourceError, match=r"notes\.db breaks off after row 2,000: .*UTF-8"):
        frame(read_source("s", query))


@pytest.mark.parametrize(
    "address",
    [
        {"url": "postgresql+pg8000://me:${PASSWORD}@127.0.0.1:1/notes"},
        {"url": "nothing://me:${PASSWORD}@127.0.0.1:1/notes"},
        {"url": "postgresql://me:${PASSWORD}@127.0.0.1:port/notes"},
        {"url": "${WHOLE}"},
        {"connection": "uri"},
        {"connection": "json"},
        {"connection": "broken"},
        {"connection": "damaged"},
        {"url": "sqlite:///:memory:?timeout=${PASSWORD}"},
    ],
)
def test_no_password_in_any_message(monkeypatch, caplog, address):
    monkeypatch.setenv("PASSWORD", SECRET)
    monkeypatch.setenv("WHOLE", "postgresql://me:pa%2Fss%3Aw%40rd%2541@127.0.0.1:1/notes")
    monkeypatch.setenv("AIRFLOW_CONN_URI", "nothing://me:pa%2Fss%3Aw%40rd%2541@127.0.0.1:1/notes")
    parts = {"conn_type": "nothing", "login": "me", "password": SECRET, "host": "127.0.0.1", "port": 1}
    monkeypatch.setenv("AIRFLOW_CONN_JSON", json.dumps(parts))
    monkeypatch.setenv("AIRFLOW_CONN_BROKEN", SECRET)
    monkeypatch.setenv("AIRFLOW_CONN_DAMAGED", json.dumps(parts)[:-1])
    with caplog.at_level(logging.DEBUG), pytest.raises(SourceError) as raised:
        frame(read_source("s", sql("select 1 as text", **address)))
    assert_hidden(raised.value, caplog.text)
    with caplog.at_level(logging.DEBUG), pytest.raises(SourceError) as raised:
        source_content("s", sql("select 1 as text", **address))
    assert_hidden(raised.value, caplog.text)


def test_a_driver_that_fails_cannot_show_the_password(monkeypatch, database):
    connection = {"conn_type": "sqlite", "host": str(database), "password": SECRET}
    monkeypatch.setenv("AIRFLOW_CONN_NOTES", json.dumps(connection))

    def connect(*arguments, **options):
        raise sqlite3.OperationalError(f"cannot log in as me with {SECRET!r}")

    monkeypatch.setattr("sqlite3.dbapi2.connect", connect)
    with pytest.raises(SourceError, match=r"cannot log in as me with '\*\*\*'") as raised:
        frame(read_source("s", sql("select 1 as text", connection="notes")))
    assert_hidden(raised.value)


def test_a_variable_that_is_not_set(monkeypatch):
    monkeypatch.delenv("AIRFLOW_CONN_ABSENT", raising=False)
    with pytest.raises(RecipeError, match=r"data\.sources\.s\.connection .*AIRFLOW_CONN_ABSENT, which is not set"):
        frame(read_source("s", sql("select 1 as text", connection="absent")))
