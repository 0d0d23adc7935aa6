"""The formats beside the `.keras` file: written by a process of their own, each proven in another one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from pipeline.data.tokens.tokenizer import load_tokenizer
from pipeline.data.tokens.vocabulary import Vocabulary
from pipeline.formats.formats import FORMATS, describe
from pipeline.publishing.archive import precision_of
from pipeline.publishing.golden import golden_rows, order_of
from pipeline.publishing.proof import TOLERANCES, ask, compare, run_alone
from pipeline.publishing.quantised import change_of, check_quantised

if TYPE_CHECKING:
    from pipeline.judge.kinds import Predictions
    from pipeline.progress import Progress

CONVERTER = "pipeline.formats.convert"
ON_TENSORFLOW = {"KERAS_BACKEND": "tensorflow", "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "2"}
QUANTISED = "onnx_int8"
MEASURED_ROWS = 1000  # of the test rows, on which an int8 model is compared


def write_formats(export: Path, formats: Sequence[str]) -> None:
    """Write each format into a folder of its name, with the bundle's tokenizer and card.

    Raises:
        PublishError: the model cannot be converted.
    """
    if not formats:
        return
    card = json.loads((export / "bundle.json").read_text("utf-8"))
    with TemporaryDirectory(dir=export.parent) as temporary:
        made = Path(temporary)
        arguments = (str(export / FORMATS["keras"].file), card["kind"], temporary, *formats)
        run_alone(CONVERTER, arguments, f"the conversion into {', '.join(formats)}", ON_TENSORFLOW)
        facts = json.loads((made / "facts.json").read_text("utf-8"))
        known = Vocabulary.of(load_tokenizer(export / "tokenizer.json"))
        tokens = {"start": known.start, "separator": known.separator, "pad": known.pad}
        for name in formats:
            folder = made / name
            shutil.copy2(export / "tokenizer.json", folder)
            packages = ("numpy", "tokenizers", *FORMATS[name].packages)
            requirements = "".join(f"{package}=={version(package)}\n" for package in packages)
            (folder / "requirements.txt").write_text(requirements, "utf-8")
            whole = card | {"model": describe(folder, name, facts) | {"tokens": tokens}}
            (folder / "bundle.json").write_text(json.dumps(whole, indent=2, ensure_ascii=False), "utf-8")
            folder.rename(export / name)


def prove_formats(
    export: Path, formats: Sequence[str], predictions: Predictions, rows: int, progress: Progress
) -> dict[str, dict[str, Any]]:
    """Return for each format the proof that it answers as the evaluated model did, with its runtime alone.

    Args:
        export: where `write_formats` wrote them.
        formats: their names.
        predictions: of `evaluate`.
        rows: how many golden rows are asked; of an int8 model `MEASURED_ROWS`, if there are as many.
        progress: told how each proof went.

    Raises:
        PublishError: a format cannot be opened, needs more than its runtime, or answers otherwise.
    """
    import numpy as np

    proofs = {}
    for name in formats:
        number = max(rows, MEASURED_ROWS) if name == QUANTISED else rows
        golden, what = golden_rows(predictions, number), f"the format {name}"
        with TemporaryDirectory() as folder:
            answers = ask(export / name, golden, Path(folder), what)
        proof: dict[str, Any] = {"rows": len(golden.texts), "bytes": _size(export / name / FORMATS[name].file)}
        if name == QUANTISED:
            change = change_of(predictions.take(np.array(order_of(predictions)[:number])), answers)
            proof |= check_quantised(golden, answers, change, what)
            same = "" if change["same_answers"] is None else f", {change['same_answers']:.1%} of the answers the same"
        else:
            precision = precision_of(export / FORMATS["keras"].file)
            tolerance, same = TOLERANCES[precision], ""
            expected = f"expected at most {tolerance:g} of a model trained in {precision}"
            proof |= {"max_difference": compare(answers, golden, tolerance, expected, what), "tolerance": tolerance}
        progress.say(
            f"{name} reopened in a fresh process: {proof['rows']} rows agree within {proof['max_difference']:.1e}{same}"
        )
        proofs[name] = proof
    return proofs


def _size(model: Path) -> int:
    files = model.rglob("*") if model.is_dir() else [model]
    return sum(path.stat().st_size for path in files if path.is_file())
