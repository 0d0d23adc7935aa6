"""The device that Keras runs on: its name, its free memory, and how fast it multiplies matrices.

Import it after the backend is chosen.
"""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import psutil

from pipeline.backend import has_accelerator

# Dense matrix products, in 10^12 operations per second: in half precision, in float32 as XLA multiplies it by default
# (TensorFloat-32, or bfloat16 on a TPU), and in float32 proper, as torch does it. From the makers' data sheets, without
# sparsity: NVIDIA's of V100, T4, A100, H100, H200, L4 and L40S, its Ada whitepaper for the RTX 4090, and the pages on
# TPU versions in Google Cloud's documentation.
PEAKS = {
    "H200": (989.0, 494.5, 67.0),
    "H100 PCIe": (756.0, 378.0, 51.0),
    "H100 NVL": (835.0, 417.5, 60.0),
    "H100": (989.0, 494.5, 67.0),
    "A100": (312.0, 156.0, 19.5),
    "L40S": (362.0, 183.0, 91.6),
    "L4": (121.0, 60.0, 30.3),
    "RTX 4090": (165.2, 82.6, 82.6),
    "V100": (125.0, 15.7, 15.7),
    "T4": (65.0, 8.1, 8.1),
    "TPU v6e": (918.0, 918.0, 918.0),
    "TPU v6 lite": (918.0, 918.0, 918.0),
    "TPU v5e": (197.0, 197.0, 197.0),
    "TPU v5 lite": (197.0, 197.0, 197.0),
    "TPU v5p": (459.0, 459.0, 459.0),
    "TPU v5": (459.0, 459.0, 459.0),
    "TPU v4": (275.0, 275.0, 275.0),
}
# Precisions in which matrices are multiplied at the first of these, and activations take half the memory of float32.
HALF = ("mixed_bfloat16", "mixed_float16", "float8")
CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Peak:
    """The most matrix operations per second that a device does, and how that is known."""

    flops_per_second: float
    source: str


@cache
def device_name() -> str:
    """Return the name of the first accelerator of the loaded backend, or of the processor."""
    import keras

    if not has_accelerator():
        return processor_name()
    match keras.backend.backend():
        case "jax":
            import jax

            return str(jax.devices()[0].device_kind)
        case "tensorflow":
            import tensorflow as tf

            first = tf.config.list_physical_devices("GPU")[0]
            return str(tf.config.experimental.get_device_details(first).get("device_name", first.name))
        case _:
            import torch

            return str(torch.cuda.get_device_name())


@cache
def accelerators() -> tuple[str, ...]:
    """Return what the system knows of GPUs and TPUs, without loading a backend."""
    information = sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
    models = [file.read_text().partition("Model:")[2].partition("\n")[0].strip() for file in information]
    return (*models, *(f"accelerator {file.name}" for file in sorted(Path("/dev").glob("accel[0-9]*"))))


def processor_name() -> str:
    """Return what the processor calls itself."""
    return _processor().get("model name") or platform.processor() or platform.machine()


def processor_features() -> str:
    """Return what decides which machine code the processor runs."""
    found = _processor()
    return " ".join([processor_name(), platform.machine(), found.get("flags") or found.get("Features") or ""])


@cache
def _processor() -> dict[str, str]:
    """Return what Linux tells of the first processor; nothing on other systems."""
    information = Path("/proc/cpuinfo")
    first = information.read_text().partition("\n\n")[0] if information.exists() else ""
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def available_memory() -> int:
    """Return the bytes that a training may still take on the device: free memory of the GPU, or of the machine."""
    import keras

    if not has_accelerator():
        return min([psutil.virtual_memory().available, *_container_memory()])
    match keras.backend.backend():
        case "jax":
            import jax

            statistics = jax.devices()[0].memory_stats() or {}
            if "bytes_limit" not in statistics:
                return psutil.virtual_memory().available
            return int(statistics["bytes_limit"]) - int(statistics["bytes_in_use"])
        case "tensorflow":
            return _gpu_memory()
        case _:
            import torch

            return int(torch.cuda.mem_get_info()[0])


def peak_flops(precision: str) -> Peak:
    """Return the peak of the device in a precision: from a table for known accelerators, else measured.

    Args:
        precision: str. A Keras dtype policy.
    """
    import keras

    name = device_name()
    if has_accelerator() and (known := known_accelerator(name)):
        half, by_xla, single = PEAKS[known]
        full = single if keras.backend.backend() == "torch" else by_xla
        return Peak((full if precision == "float32" else half) * 1e12, f"data sheet of {known}")
    dtype = "bfloat16" if precision == "mixed_bfloat16" else "float32"
    return Peak(measured_flops(dtype), f"a {dtype} matrix product measured on {name}")


def known_accelerator(name: str) -> str | None:
    """Return the first name in `PEAKS` that a device's name contains as whole words."""
    return next((known for known in PEAKS if re.search(rf"\b{known}\b", name)), None)


@cache
def measured_flops(dtype: str) -> float:
    """Return the operations per second of a square matrix product on the loaded backend, measured for 0.3 s.

    Args:
        dtype: str. float32 or bfloat16.
    """
    multiply, size = _product(dtype, 4096 if has_accelerator() else 1024)
    multiply()  # compiled, and the threads started
    times: list[float] = []
    end = time.perf_counter() + 0.3
    while time.perf_counter() < end or len(times) < 3:
        start = time.perf_counter()
        multiply()
        times.append(time.perf_counter() - start)
    return 2 * size**3 / min(times)


def _product(dtype: str, size: int) -> tuple[Callable[[], Any], int]:
    """Return a function that multiplies two matrices and waits for the product."""
    import keras

    random = keras.random.SeedGenerator(0)
    left, right = (keras.random.normal((size, size), dtype=dtype, seed=random) for _ in range(2))
    match keras.backend.backend():
        case "jax":
            import jax

            compiled = jax.jit(lambda a, b: a @ b)
            return lambda: compiled(left, right).block_until_ready(), size
        case "tensorflow":
            import tensorflow as tf

            graph = tf.function(lambda a, b: a @ b, jit_compile=True)
            return lambda: graph(left, right)[0, 0].numpy(), size
        case _:
            import torch

            return lambda: torch.matmul(left, right)[0, 0].item(), size


def _container_memory() -> list[int]:
    """Return what the container's limit leaves, when there is one: [bytes] or []."""
    limit, used = CGROUP / "memory.max", CGROUP / "memory.current"
    if not (limit.exists() and used.exists()) or limit.read_text().strip() == "max":
        return []
    return [max(0, int(limit.read_text()) - int(used.read_text()))]


def _gpu_memory() -> int:
    """Return the memory of the first GPU, which TensorFlow takes whole when it starts but does not tell."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return psutil.virtual_memory().available
    query = [tool, "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    return int(subprocess.run(query, capture_output=True, text=True, check=True).stdout.splitlines()[0]) * 2**20
