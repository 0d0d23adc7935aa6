"""Models of every kind in ONNX: any batch and length, packed rows, whatever precision they were trained in."""

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from models.backbones import Decoder, Encoder
from models.classifier import SegmentClassifier, SegmentRegressor, SpanClassifier, TokenClassifier
from models.ngrams import NgramBag
from models.packed import PACKED_INPUT
from pipeline.formats import onnx

pytestmark = pytest.mark.slow

ALL = """
import sys
from pathlib import Path
from pipeline.formats.convert import convert
for name, kind in [argument.split("=") for argument in sys.argv[2:]]:
    convert(Path(sys.argv[1], f"{name}.keras"), kind, Path(sys.argv[1], name), ["onnx"])
"""
KINDS = {
    "mixed": "classification",
    "ngrams": "multi_label",
    "number": "regression",
    "tagger": "tagging",
    "span": "question_answering",
}


def make(name: str) -> keras.Model:
    policy = "mixed_bfloat16" if name == "mixed" else "float32"
    backbone = (Decoder if name == "number" else Encoder)(40, 1, 16, 2, 1, 24, dtype=policy)
    match name:
        case "mixed":
            model = SegmentClassifier(backbone, 3, segments_per_row=4, dtype=policy)
        case "ngrams":
            model = SegmentClassifier(backbone, 3, segments_per_row=4, ngrams=NgramBag(40, 5, 8, buckets=97))
        case "number":
            model = SegmentRegressor(backbone, offset=5.0, scale=2.0, segments_per_row=4)
        case "tagger":
            model = TokenClassifier(backbone, 3)
        case _:
            model = SpanClassifier(backbone, longest_answer=7, answers_none=True)
    model.build(PACKED_INPUT)
    random = np.random.default_rng(1)
    for weight in model.weights:
        values = (
            random.normal(size=weight.shape) * 0.3 if "int" not in weight.dtype else random.integers(0, 9, weight.shape)
        )
        weight.assign(values.astype(weight.dtype))
    return model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("converted")
    for name in KINDS:
        make(name).save(folder / f"{name}.keras")
    environment = os.environ | {"KERAS_BACKEND": "tensorflow", "CUDA_VISIBLE_DEVICES": "-1"}
    asked = [f"{name}={kind}" for name, kind in KINDS.items()]
    done = subprocess.run(
        [sys.executable, "-c", ALL, str(folder), *asked], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


@pytest.mark.parametrize("name", KINDS)
def test_onnx_answers_as_keras_does(folder: Path, name: str) -> None:
    model = keras.saving.load_model(folder / f"{name}.keras", compile=False)
    answer = onnx.open_model(folder / name / "onnx" / "model.onnx")
    random = np.random.default_rng(2)
    for batch, length in ((1, 1), (2, 16), (3, 33)):
        segments = -np.sort(-random.integers(0, 4, (batch, length)), axis=1).astype("int32")
        rows = {"token_ids": random.integers(0, 40, (batch, length)).astype("int32"), "segment_ids": segments}
        expected = np.asarray(model.predict_on_batch(rows), "float32")
        said = answer(rows)
        assert said.dtype == np.float32
        np.testing.assert_allclose(
            said, expected, atol=0.1 if name == "mixed" else 2e-4, rtol=0.1 if name == "mixed" else 1e-4
        )


def test_the_facts_are_what_a_bundle_asks_of_the_model(folder: Path) -> None:
    facts = {name: json.loads((folder / name / "facts.json").read_text()) for name in KINDS}
    reader = {"vocabulary_size": 40, "packs": True}
    assert facts["number"] == {"encoder": reader, "num_classes": 1, "segments_per_row": 4}
    assert facts["span"] == {"encoder": reader, "num_classes": 2, "longest_answer": 7, "answers_none": True}
