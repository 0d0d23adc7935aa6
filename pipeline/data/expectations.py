"""Great Expectations behind one door: named checks in, outcomes and pages out.

A check that breaks down is neither a pass nor bad data: its outcome has `success` None and an `error`. Importing this
module is light; the first `Inspector` imports Great Expectations (7-9 s).
"""

from __future__ import annotations

import difflib
import html
import logging
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pipeline.config import Expectation
from pipeline.data.checks import Check
from pipeline.errors import RecipeError

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Outcome:
    """What a check found: `success` is None when it broke down, and then `error` says how."""

    check: Check
    subject: str
    success: bool | None
    observed: Any
    error: str | None = None
    offenders: tuple[str, ...] = ()


@dataclass(frozen=True)
class Page:
    """The rendered result of one suite: a title, and Great Expectations' own HTML."""

    title: str
    html: str


@dataclass
class Inspector:
    """Runs suites of checks on frames and collects their outcomes and pages."""

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

    def run(self, subject: str, rows: str, frame: pd.DataFrame, checks: Iterable[Check]) -> list[Outcome]:
        """Run the checks of a subject (`source` or `task NAME`) on a frame; `rows` says what the frame holds.

        The frame needs a column `row_id` when a check's severity is `quarantine`.
        """
        from great_expectations import ExpectationSuite

        title = f"{subject}: {rows}"
        checks = list(checks)
        suite = ExpectationSuite(name=title, expectations=[build(check) for check in checks])
        asset = self.context.data_sources.add_pandas(title).add_dataframe_asset(rows)
        batch = asset.add_batch_definition_whole_dataframe(rows).get_batch({"dataframe": frame})
        result = batch.validate(suite, result_format=_result_format(checks))
        by_name = {entry.expectation_config.meta["name"]: entry for entry in result.results}
        outcomes = [_outcome(check, subject, by_name[check.name]) for check in checks]
        self.outcomes += outcomes
        result.meta["batch_spec"] = {"data_asset_name": f"{rows}, {len(frame):,} in all"}
        self.pages.append(Page(title, str(self.view.render(self.renderer.render(_for_page(result))))))
        return outcomes


def own_checks(source: str, expectations: Iterable[Expectation]) -> list[Check]:
    """Return the recipe's further checks of a source, each proven to be one that Great Expectations can build.

    Raises:
        RecipeError: no expectation has that name, or it does not take these arguments.
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
        checks.append(check)
    return checks


def require_known_columns(source: str, checks: list[Check], columns: list[str]) -> None:
    """Raise when a check of the recipe looks at a column that the source does not have.

    Raises:
        RecipeError: it does; the message lists the columns.
    """
    for position, check in enumerate(checks):
        named = [check.arguments.get(key) for key in ("column", "column_A", "column_B")]
        named += check.arguments.get("column_list", [])
        absent = [column for column in named if isinstance(column, str) and column not in columns]
        if absent and check.type != "expect_column_to_exist":
            raise RecipeError(
                f"data.checks.expectations.{source}[{position}]: {check.type} names the column {absent[0]!r}, and the "
                f"source has: {', '.join(columns)}"
            )


def build(check: Check) -> Any:
    """Return the check as an object of Great Expectations."""
    from great_expectations.expectations.registry import get_expectation_impl

    settings: dict[str, Any] = {"meta": {"name": check.name}}
    settings["severity"] = "info" if check.severity == "quarantine" else check.severity
    if not check.own:
        settings["description"] = f"{check.name} (expected: {check.expected})"
    return get_expectation_impl(check.type)(**check.arguments, **settings)


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


def _result_format(checks: list[Check]) -> dict[str, Any]:
    if any(check.severity == "quarantine" for check in checks):
        return {
            "result_format": "COMPLETE",
            "unexpected_index_column_names": ["row_id"],
            "return_unexpected_index_query": False,
        }
    return {"result_format": "BASIC"}


def _outcome(check: Check, subject: str, entry: Any) -> Outcome:
    if error := _breakdown(entry.exception_info):
        return Outcome(check, subject, None, None, error)
    result = plain(entry.result)
    offenders = tuple(row["row_id"] for row in result.get("unexpected_index_list") or ())
    return Outcome(check, subject, bool(entry.success), _observed(result), None, offenders)


def _breakdown(info: dict[str, Any]) -> str | None:
    """Return the message of the exception inside a check; it sits at the top, or below the failed metric."""
    for entry in (info, *info.values()):
        if isinstance(entry, dict) and entry.get("raised_exception"):
            # An address in memory would differ from run to run.
            return re.sub(r" at 0x[0-9a-f]+", "", str(entry.get("exception_message")))
    return None


def _observed(result: dict[str, Any]) -> Any:
    """Return the observed value, or how many rows break the check, or None where it tells neither."""
    if "element_count" not in result or "unexpected_count" not in result:
        return result.get("observed_value")
    broken, of = result["unexpected_count"], result["element_count"]
    return f"{broken} of {of} ({broken / of:.2%}) break it" if of else "no rows"


def plain(value: Any) -> Any:
    """Return the value with numpy's numbers and truth values as Python's, which JSON takes."""
    if isinstance(value, dict):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [plain(entry) for entry in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, (str, int, type(None))):
        return value
    return plain(value.item()) if hasattr(value, "item") else str(value)


def _for_page(result: Any) -> Any:
    """Return the suite's result as its page needs it: plain and escaped values, no long lists of rows."""
    for entry in result.results:
        shown = {key: value for key, value in entry.result.items() if "index" not in key and key != "unexpected_list"}
        entry.result = _escaped(plain(shown))
        entry.success = bool(entry.success)
    return result


def _escaped(value: Any) -> Any:
    """Return the value with its strings as HTML text: the page's tables would take a row's text for markup."""
    if isinstance(value, dict):
        return {key: _escaped(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_escaped(entry) for entry in value]
    return html.escape(value, quote=False) if isinstance(value, str) else value
