"""The recipe's own expectations of a source: proven before a row is read, then each run where it can see what it needs.

- One row at a time: on every chunk of sound rows.
- All rows together (a mean, a quantile, uniqueness, order): on an SQLite file with the columns that they name.
- The columns as such: on a frame without rows that has them all.

Values are text, except in a column that `data.checks.columns` says holds numbers.
"""

from __future__ import annotations

import difflib
import sqlite3
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.config import ColumnCheck, Expectation
from pipeline.data.quality.checks import NUMBERS, TYPES, Check
from pipeline.data.quality.expectations import Inspector, build
from pipeline.errors import RecipeError

if TYPE_CHECKING:
    import pandas as pd

WHOLE = (
    "expect_column_values_to_be_unique",
    "expect_column_values_to_be_increasing",
    "expect_column_values_to_be_decreasing",
    "expect_column_values_to_not_be_outliers",
    "expect_column_value_z_scores_to_be_less_than",
    "expect_compound_columns_to_be_unique",
)
COLUMNS = (
    "expect_column_to_exist",
    "expect_column_type_to_be",
    "expect_column_values_to_be_of_type",
    "expect_column_values_to_be_in_type_list",
    "expect_table_column_count_to_be_between",
    "expect_table_column_count_to_equal",
    "expect_table_columns_to_match_ordered_list",
    "expect_table_columns_to_match_set",
)
ARITHMETIC = (
    "expect_column_mean_to_be_between",
    "expect_column_median_to_be_between",
    "expect_column_quantile_values_to_be_between",
    "expect_column_stdev_to_be_between",
    "expect_column_sum_to_be_between",
    "expect_column_value_z_scores_to_be_less_than",
    "expect_column_values_to_not_be_outliers",
    "expect_multicolumn_sum_to_equal",
)
TABLE = "sound_rows"


def own_checks(source: str, expectations: Iterable[Expectation], columns: Mapping[str, ColumnCheck]) -> list[Check]:
    """Return the recipe's further checks of a source, each proven to be one that Great Expectations can build.

    Raises:
        RecipeError: no expectation has that name, it does not take these arguments, or it reckons with a column that
            the recipe does not say holds numbers.
    """
    checks = []
    for position, expectation in enumerate(expectations):
        where = f"data.checks.expectations.{source}[{position}]"
        arguments = ", ".join(f"{key}={value!r}" for key, value in expectation.arguments.items())
        check = Check(
            f"{expectation.type}[{position}]", expectation.severity, expectation.type, expectation.arguments,
            f"{expectation.type}({arguments})", fix=f"repair the data, or change {where}", own=True,
        )  # fmt: skip
        _prove(check, where)
        texts = [name for name in named_columns([check]) if name not in columns or columns[name].type not in NUMBERS]
        if check.type in ARITHMETIC and texts:
            raise RecipeError(
                f"{where}: {check.type} reckons with column {texts[0]!r}, which counts as text; say that it holds "
                f"numbers: data.checks.columns.{source}.{texts[0]}: {{type: number}}"
            )
        checks.append(check)
    return checks


def require_known_columns(source: str, checks: list[Check], columns: list[str]) -> None:
    """Raise when a check of the recipe looks at a column that the source does not have.

    Raises:
        RecipeError: it does; the message lists the columns.
    """
    for position, check in enumerate(checks):
        absent = [column for column in named_columns([check]) if column not in columns]
        if absent and check.type not in COLUMNS:
            raise RecipeError(
                f"data.checks.expectations.{source}[{position}]: {check.type} names the column {absent[0]!r}, and the "
                f"source has: {', '.join(columns)}"
            )


def named_columns(checks: Iterable[Check]) -> list[str]:
    """Return the columns that the checks name, each once."""
    found: dict[str, None] = {}
    for check in checks:
        named = [check.arguments.get(key) for key in ("column", "column_A", "column_B")]
        named += check.arguments.get("column_list") or []
        found |= dict.fromkeys(name for name in named if isinstance(name, str))
    return list(found)


