"""Where rows come from: the packaged classification, files anywhere fsspec reaches, and databases."""

from __future__ import annotations

import codecs
import re
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from pipeline.config.section import Section
from pipeline.dates import check_template

SplitName = Literal["train", "validation", "test"]


class Icd10Source(Section):
    """The ICD-10-CM classification that the `simple-icd-10-cm` package ships.

    Columns: `text`, `kind` (description, inclusion_term, note), `code`, `category` (three characters), `chapter`,
    `completeness` (billable, seventh_character, more_detail).
    """

    kind: Literal["icd10cm"]
    group: str | None = Field("category", description="column whose rows never cross the split")


class Columns(Section):
    """Which column of a source means what."""

    text: str = Field("text", description="column that holds the text")
    text_pair: str | None = Field(None, description="column that holds a second text, such as the answer to a question")
    label: str | None = Field(None, description="column to call `label`; a task may name any column instead")
    id: str | None = Field(None, description="column that names a row, each value once; default: file and line")
    group: str | None = Field(None, description="column whose rows never cross the split; default: equal texts")
    columns: list[str] | None = Field(None, description="further columns to keep; default: all of them")


class FilesSource(Columns):
    """Files on this machine, behind any fsspec URL (s3://, gs://, https://, ...), or of a data set on Hugging Face."""

    kind: Literal["files"] = "files"
    path: str | list[str] | None = Field(
        None,
        description="file, glob or URL (`s3://bucket/*.parquet`, `hf://datasets/owner/name/*.csv`), or a list of them; "
        "relative to the working folder; `{{ ds }}` stands for the date of the run",
    )
    folder: str | None = Field(
        None, description="folder or URL that the paths below are in; default: the working folder"
    )
    splits: dict[SplitName, str | list[str]] | None = Field(
        None, description="instead of `path`: the files of train, validation and test, where they are given"
    )
    format: Literal["auto", "csv", "tsv", "jsonl", "parquet", "text", "conll"] = Field(
        "auto",
        description="`auto` goes by the suffix, below .gz or .zst; conll: a word and its tags a line, blank lines "
        "between sentences, with the columns `text`, `column_2` and so on, and `tags` for the last",
    )
    encoding: str = Field("auto", description="such as latin-1; `auto` is UTF-8, or UTF-16 that begins with its mark")
    delimiter: str = Field(",", pattern=r'^[^"\r\n]$', description="of csv: what stands between columns, such as `;`")
    header: list[str] | None = Field(
        None, description="names of the columns of a csv or tsv file whose first line is a row already"
    )
    pattern: str | None = Field(
        None,
        description="of text: Python regular expression that a whole document matches; its named groups become the "
        "columns, such as `(?P<label>[^ ]+) (?P<text>.*)`",
    )
    aligned: dict[str, str] = Field(
        default_factory=dict,
        description="of text: further columns from files whose lines belong to those of this one: a file name beside "
        "it, such as `label`, or a suffix that takes the place of its own, such as `.de`",
    )
    document: Literal["line", "block", "file"] = Field(
        "line", description="what one document is in plain text: a line, a block between blank lines, or the whole file"
    )
    storage: dict[str, str | bool | int] = Field(
        default_factory=dict,
        description="options of the file system, such as `{anon: true}`; `${NAME}` stands for an environment variable",
    )

    @model_validator(mode="after")
    def _one_place(self) -> FilesSource:
        if (self.path is None) == (self.splits is None):
            received = "both" if self.path else "neither"
            raise ValueError(f"received {received} of `path` and `splits`; expected one of them")
        given = [self.path, *(self.splits or {}).values()]
        given.append(self.folder)
        for path in (path for entry in given if entry for path in ([entry] if isinstance(entry, str) else entry)):
            check_template(path)
            if "://" in path:
                _refuse_password(path)
        self._require_fitting_keys()
        if self.splits is not None and "train" not in self.splits:
            raise ValueError(f"splits has {', '.join(self.splits) or 'nothing'}; expected at least `train`")
        return self

    def _require_fitting_keys(self) -> None:
        readers = {"header": ("csv", "tsv"), "pattern": ("text",), "aligned": ("text",), "delimiter": ("csv",)}
        for key, formats in readers.items():
            default = type(self).model_fields[key].get_default(call_default_factory=True)
            if getattr(self, key) != default and self.format not in ("auto", *formats):
                raise ValueError(f"{key} is of the format {' or '.join(formats)}, and format is {self.format}")
        if self.aligned and (self.document != "line" or self.pattern):
            raise ValueError("aligned needs a line for each row: document: line, and no pattern")
        if self.encoding != "auto":
            try:
                codecs.lookup(self.encoding)
            except LookupError:
                raise ValueError(f"encoding is {self.encoding!r}; expected a codec such as latin-1, cp1252") from None
        if self.pattern is not None:
            try:
                groups = re.compile(self.pattern).groupindex
            except re.error as error:
                raise ValueError(f"pattern is no regular expression: {error}") from None
            if self.text not in groups:
                raise ValueError(f"pattern names the columns {list(groups)}; expected {self.text!r} (text) among them")


class SqlSource(Columns):
    """The rows of a query, through SQLAlchemy; the database's driver has to be installed."""

    kind: Literal["sql"]
    url: str | None = Field(
        None,
        description="SQLAlchemy URL, such as `sqlite:///notes.db`; `${NAME}` stands for an environment variable, which "
        "is where a password belongs",
    )
    connection: str | None = Field(
        None, description="instead of `url`: an Airflow connection, or the variable AIRFLOW_CONN_<NAME>"
    )
    query: str = Field(
        description="the SELECT whose rows are the data; ORDER BY a key keeps their order; `{{ ds }}` stands for the "
        "date of the run"
    )

    @field_validator("query")
    @classmethod
    def _dates_are_known(cls, query: str) -> str:
        check_template(query)
        return query

    @field_validator("url")
    @classmethod
    def _no_password(cls, url: str | None) -> str | None:
        if url:
            _refuse_password(url)
        return url

    @model_validator(mode="after")
    def _one_address(self) -> SqlSource:
        if (self.url is None) == (self.connection is None):
            given = "both" if self.url else "neither"
            raise ValueError(f"received {given} of `url` and `connection`; expected one of them")
        return self


def _refuse_password(url: str) -> None:
    password = urlsplit(url).password
    if password and not password.startswith("${"):
        raise ValueError(
            "it holds a password, which would end up in manifests; write ${NAME} in its place, and set the "
            "environment variable NAME"
        )


Source = Annotated[Icd10Source | FilesSource | SqlSource, Field(discriminator="kind")]
