import pytest

from pipeline.errors import RecipeError
from pipeline.planning.devices import DEVICES, GIB, Measured, read_devices
from pipeline.training.hardware import PEAKS

CPU = Measured(peak=0.15, memory=16, bandwidth=5)


@pytest.mark.parametrize(
    ("text", "name", "hosts", "per_host"),
    [
        ("8xH100", "H100", 1, 8),
        ("H100", "H100", 1, 1),
        ("2x8xH100", "H100", 2, 8),
        ("4x2xT4", "T4", 4, 2),
        ("16 x h200", "H200", 2, 8),
        ("4xa100-40gb", "A100-40GB", 1, 4),
        ("2xA100", "A100-80GB", 1, 2),
        ("rtx4090", "RTX 4090", 1, 1),
        ("256xTPU-v5e", "TPU v5e", 1, 256),
    ],
)
def test_devices_are_read(text, name, hosts, per_host) -> None:
    cluster = read_devices(text)
    assert (cluster.device.name, cluster.hosts, cluster.per_host) == (name, hosts, per_host)
    assert cluster.devices == hosts * per_host


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("8xH10", "received '8xH10' with the unknown device 'H10', did you mean 'H100'?; expected one of H100, H200"),
        ("quantum", "unknown device 'quantum'; expected one of"),
        ("8", "received '8'; expected 8xH100, 2x8xH100 (hosts x devices), H100 or 4xcpu"),
        ("0xH100", "received '0xH100', which is no device"),
        (
            "18xH100",
            "a host has 8 x H100, which does not divide 18; say how they stand as hosts x devices, such as 3x6xH",
        ),
        ("cpu", "nothing is known of the speed of a cpu; give --peak"),
    ],
)
def test_what_cannot_be_read_is_told(text, message) -> None:
    with pytest.raises(RecipeError) as caught:
        read_devices(text)
    assert str(caught.value).startswith("--devices: ")
    assert message in str(caught.value)


def test_a_processor_is_what_is_told_of_it() -> None:
    device = read_devices("4xcpu", CPU).device
    assert device.peak_flops("float32", "jax") == 0.15e12
    assert (device.memory, device.inside) == (16 * GIB, 5e9)
    assert device.precision("auto") == "float32"
    with pytest.raises(RecipeError, match="nothing is known of the memory of a cpu; give --memory"):
        read_devices("cpu", Measured(peak=0.15))
    with pytest.raises(RecipeError, match="nothing is known of what connects '2xcpu'; give --bandwidth"):
        read_devices("2xcpu", Measured(peak=0.15, memory=16))
    assert read_devices("cpu", Measured(peak=0.15, memory=16)).devices == 1


def test_what_is_measured_counts_more_than_the_table() -> None:
    device = read_devices("8xH100", Measured(memory=94)).device
    assert device.memory == 94 * GIB
    assert device.inside == DEVICES["H100"].inside


def test_peaks_are_those_of_the_training_log() -> None:
    accelerators = [device for device in DEVICES.values() if device.kind != "cpu"]
    assert all(device.peak in PEAKS for device in accelerators)
    h100 = DEVICES["H100"]
    assert [h100.peak_flops(precision, "jax") / 1e12 for precision in ("mixed_bfloat16", "float32")] == [989.0, 494.5]
    assert h100.peak_flops("float32", "torch") == 67e12


def test_bfloat16_is_no_faster_where_the_matrix_units_lack_it() -> None:
    t4 = DEVICES["T4"]
    assert t4.peak_flops("mixed_bfloat16", "jax") == t4.peak_flops("float32", "jax")
    assert t4.peak_flops("mixed_float16", "jax") == 65e12


def test_every_device_sends_faster_within_its_host() -> None:
    for device in DEVICES.values():
        assert device.kind == "cpu" or device.inside > device.between > 0
