"""The attention kernel of the backend: the fastest one that it has on this device."""

from __future__ import annotations

from keras import ops

from models.packed import Tensor


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
    """Return softmax(Q K^T / sqrt(head_dim)) V, (batch, queries, heads, head_dim).

    Args:
        query: (batch, queries, heads, head_dim).
        key: (batch, keys, heads, head_dim).
        value: (batch, keys, heads, head_dim).
        mask: (batch, 1, queries, keys) bool. True where a query sees a key; every query sees one at least.
    """
    return ops.dot_product_attention(query, key, value, mask=mask)
