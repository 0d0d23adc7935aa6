import keras
import numpy as np
import pytest

from models.kernels import attend, attention_kernel
from pipeline.backend import has_accelerator

ON_CPU = {"jax": "xla", "tensorflow": "xla", "torch": "scaled_dot_product_flash_attention_for_cpu"}


@pytest.mark.skipif(has_accelerator(), reason="names the kernels of a CPU")
@pytest.mark.parametrize(("dtype", "seq"), [("float32", 32), ("bfloat16", 32), ("float32", 33)])
def test_the_kernel_that_ran_is_named(dtype, seq) -> None:
    assert attention_kernel(16, seq, dtype, num_heads=2) == ON_CPU[keras.backend.backend()]


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="torch picks its kernel anew at every call")
def test_the_name_is_looked_up_not_assumed() -> None:
    from torch.nn.attention import SDPBackend, sdpa_kernel

    with sdpa_kernel(SDPBackend.MATH):
        assert attention_kernel(16, 32, "float32", num_heads=2) == "plain"


@pytest.mark.skipif(keras.backend.backend() == "torch", reason="torch has no compiled program")
def test_a_cudnn_call_is_found_in_a_program() -> None:
    from models.kernels import _kernel_in

    line = '%c = (bf16[1]) custom-call(%a), custom_call_target="__cudnn$fmhaScaleBiasSoftmax"'
    assert _kernel_in(line) == "cudnn fmha"
    assert _kernel_in('%c = f32[1] custom-call(%a), custom_call_target="__onednn$matmul"') == "xla"


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 2e-6), ("bfloat16", 2e-2)])
@pytest.mark.parametrize("queries", [8, 3])
def test_attention_is_the_formula_in_every_precision(dtype, tolerance, queries) -> None:
    random = np.random.default_rng(0)
    query, key, value = (random.normal(size=(2, n, 3, 8)).astype(np.float32) for n in (queries, 8, 8))
    mask = random.random((2, 1, queries, 8)) < 0.5
    mask[..., 0] = True
    tensors = [keras.ops.convert_to_tensor(part, dtype=dtype) for part in (query, key, value)]
    actual = attend(*tensors, keras.ops.convert_to_tensor(mask))
    assert keras.backend.standardize_dtype(actual.dtype) == dtype
    scores = np.where(mask, np.einsum("bqhd,bkhd->bhqk", query, key) / np.sqrt(8), -np.inf)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    expected = np.einsum("bhqk,bkhd->bqhd", weights / weights.sum(axis=-1, keepdims=True), value)
    actual = keras.ops.convert_to_numpy(keras.ops.cast(actual, "float32"))
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance)
