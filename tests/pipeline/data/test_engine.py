"""Blocks are worked on in order, wherever; what goes wrong there is told here, and nothing is left running."""

import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import pytest

from pipeline.config import Recipe, Runtime
from pipeline.data import engine as engine_module
from pipeline.data.engine import LocalEngine, RayEngine, make_engine
from pipeline.errors import BackendError, Interrupted, SourceError, StoreError, TradewindError
from pipeline.preprocess import preprocess
from pipeline.progress import SilentProgress

HELPERS = Path(__file__).parents[1]
sys.path.insert(0, str(HELPERS))
from test_preprocess import RECIPE, digests, make_rows, run  # noqa: E402

# What a node meets that does not see the folder BLIND_TO, or on which the module LACKS is not installed.
SITE = """
import os, pathlib, sys
if "BLIND_TO" in os.environ:
    exists = pathlib.Path.exists
    pathlib.Path.exists = lambda path: not str(path).startswith(os.environ["BLIND_TO"]) and exists(path)
if "LACKS" in os.environ:
    sys.modules[os.environ["LACKS"]] = None
"""


@pytest.fixture(scope="module")
def rows(tmp_path_factory) -> Path:
    return make_rows(tmp_path_factory.mktemp("validated"))


@pytest.fixture(scope="module")
def expected(rows, tmp_path_factory) -> dict[str, str]:
    out = tmp_path_factory.mktemp("expected") / "out"
    run(rows, out)
    return digests(out)


def fail(error: Exception) -> Any:
    """Return a function that raises the error for the item 2."""

    def work(item: int) -> int:
        if item == 2:
            raise error
        return item

    return work


def die() -> Any:
    """Return a function whose process dies of the item 2."""

    def work(item: int) -> int:
        if item == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return item

    return work


def late_first() -> Any:
    """Return a function that takes longer for the earlier items, and tells its process."""

    def work(item: int) -> tuple[int, int]:
        time.sleep(0.3 if item % 4 == 0 else 0)
        return item, os.getpid()

    return work


def start(script: str, *arguments: Path | str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)])


def wait_for(condition: Any, seconds: float = 60) -> Any:
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)
    return found


def end(process: "subprocess.Popen[bytes]", number: signal.Signals) -> list[psutil.Process]:
    """Send the process a signal; return what it had started and is still there after a while."""
    started = psutil.Process(process.pid).children(recursive=True)
    assert len(started) >= 2
    process.send_signal(number)
    process.wait()
    _, alive = psutil.wait_procs(started, timeout=20)
    return alive


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_the_order_of_the_items(workers) -> None:
    found = list(LocalEngine(workers).map(late_first(), range(12)))
    assert [item for item, _ in found] == list(range(12))
    assert len({process for _, process in found} | {os.getpid()}) == (3 if workers == 2 else 1)
    assert list(LocalEngine(workers).map(late_first(), [])) == []


def test_little_text_is_not_worth_many_processes(tmp_path) -> None:
    assert isinstance(make_engine(Runtime(), tmp_path, 1000), LocalEngine)
    assert make_engine(Runtime(), tmp_path, 1000).workers == 1
    assert make_engine(Runtime(), tmp_path, 2**40).workers == len(os.sched_getaffinity(0))
    assert make_engine(Runtime(data_workers=3), tmp_path, 1000).workers == 3


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_arrives_as_it_was_raised(workers) -> None:
    with pytest.raises(SourceError, match=r"^row 7 is odd$"):
        list(LocalEngine(workers).map(fail(SourceError("row 7 is odd")), range(4)))
    with pytest.raises(OSError, match="No space left") as caught:
        list(LocalEngine(workers).map(fail(OSError(errno.ENOSPC, "No space left", "/full/disk")), range(4)))
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, "/full/disk")


def test_a_killed_worker_is_told_with_the_likely_cause_and_the_next_one_works() -> None:
    with pytest.raises(Interrupted, match=r"one of 2 worker processes was killed \(SIGKILL\(-9\)\).*memory ran out"):
        list(LocalEngine(2).map(die(), range(6)))
    assert list(LocalEngine(2).map(abs, range(-3, 0))) == [3, 2, 1]


def test_what_cannot_be_sent_is_an_error_of_the_program() -> None:
    class Unreadable:
        def __reduce__(self) -> Any:
            return int, ("no number",)

    with pytest.raises(Exception, match="un-serialize") as caught:
        list(LocalEngine(2).map(repr, [Unreadable(), Unreadable()]))
    assert not isinstance(caught.value, TradewindError)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_no_worker_outlives_the_process(tmp_path, number) -> None:
    script = """
        import os, sys, time
        from pathlib import Path
        from pipeline.data.engine import LocalEngine
        folder = Path(sys.argv[1])
        def work(item):
            Path(folder, str(os.getpid())).touch()
            time.sleep(600)
        list(LocalEngine(2).map(work, range(4)))
    """
    process = start(script, tmp_path)
    wait_for(lambda: len(list(tmp_path.iterdir())) == 2)
    assert not end(process, number)


def test_a_killed_run_leaves_nobody_behind_and_goes_on(rows, expected, tmp_path) -> None:
    script = """
        import sys
        from pathlib import Path
        sys.path.insert(0, sys.argv[1])
        from test_preprocess import run
        run(Path(sys.argv[2]), Path(sys.argv[3]), runtime={"data_workers": 2})
    """
    out = tmp_path / "out"
    process = start(script, HELPERS, rows, out)
    wait_for(lambda: list(out.glob("work/prepare/*.done")))
    assert not end(process, signal.SIGKILL)
    assert not (out / "corpus" / "train" / "index.json").exists()
    preprocess(Recipe.model_validate(RECIPE), rows, out, SilentProgress())
    assert digests(out) == expected


