"""What the rows must satisfy, and how far they may drift from what the champion learned from."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import Field, PositiveInt, field_validator, model_validator

from pipeline.config.section import Fraction, Section, Severity

# Every check on a source or task as a whole, by its name in `data.checks.severity`, and what it does by default.
SEVERITIES: dict[str, Severity] = {
    "few_rows_quarantined": "critical",
    "enough_rows": "critical",
    "few_repeated_texts": "warning",
    "languages": "warning",
    "little_encoding_damage": "warning",
    "no_split_overlap": "warning",
    "at_least_two_labels": "critical",
    "enough_rows_per_label": "warning",
    "more_texts_than_labels": "critical",
    "one_label_per_text": "warning",
    "labels_of_one_kind": "warning",
}


Language = Annotated[str, Field(pattern=r"^[a-z]{2,3}$", description="ISO 639-1 code")]


class Expectation(Section):
    """One more Great Expectations check, by its own name: `{type: expect_column_values_to_be_in_set, ...}`."""

    type: str = Field(pattern=r"^expect_[a-z_]+$")
    severity: Severity = "critical"
    arguments: dict[str, Any] = Field(default_factory=dict)


class ColumnCheck(Section):
    """What the values of one column must be. Rows that break it are quarantined."""

    type: Literal["text", "number", "integer", "date", "boolean"] = Field("text", description="what a value must be")
    required: bool = Field(False, description="must every row have a value?")
    min: float | None = Field(None, description="least number")
    max: float | None = Field(None, description="greatest number")
    values: list[str] | None = Field(None, description="the allowed values")
    pattern: str | None = Field(None, description="regular expression that a whole value must match")
    unique: bool = Field(False, description="may a value appear in one row only? A repeated one stops the run")

    @field_validator("pattern")
    @classmethod
    def _pattern_compiles(cls, pattern: str | None) -> str | None:
        try:
            re.compile(pattern or "")
        except re.error as error:
            raise ValueError(f"it is no regular expression: {error}") from error
        return pattern

    @model_validator(mode="after")
    def _ranges_need_numbers(self) -> ColumnCheck:
        if (self.min is not None or self.max is not None) and self.type not in ("number", "integer"):
            raise ValueError(f"min and max need a number; type is {self.type}: set type: number")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min ({self.min}) is above max ({self.max})")
        return self


class Checks(Section):
    """What the rows must satisfy. Row-level breaches go to quarantine; table-level ones stop the run or warn."""

    min_rows: PositiveInt = Field(20, description="fewest sound rows a source may have")
    min_characters: PositiveInt = Field(2, description="shortest text kept")
    max_characters: PositiveInt = Field(1_000_000, description="longest text kept")
    min_rows_per_label: PositiveInt = Field(5, description="a rarer label is reported")
    max_quarantined: Fraction = Field(0.05, description="largest share of quarantined rows")
    max_duplicates: Fraction = Field(0.5, description="largest share of repeated texts")
    max_conflicting_labels: Fraction = Field(0.01, description="largest share of texts that carry more than one label")
    max_encoding_damage: Fraction = Field(0.01, description="largest share of texts such as `cafÃ©`")
    max_split_overlap: Fraction = Field(
        0.0, description="largest share of given validation and test texts that are in train too"
    )
    languages: list[Language] = Field(
        default_factory=list, description="expected languages, such as [en, de]; default: any; judged on a sample"
    )
    min_language_share: Fraction = Field(0.9, description="least share of texts in one of `languages`")
    severity: dict[str, Literal["critical", "warning", "off"]] = Field(
        default_factory=dict, description=f"what a breach does, per check: {', '.join(SEVERITIES)}"
    )
    columns: dict[str, dict[str, ColumnCheck]] = Field(
        default_factory=dict, description="per source name: checks of its columns by name"
    )
    expectations: dict[str, list[Expectation]] = Field(
        default_factory=dict, description="further checks per source name"
    )

    @model_validator(mode="after")
    def _lengths_agree(self) -> Checks:
        if self.min_characters > self.max_characters:
            raise ValueError(
                f"min_characters is {self.min_characters}, above max_characters ({self.max_characters}); lower one or "
                "raise the other"
            )
        if unknown := [name for name in self.severity if name not in SEVERITIES]:
            raise ValueError(f"severity names the check {unknown[0]!r}; there are: {', '.join(SEVERITIES)}")
        return self

    def severity_of(self, name: str) -> Literal["critical", "warning", "off"]:
        """Return what a breach of a check does."""
        return self.severity.get(name, SEVERITIES[name])


class Drift(Section):
    """How far the rows may have moved from those that each task's champion was trained on."""

    reference: Literal["champion", "off"] = Field("champion", description="what the rows are compared with")
    severity: Severity = Field("warning", description="`critical` stops the run before anything is trained")
    max_label_shift: Fraction = Field(
        0.1, description="total variation distance of the label shares: half the sum of their differences"
    )
    max_length_shift: Fraction = Field(
        0.1, description="Kolmogorov-Smirnov distance of the text lengths: widest gap of their cumulative shares"
    )
    max_unknown_words: Fraction = Field(
        0.05, description="rise of the share of words that the champion's rows never had"
    )
    max_separability: Fraction = Field(
        0.65,
        description="area under the ROC curve of a classifier that tells new texts from the champion's; 0.5 is chance",
    )
    max_confidence_drop: Fraction = Field(
        0.1, description="of `tradewind monitor`: how far the mean confidence may fall below that on the test rows"
    )
