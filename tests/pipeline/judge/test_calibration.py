import numpy as np
import pytest

from pipeline.judge.calibration import reliability


def test_the_error_is_the_mean_distance_over_bins() -> None:
    found = reliability(np.array([0.95, 0.95, 0.55, 0.55]), np.array([True, True, True, False]))
    assert found["error"] == pytest.approx(0.5 * 0.05 + 0.5 * 0.05)
    assert [one["rows"] for one in found["bins"]] == [2, 2]
    assert [one["accuracy"] for one in found["bins"]] == [0.5, 1.0]
