import keras
import pytest
from tiny_models import make_causal_model, make_classifier, make_masked_model, make_span_model

from models.layout import AXES, LAYOUT, layout_of

ALL = dict.fromkeys(AXES, 2)


def layouts(model: keras.Model, sizes: dict[str, int]) -> dict[str, tuple[str | None, ...]]:
    return {v.path: layout_of(v.path, tuple(v.shape), sizes) for v in model.trainable_variables}


@pytest.mark.parametrize("make", [make_masked_model, make_causal_model, make_span_model, make_classifier])
def test_every_matrix_is_cut_along_both_axes_or_says_why_not(make) -> None:
    """A kernel that no rule of the table names would lie whole on every device, and nobody would notice."""
    found = layouts(make(), ALL)
    for path, layout in found.items():
        if path.endswith(("transform/kernel", "logits/kernel")):
            assert layout == ("fsdp", None), path
        elif path.endswith(("kernel", "embeddings")):
            assert sorted(layout) == ["fsdp", "model"], path
        else:
            assert set(layout) <= {None}, path
    assert any(path.endswith("embeddings") for path in found)


def test_a_head_is_never_cut_in_two() -> None:
    """Columns of query, key, value and rows of the output go by heads; the residual stream stays whole."""
    model = make_masked_model()
    found = layouts(model, {"data": 1, "fsdp": 1, "model": 2})
    (query,) = (layout for path, layout in found.items() if path.endswith("query/kernel"))
    outputs = {layout for path, layout in found.items() if path.endswith("output/kernel")}
    assert query == (None, "model")
    assert outputs == {("model", None)}


def test_an_axis_that_does_not_divide_a_dimension_is_left_out() -> None:
    assert layout_of("a/embedding/embeddings", (41, 8), ALL) == (None, "fsdp")
    assert layout_of("a/embedding/embeddings", (40, 8), ALL) == ("model", "fsdp")
    assert layout_of("a/embedding/embeddings", (40, 8), dict.fromkeys(AXES, 1)) == (None, None)


def test_a_name_is_matched_whole() -> None:
    assert layout_of("block_0/attention/key/kernel", (8, 8), ALL) == ("fsdp", "model")
    assert layout_of("block_0/monkey/kernel", (8, 8), ALL) == (None, None)
    assert len(LAYOUT) == 7
