"""The proven export: what it holds, and every way in which a wrong model is kept from being published."""

import ast
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from tiny_bundle import LABELS, TEXTS, make_bundle

import pipeline
from pipeline.config import Recipe
from pipeline.errors import PublishError
from pipeline.progress import SilentProgress
from pipeline.publish import publish
from pipeline.publishing.archive import PACKAGES

RECIPE = {
    "name": "clinic",
    "description": "Sentences of a clinic.\nLeakage rule: rows of one patient are never on both sides of a split.",
    "data": {"sources": {"notes": {"kind": "files", "path": "notes.csv", "group": "patient"}}},
    "tasks": {
        "organ": {"description": "Which organ a note is about", "data": {"source": "notes", "where": {"kind": "note"}}}
    },
    "publish": {"golden_rows": 7},
}
GATE = {
    "verdict": "pass",
    "task": "organ",
    "rules": [
        {
            "name": "macro_f1 > linear baseline",
            "severity": "warning",
            "passed": False,
            "value": -0.1,
            "bound": 0.0,
            "interval": [-0.2, 0.0],
            "sentence": "The candidate does not beat the linear baseline: 0.6 against 0.7.",
        }
    ],
    "reasons": ["Every critical rule holds."],
    "scores": {"candidate": {"macro_f1": {"value": 0.6}}, "baseline": {"macro_f1": {"value": 0.7}}},
}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="module")
def evaluation(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `evaluate` writes for the bundle; one test row has a label that the model does not know."""
    import pandas as pd

    from pipeline.bundle import Bundle
    from pipeline.judge.predictions import predict, write_predictions

    truth = [*[text.split()[-1] for text in TEXTS], "aorta"]
    texts = [*TEXTS, "rupture"]
    rows = pd.DataFrame({"row_id": [f"notes:{i}" for i in range(len(texts))], "text": texts, "label": truth})
    folder = tmp_path_factory.mktemp("evaluation")
    answers = Bundle.load(bundle).answer(texts)
    whole = rows.assign(group=None, text_pair=None)
    write_predictions(folder, "organ", "transformer", predict("classification", whole, LABELS, answers))
    return folder


@pytest.fixture(scope="module")
def verdict(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("verdict")
    (folder / "gate.json").write_text(json.dumps(GATE))
    return folder


@pytest.fixture(scope="module")
def published(bundle: Path, evaluation: Path, verdict: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out")
    (out / "export").mkdir()
    (out / "export" / "left-by-a-killed-attempt").touch()
    run(bundle, evaluation, verdict, out)
    return out


def run(bundle: Path, evaluation: Path, verdict: Path, out: Path, force: str | None = None):
    out.mkdir(exist_ok=True)
    recipe_yaml = yaml.safe_dump(RECIPE)
    recipe = Recipe.model_validate(RECIPE)
    rows = out.parent / "rows"
    (rows / "reference").mkdir(parents=True, exist_ok=True)
    for task in ("organ", "season"):
        (rows / "reference" / f"{task}.json").write_text(json.dumps({"task": task}))
    given = (bundle, evaluation, verdict, rows, out, SilentProgress())
    return publish(recipe, "organ", *given, recipe_yaml=recipe_yaml, force=force)


def test_export_is_whole_and_proven(published: Path, bundle: Path) -> None:
    assert {path.name for path in (published / "export").iterdir()} == {
        *("model.keras", "tokenizer.json", "bundle.json"),
        *("metrics.json", "gate.json", "recipe.yaml", "requirements.txt", "MODEL_CARD.md", "reference"),
    }
    assert [path.name for path in (published / "export" / "reference").iterdir()] == ["organ.json"]
    assert (published / "export/model.keras").read_bytes() == (bundle / "model.keras").read_bytes()
    proof = json.loads((published / "proof.json").read_text())
    assert (proof["rows"], proof["tolerance"], proof["precision"]) == (7, 1e-4, "float32")
    assert 0 <= proof["max_difference"] <= 1e-4
    golden = [json.loads(line)["text"] for line in (published / "golden.jsonl").read_text().splitlines()]
    assert len(set(golden)) == 7
    assert golden != TEXTS[:7]  # by hash, not the head of the file


def test_card_tells_what_a_user_must_know(published: Path) -> None:
    card = (published / "export/MODEL_CARD.md").read_text()
    for part in (
        "# clinic-organ\n",
        "Which organ a note is about",
        "Leakage rule: rows of one patient are never on both sides",
        "split by hash of column `patient`",
        "only where `kind` is `note`",
        "| measure | candidate | baseline |\n|---|---|---|\n| macro_f1 | 0.6000 | 0.7000 |\n",
        "warning rule, not met: The candidate does not beat the linear baseline: 0.6 against 0.7.",
        "1 test rows carry labels the model never saw",
        "Licence**: not stated",
        'tradewind predict "your text" --model clinic-organ',
    ):
        assert part in card
    assert "\n\n\n" not in card


def test_other_weights_than_evaluated_are_refused(evaluation: Path, verdict: Path, tmp_path: Path) -> None:
    other = make_bundle(tmp_path / "other", seed=1)
    with pytest.raises(PublishError, match=r"answers differently .* expected at most 0.0001 in float32"):
        run(other, evaluation, verdict, tmp_path / "out")
    assert not (tmp_path / "out/proof.json").exists()


def test_other_tokenizer_than_evaluated_is_refused(
    bundle: Path, evaluation: Path, verdict: Path, tmp_path: Path
) -> None:
    other = shutil.copytree(bundle, tmp_path / "other")
    tokenizer = json.loads((other / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    special = 3
    tokenizer["model"]["vocab"] = {
        token: number if number < special else len(vocabulary) - 1 + special - number
        for token, number in vocabulary.items()
    }
    (other / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(PublishError, match="answers differently"):
        run(other, evaluation, verdict, tmp_path / "out")


def test_truncated_model_is_refused_with_the_reason(
    bundle: Path, evaluation: Path, verdict: Path, tmp_path: Path
) -> None:
    other = shutil.copytree(bundle, tmp_path / "other")
    content = (other / "model.keras").read_bytes()
    (other / "model.keras").write_bytes(content[: len(content) // 2])
    with pytest.raises(PublishError, match=r"cannot be used by a fresh process \(exit 1\).*BundleError"):
        run(other, evaluation, verdict, tmp_path / "out")


def test_labels_in_another_order_are_refused(bundle: Path, evaluation: Path, verdict: Path, tmp_path: Path) -> None:
    other = shutil.copytree(bundle, tmp_path / "other")
    description = json.loads((other / "bundle.json").read_text())
    (other / "bundle.json").write_text(json.dumps(description | {"labels": LABELS[::-1]}))
    with pytest.raises(PublishError, match="are not those that were evaluated"):
        run(other, evaluation, verdict, tmp_path / "out")


def test_failed_verdict_is_never_published(bundle: Path, evaluation: Path, tmp_path: Path) -> None:
    failed = GATE | {"verdict": "fail", "reasons": ["Macro F1 is 0.1 and falls short."]}
    (tmp_path / "gate.json").write_text(json.dumps(failed))
    with pytest.raises(PublishError, match=r"is 'fail'; only 'pass' is published. Reasons: Macro F1 is 0.1"):
        run(bundle, evaluation, tmp_path, tmp_path / "out")
    assert not (tmp_path / "out/export").exists()


def test_a_forced_export_says_why_and_by_which_verdict(bundle: Path, evaluation: Path, tmp_path: Path) -> None:
    failed = GATE | {"verdict": "needs_review", "reasons": ["For review: macro-F1 is 0.1."]}
    (tmp_path / "gate.json").write_text(json.dumps(failed))
    result = run(bundle, evaluation, tmp_path, tmp_path / "out", force="reviewed by the ward")
    assert result.forced == "reviewed by the ward"
    export = tmp_path / "out/export"
    kept = json.loads((export / "gate.json").read_text())
    assert (kept["verdict"], kept["forced"]) == ("needs_review", "reviewed by the ward")
    card = (export / "MODEL_CARD.md").read_text()
    assert "published against this verdict, by force.** Reason given: reviewed by the ward" in card
    assert "forced" not in json.loads((tmp_path / "gate.json").read_text()), "the artifact of the gate stays as it was"


def test_requirements_name_every_package_the_bundle_imports() -> None:
    code = "import os, sys; os.environ['KERAS_BACKEND'] = sys.argv[1]; import pipeline.writing; print(*sys.modules)"
    import keras

    command = [sys.executable, "-c", code, keras.backend.backend()]
    modules = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    root = Path(pipeline.__file__).parents[1]
    imported = set()
    for module in modules:
        if module.partition(".")[0] in ("pipeline", "models"):
            path = root / module.replace(".", "/")
            path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
            for node in ast.parse(path.read_text()).body:
                if isinstance(node, ast.Import):
                    imported |= {name.name.partition(".")[0] for name in node.names}
                elif isinstance(node, ast.ImportFrom) and node.module:
                    imported.add(node.module.partition(".")[0])
    ours_or_implied = {"pipeline", "models", "__future__", "pydantic", *sys.stdlib_module_names}
    assert imported - ours_or_implied <= {name.replace("-", "_") for name in PACKAGES}
