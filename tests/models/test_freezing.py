import numpy as np
import pytest
from tiny_models import answers, make_classifier, make_encoder_decoder, packed_rows, randomise

from models.freezing import HeadOnly, Pooler, depths, freeze, train_top


def trained(model) -> set[str]:
    """Return where the trainable weights lie: the block or the layer."""
    places = [variable.path.split("/") for variable in model.trainable_variables]
    return {
        next((part for part in path if part.startswith(("block", "final", "embedding", "logits"))), "?")
        for path in places
    }


def test_depth_counts_from_the_head_down() -> None:
    encoder = make_classifier().encoder
    depth_of = depths(encoder)
    assert len(depth_of) == len(encoder.weights)
    blocks = encoder.stack.blocks
    layers = [encoder.stack.final_norm, blocks[1], blocks[0], encoder.embedding]
    assert [{depth_of[id(v)] for v in layer.weights} for layer in layers] == [{0}, {1}, {2}, {3}]
    assert depth_of[id(encoder.embedding_norm.scale)] == 3


@pytest.mark.parametrize(
    ("num_layers", "places"),
    [
        (1, {"block_1", "final_norm", "logits"}),
        (2, {"block_0", "block_1", "final_norm", "logits"}),
        (None, {"block_0", "block_1", "final_norm", "logits", "embedding", "embedding_norm"}),
    ],
)
def test_the_top_blocks_are_trained(num_layers, places) -> None:
    model = make_classifier()
    train_top(model.encoder, num_layers)
    assert trained(model) == places


def test_norms_only_leaves_no_kernel_of_the_backbone() -> None:
    model = make_classifier()
    train_top(model.encoder, norms_only=True)
    shapes = [len(variable.shape) for variable in model.encoder.trainable_variables]
    assert set(shapes) == {1}
    assert len(shapes) == 2 * 4 + 2  # two norms and those of queries and keys in each block, two beside them
    assert len(model.trainable_variables) == len(shapes) + 2
    train_top(model.encoder, 1, norms_only=True)
    assert len(model.encoder.trainable_variables) == 4 + 1


def test_more_blocks_than_there_are_is_an_error() -> None:
    with pytest.raises(ValueError, match="trainable_layers is 3 and the backbone has 2 blocks; set it to 2 or less"):
        train_top(make_classifier().encoder, 3)


def test_pooler_and_head_are_the_model_in_two() -> None:
    model = make_classifier(dropout=0.5)
    freeze(model.encoder)
    pooler, head = Pooler(model), HeadOnly(model, model.encoder)
    inputs = packed_rows()
    pooled = np.array(pooler.predict_on_batch({name: inputs[name] for name in ("token_ids", "segment_ids")}))
    np.testing.assert_allclose(np.array(head({"features": pooled})), answers(model, inputs), atol=1e-5)
    assert [v.path for v in head.trainable_variables] == [v.path for v in model.logits.weights]
    assert not any("encoder" in variable.path for variable in head.variables)
    assert len(head.non_trainable_variables) == 1  # the seed of its dropout


def test_a_backbone_of_two_stacks_has_no_depth() -> None:
    with pytest.raises(ValueError, match=r"EncoderDecoder is no single stack .* use an encoder or a decoder of ours"):
        train_top(randomise(make_encoder_decoder(), 0), 1)
