"""The model, and how it is pretrained and fine-tuned."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveInt, model_validator

from pipeline.config.section import Fraction, Section

Rate = Annotated[float, Field(ge=0.0, lt=1.0)]
Epochs = Annotated[int, Field(ge=1, le=100_000)]
Steps = Annotated[int, Field(ge=1, le=2**31 - 1)]  # backends count updates in 32 bits


class Model(Section):
    """The Transformer. `size` derives every dimension; a dimension given here overrides the derived one."""

    architecture: Literal["encoder", "decoder", "encoder_decoder"] = Field(
        "encoder", description="pretrained on masked tokens, on the next token, or on corrupted spans"
    )
    size: Literal["tiny", "mini", "small", "base"] = Field(
        "mini", description="1.4, 2.9, 13.8 or 91 million parameters with 8192 tokens"
    )
    num_layers: PositiveInt | None = Field(None, description="blocks; of an encoder-decoder, on either side")
    hidden_dim: PositiveInt | None = Field(None, description="width; a multiple of twice num_heads")
    num_heads: PositiveInt | None = Field(None, description="query heads of the attention")
    num_key_value_heads: PositiveInt | None = Field(None, description="key and value heads; divides num_heads")
    feedforward_dim: PositiveInt | None = Field(None, description="inner width of the feed-forward")
    feedforward: Literal["geglu", "relu2"] = Field("geglu", description="gated by GELU, or the square of ReLU")
    query_key_norm: bool = Field(True, description="RMS norm on queries and keys")
    tie_embeddings: bool = Field(True, description="the output projection is the embedding")
    max_sequence_length: PositiveInt = Field(8192, description="longest row; rotary positions have no table to outgrow")
    dropout: Rate | None = Field(None, description="during pretraining")


class Optimization(Section):
    """What pretraining and fine-tuning share. Batches are counted in packed rows of `sequence_length` tokens."""

    optimizer: Literal["adamw", "adam", "sgd", "lion", "muon"] = Field(
        "adamw", description="muon takes the kernels of the blocks and leaves the rest to AdamW; sgd has momentum"
    )
    learning_rate: Annotated[float, Field(gt=0, lt=10)] | None = Field(
        None, description="the peak; default: by model size and optimizer"
    )
    schedule: Literal["cosine", "linear", "warmup_stable_decay", "constant"] = Field(
        "cosine", description="what follows the warm-up"
    )
    warmup_fraction: Fraction = Field(0.06, description="share of the updates in which the learning rate rises")
    warmup_steps: Annotated[int, Field(ge=0)] | None = Field(None, description="updates; overrides `warmup_fraction`")
    decay_fraction: Fraction = Field(0.2, description="of warmup_stable_decay: share that decays, linearly")
    final_fraction: Fraction = Field(0.1, description="share of the peak that is left at the end")
    beta_1: Rate = Field(0.9, description="momentum: of the first moment, of sgd, of lion; muon has 0.95")
    beta_2: Rate = Field(0.98, description="of the second moment")
    weight_decay: Annotated[float, Field(ge=0, lt=1)] = Field(0.01, description="decoupled from the gradient")
    decay_all: bool = Field(False, description="decay norms, biases and embeddings too")
    clip_norm: Annotated[float, Field(gt=0)] | None = Field(1.0, description="largest global norm of the gradients")
    ema_decay: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None, description="keep an exponential moving average of the weights; it is what is judged and saved"
    )
    z_loss: Annotated[float, Field(ge=0)] = Field(0.0, description="weight of log(Z)^2, which keeps logits small")

    @model_validator(mode="after")
    def _phases_fit(self) -> Optimization:
        decay = self.decay_fraction if self.schedule == "warmup_stable_decay" else 0.0
        if self.warmup_steps is None and self.warmup_fraction + decay > 1:
            raise ValueError(
                f"warmup_fraction {self.warmup_fraction} and decay_fraction {decay} add up to more than the training; "
                "make one smaller"
            )
        return self


class Pretrain(Optimization):
    """Self-supervised training on the corpus, with the objective of the model's architecture."""

    global_batch_size: PositiveInt | None = Field(
        None, description="packed rows per optimizer update; default: by the number of tokens to train on"
    )
    epochs: Epochs | None = Field(
        None, description="passes over the corpus; default: as many as the model's size is worth, 4 to 10 at most"
    )
    steps: Steps | None = Field(None, description="optimizer updates; overrides `epochs`")
    mask_fraction: Annotated[float, Field(gt=0, le=0.5)] = Field(
        0.2, description="share of a row that is hidden and predicted; a decoder predicts all"
    )
    span_length: Annotated[float, Field(ge=1)] = Field(3.0, description="mean tokens of a corrupted span")
    group_weight: Annotated[float, Field(ge=0, le=100)] = Field(
        0.0,
        description="of an encoder: what it counts to tell which group (`sources.*.group`) each text is of, the hidden "
        "tokens counting 1; rows of a group are about one thing, which hidden tokens hardly teach on a small corpus",
    )
    start_from: str | None = Field(
        None,
        description="a backbone to begin with, with its tokenizer: run:RUN_ID, recipe:NAME (the newest that another "
        "recipe has trained) or pretrain/FINGERPRINT of this workspace, a folder of such an artifact, or a KerasHub "
        "preset: hub://NAME, hf://USER/REPO, kaggle://..., or its folder",
    )
    train: bool = Field(True, description="false: the backbone of start_from is taken as it is, as a preset always is")
    resume_stable: bool = Field(
        False, description="with start_from: go on where its warmup_stable_decay began to decay, optimizer included"
    )
    evaluations: Annotated[int, Field(ge=0)] = Field(5, description="times the validation loss is taken on the way")
    spike_threshold: Annotated[float, Field(gt=0)] | None = Field(
        8.0,
        description="robust deviations above the recent losses from which a spike is rolled back and its data skipped; "
        "null: never",
    )

    @model_validator(mode="after")
    def _something_is_taken(self) -> Pretrain:
        if not self.train and self.start_from is None:
            raise ValueError(
                "train is false, and start_from names no backbone that could be taken as it is; set start_from, or to "
                "fine-tune fresh weights set tasks.<task>.finetune.initialize to scratch and steps to 1"
            )
        if not self.train and self.resume_stable:
            raise ValueError("train is false, and resume_stable trains further; remove one of them")
        return self

    @model_validator(mode="after")
    def _stable_has_a_start(self) -> Pretrain:
        if self.resume_stable and (self.start_from is None or self.schedule != "warmup_stable_decay"):
            raise ValueError(
                f"resume_stable needs start_from and schedule: warmup_stable_decay; got start_from {self.start_from!r} "
                f"and schedule {self.schedule!r}"
            )
        return self
