"""KerasHub presets of a few thousand weights, made here, with random values that no initialiser would give."""

from pathlib import Path
from typing import Any

import numpy as np

LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789.,!?-'"
WORDS = ("rain", "wind", "snow", "sun", "silk", "salt", "copper", "pepper", "and", "on", "day", "at", "the", "##er")
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
PIECES = [*SPECIAL, *LETTERS, *(f"##{letter}" for letter in LETTERS), *WORDS, "é", "日", "本"]
SIZE = {"num_layers": 2, "num_heads": 2, "hidden_dim": 16, "intermediate_dim": 24, "max_sequence_length": 64}


def make_bert(folder: Path, tokens: list[str] = PIECES, lowercase: bool = True, **size: Any) -> Path:
    """Save a BERT with its WordPiece tokenizer."""
    import keras_hub

    backbone = keras_hub.models.BertBackbone(vocabulary_size=len(tokens), **(SIZE | size))
    return _save(folder, backbone, keras_hub.models.BertTokenizer(tokens, lowercase=lowercase, strip_accents=lowercase))


def make_roberta(folder: Path) -> Path:
    """Save a RoBERTa with its byte-level BPE tokenizer, which merges a few pairs of letters."""
    import keras_hub
    from tokenizers import pre_tokenizers

    merges = ["r a", "i n", "ra in", "Ġ a", "Ġa n", "Ġan d", "s i", "l k", "si lk", "Ġ 1"]
    merged = ["".join(merge.split()) for merge in merges]
    tokens = ["<s>", "<pad>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet()), *merged, "<mask>"]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    backbone = keras_hub.models.RobertaBackbone(vocabulary_size=len(tokens), **SIZE)
    return _save(folder, backbone, keras_hub.models.RobertaTokenizer(vocabulary, merges))


def make_gpt(folder: Path) -> Path:
    """Save a GPT-2, which is no encoder."""
    import keras_hub
    from tokenizers import pre_tokenizers

    tokens = ["<|endoftext|>", *sorted(pre_tokenizers.ByteLevel.alphabet()), "ra"]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    backbone = keras_hub.models.GPT2Backbone(vocabulary_size=len(tokens), **SIZE)
    return _save(folder, backbone, keras_hub.models.GPT2Tokenizer(vocabulary, ["r a"]))


def _save(folder: Path, backbone: Any, tokenizer: Any) -> Path:
    random = np.random.default_rng(3)
    backbone.set_weights([random.normal(size=w.shape) * 0.3 + 0.05 for w in backbone.get_weights()])
    backbone.save_to_preset(str(folder))
    tokenizer.save_to_preset(str(folder))
    return folder
