import numpy as np
import pytest
from tiny_models import make_classifier, packed_rows

from models.objectives import segment_labels
from pipeline.config import Finetune
from pipeline.training.batches import WeightedBatches, class_weights
from pipeline.training.optimizer import make_optimizer
from pipeline.training.steppers import make_stepper


def test_balanced_classes_weigh_alike_and_the_mean_weight_is_one() -> None:
    classes = np.array([0] * 90 + [1] * 9 + [3])
    weights = class_weights(classes, 4, "balanced")
    totals = np.bincount(classes, minlength=4) * weights
    np.testing.assert_allclose(totals[[0, 1, 3]], 100 / 3, rtol=1e-6)
    half = class_weights(classes, 4, "inverse_sqrt")
    assert half[3] / half[0] == pytest.approx(90**0.5, rel=1e-6)
    assert weights[classes].mean() == pytest.approx(1.0, rel=1e-6)
    assert half[classes].mean() == pytest.approx(1.0, rel=1e-6)
    assert np.isfinite(weights).all()  # class 2 has no rows


class Rows:
    def __init__(self, micro_batches: int) -> None:
        random = np.random.default_rng(8)
        batch = packed_rows(seed=4, rows=8)
        batch["targets"] = random.choice(3, (8, 4), p=[0.8, 0.1, 0.1]).astype(np.int32)
        batch["weights"] = (random.random((8, 4)) < 0.6).astype(np.float32)
        self.batch_ = {name: array.reshape(micro_batches, -1, *array.shape[1:]) for name, array in batch.items()}

    def batch(self, step: int):
        return self.batch_


def test_weighted_micro_batches_equal_one_big_batch() -> None:
    weights = np.array([0.25, 3.0, 2.0], np.float32)
    told, kernels = {}, {}
    for micro_batches in (1, 4):
        rows = Rows(micro_batches)
        model = make_classifier()
        optimizer = make_optimizer(Finetune(warmup_fraction=0.0), 0.01, 10, model)
        stepper = make_stepper(model, optimizer, segment_labels)
        batch = WeightedBatches(rows, weights).batch(0)
        told[micro_batches] = [float(value) for value in stepper.update(batch)]
        stepper.write_back()
        kernels[micro_batches] = np.array(model.logits.kernel)
    np.testing.assert_allclose(told[4], told[1], rtol=2e-6)
    np.testing.assert_allclose(kernels[4], kernels[1], atol=1e-6)
    valid = rows.batch_["weights"] > 0
    assert told[1][1] == pytest.approx(weights[rows.batch_["targets"][valid]].sum())
