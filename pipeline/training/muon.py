"""Muon, for models whose kernels hold several matrices side by side."""

from __future__ import annotations

import re
from typing import Any

import keras
from keras import ops

# Kernels that one product uses for two: each half is a matrix of its own, and orthogonalising both as one would bind
# the directions of the one to those of the other.
MATRICES_IN_KERNEL = {"key_value": 2, "gate_value": 2}

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

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Update one variable."""
        index = self._get_variable_index(variable)
        if self.adam_velocities[index] is not None:
            super().update_step(gradient, variable, learning_rate)
            return
        momentum = self.momentums[index]
        self.assign(momentum, self.momentum * momentum + gradient)
        direction = gradient + self.momentum * momentum if self.nesterov else momentum
        number = matrices_in(self._trainable_variables[index])
        parts = [
            self.lr_adjust(self.zeropower_via_newtonschulz5(p, self.ns_steps)) for p in _columns(direction, number)
        ]
        update = parts[0] if number == 1 else ops.concatenate(parts, axis=1)
        self.assign_sub(variable, learning_rate * update)


def matrices_in(variable: keras.Variable) -> int:
    """Return how many matrices of equal width lie side by side in a kernel, by the name of its layer."""
    layer = variable.path.split("/")[-2]
    return MATRICES_IN_KERNEL.get(layer, 1)


def _columns(matrix: Any, number: int) -> list[Any]:
    return [matrix] if number == 1 else ops.split(matrix, number, axis=1)
