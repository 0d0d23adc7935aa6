"""The hash of what a source holds, so that a changed source is noticed."""

from __future__ import annotations

import hashlib
import json

from pipeline.config import FilesSource, Source, SqlSource
from pipeline.data.sources import icd10
from pipeline.data.sources.files import find_files
from pipeline.data.sources.watched_file import File


def content(name: str, source: Source) -> str:
    """Return the sha256 of a source; see `source_content`."""
    if isinstance(source, FilesSource):
        files = [part for file in find_files(name, source) for part in (file, *file.beside.values())]
        parts = {(file.split or "", file.name): _file_content(file) for file in files}
    elif isinstance(source, SqlSource):
        return _rows_content(name, source)
    else:
        with icd10.xml_path().open("rb") as stream:
            parts = {("", "icd10cm.xml"): hashlib.file_digest(stream, "sha256").hexdigest()}
    total = hashlib.sha256()
    for (split, file), what in sorted(parts.items()):
        total.update(f"{split}\0{file}\0{what}\n".encode())
    return total.hexdigest()


def _file_content(file: File) -> str:
    """Return the checksum that the file system keeps, or else the sha256 of the bytes."""
    if checksum := file.checksum():
        return checksum
    with file.watched(), file.open() as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _rows_content(name: str, source: SqlSource) -> str:
    """Return the sha256 of a query's rows, in their order."""
    from pipeline.data.sources.reading import tables

    total = hashlib.sha256()
    for table in tables(name, source):
        total.update(json.dumps(table.to_pydict()).encode())
    return total.hexdigest()
