"""From a source of the recipe to tables of rows, one after the other, and to the hash of what it holds.

Importing this package is light: pyarrow comes with the first read.

    files, database, ICD-10-CM -> Batch: columns as they are there -> table: columns as the pipeline calls them
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pipeline.config import Source
from pipeline.data.sources.columns import require_columns

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["read_source", "require_columns", "source_content"]


def read_source(name: str, source: Source) -> Iterator[pa.Table]:
    """Yield the rows of a source in its order: tables of at most 65,536 rows and about 32 MiB, never the whole source.

    Columns, all strings: `row_id` ("<source>:<id>" where the recipe maps `id`, else "<source>:<line>", or
    "<source>:<file>:<line>" where the recipe names several files), `text` ("" where there is none), `text_pair` (where
    mapped), `group` (null without one), `split` (where the source has `splits`), `label` (where mapped), the other
    columns of the source, and `fault` (why the row cannot be used, else null). Tables differ in columns where the
    files do. A line number counts from 1 and includes a header; Parquet, databases and ICD-10-CM count records.

    Raises:
        SourceError: nothing there, empty, unreadable or changed while it was read, or a column is missing.
        RecipeError: the recipe names an environment variable that is not set.
    """
    from pipeline.data.sources.reading import tables

    return tables(name, source)


def source_content(name: str, source: Source) -> str:
    """Return the sha256 of what the source holds: names and bytes of files, or the rows of a query.

    Raises:
        SourceError: nothing there, or unreadable.
        RecipeError: the recipe names an environment variable that is not set.
    """
    from pipeline.data.sources.content import content

    return content(name, source)
