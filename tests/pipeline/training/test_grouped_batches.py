import numpy as np
import pytest
from tiny_models import WORDS, make_corpus

from pipeline.training.batches import BatchShape, GroupedBatches, MaskedBatches

GROUPS = np.where(np.arange(48) < 5, -1, np.where(np.arange(48) < 37, 0, np.arange(48) % 3 + 1)).astype(np.int32)


@pytest.fixture
def batches(tmp_path) -> GroupedBatches:
    return GroupedBatches(make_corpus(tmp_path), BatchShape(4, 2), WORDS, 5, 0.2, GROUPS)


def test_every_segment_has_the_group_of_its_document(batches) -> None:
    batch, documents = batches.batch(2), batches.rows.take(batches._numbers(2)).documents
    groups, weights = (batch[name].reshape(documents.shape) for name in ("groups", "group_weights"))
    known = (documents >= 0) & (GROUPS[documents] >= 0)
    assert known.any()
    assert not known.all()
    np.testing.assert_array_equal(groups[known], GROUPS[documents][known])
    np.testing.assert_array_equal(weights > 0, known)
    assert batches.num_groups == 4


def test_a_group_four_times_as_large_weighs_twice_as_much_and_all_as_much_as_the_tokens(batches) -> None:
    rows = len(batches.rows)
    made = list(batches.in_order())
    groups, weights = (
        np.concatenate([batch[name].reshape(4, -1) for batch in made])[:rows] for name in ("groups", "group_weights")
    )
    total = [float(weights[groups == group].sum()) for group in range(4)]
    sizes = np.bincount(GROUPS[GROUPS >= 0])
    assert total[0] / total[1] == pytest.approx(np.sqrt(sizes[0] / sizes[1]))
    assert sum(total) == pytest.approx(made[0]["positions"].shape[-1] * rows)


def test_tokens_are_hidden_as_without_groups(batches) -> None:
    plain = MaskedBatches(batches.rows, batches.shape, WORDS, 5, 0.2).batch(3)
    grouped = batches.batch(3)
    assert grouped.keys() - plain.keys() == {"groups", "group_weights"}
    for name, array in plain.items():
        np.testing.assert_array_equal(grouped[name], array)
