"""The rows of a query, streamed through SQLAlchemy; nothing is ever written or committed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import sqlalchemy as sa

from pipeline.config import SqlSource
from pipeline.data.sources.batches import BYTES, ROWS, Batch
from pipeline.data.sources.columns import require_distinct
from pipeline.data.sources.secrets import Secrets
from pipeline.errors import SourceError

FETCH = 1000
READS = re.compile(r"(?:\s|--[^\n]*\n|/\*.*?\*/|\()*(?:select|with|values|table)\b", re.IGNORECASE | re.DOTALL)
# Airflow's names of connection types, where SQLAlchemy's differ.
DIALECTS = {"postgres": "postgresql", "mssql": "mssql+pymssql", "mysql": "mysql"}


def read_query(name: str, source: SqlSource) -> Generator[Batch]:
    """Yield the rows of a source's query, numbered from 1; the first batch has the columns even without rows.

    Raises:
        SourceError: the database cannot be reached, refuses the query, or breaks off; the message names the row.
        RecipeError: an environment variable that the recipe names is not set.
    """
    where = f"data.sources.{name}"
    if not READS.match(source.query):
        raise SourceError(f"{where}.query begins with {source.query.split()[:1]}; expected a SELECT (or WITH)")
    secrets = Secrets()
    url = _url(where, source, secrets)
    if url.get_backend_name() == "sqlite":
        _require_database(where, url)
    fetched = 0

    def partitions(result: sa.CursorResult[Any]) -> Iterator[Sequence[Sequence[Any]]]:
        nonlocal fetched
        for rows in result.partitions(FETCH):
            fetched += len(rows)
            yield rows

    with _explained(where, url, secrets, lambda: fetched), _engine(url).connect() as connection:
        result = _execute(connection, source.query)
        columns = list(result.keys())
        require_distinct(f"{where}.query", columns, "name one of them with AS")
        yield Batch([], dict.fromkeys(columns, ()))
        done = 0
        for rows in _piled(partitions(result)):
            values = zip(*rows, strict=True)
            yield Batch(range(done + 1, done + len(rows) + 1), dict(zip(columns, values, strict=True)))
            done += len(rows)


def _engine(url: sa.URL) -> sa.Engine:
    try:
        return sa.create_engine(url, poolclass=sa.NullPool)
    except (TypeError, ValueError) as error:
        raise sa.exc.ArgumentError(str(error)) from None


def _execute(connection: sa.Connection, query: str) -> sa.CursorResult[Any]:
    """Run the query in a transaction that reads only, where the database has such, and is rolled back anyway."""
    options: dict[str, Any] = {"yield_per": FETCH, "no_parameters": True}
    if connection.dialect.name == "postgresql":
        connection = connection.execution_options(postgresql_readonly=True)
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA query_only = ON")
    return connection.exec_driver_sql(query, execution_options=options)


def _piled(partitions: Iterator[Sequence[Sequence[Any]]]) -> Iterator[list[Sequence[Any]]]:
    """Yield rows in lists of at most `ROWS` and about `BYTES`."""
    pile: list[Sequence[Any]] = []
    size = 0
    for rows in partitions:
        if len(pile) + len(rows) > ROWS or size >= BYTES:
            yield pile
            pile, size = [], 0
        pile += rows
        size += sum(len(value) for row in rows for value in row if isinstance(value, (str, bytes)))
    if pile:
        yield pile


def _url(where: str, source: SqlSource, secrets: Secrets) -> sa.URL:
    """Return the address with its secrets."""
    if source.connection is not None:
        variable = f"AIRFLOW_CONN_{source.connection.upper()}"
        return _airflow_url(f"{where}.connection", secrets.resolve(f"${{{variable}}}", f"{where}.connection"), secrets)
    given = source.url or ""
    user, at, rest = given.rpartition("@")
    # A password may hold any character; in an address some of them are signs.
    encoded = secrets.resolve(user, f"{where}.url", lambda value: quote(value, safe="")) if "://" in user else user
    try:
        url = sa.make_url(encoded + at + secrets.resolve(rest, f"{where}.url"))
    except (sa.exc.ArgumentError, ValueError):
        raise SourceError(
            f"{where}.url is no SQLAlchemy URL; expected one such as postgresql://user:${{PASSWORD}}@host/database"
        ) from None
    secrets.add(url.password if isinstance(url.password, str) else None)
    return url


def _airflow_url(where: str, value: str, secrets: Secrets) -> sa.URL:
    """Return the SQLAlchemy URL of an Airflow connection, given as its URI or its JSON."""
    try:
        parts = json.loads(value) if value.lstrip().startswith("{") else _uri_parts(value)
        extra = parts.get("extra") or {}
        extra = json.loads(extra) if isinstance(extra, str) else extra
        kind, port = parts["conn_type"], parts.get("port")
        port = int(port) if port else None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise SourceError(
            f"{where}: the variable is no Airflow connection; expected a URI (postgres://user:password@host/schema) or "
            'JSON ({"conn_type": "postgres", "host": ..., "login": ..., "password": ..., "schema": ...})'
        ) from None
    secrets.add(parts.get("password"))
    if kind == "sqlite":
        return sa.URL.create("sqlite", database=parts.get("host") or parts.get("schema"))
    query = {key: option for key, option in extra.items() if isinstance(option, str) and "__" not in key}
    return sa.URL.create(
        DIALECTS.get(kind, kind.replace("-", "+")),
        username=parts.get("login"),
        password=parts.get("password"),
        host=parts.get("host"),
        port=port,
        database=parts.get("schema"),
        query=query,
    )


def _uri_parts(uri: str) -> dict[str, Any]:
    """Return the parts of Airflow's form of a URI, in which any part may be percent-encoded."""
    found = urlsplit(uri)
    if not found.scheme:
        raise ValueError("no scheme")
    decoded = {
        "conn_type": found.scheme,
        "login": found.username and unquote(found.username),
        "password": found.password and unquote(found.password),
        "host": found.hostname and unquote(found.hostname),
        "schema": unquote(found.path[1:]) or None,
        "port": found.port,
        "extra": dict(parse_qsl(found.query)),
    }
    return decoded | ({"host": unquote(found.netloc + found.path)} if found.scheme == "sqlite" else {})


def _require_database(where: str, url: sa.URL) -> None:
    """Raise when there is no file, which SQLite would otherwise make."""
    path = url.database
    if path and path != ":memory:" and not path.startswith("file:") and not Path(path).is_file():
        raise SourceError(f"{where}: there is no database {path} (working folder: {Path.cwd()}); check the path")


@contextmanager
def _explained(where: str, url: sa.URL, secrets: Secrets, fetched: Callable[[], int]) -> Iterator[None]:
    try:
        yield
    except (sa.exc.SQLAlchemyError, ImportError, OSError) as error:
        cause = error.orig if isinstance(error, sa.exc.DBAPIError) and error.orig else error
        place = f"breaks off after row {fetched():,}" if fetched() else "cannot be read"
        raise SourceError(
            secrets.hide_in(f"{where}: {url.set(query={}).render_as_string(hide_password=True)} {place}: ")
            + secrets.hide(cause)
            + "; check the address, the query, and whether the database's driver is installed"
        ) from None
