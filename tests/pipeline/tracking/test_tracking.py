"""Real TensorBoard files, read with TensorBoard; a real MLflow database, made once: its migrations take seconds."""

import json
import math
import shutil
import sys
import threading
import time
import types

import pytest

from pipeline.errors import Interrupted, TrainingError
from pipeline.progress import SilentProgress
from pipeline.registry import Mlflow
from pipeline.tracking import Background, Run, tracking
from pipeline.tracking.mlflow_run import KEPT
from pipeline.tracking.tracking import MEMORY


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mlflow")
    Mlflow(f"sqlite:///{folder / 'mlflow.db'}", folder / "files").client.search_experiments()
    return folder / "mlflow.db"


@pytest.fixture
def mlflow(empty_database, tmp_path) -> Mlflow:
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    return Mlflow(f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path / "files")


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def run(mlflow) -> Run:
    return Run(mlflow, "icd10", "pretrain", {"pretrain.learning_rate": 0.01, "model.size": "x" * 10_000})


class Telling(SilentProgress):
    def __init__(self, said: list[str]) -> None:
        self.say = said.append


def track(names, out, run, said, reports, error: BaseException | None = None) -> None:
    with tracking(names, out, run, Telling(said)) as progress:
        for step, figures in reports:
            progress.track(step, figures)
        if error:
            raise error


def runs(mlflow: Mlflow) -> list:
    return mlflow.client.search_runs([mlflow.client.get_experiment_by_name("icd10").experiment_id])


def history(mlflow: Mlflow, run_id: str, name: str) -> list[tuple[int, float]]:
    return [(metric.step, metric.value) for metric in mlflow.client.get_metric_history(run_id, name)]


def events(folder) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accumulator = EventAccumulator(str(folder))
    accumulator.Reload()
    return {
        name: [(event.step, pytest.approx(event.value)) for event in accumulator.Scalars(name)]
        for name in accumulator.Tags()["scalars"]
    }


def test_an_interrupted_training_goes_on_in_the_same_run(mlflow, run, tmp_path, said) -> None:
    out = tmp_path / "out"
    names = ["mlflow"]
    with pytest.raises(Interrupted):
        track(
            names, out, run, said, [(1, {"loss": 3.0}), (10, {"loss": 2.5, "gradient_norm": math.inf})], Interrupted()
        )
    (killed,) = runs(mlflow)
    assert killed.info.status == "KILLED"
    assert (out / MEMORY).read_text() == killed.info.run_id
    track(names, out, run, said, [(20, {"loss": 2.0, "validation_loss": 2.1})])
    (finished,) = runs(mlflow)
    assert (finished.info.run_id, finished.info.status) == (killed.info.run_id, "FINISHED")
    assert (finished.info.run_name, finished.data.params["pretrain.learning_rate"]) == ("pretrain", "0.01")
    assert len(finished.data.params["model.size"]) == 6000
    assert history(mlflow, finished.info.run_id, "loss") == [(1, 3.0), (10, 2.5), (20, 2.0)]
    assert history(mlflow, finished.info.run_id, "validation_loss") == [(20, 2.1)]
    assert "gradient_norm" not in finished.data.metrics
    assert not (out / MEMORY).exists()
    kept = json.loads((out / KEPT).read_text())
    assert kept == {"run_id": finished.info.run_id, "experiment_id": finished.info.experiment_id}
    assert said == []


def test_a_failed_training_is_a_failed_run_and_its_retry_the_same_one(mlflow, run, tmp_path, said) -> None:
    with pytest.raises(TrainingError):
        track(["mlflow"], tmp_path, run, said, [(1, {"loss": 3.0})], TrainingError())
    (failed,) = runs(mlflow)
    assert failed.info.status == "FAILED"
    track(["mlflow"], tmp_path, run, said, [])  # killed after the last report: nothing is left to be told but the end
    (finished,) = runs(mlflow)
    assert (finished.info.run_id, finished.info.status) == (failed.info.run_id, "FINISHED")


