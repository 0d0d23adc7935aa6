import numpy as np
import pytest

from pipeline.judge.calibration import reliability
from pipeline.measures.temperature import calibrate, fit_temperature


def overconfident(rows: int, factor: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits that are `factor` times those that the truth was drawn from."""
    random = np.random.default_rng(seed)
    logits = random.normal(size=(rows, 4)) * 1.5
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    truth = np.array([random.choice(4, p=row) for row in shares])
    return logits * factor, truth


def error(probabilities: np.ndarray, truth: np.ndarray) -> float:
    return reliability(probabilities.max(axis=1), probabilities.argmax(axis=1) == truth)["error"]


def loss(probabilities: np.ndarray, truth: np.ndarray) -> float:
    return -float(np.log(probabilities[np.arange(len(truth)), truth]).mean())


@pytest.mark.parametrize("factor", [0.4, 3.0])
def test_the_temperature_undoes_what_made_the_model_too_sure(factor) -> None:
    logits, truth = overconfident(4000, factor)
    temperature = fit_temperature(logits, truth)
    assert temperature == pytest.approx(factor, rel=0.1)
    before, after = calibrate(logits, 1.0), calibrate(logits, temperature)
    assert loss(after, truth) < loss(before, truth) - 0.02
    assert error(after, truth) < 0.03 < 0.08 < error(before, truth)


def test_it_holds_on_rows_it_was_not_fitted_on_and_changes_no_answer() -> None:
    temperature = fit_temperature(*overconfident(2000, 3.0, seed=1))
    logits, truth = overconfident(2000, 3.0, seed=2)
    before, after = calibrate(logits, 1.0), calibrate(logits, temperature)
    np.testing.assert_array_equal(before.argmax(axis=1), after.argmax(axis=1))
    assert loss(after, truth) < loss(before, truth)
    np.testing.assert_allclose(after.sum(axis=1), 1, rtol=1e-5)


def test_log_probabilities_do_as_well_as_logits() -> None:
    logits, truth = overconfident(1000, 2.0)
    logarithms = np.log(np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True))
    assert fit_temperature(logarithms, truth) == pytest.approx(fit_temperature(logits, truth), rel=1e-6)


def test_rows_of_unknown_labels_are_left_out() -> None:
    logits, truth = overconfident(1000, 2.0)
    more = np.concatenate([logits, np.full((50, 4), 9.0)])
    assert fit_temperature(more, [*truth, *[-1] * 50]) == pytest.approx(fit_temperature(logits, truth))


def test_never_worse_than_no_temperature() -> None:
    logits = np.array([[2.0, 0.0], [0.0, 2.0], [2.0, 0.0]])
    truth = np.array([0, 1, 1])
    temperature = fit_temperature(logits, truth)
    assert loss(calibrate(logits, temperature), truth) <= loss(calibrate(logits, 1.0), truth)
    assert fit_temperature(np.zeros((0, 2)), []) == 1.0


def test_what_is_not_finite_is_refused() -> None:
    with pytest.raises(ValueError, match=r"1 of them not finite.*clipped away from log\(0\)"):
        fit_temperature(np.array([[0.0, -np.inf]]), [0])
