from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from pipeline.cli.store import register
from pipeline.errors import StoreError
from pipeline.store import Artifact, Store

Make = Callable[..., Artifact]
Call = Callable[..., str]


@pytest.fixture
def call(root: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    monkeypatch.setenv("TRADEWIND_WORKSPACE", str(root))
    monkeypatch.setenv("COLUMNS", "200")
    app = typer.Typer()
    register(app)

    def call_app(*arguments: str) -> str:
        result = CliRunner().invoke(app, arguments)
        if result.exception:
            raise result.exception
        assert result.exit_code == 0
        return result.output

    return call_app


@pytest.fixture
def chain(store: Store, make: Make) -> tuple[Artifact, Artifact]:
    backbone = make("pretrain", text="backbone", note="a [bold] word")
    model = make("finetune", text="model", inputs={"backbone": backbone.content})
    for run_id, hit in (("first", False), ("second", True)):
        store.runs.create(run_id, {"name": "tiny"})
        store.runs.record(
            run_id, "pretrain", {"reference": backbone.reference, "hit": hit, "seconds": 1.5, "status": "done"}
        )
    store.runs.record("first", "finetune", {"status": "failed", "error": "no rows [at all]"})
    store.runs.finish("first", "failed")
    store.runs.record(
        "second", "finetune", {"reference": model.reference, "hit": False, "seconds": 2.0, "status": "done"}
    )
    store.runs.finish("second", "succeeded")
    return backbone, model


def test_runs_lists_newest_first_with_hits(call: Call, chain: tuple[Artifact, Artifact]) -> None:
    header, second, first = call("runs").splitlines()
    assert header.split() == ["run", "recipe", "when", "outcome", "hit", "ran"]
    assert second.split()[:2] == ["second", "tiny"]
    assert second.split()[-3:] == ["succeeded", "1", "1"]
    assert first.split()[0] == "first"
    assert first.split()[-3:] == ["failed", "0", "2"]
    assert "first" not in call("runs", "--limit", "1").split("older")[0]


def test_runs_of_an_empty_workspace_says_what_to_do(call: Call, root: Path) -> None:
    assert "tradewind run" in call("runs")
    assert not root.exists()


def test_show_a_run(call: Call, chain: tuple[Artifact, Artifact]) -> None:
    backbone, _ = chain
    output = call("show", "first")
    pretrain = next(line for line in output.splitlines() if line.startswith("pretrain"))
    assert pretrain.split() == ["pretrain", backbone.reference[: len("pretrain/") + 12], "1.5", "ran"]
    assert next(line for line in output.splitlines() if line.startswith("finetune ")).split() == [
        *("finetune", "-", "-", "failed")
    ]
    assert "finetune: no rows [at all]" in output
    assert "hit" in next(line for line in call("show", "second").splitlines() if line.startswith("pretrain"))


def test_show_an_artifact_with_its_lineage(call: Call, chain: tuple[Artifact, Artifact]) -> None:
    backbone, model = chain
    output = call("show", backbone.reference[:20])
    assert backbone.reference in output
    assert "sound" in output
    assert "a [bold] word" in output
    assert f"finetune/{model.fingerprint[:12]}" in output
    assert "first" in output
    assert "second" in output
    output = call("show", model.reference)
    origin = next(line for line in output.splitlines() if line.startswith("made from backbone"))
    assert backbone.fingerprint[:12] in origin
    (backbone.path / "model.txt").write_text("Backbone")
    assert "damaged" in call("show", backbone.reference)


def test_show_unknown(call: Call, chain: tuple[Artifact, Artifact]) -> None:
    with pytest.raises(StoreError, match="no run third"):
        call("show", "third")
    with pytest.raises(StoreError, match="no artifact"):
        call("show", "pretrain/zz")


def test_gc_lists_by_default_and_deletes_when_told(call: Call, make: Make, chain: tuple[Artifact, Artifact]) -> None:
    unused = make(text="unused", seed=99)
    assert "Nothing to delete" in call("gc")
    for dry in (["gc", "--idle-hours", "0"], ["gc", "--dry-run", "--idle-hours", "0"]):
        output = call(*dry)
        assert unused.fingerprint[:12] in output
        assert "Nothing was deleted" in output
        assert unused.path.exists()
    assert "Deleted 1 folders" in call("gc", "--delete", "--idle-hours", "0")
    assert not unused.path.exists()
    assert all(artifact.path.exists() for artifact in chain)
    assert "Deleted 2 folders" in call("gc", "--delete", "--keep-runs", "0", "--idle-hours", "0")
    assert call("show", "second").count("no longer in the store") == 2


@pytest.mark.parametrize("command", ["runs", "show", "gc"])
def test_help(call: Call, command: str) -> None:
    assert "Usage" in call(command, "--help")
