import json
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.cli import main

RECIPE = """\
name: demo
data:
  sources:
    notes: {kind: files, path: nowhere/notes.csv}
model: {architecture: decoder, size: base}
pretrain: {steps: 1000, global_batch_size: 256}
preprocess: {sequence_length: 512}
tasks:
  topic:
    data: {source: notes}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRADEWIND_WORKSPACE", str(tmp_path / "workspace"))
    (tmp_path / "r.yaml").write_text(RECIPE)
    return tmp_path


def shown(capsys) -> str:
    return " ".join(capsys.readouterr().out.split())


def test_a_plan_needs_neither_data_nor_devices(folder, capsys) -> None:
    assert main(["plan", "r.yaml", "--devices", "8xH100", "--mesh", "data=4,fsdp=2", "--price", "2.5"]) == 0
    output = shown(capsys)
    assert "demo on 8 x H100, mesh data=4,fsdp=2,model=1, fsdp_gather update" in output
    assert "parameters: embedding" in output
    assert "✓ fits: 32 rows at once of the 32 that each gets per update; largest micro-batch that fits:" in output
    assert "all-gather of weights" in output
    assert "reduce-scatter of gradients" in output
    assert "model FLOPs utilization" in output
    assert "1,000 updates x 131,072 tokens = 131,072,000 tokens in" in output
    assert "devices x 2.5 a device-hour" in output
    assert "this plan" in output
    assert "vocabulary of 8,192 tokens, the most that preprocess.tokenizer.vocabulary_size allows" in output
    assert not (folder / "workspace").exists()


def test_what_does_not_fit_comes_with_what_would(folder, capsys) -> None:
    large = ["--set", "model.hidden_dim=4096", "--set", "model.num_heads=32", "--set", "model.num_layers=24"]
    assert main(["plan", "r.yaml", "--devices", "8xH100", *large]) == 0
    output = shown(capsys)
    assert "✗ does not fit: one row is too much: " in output
    assert "are optimizer slots --mesh data=" in output
    assert "the first that fits, data before fsdp before model" in output


def test_a_micro_batch_that_is_too_large_comes_with_one_that_fits(folder, capsys) -> None:
    assert main(["plan", "r.yaml", "--devices", "T4"]) == 0
    output = shown(capsys)
    assert "✗ 256 rows at once do not fit" in output
    assert "set runtime.micro_batch_size to " in output


def test_json_is_for_programs(folder, capsys) -> None:
    assert main(["plan", "r.yaml", "--devices", "2x8xA100", "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert (values["devices"], values["hosts"], values["device"]) == (16, 2, "A100-80GB")
    assert values["plan"]["fits"] is True
    assert values["tokens"] == 1000 * 256 * 512


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--devices", "8xH10"], "--devices: received '8xH10' with the unknown device 'H10', did you mean 'H100'?"),
        (["--devices", "8xH100", "--mesh", "data=3"], "runtime.mesh is data=3,fsdp=1,model=1, whose product 3 is not"),
        (["--devices", "5xH100"], "pretrain.global_batch_size is 256, not a multiple of data x fsdp (5)"),
        (["--devices", "8xH100", "--tokens", "lots"], "--tokens: received 'lots'"),
        (
            ["--devices", "8xH100", "--fsdp-gather", "x"],
            "runtime.fsdp_gather is 'x'; expected one of update, micro_batch",
        ),
        (["--devices", "4xcpu"], "nothing is known of the speed of a cpu; give --peak"),
    ],
)
def test_wrong_input_is_one_clear_error(folder, capsys, arguments, message) -> None:
    assert main(["plan", "r.yaml", *arguments]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1


def test_planning_imports_no_backend(folder) -> None:
    code = (
        "import sys; from pipeline.cli import main; "
        "code = main(['plan', 'r.yaml', '--devices', '8xH100']); "
        "heavy = {'keras', 'jax', 'tensorflow', 'torch', 'pandas', 'mlflow', 'sklearn'} & set(sys.modules); "
        "sys.exit(code or (f'imported {sorted(heavy)}' if heavy else 0))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
