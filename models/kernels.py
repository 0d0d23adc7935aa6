"""The attention kernel of the backend: the fastest one that it has on this device.

- JAX: cuDNN's flash attention for half precision on a GPU that has it, else XLA.
- TensorFlow: XLA.
- torch: whatever `scaled_dot_product_attention` picks: its flash kernel on a CPU, its memory-efficient one on a GPU,
  because no other takes a mask.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from models.packed import Tensor


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
    """Return softmax(Q K^T / sqrt(head_dim)) V, (batch, queries, heads, head_dim).

    Args:
        query: (batch, queries, heads, head_dim).
        key: (batch, keys, heads, head_dim).
        value: (batch, keys, heads, head_dim).
        mask: (batch, 1, queries, keys) bool. True where a query sees a key; one that sees none takes the mean value.
    """
    backend = keras.backend.backend()
    if backend == "torch":
        return _attend_on_torch(query, key, value, mask)
    # None lets Keras decide; cuDNN has no gradient under a mask for odd numbers of queries or keys.
    odd = backend == "jax" and (query.shape[1] % 2 or key.shape[1] % 2)
    return ops.dot_product_attention(query, key, value, mask=mask, flash_attention=False if odd else None)


def _attend_on_torch(query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
    import torch

    # As the other backends mask: with minus infinity, a query that sees no key would differ from theirs.
    hidden = torch.finfo(query.dtype).min * 0.7
    mask = torch.zeros(mask.shape, dtype=query.dtype, device=query.device).masked_fill_(~mask, hidden)
    heads_first = [part.transpose(1, 2) for part in (query, key, value)]
    if query.dtype != torch.float32:
        # On a CPU the backward pass of half precision takes twice as long on strided heads; of float32, less.
        heads_first = [part.contiguous() for part in heads_first]
    mixed = torch.nn.functional.scaled_dot_product_attention(*heads_first, attn_mask=mask)
    return mixed.transpose(1, 2)


def attention_kernel(head_dim: int, seq: int, dtype: str, num_heads: int) -> str:
    """Return the kernel that one attention of this shape really ran on, forward and backward.

    Args:
        head_dim: int. Width of a head.
        seq: int. Queries and keys.
        dtype: str. Compute type: `float32`, `bfloat16`, `float16`.
        num_heads: int. Heads.

    Returns:
        torch: the operator's name, such as `scaled_dot_product_flash_attention_for_cpu`, or `plain` for separate
        products and a softmax. JAX and TensorFlow: `cudnn fmha` when the compiled program calls it, else `xla`.
    """
    heads = ops.ones((1, seq, num_heads, head_dim), dtype=dtype)
    mask = ops.ones((1, 1, seq, seq), dtype="bool")
    match keras.backend.backend():
        case "torch":
            return _torch_kernel(heads, mask)
        case "jax":
            return _kernel_in(_jax_program(heads, mask))
        case _:
            return _kernel_in(_tensorflow_program(heads, mask))


def _torch_kernel(heads: Any, mask: Any) -> str:
    from torch.utils._python_dispatch import TorchDispatchMode

    called: list[str] = []

    class Listener(TorchDispatchMode):
        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            called.append(function.overloadpacket.__name__.lstrip("_"))
            return function(*args, **(kwargs or {}))

    with Listener():
        attend(heads.requires_grad_(), heads, heads, mask).sum().backward()
    return next((name for name in called if name.startswith("scaled_dot_product")), "plain")


def _jax_program(heads: Any, mask: Any) -> str:
    import jax

    def total(query: Any) -> Any:
        return attend(query, query, query, mask).astype("float32").sum()

    return str(jax.jit(jax.grad(total)).lower(heads).compile().as_text())


def _tensorflow_program(heads: Any, mask: Any) -> str:
    import tensorflow as tf

    @tf.function(jit_compile=True)
    def gradient(query: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(query)
            total = tf.reduce_sum(attend(query, query, query, mask))
        return tape.gradient(total, query)

    return str(gradient.experimental_get_compiler_ir(heads)(stage="optimized_hlo"))


def _kernel_in(program: str) -> str:
    return "cudnn fmha" if "__cudnn$fmha" in program else "xla"
