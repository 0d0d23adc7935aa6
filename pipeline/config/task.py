"""One task of a recipe: what it learns from, and whether its sections go with the kind of its answers."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from pipeline.config.finetuning import Finetune
from pipeline.config.generation import Decode, check_prompt
from pipeline.config.judging import Evaluate, Gate
from pipeline.config.section import Section

Kind = Literal["classification", "multi_label", "regression", "tagging", "question_answering", "generation"]


class TaskData(Section):
    """Which rows a task learns from, and which column holds the answer."""

    source: str = Field(description="name of one of data.sources")
    kind: Kind = Field(
        "classification",
        description="what the answer is: one class; any number of classes (multi_label); a number (regression); a tag "
        "for each word (tagging); a stretch of the text that answers a question, the second text "
        "(question_answering); or a text that the model writes (generation)",
    )
    label: str = Field("label", description="column that holds the answer")
    separator: str = Field(
        ";", min_length=1, description="of multi_label: between the classes in a cell, which may also be a JSON list"
    )
    where: dict[str, str] = Field(default_factory=dict, description="keep only rows with these column values")
    long_texts: Literal["truncate", "slide", "error"] = Field(
        "truncate",
        description="what becomes of texts longer than preprocess.sequence_length: truncate reads their beginning; "
        "slide reads them in windows, each learned with the text's answer, and averages what the model says of them; "
        "error stops before training. Taggers learn beginnings and answer in windows",
    )
    labels: list[str] | None = Field(
        None, description="the allowed answers; rows with another are quarantined; default: whatever the column holds"
    )
    prompt: str | None = Field(
        None,
        description="of generation: what the model reads, such as `Translate to German: {text}`; {text_pair} is the "
        "second text; default: the text, and a second one behind a separator",
    )

    @model_validator(mode="after")
    def _keys_fit_the_kind(self) -> TaskData:
        if self.kind == "question_answering" and self.labels is not None:
            raise ValueError("kind is question_answering, whose answers are stretches of the text; remove labels")
        if self.kind == "regression" and self.labels is not None:
            raise ValueError("kind is regression, whose answers are numbers; remove labels, or check the column with "
                             "data.checks.columns.<source>.<column>: {min: ..., max: ...}")  # fmt: skip
        if self.kind != "multi_label" and self.separator != type(self).model_fields["separator"].default:
            raise ValueError(f"separator is of kind multi_label, and kind is {self.kind}; remove it")
        if self.long_texts == "slide" and self.kind not in ("classification", "multi_label", "regression"):
            raise ValueError(
                f"long_texts is slide, which averages one answer a text, and kind is {self.kind}; set truncate or error"
            )
        if self.kind == "generation" and self.labels is not None:
            raise ValueError("kind is generation, whose answers are texts of any wording; remove labels")
        if self.kind == "generation" and self.label in ("text", "text_pair"):
            raise ValueError(f"label is {self.label}, which the model reads; name the column that it is to write")
        if self.prompt is not None and self.kind != "generation":
            raise ValueError(f"prompt is of kind generation, and kind is {self.kind}; remove it")
        if self.prompt is not None:
            check_prompt(self.prompt)
        return self


class Task(Section):
    """One downstream task: what is asked of a text, learned from labelled rows and judged on others."""

    description: str = ""
    data: TaskData
    finetune: Finetune = Finetune()
    evaluate: Evaluate = Evaluate()
    gate: Gate = Gate()
    decode: Decode = Decode()

    @model_validator(mode="after")
    def _sections_fit_the_kind(self) -> Task:
        if self.data.kind != "generation" and self.decode != Decode():
            raise ValueError(f"decode is of kind generation, and kind is {self.data.kind}; remove it")
        for variant in self.finetune.variants():
            variant.check(self.data.kind)
        self.gate.check(self.data.kind)
        how = self.finetune
        if self.gate.scratch != "off" and (how.method != "full" or how.initialize == "scratch"):
            raise ValueError(
                f"gate.scratch compares with the same fine-tuning from random weights, and finetune.method is "
                f"{how.method}, finetune.initialize {how.initialize}: expected full and pretrained, as random weights "
                "that stay as they are teach nothing; change them, or set gate.scratch to off"
            )
        if self.gate.scratch != "off" and how.search:
            raise ValueError(
                "gate.scratch compares with the same fine-tuning from random weights, and finetune.search finds its "
                "values for the pretrained model; write them down and remove the search, or set gate.scratch to off"
            )
        return self