def test_workers_find_the_stages_from_any_folder(rows, expected, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    run(rows, tmp_path / "out", runtime={"data_workers": 2})
    assert digests(tmp_path / "out") == expected


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[Any]:
    """Two nodes with one core each; they and this process are outside the project's folder."""
    pytest.importorskip("ray", reason="ray is not installed")
    import ray
    from ray.cluster_utils import Cluster

    folder = tmp_path_factory.mktemp("nodes")
    (folder / "sitecustomize.py").write_text(SITE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.chdir(folder)
        nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        nodes.add_node(num_cpus=1)
        patch.setenv("RAY_ADDRESS", nodes.address)
        yield nodes
        ray.shutdown()
        nodes.shutdown()


def add_odd_node(cluster: Any, **variables: str) -> Any:
    return cluster.add_node(num_cpus=1, env_vars={"PYTHONPATH": str(Path.cwd()), **variables})


@pytest.mark.slow
def test_two_ray_nodes_write_the_same_bytes(cluster, rows, expected, tmp_path, monkeypatch) -> None:
    import ray

    seen = tmp_path / "seen"
    seen.mkdir()

    def noted(function: Any, item: Any) -> Any:
        """Work where the other node works too: the first block of each waits for the other's."""
        import ray

        (seen / ray.get_runtime_context().get_node_id()).touch()
        while len(list(seen.iterdir())) < 2:
            time.sleep(0.05)
        return function(item)

    monkeypatch.setattr(engine_module, "_apply", noted)
    run(rows, tmp_path / "out", runtime={"data_engine": "ray"})
    assert {path.name for path in seen.iterdir()} == {node["NodeID"] for node in ray.nodes()}
    assert digests(tmp_path / "out") == expected


@pytest.mark.slow
def test_ray_keeps_order_and_errors(cluster, tmp_path) -> None:
    engine = RayEngine(tmp_path, None)
    assert [item for item, _ in engine.map(late_first(), range(12))] == list(range(12))
    with pytest.raises(SourceError, match=r"^row 7 is odd$"):
        list(engine.map(fail(SourceError("row 7 is odd")), range(4)))
    with pytest.raises(OSError, match="No space left") as caught:
        list(engine.map(fail(OSError(errno.ENOSPC, "No space left")), range(4)))
    assert caught.value.errno == errno.ENOSPC


@pytest.mark.slow
def test_ray_works_on_no_more_blocks_at_once_than_asked_for(cluster, tmp_path) -> None:
    def work(_: int) -> tuple[float, float]:
        began = time.time()
        time.sleep(0.1)
        return began, time.time()

    spans = sorted(RayEngine(tmp_path, 1).map(work, range(6)))
    assert all(began >= ended for (_, ended), (began, _) in pairwise(spans))


@pytest.mark.slow
def test_a_block_that_kills_every_ray_worker_is_told_with_the_likely_cause(cluster, tmp_path) -> None:
    with pytest.raises(Interrupted, match=r"lost four times on one block \(WorkerCrashedError\).*ran out of memory"):
        list(RayEngine(tmp_path, None).map(die(), range(4)))


@pytest.mark.slow
def test_a_node_that_does_not_see_the_workspace_is_named(cluster, tmp_path) -> None:
    node = add_odd_node(cluster, BLIND_TO=str(tmp_path))
    try:
        with pytest.raises(StoreError, match=rf"do not see {tmp_path}; .*TRADEWIND_WORKSPACE"):
            make_engine(Runtime(data_engine="ray"), tmp_path, 0)
    finally:
        cluster.remove_node(node)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_node_without_the_package_is_named(cluster, tmp_path) -> None:
    node = add_odd_node(cluster, LACKS="pipeline")
    try:
        with pytest.raises(BackendError, match=r"cannot load this package: .*pipeline.*pip install"):
            make_engine(Runtime(data_engine="ray"), tmp_path, 0)
    finally:
        cluster.remove_node(node)


ASK = """
    import json, os, sys, time
    from pathlib import Path
    from pipeline.data.engine import RayEngine
    from pipeline.errors import BackendError
    began = time.monotonic()
    try:
        RayEngine(Path(sys.argv[1]), None)
    except BackendError as error:
        print(json.dumps([str(error), time.monotonic() - began, os.environ["RAY_USAGE_STATS_ENABLED"]]))
"""


@pytest.mark.parametrize("address", ["127.0.0.1:9", "ray://127.0.0.1:9", "nonsense"])
def test_a_cluster_that_does_not_answer_is_told_within_seconds(tmp_path, address) -> None:
    pytest.importorskip("ray", reason="ray is not installed")
    environment = os.environ | {"RAY_ADDRESS": address, "RAY_USAGE_STATS_ENABLED": "1"}
    command = [sys.executable, "-c", textwrap.dedent(ASK), str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, check=True, timeout=60)
    message, seconds, telemetry = json.loads(done.stdout.splitlines()[-1])
    assert f"no cluster answers at RAY_ADDRESS='{address}'" in message
    assert "ray start --head" in message
    assert seconds < 20
    assert telemetry == "0"
