"""Training on several processes and devices against one of each.

    python benchmarks/scaling.py                      # two processes with a core each against one with one core
    python benchmarks/scaling.py --meshes             # fsdp and tensor parallelism on four fake devices
    python benchmarks/scaling.py --backend torch
    python benchmarks/scaling.py --launch             # what a job of a Ray cluster costs before its processes begin

The global batch is the same for one process and for two. A third contestant is two processes with half of the batch
each, at the same time, that know nothing of each other: what they do is all that the machine's two cores have to give
(two threads of one core give little more than one), and what two that train together take longer than that is the
share of exchanging, and of waiting for each other. Contestants take turns; the figure is the median over the rounds.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
VOCABULARY, SEQUENCE, ROWS = 8192, 128, 32
MESHES: dict[str, dict[str, Any]] = {
    "data": {"data": 4},
    "fsdp": {"fsdp": 4},
    "fsdp, gathered in each micro-batch": {"fsdp": 4, "gather": "micro_batch"},
    "model": {"model": 4},
    "data x fsdp x model on eight": {"data": 2, "fsdp": 2, "model": 2},
}


def main() -> None:
    """Run what is asked for and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", default="jax", choices=["jax", "torch"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=ROWS, help="of an update, of 128 tokens each")
    parser.add_argument("--updates", type=int, default=6)
    parser.add_argument("--micro-batches", type=int, default=2)
    parser.add_argument("--meshes", action="store_true")
    parser.add_argument("--launch", action="store_true")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        print(json.dumps(work(json.loads(given.worker))))
    elif given.launch:
        compare_launchers(given.rounds)
    elif given.meshes:
        compare_meshes(given)
    else:
        compare_processes(given)


