"""Learning rates that differ by layer: lower ones further down, and none at all before a layer's turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
from keras import ops


@dataclass(frozen=True)
class Share:
    """What a weight gets of the learning rate.

    Attributes:
        factor: float. Of the rate.
        first_update: int. Updates before it moves at all.
    """

    factor: float = 1.0
    first_update: int = 0


def shares_by_depth(
    depths: Sequence[int], layer_decay: float | None, gradual_unfreezing: bool, total_steps: int
) -> tuple[Share, ...]:
    """Return the share of each weight.

    A layer at depth d below the head learns at layer_decay^d of the rate (Clark 2020, arXiv 2003.10555) and, unfrozen
    gradually, begins d equal parts of the training after the head (Howard 2018, arXiv 1801.06146; there, a part is an
    epoch).

    Args:
        depths: sequence of int. Of each trainable weight; the head has 0.
        layer_decay: float or None. None: all learn alike.
        gradual_unfreezing: bool. Whether they begin one after the other.
        total_steps: int. Updates.
    """
    parts = max(depths, default=0) + 1
    return tuple(
        Share((layer_decay or 1.0) ** depth, depth * total_steps // parts if gradual_unfreezing else 0)
        for depth in depths
    )


def by_layer(kind: type[keras.optimizers.Optimizer]) -> type[Any]:
    """Return a kind of optimizer whose updates and decay are scaled by its `shares`, one for each weight.

    A weight before its turn is in the optimizer and stands still. So one training, with one program and one kind of
    checkpoint, unfreezes all; the moments that gather meanwhile are those of real gradients.
    """

    class ByLayer(kind):
        shares: tuple[Share, ...] = ()

        def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
            super().update_step(gradient, variable, learning_rate * self._share(variable))

        def _apply_weight_decay(self, variables: Sequence[Any]) -> None:
            for variable in variables:
                if self.weight_decay is not None and self._use_weight_decay(variable):
                    rate = ops.cast(self.learning_rate, variable.dtype) * self._share(variable)
                    variable.assign(variable - variable * self.weight_decay * rate)

        def _share(self, variable: Any) -> Any:
            share = self.shares[self._get_variable_index(variable)]
            if not share.first_update:
                return share.factor
            return share.factor * ops.cast(self.iterations >= share.first_update, "float32")

    return ByLayer
