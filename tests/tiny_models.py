"""Models of a few hundred weights, with random values that no initialiser would give."""

from pathlib import Path
from typing import Any

import keras
import numpy as np

from models.backbones import Decoder, Encoder, EncoderDecoder
from models.classifier import SegmentClassifier, SegmentRegressor, SpanClassifier, TokenClassifier
from models.language_models import CausalLanguageModel, MaskedLanguageModel, SpanLanguageModel
from models.objectives import token_prediction
from models.packed import PackedModel
from pipeline.config import Pretrain
from pipeline.data.tokens.packing import pack
from pipeline.data.tokens.ragged import Ragged
from pipeline.data.tokens.shards import ShardedRows, write_index, write_shards
from pipeline.data.tokens.vocabulary import Vocabulary
from pipeline.training.batches import Batch, BatchShape, MaskedBatches
from pipeline.training.optimizer import make_optimizer
from pipeline.training.precision import prepare
from pipeline.training.steppers import make_stepper

VOCABULARY, LENGTH = 40, 16
WORDS = Vocabulary(VOCABULARY, pad=0, start=1, mask=2, separator=1, special=frozenset({0, 1, 2}))


def make_encoder(dropout: float = 0.0, num_layers: int = 1, **options: Any) -> Encoder:
    """Two heads that share one key and value head."""
    return Encoder(VOCABULARY, num_layers, 8, 2, 1, 12, dropout, **options)


def make_decoder(dropout: float = 0.0, num_layers: int = 1, **options: Any) -> Decoder:
    return Decoder(VOCABULARY, num_layers, 8, 2, 1, 12, dropout, **options)


def make_encoder_decoder(dropout: float = 0.0, num_layers: int = 1, **options: Any) -> EncoderDecoder:
    return EncoderDecoder(VOCABULARY, num_layers, 8, 2, 1, 12, dropout, **options)


def make_classifier(seed: int = 0, **arguments: Any) -> SegmentClassifier:
    return randomise(SegmentClassifier(make_encoder(num_layers=2), 3, segments_per_row=4, **arguments), seed)


def make_regressor(seed: int = 0, **options: Any) -> SegmentRegressor:
    return randomise(SegmentRegressor(make_encoder(num_layers=2), 5.0, 2.0, segments_per_row=4, **options), seed)


def make_tagger(seed: int = 0) -> TokenClassifier:
    return randomise(TokenClassifier(make_encoder(num_layers=2), 3), seed)


def make_reader(seed: int = 0) -> SpanClassifier:
    return randomise(SpanClassifier(make_encoder(num_layers=2), longest_answer=4, answers_none=True), seed)


def make_masked_model(seed: int = 0, dropout: float = 0.0) -> MaskedLanguageModel:
    return randomise(MaskedLanguageModel(make_encoder(dropout)), seed)


def make_causal_model(seed: int = 0, dropout: float = 0.0) -> CausalLanguageModel:
    return randomise(CausalLanguageModel(make_decoder(dropout, num_layers=2)), seed)


def make_span_model(seed: int = 0, dropout: float = 0.0) -> SpanLanguageModel:
    return randomise(SpanLanguageModel(make_encoder_decoder(dropout)), seed)


def randomise(model: Any, seed: int) -> Any:
    """Build the model and set every variable, dropout seeds included, as a pure function of `seed`."""
    if not model.built:
        model.build(model.input_shapes)
    random = np.random.default_rng(seed)
    for variable in model.variables:
        whole = "int" in str(variable.dtype)
        values = random.integers(1000, size=variable.shape) if whole else random.normal(size=variable.shape) * 0.3
        variable.assign(values.astype(str(variable.dtype)))
    return model


