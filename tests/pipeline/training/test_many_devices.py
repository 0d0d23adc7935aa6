"""JAX on eight fake devices: whatever the mesh, the same training, with one exchange of gradients an update."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(keras.backend.backend() != "jax", reason="only JAX has meshes of several axes"),
]

ONE, DATA = {"data": 1}, {"data": 4}
FSDP, MODEL, MIXED = {"fsdp": 4}, {"model": 2}, {"data": 2, "fsdp": 2, "model": 2}
CASES: dict[str, dict[str, Any]] = {
    "one": {"mesh": ONE},
    "data": {"mesh": DATA},
    "data, four micro-batches": {"mesh": DATA, "micro_batches": 4},
    "fsdp": {"mesh": FSDP},
    "fsdp, gathered in each micro-batch": {"mesh": FSDP, "gather": "micro_batch"},
    "model": {"mesh": MODEL},
    "mixed": {"mesh": MIXED},
    "mixed, gathered in each micro-batch": {"mesh": MIXED, "gather": "micro_batch"},
    "bfloat16, one": {"mesh": ONE, "precision": "mixed_bfloat16"},
    "bfloat16, mixed": {"mesh": MIXED, "precision": "mixed_bfloat16"},
    "muon, one": {"mesh": ONE, "optimizer": "muon", "architecture": "decoder", "ema_decay": 0.9},
    "muon, mixed": {"mesh": MIXED, "optimizer": "muon", "architecture": "decoder", "ema_decay": 0.9},
    "spans, one": {"mesh": ONE, "architecture": "encoder_decoder"},
    "spans, mixed": {"mesh": MIXED, "architecture": "encoder_decoder"},
    "top block, one": {"mesh": ONE, "method": "top block", "architecture": "decoder"},
    "top block, mixed": {"mesh": MIXED, "method": "top block", "architecture": "decoder"},
    "adapters, one": {"mesh": ONE, "method": "adapters", "optimizer": "sgd"},
    "adapters, mixed": {"mesh": MIXED, "method": "adapters", "optimizer": "sgd"},
    "adapters, mixed, gathered in each micro-batch": {
        "mesh": MIXED,
        "method": "adapters",
        "optimizer": "sgd",
        "gather": "micro_batch",
    },
    "groups, one": {"mesh": ONE, "groups": 12},
    "groups, mixed": {"mesh": MIXED, "groups": 12},
    "dropout": {"mesh": {"data": 8}, "dropout": 0.5, "updates": 3},
}


@pytest.fixture(scope="module")
def trained() -> dict[str, dict[str, Any]]:
    script = Path(__file__).with_name("many_devices.py")
    done = subprocess.run(
        [sys.executable, str(script), json.dumps(list(CASES.values()))],
        capture_output=True,
        text=True,
        cwd=script.parents[3],
        env=os.environ | {"PYTHONPATH": str(script.parents[3])},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(zip(CASES, json.loads(done.stdout), strict=True))


@pytest.mark.parametrize(
    ("case", "reference", "tolerance"),
    [
        *((case, "one", 2e-6) for case in list(CASES)[1:8]),
        ("bfloat16, mixed", "bfloat16, one", 2e-3),
        ("muon, mixed", "muon, one", 2e-6),
        ("spans, mixed", "spans, one", 2e-6),
        ("top block, mixed", "top block, one", 2e-6),
        ("adapters, mixed", "adapters, one", 2e-6),
        ("adapters, mixed, gathered in each micro-batch", "adapters, one", 2e-6),
        ("groups, mixed", "groups, one", 2e-6),
    ],
)
def test_the_loss_curve_and_the_weights_are_those_of_one_device(trained, case, reference, tolerance) -> None:
    found, expected = np.array(trained[case]["figures"]), np.array(trained[reference]["figures"])
    np.testing.assert_allclose(found[:, 0], expected[:, 0], rtol=tolerance)  # losses
    np.testing.assert_array_equal(found[:, 1], expected[:, 1])  # items
    np.testing.assert_array_equal(found[:, 4], expected[:, 4])  # tokens
    np.testing.assert_allclose(found[:, 3], expected[:, 3], rtol=10 * tolerance)  # gradient norms
    np.testing.assert_allclose(trained[case]["validation"][0], trained[reference]["validation"][0], rtol=tolerance)
    for path, total in trained[reference]["weights"].items():
        assert trained[case]["weights"][path] == pytest.approx(total, rel=10 * tolerance), path
    assert found[-1, 0] < found[0, 0]


@pytest.mark.parametrize("case", ["data", "data, four micro-batches"])
def test_gradients_are_exchanged_once_whatever_the_accumulation(trained, case) -> None:
    large = exchanges(trained[case])
    (parameters,) = {trained["one"]["parameters"]}
    assert [(kind, in_loop) for kind, _, in_loop in large] == [("all-reduce", False)]
    assert large[0][1] >= 4 * parameters


def test_sharded_gradients_are_exchanged_once_too_and_each_only_in_part(trained) -> None:
    large = exchanges(trained["fsdp"])
    assert not any(in_loop for _, _, in_loop in large)
    assert {kind for kind, _, _ in large} == {"all-gather", "reduce-scatter"}
    received = sum(size for kind, size, _ in large if kind == "reduce-scatter")
    assert received == pytest.approx(trained["one"]["parameters"], rel=0.05)  # a quarter of four bytes each


def test_weights_gathered_in_each_micro_batch_are_never_whole_between_them(trained) -> None:
    large = exchanges(trained["fsdp, gathered in each micro-batch"])
    assert {kind for kind, _, in_loop in large if in_loop} == {"all-gather", "reduce-scatter"}
    assert not [kind for kind, _, in_loop in large if not in_loop]


def test_tensor_parallelism_exchanges_activations_and_no_weights(trained) -> None:
    kinds = {kind for kind, _, _ in exchanges(trained["model"])}
    assert kinds == {"all-reduce"}


def test_memory_falls_with_the_devices_that_share_a_model(trained) -> None:
    whole = trained["one"]["bytes"]
    assert trained["data"]["bytes"] == whole
    assert trained["fsdp"]["bytes"] < 0.27 * whole
    assert trained["model"]["bytes"] < 0.55 * whole
    assert trained["mixed"]["bytes"] < 0.28 * whole
    update = trained["fsdp"]["peak"], trained["data"]["peak"]
    assert trained["fsdp, gathered in each micro-batch"]["peak"] < update[0]


def test_no_two_devices_draw_the_same_dropout_mask(trained) -> None:
    """All devices have the same rows, so with one mask for all the loss would be that of one device."""
    losses = trained["dropout"]["per_device"]
    assert len(set(losses)) == len(losses) == 8


def exchanges(case: dict[str, Any]) -> list[list[Any]]:
    """Return the exchanges of matrices: those of the figures and of the norms' scales are smaller."""
    least = {"all-reduce": 4000}
    return [found for found in case["collectives"] if found[1] > least.get(found[0], 1500)]
