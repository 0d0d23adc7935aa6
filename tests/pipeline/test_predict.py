"""Published models answer texts: from the command line, as MLflow serves them; and every bad input gets its message."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from tiny_bundle import TEXTS, make_bundle
from typer.testing import CliRunner

from pipeline.cli import predict as command
from pipeline.config import Settings
from pipeline.errors import PublishError, SourceError, StoreError
from pipeline.predict import read_texts
from pipeline.registry import Registry


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three published versions: two of clinic-organ (another champion each time), one of clinic-side."""
    workspace = tmp_path_factory.mktemp("workspace")
    registry = Registry.for_workspace(Settings(workspace=workspace))
    for model, seed, expected in (("clinic-organ", 0, None), ("clinic-organ", 1, "1"), ("clinic-side", 0, None)):
        export = make_bundle(tmp_path_factory.mktemp("bundle") / "export", seed)
        (export / "requirements.txt").write_text("keras\n")
        (export / "MODEL_CARD.md").write_text("# A model\n")
        registry.publish(
            model,
            export,
            fingerprint=f"f{seed}",
            publish_reference=f"publish/{seed}",
            expected_champion=expected,
            tags={},
            metrics={},
            params={},
            experiment="clinic",
        )
    return workspace


@pytest.fixture
def run(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator:
    monkeypatch.setenv("TRADEWIND_WORKSPACE", str(workspace))
    app = typer.Typer()
    app.callback()(lambda: None)  # without it, typer makes the only command the whole application
    command.register(app)
    yield lambda *arguments: CliRunner().invoke(app, ["predict", *map(str, arguments)])


def expected(workspace: Path, model: str, texts: list[str], alias: str = "champion") -> list[tuple[str, float]]:
    from pipeline.bundle import Bundle

    version = Registry.for_workspace(Settings(workspace=workspace)).aliased(model, alias)
    bundle = Bundle.load(version.bundle)
    return [(bundle.labels[row.argmax()], float(row.max())) for row in bundle.answer(texts)]


def test_json_answers_every_text_of_arguments_and_file_in_order(run, workspace: Path, tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("pain of the eye\nbrûlure du poumon\n", encoding="utf-8")
    result = run(TEXTS[1], "--file", tmp_path / "texts.txt", "--model", "clinic-organ", "--top", 2, "--json")
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    texts = [TEXTS[1], "pain of the eye", "brûlure du poumon"]
    assert [row["text"] for row in rows] == texts
    for row, (label, confidence) in zip(rows, expected(workspace, "clinic-organ", texts), strict=True):
        assert (row["label"], row["model"], row["version"]) == (label, "clinic-organ", "2")
        assert row["confidence"] == pytest.approx(confidence, abs=1e-5)
        assert len(row["top"]) == 2
        assert row["top"][0]["confidence"] >= row["top"][1]["confidence"]


def test_alias_picks_the_version(run, workspace: Path) -> None:
    row = json.loads(run(TEXTS[0], "--model", "clinic-organ@previous", "--json").stdout)
    assert row["version"] == "1"
    assert row["confidence"] == pytest.approx(
        expected(workspace, "clinic-organ", TEXTS[:1], "previous")[0][1], abs=1e-5
    )


def test_text_output_shows_labels_with_percentages(run, workspace: Path) -> None:
    result = run(TEXTS[0], "--model", "clinic-side")
    label, confidence = expected(workspace, "clinic-side", TEXTS[:1])[0]
    first, best, *_ = result.stdout.splitlines()
    assert first == TEXTS[0]
    assert best.split() == [label, f"{confidence:.1%}"]
    assert "clinic-side version 1" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (["a text"], StoreError, "several models are published; choose one with --model: clinic-organ, clinic-side"),
        (["a text", "--model", "clinic-orgn"], StoreError, "did you mean 'clinic-organ'"),
        (["a text", "--model", "clinic-side@previous"], StoreError, "'clinic-side' has no alias 'previous'"),
        ([], SourceError, "no text was given"),
        (["good", "  "], SourceError, "text 2 of 2 is empty"),
        (["--file", "/nowhere/texts.txt"], SourceError, "/nowhere/texts.txt is not a file"),
    ],
)
def test_wrong_arguments_are_told(run, arguments: list[str], error: type[Exception], message: str) -> None:
    result = run(*arguments)
    assert isinstance(result.exception, error), result.output
    assert message in str(result.exception)


def test_nothing_published_says_how_to_publish(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRADEWIND_WORKSPACE", str(tmp_path / "new"))
    for arguments in (["a text"], ["a text", "--model", "clinic-organ"]):
        result = run(*arguments)
        assert isinstance(result.exception, StoreError)
        assert "no model is published yet" in str(result.exception)
        assert "tradewind run configs/icd10.yaml" in str(result.exception)
    assert not (tmp_path / "new").exists()


def test_damaged_registry_is_told(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"\x00garbage" * 500)
    monkeypatch.setenv("TRADEWIND_WORKSPACE", str(tmp_path))
    assert isinstance(run("a text").exception, PublishError)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"caf\xe9\n", "is not UTF-8: byte 0xe9 at position 3"),
        (b"", "is empty"),
        (b"one\n\ntwo\n", "line 2 is empty"),
    ],
)
def test_unusable_files_are_told(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "texts.txt").write_bytes(content)
    with pytest.raises(SourceError, match=message):
        read_texts(tmp_path / "texts.txt")


def test_byte_order_mark_is_no_part_of_the_first_text(tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_bytes("one\r\ntwo".encode("utf-8-sig"))
    assert read_texts(tmp_path / "texts.txt") == ["one", "two"]


@pytest.mark.slow
def test_mlflow_loads_the_champion_with_the_code_it_was_published_with(workspace: Path, tmp_path: Path) -> None:
    """As `mlflow models serve` does: in another process and folder, the source tree shadowed by the registered copy."""
    code = f"""
import json, os
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
import mlflow
mlflow.set_tracking_uri("sqlite:///{workspace / "mlflow.db"}")
model = mlflow.pyfunc.load_model("models:/clinic-organ@champion")
answers = model.predict({TEXTS!r})
import pipeline.bundle
print(json.dumps([list(answers.columns), answers.values.tolist(), pipeline.bundle.__file__]))
"""
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    columns, answers, module = json.loads(process.stdout.splitlines()[-1])
    assert columns == ["label", "confidence"]
    assert str(workspace / "mlartifacts") in module
    for (label, confidence), (right, probability) in zip(
        answers, expected(workspace, "clinic-organ", TEXTS), strict=True
    ):
        assert label == right
        assert confidence == pytest.approx(probability, abs=1e-5)
