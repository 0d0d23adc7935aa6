"""A real classifier, far too small to be right, that answers different texts differently."""

from pathlib import Path

import numpy as np

LABELS = ("eye", "heart", "lung")
TEXTS = [f"{word} of the {organ}" for word in ("pain", "injury", "cancer", "burn") for organ in LABELS]


def make_bundle(folder: Path, seed: int = 0, labels: tuple[str, ...] = LABELS) -> Path:
    """Write a bundle with weights drawn from `seed`."""
    from pipeline.backend import select_backend

    select_backend("auto")
    from models.backbones import Encoder
    from models.classifier import SegmentClassifier
    from models.packed import PACKED_INPUT
    from pipeline.bundle import Bundle
    from pipeline.config import Clean, Tokenizer
    from pipeline.data.tokens.tokenizer import make_tokenizer

    tokenizer = make_tokenizer(TEXTS, Tokenizer(vocabulary_size=300))
    encoder = Encoder(tokenizer.get_vocab_size(), 1, 16, 2, 2, 16)
    model = SegmentClassifier(encoder, num_classes=len(labels), segments_per_row=4)
    model.build(PACKED_INPUT)
    random = np.random.default_rng(seed)
    model.set_weights([random.normal(size=weight.shape) * 0.5 for weight in model.get_weights()])
    Bundle("organ", "classification", labels, 32, tokenizer, Clean(), model).save(folder)
    return folder
