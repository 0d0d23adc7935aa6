"""What the registry holds, read without importing MLflow where the registry is a SQLite file.

Importing MLflow and opening its store takes several seconds; a prediction and an unchanged run only need to know which
version is the champion. A SQLite registry is therefore read with the standard library (four tables of MLflow's
schema, read-only); any other address goes through MLflow's client. Tests hold both readers to the same answers.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pipeline.errors import PublishError

SQLITE = "sqlite:///"
WORKSPACE = "default"  # MLflow's own word for a tenant of one database; we use the one that always exists
DELETED = "Deleted_Internal"


@dataclass(frozen=True)
class Record:
    """One registered version as the registry's tables have it; `created` is in milliseconds since 1970."""

    version: str
    location: str
    tags: dict[str, str]
    aliases: tuple[str, ...]
    created: int


class Reader(Protocol):
    """Answers what is registered."""

    def models(self) -> list[str]:
        """Return the names of the registered models, sorted."""

    def records(self, model: str) -> list[Record]:
        """Return the versions of one model, oldest first; none when the model is unknown."""


class SqliteReader:
    """Reads MLflow's tables straight from the database file.

    Args:
        path: the database; a missing or empty file is an empty registry.
        patience: seconds to wait for a writer.

    """

    def __init__(self, path: Path, patience: float) -> None:
        self.path = path
        self.patience = patience

    def models(self) -> list[str]:
        """Return the names of the registered models, sorted. Raises PublishError when the file cannot be read."""
        with self._database() as database:
            query = "SELECT name FROM registered_models WHERE workspace = ? ORDER BY name"
            return [] if database is None else [name for (name,) in database.execute(query, (WORKSPACE,))]

    def records(self, model: str) -> list[Record]:
        """Return the versions of one model, oldest first. Raises PublishError when the file cannot be read."""
        with self._database() as database:
            if database is None:
                return []
            where = (WORKSPACE, model)
            tags: dict[int, dict[str, str]] = {}
            query = "SELECT version, key, value FROM model_version_tags WHERE workspace = ? AND name = ?"
            for version, key, value in database.execute(query, where):
                tags.setdefault(version, {})[key] = value
            aliases: dict[int, list[str]] = {}
            query = (
                "SELECT version, alias FROM registered_model_aliases WHERE workspace = ? AND name = ? ORDER BY alias"
            )
            for version, alias in database.execute(query, where):
                aliases.setdefault(version, []).append(alias)
            query = (
                "SELECT version, coalesce(storage_location, source), creation_time FROM model_versions "
                "WHERE workspace = ? AND name = ? AND current_stage != ? ORDER BY version"
            )
            return [
                Record(str(version), location, tags.get(version, {}), tuple(aliases.get(version, ())), created)
                for version, location, created in database.execute(query, (*where, DELETED))
            ]

    @contextmanager
    def _database(self) -> Iterator[sqlite3.Connection | None]:
        if not self.path.exists() or (self.path.is_file() and self.path.stat().st_size == 0):
            yield None
            return
        try:
            address = f"{self.path.absolute().as_uri()}?mode=ro"
            with closing(sqlite3.connect(address, uri=True, timeout=self.patience)) as database:
                database.execute("BEGIN")  # one snapshot for all the queries of one answer
                yield database
        except sqlite3.Error as error:
            raise PublishError(
                f"the registry {self.path} cannot be read ({error}); expected MLflow's SQLite database, free to read "
                f"within {self.patience:g} s. If another process holds it, wait and try again; if the file is damaged, "
                "restore it from a backup, or move it away to begin with an empty registry"
            ) from error


class ClientReader:
    """Reads through MLflow's client; for registries that are not a SQLite file."""

    def __init__(self, client: Any) -> None:
        self.client = client

    def models(self) -> list[str]:
        """Return the names of the registered models, sorted."""
        return sorted(model.name for model in self._pages(self.client.search_registered_models))

    def records(self, model: str) -> list[Record]:
        """Return the versions of one model, oldest first."""
        if not any(True for _ in self._pages(self.client.search_registered_models, f"name = '{model}'")):
            return []
        aliases: dict[str, list[str]] = {}
        for alias, version in sorted(self.client.get_registered_model(model).aliases.items()):
            aliases.setdefault(str(version), []).append(alias)
        versions = sorted(
            self._pages(self.client.search_model_versions, f"name = '{model}'"), key=lambda each: int(each.version)
        )
        return [
            Record(
                str(each.version),
                self.client.get_model_version_download_uri(model, each.version),
                dict(each.tags),
                tuple(aliases.get(str(each.version), ())),
                int(each.creation_timestamp),
            )
            for each in versions
        ]

    def _pages(self, search: Any, query: str | None = None) -> Iterator[Any]:
        token = None
        while True:
            page = search(filter_string=query, page_token=token)
            yield from page
            token = page.token
            if not token:
                return


def sqlite_path(uri: str) -> Path | None:
    """Return the file behind a `sqlite:///` address, None for any other address."""
    return Path(uri.removeprefix(SQLITE)) if uri.startswith(SQLITE) else None