def packed_rows(seed: int = 0, rows: int = 6) -> dict[str, np.ndarray]:
    """Rows of several documents each, with padding at the end, and positions to predict."""
    random = np.random.default_rng(seed)
    segments = np.sort(random.integers(0, 5, (rows, LENGTH)), axis=1)[:, ::-1]
    segments = np.where(segments > 0, segments.max(axis=1, keepdims=True) + 1 - segments, 0)
    return {
        "token_ids": np.where(segments > 0, random.integers(3, VOCABULARY, (rows, LENGTH)), 0).astype(np.int32),
        "segment_ids": segments.astype(np.int32),
        "positions": random.integers(0, LENGTH, (rows, 3)).astype(np.int32),
    }


def paired_rows(seed: int = 0, rows: int = 6) -> dict[str, np.ndarray]:
    """Packed rows, and rows for a decoder with the same segment numbers, shorter by four tokens."""
    inputs, decoder = packed_rows(seed, rows), packed_rows(seed + 1000, rows)
    return inputs | {f"decoder_{name}": decoder[name][:, 4:] for name in ("token_ids", "segment_ids")}


def unequal_batch(micro_batches: int) -> Batch:
    """Eight rows; the pairs of rows have 1, 0, 6 and 5 valid items."""
    batch = packed_rows(seed=4, rows=8)
    random = np.random.default_rng(8)
    batch["targets"] = random.integers(3, VOCABULARY, (8, 3)).astype(np.int32)
    batch["weights"] = np.array([[1, 0, 0], *[[0, 0, 0]] * 3, *[[1, 1, 1]] * 3, [1, 1, 0]], np.float32)
    return {name: array.reshape(micro_batches, -1, *array.shape[1:]) for name, array in batch.items()}


def answers(model: PackedModel, inputs: dict[str, np.ndarray]) -> np.ndarray:
    return np.asarray(model.predict_on_batch(inputs))  # one compiled program: JAX is slow operation by operation


def make_corpus(folder: Path, rows: int = 12) -> ShardedRows:
    """Packed rows of documents whose tokens count up, so that a hidden one can be guessed."""
    random = np.random.default_rng(3)
    documents = [
        3 + (random.integers(VOCABULARY) + np.arange(random.integers(3, 9))) % (VOCABULARY - 3) for _ in range(4 * rows)
    ]
    packed = pack(Ragged.of(documents), LENGTH, seed=0, pad=WORDS.pad)
    write_index(write_shards(packed, folder, 0, rows_per_shard=5), folder, LENGTH)
    return ShardedRows(folder)


class Training:
    """A masked model under training, whose start can be restored without compiling again."""

    def __init__(
        self,
        dropout: float = 0.0,
        steps: int = 40,
        learning_rate: float = 0.01,
        precision: str = "float32",
        **config: Any,
    ) -> None:
        self.model = make_masked_model(dropout=dropout)
        prepare(self.model, precision)
        config = {"warmup_fraction": 0.0, "weight_decay": 0.1} | config
        self.optimizer = make_optimizer(Pretrain(**config), learning_rate, steps, self.model)
        self.stepper = make_stepper(self.model, self.optimizer, token_prediction)
        self.start = [keras.ops.convert_to_numpy(v).copy() for v in self.variables]

    @property
    def variables(self) -> list[Any]:
        return [*self.model.trainable_variables, *self.model.non_trainable_variables, *self.optimizer.variables]

    def restart(self) -> None:
        for variable, value in zip(self.variables, self.start, strict=True):
            variable.assign(value)
        if keras.backend.backend() == "torch":
            import torch

            torch.manual_seed(7)
        self.stepper.read_in()

    def values(self) -> list[np.ndarray]:
        self.stepper.write_back()
        return [np.array(keras.ops.convert_to_numpy(v)) for v in self.variables]

    def update(self, batch: Batch, times: int) -> list[float]:
        """Return the mean loss of each update."""
        sums = [self.stepper.update(batch) for _ in range(times)]
        return [float(s.loss) / max(float(s.weight), 1.0) for s in sums]


def make_batches(folder: Path, micro_batch_size: int = 2) -> MaskedBatches:
    return MaskedBatches(make_corpus(folder), BatchShape(4, micro_batch_size), WORDS, mask_fraction=0.2, seed=5)
