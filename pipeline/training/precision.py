"""The recipe's precision, as Keras has it."""

from __future__ import annotations


def dtype_policy(precision: str) -> str:
    """Return the name of the Keras dtype policy of a recipe's precision.

    float8 (Micikevicius 2022, arXiv 2209.05433) rounds inputs, kernel and output gradient of every dense layer, each
    with a scale from its last 1024 maxima; everything else is as under mixed_bfloat16.
    """
    return "float8_from_mixed_bfloat16" if precision == "float8" else precision
