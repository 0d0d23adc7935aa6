"""Great Expectations behind one door: named checks in, outcomes and pages out.

Rows stream by in chunks. A check that looks at one row at a time runs on every chunk, and what it found is added up, so
that it says the same as it would of all rows at once; each suite has one page. A check that breaks down is neither a
pass nor bad data: its outcome has `success` None and an `error`. Importing this module is light; the first `Inspector`
imports Great Expectations (6-9 s).
"""

from __future__ import annotations

import logging
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.data.quality.checks import Check, Measure
from pipeline.data.quality.results import breakdown, escaped, observed, plain

if TYPE_CHECKING:
    import pandas as pd

EXAMPLES = 20  # unexpected values that a page shows
LONGEST = 200  # characters of one of them


@dataclass(frozen=True)
class Outcome:
    """What a check found: `success` is None when it broke down, and then `error` says how."""

    check: Check
    subject: str
    success: bool | None
    observed: Any
    error: str | None = None


@dataclass(frozen=True)
class Page:
    """The rendered result of one suite: a title, and Great Expectations' own HTML."""

    title: str
    html: str


@dataclass
class Inspector:
    """Runs suites of checks and collects their outcomes and pages."""

    outcomes: list[Outcome] = field(default_factory=list)
    pages: list[Page] = field(default_factory=list)

    def __post_init__(self) -> None:
        # Its own log repeats every failed check with a traceback; the outcomes say it once.
        logging.getLogger("great_expectations").setLevel(logging.CRITICAL)
        import great_expectations as gx
        from great_expectations.data_context.types.base import (
            DataContextConfig,
            InMemoryStoreBackendDefaults,
            ProgressBarsConfig,
        )
        from great_expectations.render.renderer import ValidationResultsPageRenderer
        from great_expectations.render.view import DefaultJinjaPageView

        config = DataContextConfig(
            progress_bars=ProgressBarsConfig(globally=False),
            store_backend_defaults=InMemoryStoreBackendDefaults(init_temp_docs_sites=False),
        )
        self.context = gx.get_context(mode="ephemeral", project_config=config)
        self.renderer = ValidationResultsPageRenderer()
        self.view = DefaultJinjaPageView()

    def suite(self, subject: str, rows: str, checks: Iterable[Check]) -> Suite:
        """Return a suite for the chunks of a subject (`source` or `task NAME`); `rows` says what the frames hold."""
        return Suite(self, subject, rows, list(checks))

    def run(self, subject: str, rows: str, frame: pd.DataFrame, checks: Iterable[Check]) -> list[Outcome]:
        """Run the checks on one frame that holds everything."""
        suite = self.suite(subject, rows, checks)
        suite.add(frame)
        return suite.close()

    def measure(self, subject: str, rows: str, measures: Sequence[Measure]) -> None:
        """Judge figures of many rows together."""
        import pandas as pd

        if not measures:
            return
        frame = pd.DataFrame({measure.check.name: [float(measure.value)] for measure in measures})
        suite = self.suite(subject, rows, [measure.check for measure in measures])
        suite.told = {measure.check.name: measure.told for measure in measures}
        suite.add(frame)
        suite.close()

    def query(self, subject: str, rows: str, database: Path, table: str, checks: Iterable[Check]) -> None:
        """Run the checks on a table of an SQLite file, which need not fit into memory."""
        suite = self.suite(subject, rows, checks)
        source = self.context.data_sources.add_sqlite(suite.title, connection_string=f"sqlite:///{database}")
        try:
            asset = source.add_table_asset(rows, table_name=table)
            suite.take(asset.add_batch_definition_whole_table(rows).get_batch(), None)
            suite.close()
        finally:
            source.get_execution_engine().engine.dispose()


@dataclass
class _Sum:
    """What one check found in the chunks so far."""

    elements: int = 0
    missing: int = 0
    unexpected: int = 0
    examples: list[Any] = field(default_factory=list)
    error: str | None = None

    def add(self, entry: Any) -> None:
        """Add the result of a chunk."""
        self.error = self.error or breakdown(entry.exception_info)
        result = entry.result
        self.elements += int(result.get("element_count", 0))
        self.missing += int(result.get("missing_count", 0))
        self.unexpected += int(result.get("unexpected_count", 0))
        found = result.get("partial_unexpected_list", [])[: EXAMPLES - len(self.examples)]
        self.examples += [_cut(value) for value in found]

    def result(self) -> dict[str, Any]:
        """Return the result as Great Expectations would give it of all rows at once."""
        present = self.elements - self.missing
        counts = Counter(self.examples) if all(isinstance(value, str) for value in self.examples) else Counter()
        return {
            "element_count": self.elements,
            "unexpected_count": self.unexpected,
            "unexpected_percent": 100 * self.unexpected / present if present else 0.0,
            "partial_unexpected_list": self.examples,
            "partial_unexpected_counts": [{"value": value, "count": count} for value, count in counts.most_common()],
            "missing_count": self.missing,
            "missing_percent": 100 * self.missing / self.elements if self.elements else 0.0,
        }

    def success(self, mostly: float) -> bool:
        """Return whether enough of the values that are there passed."""
        present = self.elements - self.missing
        return not present or (present - self.unexpected) / present >= mostly


