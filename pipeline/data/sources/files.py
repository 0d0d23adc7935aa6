"""Which files a source is made of, on whatever file system."""

from __future__ import annotations

import difflib
import itertools
import os.path
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from glob import has_magic
from pathlib import Path
from typing import Any

import fsspec  # type: ignore[import-untyped]

from pipeline.config import FilesSource
from pipeline.data.sources.secrets import Secrets
from pipeline.data.sources.watched_file import File, is_missing, root_of
from pipeline.errors import SourceError


def find_files(name: str, source: FilesSource) -> list[File]:
    """Return the files of a source, each once: split by split, in the order of their paths.

    Raises:
        SourceError: a path without a file, a pattern without a match, or a file in two splits.
        RecipeError: `storage` names an environment variable that is not set.
    """
    secrets = Secrets()
    storage = {
        key: secrets.resolve(value, f"data.sources.{name}.storage.{key}") if isinstance(value, str) else value
        for key, value in source.storage.items()
    }
    patterns = [
        _Pattern(name, f"data.sources.{name}.{key}", split, pattern, storage, secrets)
        for key, split, pattern in _patterns(source)
    ]
    if not patterns:
        raise SourceError(f"data.sources.{name}.path is an empty list; name at least one file")
    found: dict[str, File] = {}
    for split in dict.fromkeys(pattern.split for pattern in patterns):
        files = [file for pattern in patterns if pattern.split == split for file in pattern.files()]
        for file in sorted(files, key=lambda file: file.path):
            if (other := found.setdefault(file.path, file)).split != split:
                raise SourceError(
                    f"data.sources.{name}.splits: {file.address} is in {other.split} and in {split}; expected each "
                    "file in one split"
                )
    levels = zip(*(pattern.fixed_folder() for pattern in patterns), strict=False)
    shared = sum(1 for _ in itertools.takewhile(lambda level: len(set(level)) == 1, levels))
    return [
        replace(file, name="/".join(file.path.split("/")[shared:]), beside=_beside(file, source.aligned))
        for file in found.values()
    ]


def _beside(file: File, aligned: dict[str, str]) -> dict[str, File]:
    """Return the files aligned with a file, by column.

    Raises:
        SourceError: one is not there.
    """
    found = {}
    for column, name in aligned.items():
        path, address = _neighbour(file.path, name), _neighbour(file.address, name)
        found[column] = replace(file, name=f"{file.name}+{column}", path=path, address=address)
        if not file.system.isfile(path):
            raise SourceError(
                f"data.sources.{file.source}.aligned.{column} is {name!r}, and there is no file {address} beside "
                f"{file.address}; expected a file name, or a suffix that begins with a dot"
            )
    return found


def _neighbour(path: str, name: str) -> str:
    """Return the path of the file of this name in the same folder or, of a suffix, with it in place of its own."""
    folder, slash, own = path.rpartition("/")
    if name.startswith("."):
        name = f"{own.rpartition('.')[0] or own}{name}"
    return f"{folder}{slash}{name}"


def several_files(source: FilesSource) -> bool:
    """Return whether the recipe may mean more than one file, so that row ids have to name it."""
    patterns = _patterns(source)
    return len(patterns) > 1 or _is_glob(patterns[0][2])


def _patterns(source: FilesSource) -> list[tuple[str, str | None, str]]:
    """Return key, split and path or pattern of everything the recipe names."""
    named: list[tuple[str, str | None, str]]
    if source.splits is None:
        named = [("path", None, pattern) for pattern in _listed(source.path)]
    else:
        given = source.splits.items()
        named = [(f"splits.{split}", split, pattern) for split, its in given for pattern in _listed(its)]
    folder = "" if source.folder is None else f"{source.folder.rstrip('/')}/"
    return [(key, split, f"{folder}{pattern}") for key, split, pattern in named]


def _listed(given: str | list[str] | None) -> list[str]:
    return [given] if isinstance(given, str) else given or []


def _is_glob(path: str) -> bool:
    # The question mark of an address on the web begins its query.
    return has_magic(path.partition("?")[0] if path.startswith(("http://", "https://")) else path)


class _Pattern:
    """One path or pattern of a recipe, at its key."""

    def __init__(
        self, source: str, where: str, split: str | None, pattern: str, storage: dict[str, Any], secrets: Secrets
    ) -> None:
        self.source, self.where, self.split, self.pattern, self.secrets = source, where, split, pattern, secrets
        self.local = "://" not in pattern
        with self._explained():
            self.system, path = fsspec.url_to_fs(pattern, **storage)
            self.path = str(path)
            self.system.invalidate_cache()

    def fixed_folder(self) -> list[str]:
        """Return the parts of the deepest folder that holds no wildcard."""
        folders = self.path.split("/")[:-1]
        return list(itertools.takewhile(lambda part: not _is_glob(part), folders))

    def files(self) -> list[File]:
        """Return the files it means."""
        if not _is_glob(self.path):
            return [self._file(self._one())]
        with self._explained():
            found = self.system.glob(self.path, detail=True)
        paths = [path for path, info in found.items() if info.get("type") != "directory" and not self._hidden(path)]
        if not paths:
            raise SourceError(f"{self.where}: no file matches {self.pattern!r}{self._folder()}; check the pattern")
        return [self._file(path) for path in paths]

    def _one(self) -> str:
        missing = f"{self.where}: there is no file {self.pattern!r}{self._folder()}; {self._hint()}"
        with self._explained(missing):
            info = self.system.info(self.path)
        if info.get("type") == "directory":
            raise SourceError(
                f"{self.where}: {self.pattern!r} is a folder; expected a file, or a pattern such as "
                f"{self.pattern.rstrip('/')}/*.csv"
            )
        return self.path

    def _file(self, path: str) -> File:
        address = _shown(path) if self.local else str(self.system.unstrip_protocol(path))
        return File(self.source, path, address, path, self.system, self.secrets, self.split)

    def _hidden(self, path: str) -> bool:
        """Return whether the file's name begins with a dot that nobody asked for."""
        return path.rpartition("/")[2].startswith(".") and not self.path.rpartition("/")[2].startswith(".")

    def _folder(self) -> str:
        return f" (working folder: {Path.cwd()})" if self.local else ""

    def _hint(self) -> str:
        path = Path(self.pattern)
        beside = sorted(entry.name for entry in path.parent.iterdir()) if self.local and path.parent.is_dir() else []
        close = difflib.get_close_matches(path.name, beside, n=1)
        return f"did you mean {str(path.with_name(close[0]))!r}?" if close else "check the path"

    @contextmanager
    def _explained(self, missing: str | None = None) -> Iterator[None]:
        try:
            yield
        # The libraries of file systems raise whatever they like, and show their options.
        except Exception as error:
            if missing and is_missing(error):
                raise SourceError(missing) from None
            raise SourceError(
                f"{self.where}: {self.pattern!r} cannot be reached: {self.secrets.hide(root_of(error))}; check the "
                "address and `storage`"
            ) from None


def _shown(path: str) -> str:
    """Return a local path as people would write it."""
    return os.path.relpath(path) if Path(path).is_relative_to(Path.cwd()) else path
