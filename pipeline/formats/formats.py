"""What each format is called, what it holds, and what opens it.

    keras       model.keras     Keras on any backend; the bundle itself, whatever else is asked for
    savedmodel  saved_model/    TensorFlow
    onnx        model.onnx      ONNX Runtime
    onnx_int8   model.onnx      ONNX Runtime; weights of products and tables in eight bits

Every format but `keras` is a folder of its name in the export, with `tokenizer.json` and `bundle.json`.
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import TradewindError

if TYPE_CHECKING:
    import numpy as np


class BundleError(TradewindError):
    """A folder is not a whole bundle: a file is missing, damaged, or of another format."""


@dataclass(frozen=True)
class Format:
    """How a model is kept.

    Attributes:
        file: str. The model's file or folder.
        runtime: str. Module whose `open_model` opens it.
        packages: tuple of str. What the runtime needs beside NumPy and tokenizers.
        without: tuple of str. Packages that it must do without.
    """

    file: str
    runtime: str
    packages: tuple[str, ...] = ()
    without: tuple[str, ...] = ()


KERAS = "keras"
ONNX = Format("model.onnx", "pipeline.formats.onnx", ("onnxruntime",), ("keras", "tensorflow", "jax", "torch"))
FORMATS = {
    KERAS: Format("model.keras", "pipeline.formats.keras"),
    "savedmodel": Format("saved_model", "pipeline.formats.savedmodel", ("tensorflow",), ("keras", "jax", "torch")),
    "onnx": ONNX,
    "onnx_int8": ONNX,
}


@dataclass(frozen=True)
class Reader:
    """What reads the tokens: how many it knows, and whether it reads several documents in a row."""

    vocabulary_size: int
    packs: bool


@dataclass(frozen=True)
class Exported:
    """A model outside Keras, with the attributes that a bundle asks of a Keras model.

    Attributes:
        predict_on_batch: callable. Takes `token_ids` and `segment_ids`, (batch, seq) int32 each; returns the outputs.
        encoder: Reader.
        num_classes: int. Outputs of a segment or token.
        segments_per_row: int or None. Documents answered per row; None of models that answer for tokens.
        longest_answer: int or None. Of questions: most tokens of an answer.
        answers_none: bool. Of questions: whether a text may hold none.
    """

    predict_on_batch: Callable[[dict[str, np.ndarray]], np.ndarray]
    encoder: Reader
    num_classes: int
    segments_per_row: int | None = None
    longest_answer: int | None = None
    answers_none: bool = False


def facts_of(model: Any) -> dict[str, Any]:
    """Return what `Exported` must know of a Keras model."""
    own = ("num_classes", "segments_per_row", "longest_answer", "answers_none")
    reader = {"vocabulary_size": model.encoder.vocabulary_size, "packs": model.encoder.packs}
    return {"encoder": reader} | {name: getattr(model, name) for name in own if hasattr(model, name)}


def format_of(card: Mapping[str, Any]) -> str:
    """Return the format that a bundle's card tells. Raises ValueError: there is no such format."""
    name = str(card.get("model", {}).get("format", KERAS))
    if name not in FORMATS:
        raise ValueError(f"the model's format is {name!r}; expected one of {', '.join(FORMATS)}")
    return name


def describe(folder: Path, name: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the card of a format's folder tells of its model, with the sha256 of the files beside the card."""
    return {"format": name, "facts": dict(facts), "files": _digests(folder)}


def open_model(folder: Path, card: Mapping[str, Any]) -> Any:
    """Return the model of a bundle's folder; no code from a file is run.

    Raises:
        ValueError: a file is missing, or is not the one that was written.
    """
    known = FORMATS[format_of(card)]
    runtime = importlib.import_module(known.runtime)
    if "model" not in card:
        return runtime.open_model(folder / known.file, card["kind"])
    expected, found = card["model"]["files"], _digests(folder)
    if odd := sorted(file for file, digest in expected.items() if found.get(file) != digest):
        raise ValueError(f"{odd[0]} is not the file that was published: its sha256 differs")
    facts = card["model"]["facts"]
    return Exported(runtime.open_model(folder / known.file), **facts | {"encoder": Reader(**facts["encoder"])})


def find_format(export: Path, name: str) -> Path:
    """Return the folder of an export that holds a format.

    Raises:
        BundleError: the export does not have it, or there is no such format.
    """
    if name == KERAS:
        return export
    has = [KERAS, *(each for each in FORMATS if (export / each).is_dir())]
    if name not in FORMATS or name not in has:
        raise BundleError(
            f"received the format {name!r}, and this version has {', '.join(has)}; take one of them"
            + (f", or publish one that has it: publish.formats: [{name}] in its recipe" if name in FORMATS else "")
        )
    return export / name


def _digests(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "bundle.json")
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
