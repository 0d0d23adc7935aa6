"""How well a pretrained model knows the language: perplexity, and bits per byte, of the corpus' whole validation split.

| architecture    | what is predicted                    | names                                        |
|-----------------|--------------------------------------|----------------------------------------------|
| decoder         | each token from those before it      | `perplexity`, `bits_per_byte`                |
| encoder         | hidden tokens, `mask_fraction` each  | `masked_perplexity`, `masked_bits_per_byte`  |
| encoder-decoder | the tokens of lost spans             | `span_perplexity`, `span_bits_per_byte`      |

Only a decoder's are those of the text itself (the chain rule over its tokens). The others are told what surrounds a
token, at the recipe's `mask_fraction`, so they compare with models of their own kind and fraction alone: a
pseudo-perplexity (Salazar 2020, arXiv 1910.14659, hides one token at a time; here it is many, as in training).

Perplexities depend on the tokenizer; bits per byte do not: nats of all predictions / (ln 2 x bytes of the text that the
predicted tokens stand for). That text is counted in UTF-8, cleaned, at the split's mean bytes per token.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from pipeline.training.batches import CorpusBatches

PREFIXES = {"decoder": "", "encoder": "masked_", "encoder_decoder": "span_"}


def language_scores(architecture: str, validation: CorpusBatches, loss: float) -> dict[str, float]:
    """Return the scores by name; without bits per byte where the split does not tell its bytes.

    Args:
        architecture: str. Of the model.
        validation: CorpusBatches. The batches that the loss is of, all of them.
        loss: float. Nats for each predicted token.
    """
    prefix, found = PREFIXES[architecture], {}
    found[f"{prefix}perplexity"] = math.exp(min(loss, math.log(np.finfo(np.float64).max)))
    if validation.rows.text_bytes is None:
        return found
    ordinary = validation.vocabulary.ordinary()
    tokens = sum(int(ordinary[part["token_ids"]].sum()) for part in validation.rows.arrays)
    everywhere = replace(validation, shape=replace(validation.shape, own=None))  # of all processes' rows
    predictions = standing_for_text = 0.0
    for batch in everywhere.in_order():
        weights, targets = batch["weights"], batch["targets"]
        known = np.where(targets < len(ordinary), ordinary[np.minimum(targets, len(ordinary) - 1)], False)
        predictions += float(weights.sum())
        standing_for_text += float((weights * known).sum())
    text_bytes = standing_for_text * validation.rows.text_bytes / max(tokens, 1)
    if text_bytes:
        found[f"{prefix}bits_per_byte"] = loss * predictions / (math.log(2) * text_bytes)
    return found
