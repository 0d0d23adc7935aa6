import gzip
import json

import keras
import numpy as np
from tiny_models import Training, make_batches

from pipeline.training.profile import TraceProfiler

BACKEND = keras.backend.backend()


def test_a_trace_holds_the_operations_of_the_updates(tmp_path, training: Training) -> None:
    batch = make_batches(tmp_path / "corpus").batch(0)
    training.update(batch, 1)
    profiler = TraceProfiler(tmp_path / "logs" / "profile")
    profiler.start()
    assert np.isfinite(training.update(batch, 2)).all()
    profiler.stop()
    profiler.stop()  # as after an error
    files = {file.name.partition(".")[2]: file for file in profiler.folder.rglob("*") if file.is_file()}
    if BACKEND == "torch":
        events = json.loads(files["trace.json"].read_text())["traceEvents"]
        assert any("aten::mm" in event.get("name", "") for event in events)
        return
    assert b"_compute_update" in files["xplane.pb"].read_bytes()
    if BACKEND == "jax":
        assert json.loads(gzip.decompress(files["trace.json.gz"].read_bytes()))["traceEvents"]


def test_stopping_without_a_start_writes_nothing(tmp_path) -> None:
    TraceProfiler(tmp_path / "profile").stop()
    assert not (tmp_path / "profile").exists()