def compare_processes(given: argparse.Namespace) -> None:
    """Print how two processes do against one."""
    contestants = {"one": (1, 1), "two apart": (2, 1), "two": (2, 2)}
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(given.rounds):
        for name, (processes, together) in contestants.items():
            question = {"backend": given.backend, "rows": given.rows * together // processes, "updates": given.updates}
            question |= {"mesh": {"data": together}, "micro_batches": given.micro_batches, "processes": together}
            told = start(question, processes)
            seconds[name].append(max(answer["seconds"] for answer in told))
            print(f"round {number + 1}, {name}: {seconds[name][-1]:.3f} s an update", flush=True)
    one, apart, two = (statistics.median(seconds[name]) for name in contestants)
    print(f"tokens per second: one {given.rows * SEQUENCE / one:,.0f}, two {given.rows * SEQUENCE / two:,.0f}")
    print(f"two processes do {one / two:.2f} times the work of one; apart, the two cores do {one / apart:.2f} times")
    print(f"of what the cores do apart, training together keeps {apart / two:.0%}")
    print(f"share of exchanging and waiting: {max(0.0, 1 - apart / two):.1%} of an update")


def compare_meshes(given: argparse.Namespace) -> None:
    """Print how the meshes of one process's fake devices do against data parallelism."""
    seconds: dict[str, list[float]] = {name: [] for name in MESHES}
    bytes_of = {}
    for _ in range(given.rounds):
        for name, mesh in MESHES.items():
            sizes = {axis: size for axis, size in mesh.items() if axis != "gather"}
            question = {"backend": "jax", "rows": given.rows, "updates": given.updates, "mesh": sizes}
            question |= {"gather": mesh.get("gather", "update"), "micro_batches": given.micro_batches}
            question |= {"fake_devices": math.prod(sizes.values()), "processes": 1}
            (told,) = start(question, 1, pinned=False)
            seconds[name].append(told["seconds"])
            bytes_of[name] = told["bytes"]
    reference = statistics.median(seconds["data"])
    for name, taken in seconds.items():
        median = statistics.median(taken)
        print(
            f"{name:40} {median:.3f} s an update, {median / reference:.2f} times data parallelism, "
            f"weights and optimizer {bytes_of[name] / 2**20:.1f} MiB a device"
        )


def compare_launchers(rounds: int) -> None:
    """Print how long two processes that do nothing take, started here and as a job of a Ray cluster that is there."""
    from ray.cluster_utils import Cluster

    from pipeline.cluster.local import run_processes
    from pipeline.cluster.ray.launcher import Work, run_on_ray
    from pipeline.config import Runtime
    from pipeline.progress import SilentProgress

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": True})
    cluster.add_node(num_cpus=1)
    command, runtime = (
        [sys.executable, "-c", "pass"],
        Runtime(launcher="ray", processes=2, ray={"address": cluster.address}),
    )
    seconds: dict[str, list[float]] = {"here": [], "Ray": []}
    for number in range(rounds + 1):  # the first round starts what the cluster keeps
        for name, taken in seconds.items():
            begin = time.perf_counter()
            if name == "here":
                run_processes(command, 2, os.environ, SilentProgress())
            else:
                run_on_ray(Work(command, f"nothing-{number}", runtime, ROOT, Path(__file__)), SilentProgress())
            taken.append(time.perf_counter() - begin)
            print(f"round {number}, {name}: {taken[-1]:.1f} s", flush=True)
    cluster.shutdown()
    here, ray = (statistics.median(taken[1:]) for taken in seconds.values())
    print(f"a Ray job of two processes costs {ray - here:.1f} s more than starting them here ({ray:.1f}, {here:.1f} s)")


def start(question: dict[str, Any], processes: int, pinned: bool = True) -> list[dict[str, Any]]:
    """Return the answers of so many processes, each on a core of its own."""
    from pipeline.cluster.channel import free_port

    address = f"127.0.0.1:{free_port()}"
    cores = sorted(os.sched_getaffinity(0))
    running = []
    for index in range(processes):
        told = question | {"process_id": index, "address": address}
        command = [sys.executable, __file__, "--worker", json.dumps(told)]
        prefix = ["taskset", "-c", str(cores[index])] if pinned else []
        flags = f"--xla_force_host_platform_device_count={question.get('fake_devices', 1)}"
        environment = os.environ | {"PYTHONPATH": str(ROOT), "KERAS_BACKEND": question["backend"], "XLA_FLAGS": flags}
        running.append(subprocess.Popen([*prefix, *command], env=environment, stdout=subprocess.PIPE, text=True))
    answers = []
    for process in running:
        out, _ = process.communicate()
        if process.returncode:
            raise SystemExit(f"a process ended with status {process.returncode}")
        answers.append(json.loads(out.splitlines()[-1]))
    return answers


def work(question: dict[str, Any]) -> dict[str, Any]:
    """Time the updates of one process."""
    from pipeline.cluster.backend import join_backend
    from pipeline.cluster.place import Place

    if question["processes"] > 1:
        place = Place(question["process_id"], question["processes"], question["address"])
        join_backend(question["backend"], place, question["address"], 120)
    from functools import partial

    import keras

    from models.objectives import token_prediction
    from models.parallel import MeshShape
    from models.size import Dimensions
    from pipeline.backbone import build_language_model
    from pipeline.config import Pretrain
    from pipeline.training.batches import BatchShape
    from pipeline.training.batches.objective import synthetic_batch
    from pipeline.training.mesh import laid_out, split_batch
    from pipeline.training.optimizer import make_optimizer
    from pipeline.training.steppers import make_stepper

    keras.utils.set_random_seed(1)
    mesh, rows = MeshShape(**question["mesh"]), question["rows"]
    dimensions = Dimensions(4, 256, 4, 4, 704, 1e-3)
    with laid_out(mesh):
        model = build_language_model(dimensions, VOCABULARY, 0.0)
        optimizer = make_optimizer(Pretrain(), 1e-3, 10_000, model)
        stepper = make_stepper(model, optimizer, partial(token_prediction), mesh, question.get("gather", "update"))
    micro = rows // question["micro_batches"] // mesh.batch_shards
    shape = split_batch(mesh, rows, micro)
    whole = synthetic_batch("encoder", Pretrain(), BatchShape(rows, shape.micro_batch_size), VOCABULARY, SEQUENCE)
    batch = {name: array[:, shape.own or slice(None)] for name, array in whole.items()}
    for _ in range(2):
        float(stepper.update(batch).loss)
    times = []
    for _ in range(question["updates"]):
        begin = time.perf_counter()
        float(stepper.update(batch).loss)
        times.append(time.perf_counter() - begin)
    return {"seconds": statistics.median(times), "bytes": state_bytes(stepper)}


def state_bytes(stepper: Any) -> int:
    """Return the bytes of weights and optimizer on the first device."""
    if not hasattr(stepper, "state"):
        return 0
    import jax

    first = jax.local_devices()[0]
    shards = (shard for value in jax.tree.leaves(stepper.state) for shard in value.addressable_shards)
    return sum(shard.data.nbytes for shard in shards if shard.device == first)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main()