class OwnChecks:
    """Runs the recipe's own checks on the sound rows of one source as they stream by."""

    def __init__(
        self, source: str, checks: list[Check], columns: Mapping[str, ColumnCheck], inspector: Inspector, folder: Path
    ) -> None:
        rowwise = [check for check in checks if _looks_at_rows(check)]
        self.columns = [check for check in checks if check.type in COLUMNS]
        self.whole = [check for check in checks if check not in rowwise and check not in self.columns]
        self.numbers = {name for name, asked in columns.items() if asked.type in NUMBERS}
        self.source, self.inspector = source, inspector
        self.suite = inspector.suite(source, "sound rows", rowwise)
        self.path = folder / "own.db"
        self.kept = [name for name in named_columns(self.whole) if name != "row_id"]
        self.database = self._create() if self.whole else None

    def add(self, table: pa.Table) -> None:
        """Run what looks at one row at a time; keep what the rest needs."""
        if self.suite.checks:
            self.suite.add(frame_of(table, named_columns(self.suite.checks), self.numbers))
        if self.database:
            columns = [column_of(table, name, name in self.numbers).to_pylist() for name in self.kept]
            marks = ", ".join("?" * (len(columns) + 1))
            rows = zip(table["row_id"].to_pylist(), *columns, strict=True)
            self.database.executemany(f"INSERT INTO {TABLE} VALUES ({marks})", rows)  # noqa: S608

    def close(self, columns: list[str]) -> None:
        """Run the rest; `columns` are all that the source has."""
        self.suite.close()
        if self.columns:
            empty = pa.table({name: pa.array([], pa.string()) for name in columns})
            self.inspector.run(self.source, "columns", frame_of(empty, columns, self.numbers), self.columns)
        if self.database:
            self.database.commit()
            self.database.close()
            self.inspector.query(self.source, "sound rows together", self.path, TABLE, self.whole)
            self.path.unlink()

    def _create(self) -> sqlite3.Connection:
        database = sqlite3.connect(self.path)
        database.execute("PRAGMA journal_mode = OFF")
        database.execute("PRAGMA synchronous = OFF")
        kinds = [f'"{_quoted(name)}" {"REAL" if name in self.numbers else "TEXT"}' for name in self.kept]
        database.execute(f"CREATE TABLE {TABLE} ({', '.join(['row_id TEXT', *kinds])})")
        return database


def frame_of(table: pa.Table, columns: Iterable[str], numbers: Iterable[str]) -> pd.DataFrame:
    """Return columns of a table as a frame, those in `numbers` as numbers; a column that it has not is all null."""
    numeric = set(numbers)
    frame: pd.DataFrame = pa.table({name: column_of(table, name, name in numeric) for name in columns}).to_pandas()
    return frame


def column_of(table: pa.Table, name: str, numeric: bool) -> pa.ChunkedArray:
    """Return a column, null where the table has none; as numbers, null where a value is none, when `numeric`."""
    if name not in table.column_names:
        return pa.chunked_array([pa.nulls(len(table), pa.float64() if numeric else pa.string())])
    values = table[name]
    if not numeric:
        return values
    trimmed = pc.utf8_trim_whitespace(values)
    sound = pc.match_substring_regex(trimmed, TYPES["number"][0])
    return pc.cast(pc.utf8_ltrim(pc.if_else(sound, trimmed, None), "+"), pa.float64())


def _looks_at_rows(check: Check) -> bool:
    from great_expectations.expectations.expectation import (
        ColumnMapExpectation,
        ColumnPairMapExpectation,
        MulticolumnMapExpectation,
    )
    from great_expectations.expectations.registry import get_expectation_impl

    kinds = (ColumnMapExpectation, ColumnPairMapExpectation, MulticolumnMapExpectation)
    return check.type not in (*WHOLE, *COLUMNS) and issubclass(get_expectation_impl(check.type), kinds)


def _quoted(name: str) -> str:
    return name.replace('"', '""')


def _prove(check: Check, where: str) -> None:
    from great_expectations.exceptions import ExpectationNotFoundError
    from great_expectations.expectations.registry import list_registered_expectation_implementations

    try:
        build(check)
    except ExpectationNotFoundError as error:
        known = list_registered_expectation_implementations()
        close = difflib.get_close_matches(check.type, known, n=3, cutoff=0.4)
        raise RecipeError(
            f"{where}.type is {check.type!r}, and Great Expectations has no such check; closest: {', '.join(close)}"
        ) from error
    except (TypeError, ValueError) as error:
        given = ", ".join(check.arguments) or "none"
        lines = [line.strip() for line in str(error).splitlines()[1:]] or [str(error)]
        problems = "; ".join(f"{name}: {what}" for name, what in zip(lines[::2], lines[1::2], strict=False))
        raise RecipeError(
            f"{where}.arguments do not fit {check.type}: {problems or str(error)}. Received: {given}. "
            "Its arguments are those in the Great Expectations gallery"
        ) from error