class Suite:
    """The checks of one page, on one chunk after the other."""

    def __init__(self, inspector: Inspector, subject: str, rows: str, checks: list[Check]) -> None:
        self.inspector = inspector
        self.subject, self.rows, self.checks = subject, rows, checks
        self.title = f"{subject}: {rows}"
        self.told: dict[str, str] = {}
        self.length = 0
        self.sums = {check.name: _Sum() for check in checks}
        self.first: Any = None
        self.asset: Any = None

    def add(self, frame: pd.DataFrame) -> list[tuple[Check, list[int]]]:
        """Run the checks on a chunk, whose rows count from 0.

        Returns:
            Each check of the severity `quarantine`, with the places of the rows that break it.
        """
        if not self.checks:
            return []
        if self.asset is None:
            source = self.inspector.context.data_sources.add_pandas(self.title)
            self.asset = source.add_dataframe_asset(self.rows).add_batch_definition_whole_dataframe(self.rows)
        return self.take(self.asset.get_batch({"dataframe": frame}), len(frame))

    def take(self, batch: Any, length: int | None) -> list[tuple[Check, list[int]]]:
        """Run the checks on a batch of Great Expectations; see `add`. `length` is None for a whole table elsewhere."""
        from great_expectations import ExpectationSuite

        suite = ExpectationSuite(name=self.title, expectations=[build(check) for check in self.checks])
        with warnings.catch_warnings():
            # pandas asks whether a regular expression with groups was meant to extract them.
            warnings.filterwarnings("ignore", message=".*has match groups", category=UserWarning)
            result = batch.validate(suite, result_format=self._result_format())
        entries = {entry.expectation_config.meta["name"]: entry for entry in result.results}
        self.length += length or 0
        offenders = []
        for check in self.checks:
            entry = entries[check.name]
            self.sums[check.name].add(entry)
            if check.severity == "quarantine":
                offenders.append((check, entry.result.get("unexpected_index_list") or []))
        if self.first is None:
            self.first = result
            for entry in result.results:
                entry.result = {key: value for key, value in entry.result.items() if "index" not in key}
                entry.result.pop("unexpected_list", None)
        return offenders

    def close(self) -> list[Outcome]:
        """Add up what the chunks gave, and write the page; there was one chunk at least, with or without rows."""
        if not self.checks:
            return []
        entries = {entry.expectation_config.meta["name"]: entry for entry in self.first.results}
        outcomes = [self._outcome(check, entries[check.name]) for check in self.checks]
        self.inspector.outcomes += outcomes
        self._write_page()
        return outcomes

    def _outcome(self, check: Check, entry: Any) -> Outcome:
        total = self.sums[check.name]
        if total.error:
            entry.success = False
            return Outcome(check, self.subject, None, None, total.error)
        if "element_count" in entry.result and "unexpected_count" in entry.result:
            entry.result = total.result()
            entry.success = total.success(check.arguments.get("mostly", 1.0))
        seen = self.told.get(check.name) or observed(plain(entry.result))
        return Outcome(check, self.subject, bool(entry.success), seen)

    def _write_page(self) -> None:
        result = self.first
        passed = sum(bool(entry.success) for entry in result.results)
        result.success = passed == len(result.results)
        result.statistics |= {
            "successful_expectations": passed,
            "unsuccessful_expectations": len(result.results) - passed,
            "success_percent": 100 * passed / len(result.results),
        }
        for entry in result.results:
            entry.result = escaped(plain(entry.result))
            entry.success = bool(entry.success)
        rows = f", {self.length:,} in all" if self.length and not self.told else ""
        result.meta["batch_spec"] = {"data_asset_name": f"{self.rows}{rows}"}
        page = self.inspector.view.render(self.inspector.renderer.render(result))
        self.inspector.pages.append(Page(self.title, str(page)))

    def _result_format(self) -> dict[str, Any]:
        # Without columns to name the rows by, COMPLETE tells their places, a hundred times faster.
        quarantines = any(check.severity == "quarantine" for check in self.checks)
        return {
            "result_format": "COMPLETE" if quarantines else "BASIC",
            "return_unexpected_index_query": False,
            "partial_unexpected_count": EXAMPLES,
        }


def _cut(value: Any) -> Any:
    """Return a value short enough for a page."""
    if isinstance(value, (tuple, list)):
        return tuple(_cut(entry) for entry in value)
    return f"{value[:LONGEST]}\u2026" if isinstance(value, str) and len(value) > LONGEST else value


def build(check: Check) -> Any:
    """Return the check as an object of Great Expectations."""
    from great_expectations.expectations.registry import get_expectation_impl

    settings: dict[str, Any] = {"meta": {"name": check.name}}
    settings["severity"] = "info" if check.severity == "quarantine" else check.severity
    if not check.own:
        settings["description"] = f"{check.name} (expected: {check.expected})"
    return get_expectation_impl(check.type)(**check.arguments, **settings)
