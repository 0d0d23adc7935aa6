"""Muon, for the kernels that it was made for."""

from __future__ import annotations

import re

import keras

IN_A_BLOCK = re.compile(r"block_\d+/")


@keras.saving.register_keras_serializable(package="tradewind")
class BlockMuon(keras.optimizers.Muon):
    """Muon (Jordan 2024, kellerjordan.github.io/posts/muon) for the kernels of the blocks, AdamW for everything else.

    The momentum of a matrix is replaced by the nearest orthogonal one, so that all its directions move alike. Scaled by
    0.2 sqrt(max(rows, columns)), an update is as large as AdamW's and shares its learning rate and weight decay
    (Liu 2025, arXiv 2502.16982). Embeddings, norms and heads are left to AdamW, as both sources advise. The arguments
    are those of Keras's Muon.
    """

    def _should_use_adamw(self, variable: keras.Variable) -> bool:
        return len(variable.shape) != 2 or not IN_A_BLOCK.search(variable.path)
