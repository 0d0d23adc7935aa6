"""What a run's rows are compared with: those of the champion, or of the one before it when they are its own."""

import json
from pathlib import Path

import pytest

from pipeline.config import Settings
from pipeline.references import collect_references
from pipeline.registry import Registry, Version

MODELS = {"kind": "notes-kind", "season": "notes-season"}


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    """Two versions of the model of one task, and none of the other."""
    registry = Registry.for_workspace(Settings(workspace=tmp_path_factory.mktemp("workspace")))
    publish(registry, tmp_path_factory.mktemp("first"), "rows of May", None)
    publish(registry, tmp_path_factory.mktemp("second"), "rows of June", "1")
    return registry


def write_reference(folder: Path, rows: str, task: str = "kind") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{task}.json").write_text(rows)
    (folder / f"{task}.npz").write_text(f"{rows} in numbers")
    return folder


def publish(registry: Registry, export: Path, rows: str | None, judged_against: str | None) -> Version:
    for name in ("model.keras", "tokenizer.json", "MODEL_CARD.md"):
        (export / name).write_text(f"{name} of {rows}")
    (export / "bundle.json").write_text(json.dumps({"kind": "classification", "rows": rows}))
    (export / "requirements.txt").write_text("keras==3.15.0\n")
    if rows:
        write_reference(export / "reference", rows)
    return registry.publish(
        MODELS["kind"],
        export,
        fingerprint=f"model of {rows}",
        publish_reference=f"publish/{rows}",
        expected_champion=judged_against,
        tags={},
        metrics={},
        params={},
        experiment="notes",
    )


def test_other_rows_are_compared_with_the_champions(registry, tmp_path) -> None:
    own = write_reference(tmp_path / "own", "rows of July")
    content = collect_references(registry, MODELS, own, tmp_path / "out")
    assert content is not None
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["kind"]
    assert (tmp_path / "out" / "kind" / "kind.json").read_text() == "rows of June"
    assert (tmp_path / "out" / "kind" / "kind.npz").read_text() == "rows of June in numbers"
    assert collect_references(registry, MODELS, own, tmp_path / "again") == content


def test_the_champions_own_rows_are_compared_with_what_they_were_when_it_was_a_candidate(registry, tmp_path) -> None:
    own = write_reference(tmp_path / "own", "rows of June")
    collect_references(registry, MODELS, own, tmp_path / "out")
    assert (tmp_path / "out" / "kind" / "kind.json").read_text() == "rows of May"


def test_without_a_champion_there_is_nothing_to_compare_with(registry, tmp_path) -> None:
    own = write_reference(tmp_path / "own", "rows of July", "season")
    (tmp_path / "out" / "kind").mkdir(parents=True)
    assert collect_references(registry, {"season": MODELS["season"]}, own, tmp_path / "out") is None
    assert not (tmp_path / "out").exists()


def test_a_champion_without_a_reference_is_no_pass(registry, tmp_path) -> None:
    """Its folder is there, and empty: `drift` says that the comparison cannot be made."""
    publish(registry, tmp_path, None, "2")
    own = write_reference(tmp_path / "own", "rows of July")
    assert collect_references(registry, MODELS, own, tmp_path / "out") is not None
    assert list((tmp_path / "out" / "kind").iterdir()) == []
