"""Processes on two Ray nodes run together, end together, and start again together."""

import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ray_parts import attempts, noted, part, running, two_nodes, wait_for

from pipeline.cluster.ray.group import Spec
from pipeline.cluster.ray.job import run_job
from pipeline.cluster.relay import MARK
from pipeline.errors import BackendError, Interrupted, TradewindError

pytest.importorskip("ray", reason="ray is not installed")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[Any]:
    import ray

    with two_nodes(tmp_path_factory.mktemp("nodes")) as nodes:
        ray.init(nodes.address, log_to_driver=False)
        yield nodes
        ray.shutdown()


class Training:
    """A group at work in a thread."""

    def __init__(self, folder: Path, how: str, **values: Any) -> None:
        self.folder = folder
        self.lines: list[str] = []
        self.stop = threading.Event()
        self.error: Exception | None = None
        self.spec = spec(folder, how, **values)
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def begun(self, attempt: int = 0) -> list[dict[str, Any]]:
        """Return what the processes have noted, once they have."""
        wait_for(lambda: self.error or len(list(self.folder.glob(f"{attempt}-*.json"))) == 2)
        assert self.error is None, self.error
        return [noted(self.folder, number, attempt) for number in range(2)]

    def end(self) -> None:
        """Wait for its end; nothing of it may be left."""
        self.thread.join(120)
        assert not self.thread.is_alive()
        wait_for(lambda: not running(self.folder), 20)
        if self.error:
            raise self.error

    @property
    def said(self) -> list[str]:
        told = [json.loads(line.removeprefix(MARK)) for line in self.lines if line.startswith(MARK)]
        said = [message["say"] for message in told if "say" in message]
        return [text for text in said if not text.startswith("waiting for")]  # how fast Ray is, is no matter here

    def _run(self) -> None:
        import ray

        try:
            run_job(ray, self.spec, self.lines.append, self.stop)
        except Exception as error:
            self.error = error


def spec(folder: Path, how: str, **values: Any) -> Spec:
    probe = folder / "probe"
    probe.touch()
    common = {"processes": 2, "cpus": 1, "gpus": 0, "max_failures": 3, "start_seconds": 60.0}
    places = {"code": str(Path(__file__).parents[3]), "folder": str(folder), "probe": str(probe)}
    return Spec(arguments=part(folder, how)[1:], **{**common, **places, **values})


def test_each_process_has_its_place_and_the_first_is_heard(cluster, tmp_path) -> None:
    training = Training(tmp_path, "done")
    training.end()
    first, second = noted(tmp_path, 0), noted(tmp_path, 1)
    assert first["RAY_RAYLET_PID"] != second["RAY_RAYLET_PID"]  # one on each node
    assert (first["TRADEWIND_PROCESS_ID"], second["TRADEWIND_PROCESS_ID"]) == ("0", "1")
    assert first["TRADEWIND_NUM_PROCESSES"] == second["TRADEWIND_NUM_PROCESSES"] == "2"
    assert first["TRADEWIND_COORDINATOR"] == second["TRADEWIND_COORDINATOR"]
    assert first["folder"] == second["folder"] == str(tmp_path)
    assert training.said == ["process 0, attempt 0"]
    assert "text of process 0" in training.lines
    assert "text of process 1" not in training.lines
    assert json.loads(training.lines[-1].removeprefix(MARK)) == {"done": 1, "total": 1, "figures": {"loss": 0.5}}


def test_one_that_asks_to_be_tried_again_starts_all_again(cluster, tmp_path) -> None:
    training = Training(tmp_path, "again")
    training.end()
    assert attempts(tmp_path) == 2
    assert noted(tmp_path, 1, 1)["TRADEWIND_COORDINATOR"] == noted(tmp_path, 0, 1)["TRADEWIND_COORDINATOR"]
    assert training.said[0] == "process 0, attempt 0"
    assert "status 75; starting again from the last checkpoint (1 of at most 3 times)" in training.said[1]
    assert training.said[2] == "process 0, attempt 1"


@pytest.mark.parametrize("most", [0, 1])
def test_it_starts_again_no_more_often_than_allowed(cluster, tmp_path, most) -> None:
    with pytest.raises(Interrupted, match=rf"lost {most + 1} times.*status 75.*runtime\.ray\.max_failures"):
        Training(tmp_path, "lost", max_failures=most).end()
    assert attempts(tmp_path) == most + 1


def test_an_error_of_one_ends_all_at_once(cluster, tmp_path) -> None:
    with pytest.raises(TradewindError, match=r"(?s)process 1 on .* ended with status 1.*row 7 is odd$") as caught:
        Training(tmp_path, "fail").end()
    assert not isinstance(caught.value, Interrupted)
    assert attempts(tmp_path) == 1
    assert (tmp_path / "saved-0-0").exists()


@pytest.mark.parametrize("whose", ["pid", "parent"])
def test_a_killed_process_or_ray_worker_starts_all_again(cluster, tmp_path, whose) -> None:
    training = Training(tmp_path, "sleep")
    os.kill(training.begun()[1][whose], signal.SIGKILL)
    training.end()
    assert attempts(tmp_path) == 2
    told = r"SIGKILL" if whose == "pid" else r"was lost (ActorDiedError)"
    assert told in training.said[1]


def test_a_lost_node_is_replaced(cluster, tmp_path) -> None:
    training = Training(tmp_path, "sleep")
    raylets = {int(place["RAY_RAYLET_PID"]) for place in training.begun()}
    lost = next(node for node in cluster.worker_nodes if _raylet(node) in raylets)
    raylet = _raylet(lost)
    cluster.add_node(num_cpus=1)
    cluster.remove_node(lost, allow_graceful=False)
    training.end()
    assert attempts(tmp_path) == 2
    assert raylet not in {int(place["RAY_RAYLET_PID"]) for place in training.begun(1)}


def _raylet(node: Any) -> int:
    (raylet,) = node.all_processes["raylet"]
    return int(raylet.process.pid)


def test_all_can_save_when_it_is_stopped(cluster, tmp_path) -> None:
    training = Training(tmp_path, "sleep")
    training.begun()
    training.stop.set()
    with pytest.raises(Interrupted, match=r"was stopped.*the same command goes on"):
        training.end()
    assert {path.name for path in tmp_path.glob("saved-*")} == {"saved-0-0", "saved-0-1"}
    assert attempts(tmp_path) == 1


def test_a_cluster_without_room_is_told(cluster, tmp_path) -> None:
    with pytest.raises(BackendError, match=r"2 x \{'CPU': 64\} within 1 s; it has \{'CPU': 2.*runtime\.start_seconds"):
        Training(tmp_path, "done", cpus=64, start_seconds=1.0).end()
    assert attempts(tmp_path) == 0
