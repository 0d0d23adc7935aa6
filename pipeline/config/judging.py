"""How a candidate is judged, and what it must reach before it may be published."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveInt, model_validator

from pipeline.config.section import Fraction, Section
from pipeline.judge.names import HEADLINES, MAIN

Metric = Literal[
    "accuracy",
    "macro_precision",
    "macro_recall",
    "macro_f1",
    "weighted_f1",
    "roc_auc",
    "pr_auc",
    "log_loss",
    "calibration_error",
    "subset_accuracy",
    "micro_precision",
    "micro_recall",
    "micro_f1",
    "rmse",
    "mse",
    "mae",
    "r2",
    "pearson",
    "spearman",
    "f1",
    "precision",
    "recall",
    "token_accuracy",
    "exact_match",
    "token_f1",
    "answerable_exact_match",
    "answerable_token_f1",
    "unanswerable_accuracy",
    "bleu",
    "chrf",
]
Consequence = Literal["critical", "review", "warning", "off"]
Positive = Annotated[float, Field(gt=0)]
Margin = Annotated[float, Field(ge=0)]


class Evaluate(Section):
    """Which parts of the test rows are looked at by themselves. Slices are judged beside the whole."""

    slices: list[str] = Field(
        default_factory=list, description="columns of the source whose values are slices, such as [language]"
    )
    lengths: list[PositiveInt] = Field([8, 32, 128], description="words at which one slice of text lengths ends")
    rare_rows: PositiveInt = Field(20, description="a label with fewer training rows is rare; rare ones are a slice")
    slice_rows: PositiveInt = Field(20, description="a slice with fewer test rows is not judged by itself")

    @model_validator(mode="after")
    def _lengths_rise(self) -> Evaluate:
        if self.lengths != sorted(set(self.lengths)):
            raise ValueError(f"lengths must rise; got {self.lengths}, expected {sorted(set(self.lengths))}")
        return self


class Gate(Section):
    """What a candidate must reach. `critical` rules fail it, `review` rules hand it to a person, warnings are told."""

    metric: Metric | None = Field(
        None,
        description="compared with the baseline, the champion and in slices; default: "
        + ", ".join(f"{kind} {metric}" for kind, metric in MAIN.items()),
    )
    thresholds: dict[Metric, float] = Field(
        default_factory=dict,
        description="least value of each metric on the test rows; of rmse, mse, mae, log_loss and calibration_error "
        "the greatest; default: better than the majority answer",
    )
    review: dict[Metric, float] = Field(
        default_factory=dict, description="as `thresholds`, but a miss asks for a person's review"
    )
    hold: Literal["value", "bound"] = Field(
        "value",
        description="what must reach a threshold: the value, or the worse end of its 95 % interval, which chance "
        "alone does not lift",
    )
    baseline: Consequence = Field("critical", description="must the candidate beat the linear model?")
    scratch: Consequence = Field(
        "off",
        description="train the same model without pretraining as well, and must the candidate beat it? warning trains, "
        "shows and compares it; off does not train it",
    )
    champion_margin: Margin = Field(0.0, description="how much worse than the champion is still accepted")
    slice_margin: Margin | None = Field(
        None, description="how much worse than the champion is still accepted on each slice; null: no rule"
    )
    slice_severity: Consequence = Field("critical", description="what a slice that became worse does")
    max_calibration_error: Fraction | None = Field(
        None, description="greatest expected calibration error, of classification and multi_label"
    )
    max_milliseconds: Positive | None = Field(
        None, description="longest median answer to one text on the machine that evaluates"
    )
    max_megabytes: Positive | None = Field(None, description="largest bundle of model, tokenizer and labels")

    def check(self, kind: str) -> None:
        """Raise ValueError when a rule is about a metric that the kind of task does not have."""
        named = [("metric", self.metric)] if self.metric else []
        named += [
            (f"{rules}.{metric}", metric) for rules in ("thresholds", "review") for metric in getattr(self, rules)
        ]
        for place, metric in named:
            if metric not in HEADLINES[kind]:
                raise ValueError(
                    f"gate.{place}: {metric} is no metric of {kind}; expected one of {', '.join(HEADLINES[kind])}"
                )
        if self.max_calibration_error is not None and "calibration_error" not in HEADLINES[kind]:
            raise ValueError(
                f"gate.max_calibration_error is a rule for classification and multi_label, not for {kind}; leave it out"
            )
