"""Models on their way through files: saved and loaded again, by the same backend and by another one.

What an update makes of equal weights goes that way too, since Keras has one backend in a process.
"""

from pathlib import Path

import keras
import numpy as np
from learned import CASES, learned
from tiny_models import (
    answers,
    make_causal_model,
    make_classifier,
    make_masked_model,
    make_regressor,
    make_span_model,
    make_tagger,
    paired_rows,
)

MODELS = {
    "classifier": make_classifier,
    "regressor": make_regressor,
    "tagger": make_tagger,
    "masked": make_masked_model,
    "causal": make_causal_model,
    "span": make_span_model,
}


def check_reload(model: keras.Model, path: Path, inputs: dict[str, np.ndarray]) -> keras.Model:
    """Save a model to `path`, and return it as it comes back: the same class, policy, weights and answers."""
    model.save(path)
    reloaded = keras.saving.load_model(path, compile=False, safe_mode=True)
    assert type(reloaded) is type(model)
    assert reloaded.dtype_policy.name == model.dtype_policy.name
    for saved, found in zip(model.get_weights(), reloaded.get_weights(), strict=True):
        np.testing.assert_array_equal(found, saved)
    np.testing.assert_array_equal(answers(reloaded, inputs), answers(model, inputs))
    return reloaded


def write_answers(folder: Path) -> None:
    """Write weights, a whole model file, answers and what updates do into a folder named after the backend."""
    own = folder / keras.backend.backend()
    own.mkdir(exist_ok=True)
    for name, make in MODELS.items():
        model = make(seed=1)
        model.save_weights(own / f"{name}.weights.h5")
        model.save(own / f"{name}.keras")
        np.save(own / f"{name}.npy", answers(model, paired_rows(seed=1)))
    for name in CASES:
        np.savez(own / f"{name}.npz", **learned(name))


def check_answers(folder: Path) -> list[str]:
    """Compare with every other backend's folder, to 1e-5 of numbers around 1; return those that were compared."""
    others = [path for path in sorted(folder.iterdir()) if path.is_dir() and path.name != keras.backend.backend()]
    for other in others:
        for name, make in MODELS.items():
            expected = np.load(other / f"{name}.npy")
            model = make(seed=2)
            model.load_weights(other / f"{name}.weights.h5")
            whole = keras.saving.load_model(other / f"{name}.keras", compile=False)
            for found in (model, whole):
                np.testing.assert_allclose(answers(found, paired_rows(seed=1)), expected, rtol=0, atol=1e-5)
        for name in CASES:
            with np.load(other / f"{name}.npz") as expected:
                for what, values in learned(name).items():
                    message = f"{what} of {name}, against {other.name}"
                    np.testing.assert_allclose(values, expected[what], rtol=1e-5, atol=1e-5, err_msg=message)
    return [path.name for path in others]
