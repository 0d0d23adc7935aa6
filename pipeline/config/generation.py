"""Tasks that answer with a text: what is asked, and how the answer is written."""

from __future__ import annotations

from collections.abc import Sequence
from string import Formatter
from typing import Annotated

from pydantic import Field, PositiveInt, model_validator

from pipeline.config.section import Fraction, Section

# What a prompt may hold in braces: what there is when a published model is asked.
PLACEHOLDERS = ("text", "text_pair")
WRITERS = ("decoder", "encoder_decoder")


class Decode(Section):
    """How a model of kind `generation` writes its answer, token by token; kept in the published bundle.

    Changing it trains nothing anew: the model is evaluated, judged and published again.
    """

    max_new_tokens: PositiveInt = Field(128, description="an answer is cut off after so many tokens")
    num_beams: PositiveInt = Field(1, description="answers kept side by side; 1: the likeliest token each time")
    length_penalty: Annotated[float, Field(allow_inf_nan=False)] = Field(
        1.0, description="of beams: their log-probability is divided by tokens to this power; more prefers longer ones"
    )
    temperature: Annotated[float, Field(ge=0)] = Field(
        0.0, description="above 0 tokens are drawn by chance, the more evenly the higher; 0: none is"
    )
    top_k: Annotated[int, Field(ge=0)] = Field(0, description="draw from so many of the likeliest tokens; 0: from all")
    top_p: Annotated[Fraction, Field(gt=0)] = Field(
        1.0, description="draw from the likeliest tokens that together have this probability"
    )
    no_repeat_ngram_size: Annotated[int, Field(ge=0)] = Field(
        0, description="no so many tokens in a row are written twice in an answer; 0: they may be"
    )

    @model_validator(mode="after")
    def _one_way(self) -> Decode:
        fields = type(self).model_fields
        if self.temperature and self.num_beams > 1:
            raise ValueError(
                f"num_beams is {self.num_beams} and temperature {self.temperature:g}: beams look for the likeliest "
                "answer, a temperature draws one by chance; set num_beams to 1 or temperature to 0"
            )
        drawing = [key for key in ("top_k", "top_p") if getattr(self, key) != fields[key].default]
        if drawing and not self.temperature:
            raise ValueError(f"{drawing[0]} says what tokens are drawn from, and temperature 0 draws none; set "
                             f"temperature above 0, or remove {drawing[0]}")  # fmt: skip
        if self.num_beams == 1 and self.length_penalty != fields["length_penalty"].default:
            raise ValueError("length_penalty compares beams, and num_beams is 1; set num_beams to 2 or more, or "
                             "remove length_penalty")  # fmt: skip
        return self


def names_in(prompt: str) -> set[str]:
    """Return what a sound prompt names in braces."""
    return {name for _, name, _, _ in Formatter().parse(prompt) if name is not None}


def check_prompt(prompt: str) -> None:
    """Raise ValueError unless a prompt holds {text}, and in braces nothing else but {text_pair}."""
    expected = "expected one such as 'Translate to German: {text}'; braces that are meant are written twice"
    try:
        parts = list(Formatter().parse(prompt))
    except ValueError as error:
        raise ValueError(f"prompt is {prompt!r}, which cannot be filled in ({error}); {expected}") from None
    named = [name for _, name, _, _ in parts if name is not None]
    if odd := [name for name in named if name not in PLACEHOLDERS]:
        raise ValueError(
            f"prompt names {{{odd[0]}}}; a published model is asked a text, and a second text at most, so it may hold "
            "{text} and {text_pair} only"
        )
    if any(form or conversion for _, name, form, conversion in parts if name is not None):
        raise ValueError(f"prompt is {prompt!r}, with a format in braces; {expected}")
    if "text" not in named:
        raise ValueError(f"prompt is {prompt!r}, without {{text}}; {expected}")


def check_writer(task: str, architecture: str, formats: Sequence[str]) -> None:
    """Raise ValueError when a model of this architecture writes no texts, or cannot in one of the formats."""
    if architecture not in WRITERS:
        raise ValueError(
            f"tasks.{task}.data.kind is generation, and model.architecture is {architecture}, which writes nothing; "
            "set model.architecture to encoder_decoder (translation, summaries) or decoder (answers to a prompt)"
        )
    if others := [name for name in formats if name != "keras"]:
        raise ValueError(
            f"publish.formats has {', '.join(others)}, and tasks.{task}.data.kind is generation, whose model writes "
            "token by token and keeps its states in between, for which only keras has the means; set publish.formats "
            "to [keras], or put the task into a recipe of its own"
        )
