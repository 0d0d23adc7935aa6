"""The process that converts a `.keras` file: `python -m pipeline.formats.convert MODEL.keras OUT FORMAT...`.

One route for models of all backends: Keras on TensorFlow opens the file, which does not know what it was trained on, in
float32, which it was saved in. ONNX comes from there through tf2onnx, and int8 through ONNX Runtime's dynamic
quantisation. OUT gets a folder for each format, and what `formats.facts_of` says.
"""

from __future__ import annotations

import json
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
import tensorflow as tf
import tf2onnx.convert
from onnxruntime.quantization import QuantType, quantize_dynamic

from models.packed import PACKED_INPUT
from pipeline.formats import keras as keras_format
from pipeline.formats.formats import FORMATS, facts_of

OPSET = 18
FACTS = "facts.json"
MIXED = ('"mixed_bfloat16"', '"mixed_float16"')
SIGNATURE = [tf.TensorSpec(shape, tf.int32, name) for name, shape in PACKED_INPUT.items()]


def convert(file: Path, kind: str, out: Path, formats: Sequence[str]) -> None:
    """Write the model in each format; ONNX has the inputs and outputs of `models.packed`, of any batch and length."""
    model = open_in_float32(file, kind)

    def answer(token_ids: tf.Tensor, segment_ids: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"outputs": model({"token_ids": token_ids, "segment_ids": segment_ids}, training=False)}

    serve = tf.function(answer, input_signature=SIGNATURE)
    for name in formats:
        (out / name).mkdir(parents=True)
    if "savedmodel" in formats:
        module = tf.Module()
        module.weights = [weight.value for weight in model.weights]
        module.serve = serve
        folder = str(out / "savedmodel" / FORMATS["savedmodel"].file)
        tf.saved_model.save(module, folder, signatures={"serving_default": serve})
    if "onnx" in formats or "onnx_int8" in formats:
        with tempfile.TemporaryDirectory() as temporary:
            whole = Path(temporary) / "model.onnx"
            _write_onnx(serve, whole)
            if "onnx_int8" in formats:
                small = out / "onnx_int8" / FORMATS["onnx_int8"].file
                quantize_dynamic(whole, small, per_channel=True, weight_type=QuantType.QInt8)
            if "onnx" in formats:
                (out / "onnx" / FORMATS["onnx"].file).write_bytes(whole.read_bytes())
    (out / FACTS).write_text(json.dumps(facts_of(model)), "utf-8")


def open_in_float32(file: Path, kind: str) -> Any:
    """Return the model with float32 in place of the mixed precision that it was trained in, if it was."""
    with zipfile.ZipFile(file) as archive:
        config = archive.read("config.json").decode("utf-8")
        if not any(name in config for name in MIXED):
            return keras_format.open_model(file, kind)
        for name in MIXED:
            config = config.replace(name, '"float32"')
        with tempfile.TemporaryDirectory() as temporary:
            changed = Path(temporary) / file.name
            with zipfile.ZipFile(changed, "w") as copy:
                for entry in archive.namelist():
                    copy.writestr(entry, config if entry == "config.json" else archive.read(entry))
            return keras_format.open_model(changed, kind)


def _write_onnx(serve: Any, file: Path) -> None:
    graph, _ = tf2onnx.convert.from_function(serve, input_signature=SIGNATURE, opset=OPSET)
    for value in graph.graph.input:
        for dimension, name in zip(value.type.tensor_type.shape.dim, ("batch", "sequence"), strict=True):
            dimension.dim_param = name
    onnx.save_model(graph, str(file))


if __name__ == "__main__":
    convert(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), sys.argv[4:])
