"""What is sent to the server and what it sends back."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, create_model, model_validator

from pipeline.serving.limits import Limits

MOST_TOP = 1000


class Question(BaseModel):
    """Texts to answer."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"texts": ["Fracture of left wrist"]}]})

    texts: list[str] = Field(description="The texts; none may be blank.")
    pairs: list[str | None] | None = Field(
        None, description="Second text of each text, for models of text pairs; as many as texts."
    )
    top: int = Field(3, ge=1, le=MOST_TOP, strict=True, description="How many labels to show, most likely first.")

    @model_validator(mode="after")
    def _one_pair_a_text(self) -> Question:
        if self.pairs is not None and len(self.pairs) != len(self.texts):
            raise ValueError(f"pairs has {len(self.pairs)} texts and texts has {len(self.texts)}; give one for each")
        return self


def question_within(limits: Limits) -> type[Question]:
    """Return the request model that holds to the limits, so that the OpenAPI page tells them."""
    text: Any = Annotated[str, StringConstraints(max_length=limits.longest_text, pattern=r"\S")]
    pair: Any = Annotated[str, StringConstraints(max_length=limits.longest_text)]
    texts: Any = (list[text], Field(min_length=1, max_length=limits.most_texts, description=_told("texts")))
    pairs: Any = (
        list[pair | None] | None,
        Field(None, max_length=limits.most_texts, description=_told("pairs")),
    )
    return create_model("Question", __base__=Question, __doc__=Question.__doc__, texts=texts, pairs=pairs)


class Likely(BaseModel):
    """A label and how likely it is."""

    label: str
    confidence: float = Field(ge=0, le=1)


class ClassAnswer(Likely):
    """Of a classification: the most likely class, and the `top` most likely ones."""

    top: list[Likely]


class LabelsAnswer(BaseModel):
    """Of multi_label: the labels above their thresholds, and the `top` most likely ones."""

    labels: list[str]
    top: list[Likely]


class ValueAnswer(BaseModel):
    """Of a regression: the number."""

    value: float


class TaggedWord(BaseModel):
    """A word, its most likely tag, and how likely that is."""

    word: str
    tag: str
    confidence: float = Field(ge=0, le=1)


class Span(BaseModel):
    """Words that the tags mark as one thing."""

    type: str
    text: str
    first: int = Field(description="Index of its first word.")
    last: int = Field(description="Index of its last word.")


class TagsAnswer(BaseModel):
    """Of tagging: every word, and the spans that BIO, BIOES or BILOU tags mark."""

    words: list[TaggedWord]
    spans: list[Span]


class Found(BaseModel):
    """Words of the text that answer a question, and how likely they do; null where the text has no answer."""

    answer: str | None
    start: int | None = Field(description="Its first character in the text, or in `cleaned` where there is one.")
    end: int | None = Field(description="The character behind its last one.")
    confidence: float = Field(ge=0, le=1)


class FoundAnswer(Found):
    """Of question_answering: the most likely answer, and the `top` most likely ones."""

    top: list[Found]
    cleaned: str | None = Field(None, description="The text as the model read it, where that is another.")


class WrittenAnswer(BaseModel):
    """Of generation: what the model wrote."""

    text: str
    score: float = Field(description="Mean log-probability of a token.")
    finished: bool = Field(description="Whether it came to an end by itself.")


class Answers(BaseModel):
    """What the model says of each text, in the order of the texts; of which form, the model's kind tells."""

    model: str = Field(description="Name in the registry.")
    version: str = Field(description="The version that answered; it changes when the alias moves.")
    answers: list[ClassAnswer | LabelsAnswer | ValueAnswer | TagsAnswer | FoundAnswer | WrittenAnswer]


class ModelDescription(BaseModel):
    """The model that answers now."""

    name: str
    version: str
    alias: str = Field(description="Followed in the registry: the server answers with the version it points to.")
    kind: str = Field(description="Of the task; tells the form of the answers.")
    task: str
    labels: list[str] = Field(description="The classes or tags; of a regression none.")
    metrics: dict[str, float] = Field(description="Of the test rows, as judged before publishing.")


class Health(BaseModel):
    """How the server is."""

    status: str
    detail: str | None = Field(None, description="What is wrong although it answers, such as a version left out.")


class Problem(BaseModel):
    """Why a request was not answered: what was received, what was expected."""

    detail: str


def _told(field: str) -> str | None:
    return Question.model_fields[field].description
