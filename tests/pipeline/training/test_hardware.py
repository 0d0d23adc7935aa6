import psutil
import pytest

from pipeline.backend import has_accelerator
from pipeline.training import hardware
from pipeline.training.hardware import PEAKS, available_memory, device_name, known_accelerator, peak_flops


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA H100 PCIe", "H100 PCIe"),
        ("NVIDIA A100-SXM4-40GB", "A100"),
        ("NVIDIA L40S", "L40S"),
        ("NVIDIA L4", "L4"),
        ("Tesla T4", "T4"),
        ("NVIDIA T400 4GB", None),
        ("NVIDIA GeForce RTX 4090", "RTX 4090"),
        ("TPU v5 lite", "TPU v5 lite"),
        ("TPU v5", "TPU v5"),
        ("AMD EPYC", None),
    ],
)
def test_devices_are_known_by_whole_words_of_their_name(name, known) -> None:
    assert known_accelerator(name) == known


def test_the_table_is_in_operations_per_second(monkeypatch) -> None:
    monkeypatch.setattr(hardware, "has_accelerator", lambda: True)
    monkeypatch.setattr(hardware, "device_name", lambda: "NVIDIA A100-SXM4-40GB")
    assert peak_flops("mixed_bfloat16").flops_per_second == 312e12
    assert peak_flops("float32").flops_per_second in (156e12, 19.5e12)
    assert peak_flops("float32").source == "data sheet of A100"


def test_no_precision_is_faster_in_a_wider_type() -> None:
    assert all(half >= by_xla >= single for half, by_xla, single in PEAKS.values())


@pytest.mark.skipif(has_accelerator(), reason="this is about processors")
def test_a_processor_is_measured_once_and_named() -> None:
    peak = peak_flops("float32")
    assert 1e8 < peak.flops_per_second < 1e15
    assert peak.source == f"a float32 matrix product measured on {device_name()}"
    assert peak_flops("float32") == peak
    assert "bfloat16" in peak_flops("mixed_bfloat16").source


@pytest.mark.skipif(has_accelerator(), reason="this is about processors")
def test_a_container_may_leave_less_memory_than_the_machine(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(hardware, "CGROUP", tmp_path)
    assert 0.5 < available_memory() / psutil.virtual_memory().available < 2
    (tmp_path / "memory.max").write_text("1000000\n")
    (tmp_path / "memory.current").write_text("400000\n")
    assert available_memory() == 600_000
    (tmp_path / "memory.max").write_text("max\n")
    assert available_memory() > 600_000