def test_a_run_that_somebody_deleted_is_begun_anew(mlflow, run, tmp_path, said) -> None:
    for problem in ("deleted", "of another database"):
        with pytest.raises(KeyboardInterrupt):
            track(["mlflow"], tmp_path, run, said, [(1, {"loss": 3.0})], KeyboardInterrupt())
        if problem == "deleted":
            mlflow.client.delete_run((tmp_path / MEMORY).read_text())
        else:
            (tmp_path / MEMORY).write_text("0" * 32)
        before = {each.info.run_id for each in runs(mlflow)}
        track(["mlflow"], tmp_path, run, said, [(2, {"loss": 2.0})])
        (new,) = {each.info.run_id for each in runs(mlflow)} - before
        assert history(mlflow, new, "loss") == [(2, 2.0)]
    assert said == []


def test_thousands_of_figures_and_hundreds_of_parameters_arrive(mlflow, tmp_path, said) -> None:
    run = Run(mlflow, "icd10", "pretrain", {f"key.{number}": number for number in range(250)})
    track(["mlflow"], tmp_path, run, said, [(step, {"loss": step / 7, "accuracy": 0.5}) for step in range(1200)])
    (found,) = runs(mlflow)
    assert len(history(mlflow, found.info.run_id, "loss")) == 1200
    assert len(found.data.params) == 250


def test_a_step_without_figures_leaves_no_trace(tmp_path, said) -> None:
    out = tmp_path / "out"
    out.mkdir()
    nowhere = Run(Mlflow(f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path / "files"), "icd10", "validate", {})
    track(["tensorboard", "mlflow"], out, nowhere, said, [])
    assert list(tmp_path.rglob("*")) == [out]
    assert said == []


def test_a_tracking_that_fails_is_said_once_and_the_training_goes_on(tmp_path, said) -> None:
    (tmp_path / "mlflow.db").mkdir()  # no database can be there
    broken = Run(Mlflow(f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path / "files"), "icd10", "pretrain", {})
    (tmp_path / "logs").write_text("a file where TensorBoard's folder would be")
    track(["mlflow", "tensorboard"], tmp_path, broken, said, [(1, {"loss": 3.0}), (10, {"loss": 2.0})])
    assert [sentence.split(":")[0] for sentence in sorted(said)] == [
        "tracking with MLflow stopped",
        "tracking with TensorBoard stopped",
    ]
    assert all(sentence.endswith("Training goes on; logs/metrics.jsonl has it all") for sentence in said)


class Stuck:
    name, interval = "a server", 0.0

    def __init__(self) -> None:
        self.go = threading.Event()

    def write(self, points) -> None:
        self.go.wait()

    def close(self, status) -> None:
        raise AssertionError("after giving up, nothing is sent")


def test_a_server_that_does_not_answer_is_given_up(said) -> None:
    sink = Stuck()
    background = Background(sink, said.append)
    background.track(1, {"loss": 3.0})
    while background._points.qsize():
        time.sleep(0.01)
    background.track(2, {"loss": 2.0})
    background.close("FINISHED", patience=0.05)
    (sentence,) = said
    assert "a server stopped: it did not take the last figures within 0.05 s" in sentence
    sink.go.set()
    background._thread.join(5)
    assert len(said) == 1


def test_tensorboard_reads_the_curves_also_after_a_restart_and_a_rollback(run, tmp_path, said, monkeypatch) -> None:
    without_tensorflow = types.ModuleType("tensorboard.compat.notf")  # TensorBoard's own switch; spares its import
    monkeypatch.setitem(sys.modules, without_tensorflow.__name__, without_tensorflow)
    with pytest.raises(KeyboardInterrupt):
        reports = [(step, {"loss": 10.0 - step / 10}) for step in (1, 10, 20, 30)]
        track(["tensorboard"], tmp_path, run, said, reports, KeyboardInterrupt())
    again = [(20, {"loss": 8.0}), (30, {"loss": 7.0}), (40, {"loss": 9.0})]
    back = [(20, {"rolled_back_from": 40.0}), (30, {"loss": 6.0}), (30, {"validation_loss": 6.5}), (40, {"loss": 5.0})]
    track(["tensorboard"], tmp_path, run, said, again + back)
    found = events(tmp_path / "logs" / "tensorboard")
    assert found["loss"] == [(1, 9.9), (10, 9.0), (20, 8.0), (30, 6.0), (40, 5.0)]
    assert found["validation_loss"] == [(30, 6.5)]
    assert found["rolled_back_from"] == [(20, 40.0)]
    assert said == []
