"""The devices that a plan can be made for, and how many of them: `8xH100`, `2x8xH100`, `H100`, `4xcpu`.

What they compute is in `PEAKS`. The rest is from the makers' data sheets and the documentation of usual hosts, and a
link's bytes per second are those that one device sends in one direction. Within a host that is NVLink for H100, H200,
A100 and V100, PCI Express for L40S, L4, T4 and RTX 4090 (the last without peer-to-peer, so half of it), and for TPUs,
whose `host` is a slice, both directions of one axis of the interconnect. Between hosts it is one device's share of the
host's network: InfiniBand of 400 Gb/s a device for H100 and H200, 200 for A100, 50 for V100, and Ethernet of 100 Gb/s a
host for the other cards.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, replace

from pipeline.errors import RecipeError
from pipeline.training.hardware import HALF, PEAKS

GIB, GB = 2**30, 1e9
# What JAX takes of a GPU unless XLA_PYTHON_CLIENT_MEM_FRACTION says otherwise; of a TPU the runtime keeps a little.
USABLE = {"gpu": 0.75, "tpu": 0.95, "cpu": 1.0}
FORMS = "8xH100, 2x8xH100 (hosts x devices), H100 or 4xcpu"


@dataclass(frozen=True)
class Device:
    """One device, and what connects it with others.

    Attributes:
        name: str. As `--devices` names it.
        kind: str. gpu, tpu or cpu.
        peak: str. Its row in `PEAKS`; empty where it has none.
        memory: float. Bytes, all that it has.
        reading: float. Bytes per second that it reads and writes of its memory; 0: not known.
        inside: float. Bytes per second that it sends to devices of its host.
        between: float. Bytes per second that it sends to other hosts.
        per_host: int. Devices in a host.
        bfloat16: bool. Whether its matrix units multiply bfloat16.
        flash: bool. Whether JAX has flash attention for it.
        flops: float. Operations per second where given rather than known.
    """

    name: str
    kind: str
    peak: str
    memory: float
    reading: float
    inside: float
    between: float
    per_host: int
    bfloat16: bool = True
    flash: bool = False
    flops: float | None = None

    def peak_flops(self, precision: str, backend: str) -> float:
        """Return the most operations per second in a precision; on torch, float32 is no TensorFloat-32."""
        if self.flops is not None:
            return self.flops
        half, by_xla, single = PEAKS[self.peak]
        full = single if backend == "torch" else by_xla
        emulated = precision in ("mixed_bfloat16", "float8") and not self.bfloat16
        return (half if precision in HALF and not emulated else full) * 1e12

    def precision(self, wanted: str) -> str:
        """Return what `auto` stands for, or the precision that was asked for."""
        if wanted != "auto":
            return wanted
        return "float32" if self.kind == "cpu" else "mixed_bfloat16"

    @property
    def usable(self) -> float:
        """Share of the memory that a training may take."""
        return USABLE[self.kind]


def _gpu(
    name: str, peak: str, memory: float, reading: float, inside: float, between: float, ampere: bool = True
) -> Device:
    return Device(name, "gpu", peak, memory * GIB, reading * GB, inside * GB, between * GB, 8, ampere, ampere)


def _tpu(name: str, memory: float, reading: float, inside: float, between: float, slice_size: int) -> Device:
    return Device(name, "tpu", name, memory * GIB, reading * GB, inside * GB, between * GB, slice_size)


# GiB; then 10^9 bytes per second of its memory, to its host's devices, and to other hosts.
DEVICES = {
    device.name: device
    for device in (
        _gpu("H100", "H100", 80, 3350, 450, 50),
        _gpu("H200", "H200", 140, 4800, 450, 50),
        _gpu("A100-80GB", "A100", 80, 2039, 300, 25),
        _gpu("A100-40GB", "A100", 40, 1555, 300, 25),
        _gpu("L40S", "L40S", 45, 864, 32, 1.56),
        _gpu("L4", "L4", 22.5, 300, 32, 1.56),
        _gpu("V100", "V100", 16, 900, 150, 6.25, ampere=False),
        _gpu("T4", "T4", 15, 320, 16, 1.56, ampere=False),
        _gpu("RTX 4090", "RTX 4090", 24, 1008, 16, 1.56),
        _tpu("TPU v5e", 16, 819, 90, 3.1, 256),
        _tpu("TPU v5p", 95, 2765, 180, 6.25, 6144),
        # What a processor does is not known from its name: --peak, --memory and --bandwidth give it.
        Device("cpu", "cpu", "", 0.0, 0.0, 0.0, 0.0, 1),
    )
}


@dataclass(frozen=True)
class Cluster:
    """Equal devices in equal hosts."""

    device: Device
    hosts: int
    per_host: int

    @property
    def devices(self) -> int:
        """All."""
        return self.hosts * self.per_host

    def __str__(self) -> str:
        hosts = f"{self.hosts} hosts x " if self.hosts > 1 else ""
        return f"{hosts}{self.per_host} x {self.device.name}"


@dataclass(frozen=True)
class Measured:
    """What a person knows better of the devices than the table; None leaves the table's.

    Attributes:
        peak: float. 10^12 operations per second of one device.
        memory: float. GiB of one device.
        bandwidth: float. 10^9 bytes per second between devices, within hosts and between them.
    """

    peak: float | None = None
    memory: float | None = None
    bandwidth: float | None = None


def read_devices(text: str, measured: Measured | None = None) -> Cluster:
    """Return the devices that `--devices` names.

    Args:
        text: str. `8xH100`, `2x8xH100` for hosts x devices, `H100`, `4xcpu`. Without hosts, as many devices share one
            as the usual host has.
        measured: Measured. What is known better than by the table.

    Raises:
        RecipeError: it is none of these forms, the device is not known, or nothing is known of a processor.
    """
    found = re.fullmatch(r"\s*(?:(\d+)\s*x\s*)?(?:(\d+)\s*x\s*)?([A-Za-z].*?)\s*", text)
    if found is None:
        raise RecipeError(f"--devices: received {text!r}; expected {FORMS}")
    first, second, name = found.groups()
    hosts, count = (int(first), int(second)) if first and second else (None, int(first or second or 1))
    if hosts == 0 or count == 0:
        raise RecipeError(f"--devices: received {text!r}, which is no device; expected {FORMS}")
    device = _with(measured or Measured(), _known(name, text))
    if (hosts or 1) * count > 1 and not device.inside:
        raise RecipeError(
            f"--devices: nothing is known of what connects {text!r}; give --bandwidth (10^9 bytes per second that one "
            "device sends to the others)"
        )
    if hosts is not None:
        return Cluster(device, hosts, count)
    per_host = count if device.kind == "cpu" else min(count, device.per_host)
    if count % per_host:
        raise RecipeError(
            f"--devices: received {text!r}, and a host has {per_host} x {device.name}, which does not divide {count}; "
            f"say how they stand as hosts x devices, such as {_hosts(count, per_host)}x{device.name}"
        )
    return Cluster(device, count // per_host, per_host)


def _hosts(count: int, most: int) -> str:
    hosts = next(hosts for hosts in range(1, count + 1) if count % hosts == 0 and count // hosts <= most)
    return f"{hosts}x{count // hosts}"


def _known(name: str, text: str) -> Device:
    """Return the device of a name, whatever its case and its spaces; `A100` alone is the larger one."""
    plain = {_plain(known): device for known, device in DEVICES.items()} | {"a100": DEVICES["A100-80GB"]}
    if _plain(name) in plain:
        return plain[_plain(name)]
    close = difflib.get_close_matches(_plain(name), plain, n=1, cutoff=0.5)
    hint = f", did you mean {plain[close[0]].name!r}?" if close else ""
    raise RecipeError(
        f"--devices: received {text!r} with the unknown device {name!r}{hint}; expected one of {', '.join(DEVICES)}. "
        "For another one take cpu, and give --peak, --memory and --bandwidth"
    )


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]", "", name).lower()


def _with(measured: Measured, device: Device) -> Device:
    changed = replace(
        device,
        flops=None if measured.peak is None else measured.peak * 1e12,
        memory=device.memory if measured.memory is None else measured.memory * GIB,
        inside=device.inside if measured.bandwidth is None else measured.bandwidth * GB,
        between=device.between if measured.bandwidth is None else measured.bandwidth * GB,
    )
    if not changed.peak and changed.flops is None:
        missing = "--peak (10^12 operations per second of one matrix product; `tradewind step pretrain` prints it)"
        raise RecipeError(f"--devices: nothing is known of the speed of a {device.name}; give {missing}")
    if not changed.memory:
        raise RecipeError(f"--devices: nothing is known of the memory of a {device.name}; give --memory (GiB of each)")
    return changed
