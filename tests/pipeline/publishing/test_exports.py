"""The formats of a published model: each answers alone, is proven, and is refused when it is damaged or other."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tiny_bundle import LABELS, TEXTS, make_bundle

from pipeline.backend import installed_backends, loaded_backend
from pipeline.bundle import Bundle
from pipeline.config import Recipe
from pipeline.errors import PublishError
from pipeline.formats.formats import BundleError, find_format
from pipeline.judge.predictions import predict, read_predictions, write_predictions
from pipeline.progress import SilentProgress
from pipeline.publish import publish
from pipeline.publishing.exports import prove_formats
from pipeline.publishing.golden import golden_rows
from pipeline.publishing.quantised import change_of, check_quantised

DOCS = Path(__file__).parents[3] / "docs" / "formats.md"
FORMATS = ("savedmodel", "onnx", "onnx_int8")
RECIPE = {
    "name": "clinic",
    "data": {"sources": {"notes": {"kind": "files", "path": "notes.csv"}}},
    "tasks": {"organ": {"data": {"source": "notes"}, "gate": {"metric": "accuracy"}}},
    "publish": {"golden_rows": 7, "formats": ["keras", *FORMATS], "backends": "installed"},
}
GATE = {"verdict": "pass", "rules": [], "reasons": [], "scores": {"candidate": {}}}
ALONE = """
import sys
from pathlib import Path
from pipeline.publishing.reopen import Absent
sys.meta_path.insert(0, Absent(sys.argv[2].split(",")))
from pipeline.predict import answer
print(answer(Path(sys.argv[1]), ["pain of the lung"]))
"""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluation")
    answers = Bundle.load(make_bundle(folder / "bundle")).answer(TEXTS)
    rows = pd.DataFrame({"row_id": [f"notes:{i}" for i in range(len(TEXTS))], "text": TEXTS})
    rows = rows.assign(label=[text.split()[-1] for text in TEXTS], group=None, text_pair=None)
    write_predictions(folder, "organ", "transformer", predict("classification", rows, LABELS, answers))
    return folder


@pytest.fixture(scope="module")
def published(evaluation: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out, rows = tmp_path_factory.mktemp("out"), tmp_path_factory.mktemp("rows")
    (rows / "gate.json").write_text(json.dumps(GATE))
    given = (evaluation / "bundle", evaluation, rows, rows, out, SilentProgress())
    result = publish(Recipe.model_validate(RECIPE), "organ", *given, recipe_yaml=json.dumps(RECIPE))
    assert result.formats == FORMATS
    assert {"onnx/model.onnx", "onnx_int8/bundle.json", "savedmodel/saved_model/saved_model.pb"} <= result.files.keys()
    return out


@pytest.fixture
def copy(published: Path, tmp_path: Path) -> Path:
    """The ONNX folder, which may be damaged."""
    return Path(shutil.copytree(published / "export" / "onnx", tmp_path / "copied"))


def test_each_format_is_proven_and_the_card_says_so(published: Path) -> None:
    proof = json.loads((published / "proof.json").read_text())
    others = set(installed_backends()) - {loaded_backend()}
    assert proof["backends"].keys() == others
    for one in [*proof["backends"].values(), proof["formats"]["onnx"], proof["formats"]["savedmodel"]]:
        assert 0 <= one["max_difference"] <= one["tolerance"] == 1e-4
    small = proof["formats"]["onnx_int8"]
    assert small["rows"] == len(TEXTS), "all of the test rows, where the golden ones are 7"
    assert 1e-4 < small["max_difference"] <= small["tolerance"] == 0.25, "eight bits are not float32"
    assert small["same_answers"] >= small["least_same_answers"] == 0.95
    assert small["metrics"]["accuracy"].keys() == {"before", "after"}
    card = (published / "export" / "MODEL_CARD.md").read_text()
    assert re.search(r"\| `onnx` \| 0\.\d \| 7 \| \d\.\de-\d\d \| 0\.0001 \|\n", card)
    assert re.search(r"Eight bits cost `onnx_int8`, on 12 test rows: accuracy 0\.\d{4} became 0\.\d{4}", card)
    assert all(f"It was reopened on {backend} too" in card for backend in others)
    assert "\n\n\n" not in card.partition("## How to use")[2]


def test_a_folder_of_onnx_answers_alone_without_keras(copy: Path, evaluation: Path) -> None:
    bundle, again = Bundle.load(evaluation / "bundle"), Bundle.load(copy)
    np.testing.assert_allclose(again.answer(TEXTS), bundle.answer(TEXTS), atol=1e-5)
    absent = "keras,tensorflow,jax,torch"
    done = subprocess.run([sys.executable, "-c", ALONE, str(copy), absent], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "'confidence'" in done.stdout
    refused = subprocess.run(
        [sys.executable, "-c", ALONE, str(evaluation / "bundle"), absent], capture_output=True, text=True
    )
    assert "keras was imported, and this format must do without it" in refused.stderr


def test_the_lines_of_the_documentation_answer_a_text(copy: Path) -> None:
    lines = re.search(r"```python\n(.*?)```", DOCS.read_text("utf-8"), re.DOTALL)[1]
    lines = lines.replace("Fracture of left wrist", "burn of the heart")
    alone = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([sys.executable, "-c", lines], cwd=copy, env=alone, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    label, confidence = done.stdout.split()
    expected = Bundle.load(copy).answer(["burn of the heart"])[0]
    assert label == LABELS[expected.argmax()]
    assert float(confidence) == pytest.approx(expected.max(), abs=1e-5)


@pytest.mark.parametrize("file", ["model.onnx", "tokenizer.json"])
def test_a_file_cut_short_or_changed_is_refused(copy: Path, file: str) -> None:
    content = (copy / file).read_bytes()
    for damaged in (content[: len(content) // 2], content[:-9] + b"x" + content[-8:]):
        (copy / file).write_bytes(damaged)
        with pytest.raises(BundleError, match="is not a sound bundle"):
            Bundle.load(copy)
    (copy / file).unlink()
    with pytest.raises(BundleError, match=rf"it lacks {file}; expected model.onnx, .* as `publish` writes them"):
        Bundle.load(copy)


def test_an_unknown_format_is_refused_with_those_there_are(copy: Path, published: Path) -> None:
    card = json.loads((copy / "bundle.json").read_text())
    card["model"]["format"] = "pickle"
    (copy / "bundle.json").write_text(json.dumps(card))
    with pytest.raises(BundleError, match="format is 'pickle'; expected one of keras, savedmodel, onnx, onnx_int8"):
        Bundle.load(copy)
    export = published / "export"
    assert find_format(export, "keras") == export
    with pytest.raises(BundleError, match="received the format 'onxx', and this version has keras, savedmodel, onnx"):
        find_format(export, "onxx")
    with pytest.raises(BundleError, match=r"publish.formats: \[onnx\] in its recipe"):
        find_format(copy, "onnx")


def test_a_format_that_answers_otherwise_is_not_published(published: Path, evaluation: Path) -> None:
    predictions = read_predictions(evaluation)
    other = replace(predictions, answers=predictions.answers[::-1])
    with pytest.raises(PublishError, match=r"the format onnx answers differently .* expected at most 0.0001"):
        prove_formats(published / "export", ["onnx"], other, 7, SilentProgress())


def test_eight_bits_that_change_too_many_answers_are_refused(evaluation: Path) -> None:
    predictions = read_predictions(evaluation)
    golden = golden_rows(predictions, len(TEXTS))
    near = predictions.answers * 0.9 + 0.1 / 3  # the same answers, a little less sure
    change = change_of(predictions, near)
    assert change["same_answers"] == 1.0
    assert change["metrics"]["accuracy"]["before"] == change["metrics"]["accuracy"]["after"]
    unsure = near.copy()
    unsure[:, 0] = unsure.max(axis=1) + 1e-3
    change = change_of(predictions, unsure)
    assert change["same_answers"] < 0.95
    asked = golden.answers * 0.9 + 0.1 / 3
    with pytest.raises(PublishError, match=r"gives the same answer .* expected at least 95%; nothing is published"):
        check_quantised(golden, asked, change, "the format onnx_int8")
