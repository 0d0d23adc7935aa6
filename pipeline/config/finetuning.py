"""How one task is learnt from its labelled rows: from where, by which weights, and which of the results is kept."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveInt, ValidationError, field_validator, model_validator

from pipeline.config.search import Search, checked_space, spoken_values, with_values
from pipeline.config.section import Fraction, Section
from pipeline.config.training import Epochs, Optimization, Rate


class Lora(Section):
    """Low-rank adapters beside frozen kernels (Hu 2021, arXiv 2106.09685): x W + alpha / rank * (x A) B."""

    rank: PositiveInt = Field(8, description="width between A and B")
    alpha: Annotated[float, Field(gt=0)] = Field(16.0, description="strength; an adapter counts alpha / rank")
    targets: Literal["attention", "feedforward", "all"] = Field("all", description="whose kernels get an adapter")


class Finetune(Optimization):
    """Supervised training of one task from the pretrained backbone."""

    initialize: Literal["pretrained", "scratch"] = Field("pretrained", description="scratch ignores the backbone")
    epochs: Epochs = Field(4, description="passes over the task's training rows")
    global_batch_size: PositiveInt = Field(16, description="packed rows per optimizer update")
    dropout: Rate = Field(0.1, description="in the backbone and before the answer")
    label_smoothing: Rate = Field(0.0, description="share spread over all classes")
    class_weights: Literal["none", "balanced", "inverse_sqrt"] = Field(
        "none", description="for long tails: balanced lets all classes weigh alike, inverse_sqrt goes half of the way"
    )
    focal_gamma: Annotated[float, Field(gt=0, le=10)] | None = Field(
        None, description="for long tails: rows answered rightly by a margin weigh less, with this power; 2 is usual"
    )
    ngrams: Annotated[int, Field(ge=0)] = Field(
        0,
        description="width of embedded character n-grams that a linear model reads beside the Transformer, such as 64: "
        "what unseen words have in common with known ones; 0: none",
    )
    ngram_share: Fraction = Field(0.7, description="the linear model's share of the averaged logits")
    logit_adjustment: Fraction = Field(
        0.0,
        description="share of each class's log frequency taken off its logit when training is done: above 0 rare "
        "classes are found more often, which macro recall rewards and accuracy pays for",
    )
    evaluations: PositiveInt = Field(4, description="validations over the training, evenly spaced; the last at its end")
    keep: Literal["best", "last"] = Field("best", description="the weights of the best validation by the task's metric")
    early_stopping_patience: PositiveInt | None = Field(
        None, description="validations in a row without a better metric after which training ends; null: never"
    )
    method: Literal["full", "feature_extraction", "partial", "lora"] = Field(
        "full", description="which weights are trained; the head always is"
    )
    trainable_layers: PositiveInt | None = Field(
        None, description="of partial: so many of the top blocks, and the final norm; null: all, and the embedding"
    )
    train_only: Literal["all", "norms"] = Field("all", description="of partial: norms trains the scales of norms only")
    layer_decay: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None, description="of full and partial: each block learns at this share of the rate of the one above it"
    )
    gradual_unfreezing: bool = Field(
        False, description="of full and partial: the head learns first, then one more block from the top at a time"
    )
    lora: Lora = Field(Lora(), description="of method lora")
    seeds: PositiveInt = Field(
        1, description="the same fine-tuning from so many seeds; the best by validation is kept, mean and spread told"
    )

    search: Search | None = Field(
        None, description="tries several values of the keys above; those of the best trial by validation are kept"
    )

    def variants(self) -> list[Finetune]:
        """Return what may be trained: this or, of a search, combinations of its values.

        Raises ValueError for one that the section would refuse.
        """
        if self.search is None:
            return [self]
        found = []
        for values in self.search.corners():
            try:
                found.append(with_values(self, values))
            except ValidationError as error:
                why = error.errors()[0]["msg"].removeprefix("Value error, ")
                raise ValueError(
                    f"search.space allows {spoken_values(values)}, which is no fine-tuning: {why}"
                ) from None
        return found

    def check(self, kind: str) -> None:
        """Raise ValueError when a key does not go with the kind of task."""
        classes, tokens = ("classification", "tagging"), ("classification", "tagging", "generation")
        homes = {"class_weights": classes, "focal_gamma": classes, "z_loss": tokens}
        homes |= {"label_smoothing": ("classification", "multi_label", "tagging", "generation")}
        homes |= {"ngrams": ("classification", "multi_label", "regression"), "logit_adjustment": ("classification",)}
        for key, kinds in homes.items():
            if getattr(self, key) != type(self).model_fields[key].default and kind not in kinds:
                raise ValueError(f"finetune.{key} is for {' and '.join(kinds)}, and kind is {kind}; remove it")
        if self.method == "feature_extraction" and self.ngrams:
            raise ValueError("finetune.ngrams reads tokens, which method feature_extraction does not keep; remove one")
        if self.method == "feature_extraction" and kind in ("tagging", "question_answering"):
            raise ValueError(
                f"finetune.method feature_extraction keeps one feature a text, and {kind} needs one a word; set method "
                "to partial with trainable_layers: 1, or to lora"
            )
        if self.method == "feature_extraction" and kind == "generation":
            raise ValueError(
                "finetune.method feature_extraction trains a head on one feature a text, and generation has no head: "
                "the whole model writes; set method to full, or to lora to train a small part"
            )

    def check_architecture(self, place: str, architecture: str) -> None:
        """Raise ValueError when a key needs one stack of blocks and the whole of another model is trained."""
        keys = {"method partial": self.method == "partial", "layer_decay": self.layer_decay is not None}
        keys |= {"gradual_unfreezing": self.gradual_unfreezing}
        if architecture == "encoder_decoder" and (named := [key for key, given in keys.items() if given]):
            raise ValueError(
                f"{place}: {named[0]} goes by the depth of a block, and an encoder_decoder that writes has two stacks; "
                "use method full or lora, or model.architecture decoder"
            )

    @field_validator("search")
    @classmethod
    def _space_is_of_this_section(cls, search: Search | None) -> Search | None:
        return search and checked_space(search, cls, left_out=("seeds", "search"))

    @model_validator(mode="after")
    def _stopping_is_possible(self) -> Finetune:
        patience = self.early_stopping_patience
        if patience is not None and patience >= self.evaluations:
            raise ValueError(
                f"early_stopping_patience is {patience} and there are {self.evaluations} evaluations, so training can "
                f"never end early; set evaluations to {patience + 1} or more, or lower early_stopping_patience"
            )
        return self

    @model_validator(mode="after")
    def _keys_belong_to_the_method(self) -> Finetune:
        homes = {
            "trainable_layers": ("partial",),
            "train_only": ("partial",),
            "layer_decay": ("full", "partial"),
            "gradual_unfreezing": ("full", "partial"),
            "lora": ("lora",),
        }
        for key, methods in homes.items():
            if getattr(self, key) != type(self).model_fields[key].default and self.method not in methods:
                raise ValueError(
                    f"{key} is of method {' and '.join(methods)}, and method is {self.method}; set method to "
                    f"{methods[-1]}, or remove {key}"
                )
        if self.method == "partial" and self.trainable_layers is None and self.train_only == "all":
            raise ValueError(
                "method partial trains everything as it stands; set trainable_layers to a number of top blocks or "
                "train_only to norms, or method to full"
            )
        if self.method == "lora" and self.optimizer == "muon":
            raise ValueError(
                "optimizer muon is made for whole kernels, and method lora trains none; set optimizer to adamw"
            )
        return self

    @model_validator(mode="after")
    def _every_trial_is_possible(self) -> Finetune:
        assert self.variants()
        return self
