"""Make the export of a proven model: bundle, metrics, verdict, recipe and card, reopened in a fresh process.

The registry is not touched here: a failed proof leaves nothing to register, and `pipeline/flow.py` registers only what
this step returned.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from pipeline import reopen
from pipeline.errors import PublishError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pipeline.config import Decode, Recipe
    from pipeline.judge.kinds import Predictions
    from pipeline.progress import Progress

# The fresh process packs the golden rows with other neighbours than evaluation did, so sums run in another order: that
# moves a probability by about 1e-6 in float32, and by about the square root of that in half precision. A wrong file,
# tokenizer or label order moves it by far more on some of the golden rows.
TOLERANCES = {"float32": 1e-4, "mixed_float16": 5e-3, "mixed_bfloat16": 3e-2}
LEAST_SAME_TEXTS = 0.8
PROOF_SECONDS = 900
PACKAGES = (
    *("ftfy", "keras", "nervaluate", "numpy", "phonenumbers", "pyarrow", "pydantic-settings", "python-stdnum", "rich"),
    "tokenizers",
)
PRESET_ENCODER = '"tradewind>PresetEncoder"'  # needs KerasHub to be loaded
CARD = "model_card.md.j2"


@dataclass(frozen=True)
class PublishResult:
    """A proven export.

    files: relative path -> bytes. max_difference: largest absolute difference of a probability on the golden rows.
    forced: why it is published against the verdict; None when the verdict is a pass.
    """

    task: str
    files: dict[str, int]
    golden_rows: int
    max_difference: float
    tolerance: float
    backend: str
    forced: str | None = None


def publish(
    recipe: Recipe,
    task: str,
    model: Path,
    evaluation: Path,
    verdict: Path,
    rows: Path,
    out: Path,
    progress: Progress,
    *,
    recipe_yaml: str,
    force: str | None = None,
) -> PublishResult:
    """Write out/export/ and out/proof.json.

    Args:
        recipe: `name`, `publish`, `tasks.<task>.decode` and `runtime.backend` are read.
        task: name of the task.
        model: bundle folder of the candidate.
        evaluation: artifact folder of `evaluate` for this candidate.
        verdict: artifact folder of `gate` for this candidate.
        rows: artifact folder of `validate`, whose reference goes with the model: later rows are compared with it.
        out: receives export/ and proof.json.
        progress: told how the proof went.
        recipe_yaml: the whole recipe, kept in the export and told in the card.
        force: why it is to be published whatever the verdict; kept in the export's gate.json and told in the card.

    Raises:
        PublishError: the verdict is not a pass and nobody forces it, or the reopened export answers differently.

    """
    from pipeline.backend import select_backend
    from pipeline.judge.predictions import read_metrics, read_predictions

    gate = json.loads((verdict / "gate.json").read_text("utf-8"))
    forced = force if gate["verdict"] != "pass" else None
    if gate["verdict"] != "pass" and forced is None:
        raise PublishError(
            f"the verdict on {task!r} is {gate['verdict']!r}; only 'pass' is published. Reasons: "
            f"{' '.join(gate['reasons']) or 'none given'} To publish it all the same, and have it recorded why: "
            "--force REASON"
        )
    if forced is not None:
        gate["forced"] = forced
        progress.say(f"the verdict on {task} is {gate['verdict']}, and it is published by force: {forced}")
    backend = select_backend(recipe.runtime.backend)
    export = out / "export"
    shutil.rmtree(export, ignore_errors=True)  # half of one, when an earlier attempt was killed
    shutil.copytree(model, export)
    section = recipe.tasks[task]
    if section.data.kind == "generation":
        _settle(export / "bundle.json", section.decode)
    shutil.copy2(evaluation / "metrics.json", export)
    gate_json = json.dumps(gate, indent=2, ensure_ascii=False)
    (export / "gate.json").write_text(gate_json + "\n", "utf-8")
    (export / "reference").mkdir()
    for path in (rows / "reference").glob(f"{task}.*"):
        shutil.copy2(path, export / "reference")
    (export / "recipe.yaml").write_text(recipe_yaml, "utf-8")
    packages = {name: version(name) for name in (*PACKAGES, backend, *_hub(export / "model.keras"))}
    requirements = "".join(f"{name}=={number}\n" for name, number in packages.items())
    (export / "requirements.txt").write_text(requirements, "utf-8")

    golden = _golden(read_predictions(evaluation), recipe.publish.golden_rows)
    proof = _prove(export, golden, out) | {"task": task, "backend": backend, "packages": packages}
    (out / "proof.json").write_text(json.dumps(proof, indent=2) + "\n", "utf-8")
    progress.say(f"reopened in a fresh process: {proof['rows']} rows agree within {proof['max_difference']:.1e}")

    name = recipe.publish.registered_model.format(recipe=recipe.name, task=task)
    card = _card(name, yaml.safe_load(recipe_yaml), task, read_metrics(evaluation), gate, proof)
    (export / "MODEL_CARD.md").write_text(card, "utf-8")
    files = {
        path.relative_to(export).as_posix(): path.stat().st_size for path in sorted(export.rglob("*")) if path.is_file()
    }
    return PublishResult(task, files, proof["rows"], proof["max_difference"], proof["tolerance"], backend, forced)


@dataclass(frozen=True)
class Golden:
    """Rows whose answers are known.

    Attributes:
        texts: list of str.
        pairs: list of str or None, or None. Second texts.
        labels: list of str. In the bundle's order.
        answers: (items, outputs) float32. An item is a row or, of a tagger, a word of one; of a model that writes, the
            nats that a token of the reference costs; see `pipeline.reopen`.
        rows: (items,) int. Whose each is.
        unit: float. What a difference is counted in: 1 of probabilities, of numbers their spread.
        references: list of str, or None. What a model that writes was to write.
        written: list of str, or None. What it wrote, where no chance was in it.
    """

    texts: list[str]
    pairs: list[str | None] | None
    labels: list[str]
    answers: NDArray[np.float32]
    rows: NDArray[np.int64]
    unit: float
    references: list[str] | None = None
    written: list[str] | None = None


def _golden(predictions: Predictions, rows: int) -> Golden:
    """Return the first test rows by hash of their id: the same ones every time, from all over the file."""
    import numpy as np

    from pipeline.judge.predictions import pairs_of

    identities = [hashlib.sha256(str(row_id).encode()).hexdigest() for row_id in predictions.rows["row_id"]]
    chosen = sorted(range(len(identities)), key=identities.__getitem__)[:rows]
    writes = predictions.kind == "generation"
    columns = [predictions.labels.index(label) for label in predictions.known]
    compared = reopen.likelihoods(predictions.kind, predictions.answers)
    told = [np.atleast_2d(compared[place]) for place in chosen]  # of a row: (its items, outputs)
    answers = np.concatenate(told).astype(np.float32)
    numbers = predictions.kind == "regression"
    return Golden(
        texts=[str(text) for text in predictions.rows["text"].iloc[chosen]],
        pairs=pairs_of(predictions.rows.iloc[chosen]),
        labels=list(predictions.known),
        answers=answers[:, columns] if predictions.known else answers,
        rows=np.repeat(np.arange(len(chosen)), [len(own) for own in told]),
        unit=(float(np.std(predictions.answers)) or 1.0) if numbers else 1.0,
        references=predictions.rows["label"].iloc[chosen].tolist() if writes else None,
        written=predictions.rows["predicted"].iloc[chosen].tolist() if writes else None,
    )


def _prove(export: Path, golden: Golden, out: Path) -> dict[str, Any]:
    """Return the proof that a fresh process opens the export and answers as the trained model did."""
    import numpy as np

    labels = json.loads((export / "bundle.json").read_text("utf-8"))["labels"]
    if labels != golden.labels:
        raise PublishError(
            f"the bundle's labels {labels} are not those that were evaluated, {golden.labels}; evaluate this very "
            "bundle and publish again"
        )
    answers = _reopen(export, golden, out)
    if answers.shape != golden.answers.shape:
        raise PublishError(
            f"the reopened export answered with shape {answers.shape}, expected {golden.answers.shape} "
            "(golden rows or their words, labels); nothing is published"
        )
    differences = np.abs(answers.astype(np.float64) - golden.answers) / golden.unit  # (items, outputs)
    worst = float(differences.max())
    precision = _precision(export / "model.keras")
    tolerance = TOLERANCES[precision]
    if not worst <= tolerance:  # also when it is NaN
        item = int(np.nan_to_num(differences.max(axis=1), nan=np.inf).argmax())
        what = "a probability" if golden.unit == 1.0 else "in units of the answers' spread, a number"
        what = what if golden.references is None else "what a token of the reference costs"
        raise PublishError(
            f"the reopened export answers differently from the evaluated model: {what} differs by {worst:.3g} "
            f"on {golden.texts[golden.rows[item]]!r}, expected at most {tolerance:g} in {precision}; nothing is "
            "published. Evaluate this very bundle again; if it still differs, the saved model does not hold what was "
            "trained"
        )
    proof = {"rows": len(golden.texts), "max_difference": worst, "tolerance": tolerance, "precision": precision}
    return proof if golden.written is None else proof | _same_texts(export, golden, out)


def _same_texts(export: Path, golden: Golden, out: Path) -> dict[str, float]:
    """Return the share of the golden rows that the fresh process writes the same text for.

    Two tokens that are all but equally likely may change places in another batch, so not every text need be the same.
    Answers that are drawn depend on the text alone, and so are compared too.
    """
    texts = json.loads(_texts_file(out).read_text("utf-8"))
    pairs = list(zip(texts, golden.written or (), golden.texts, strict=True))
    share = sum(again == before for again, before, _ in pairs) / len(pairs)
    if share < LEAST_SAME_TEXTS:
        again, before, text = next(pair for pair in pairs if pair[0] != pair[1])
        raise PublishError(
            f"the reopened export writes the same as the evaluated model for {share:.0%} of the golden rows, expected "
            f"at least {LEAST_SAME_TEXTS:.0%}; for {text!r} it writes {again!r}, not {before!r}; nothing is published. "
            f"Evaluate this very bundle again, with the decode settings of {export / 'bundle.json'}"
        )
    return {"same_texts": share}


def _settle(card: Path, decode: Decode) -> None:
    """Write into a bundle's card how it is to write its answers: as it was evaluated."""
    values = json.loads(card.read_text("utf-8")) | {"decode": decode.model_dump(mode="json")}
    card.write_text(json.dumps(values, indent=2, ensure_ascii=False), "utf-8")


def _texts_file(out: Path) -> Path:
    return out / "golden.json"


def _precision(model: Path) -> str:
    """Return the dtype policy the saved model computes in, the coarsest when its layers differ."""
    config = _config(model)
    return next((name for name in ("mixed_bfloat16", "mixed_float16") if f'"{name}"' in config), "float32")


def _hub(model: Path) -> tuple[str, ...]:
    """Return the package that a model with a preset for a backbone needs; what is damaged, the proof will refuse."""
    return ("keras-hub",) if zipfile.is_zipfile(model) and PRESET_ENCODER in _config(model) else ()


def _config(model: Path) -> str:
    """Return how the saved model is made up, as Keras writes it."""
    with zipfile.ZipFile(model) as archive:
        return archive.read("config.json").decode("utf-8")


def _reopen(export: Path, golden: Golden, out: Path) -> NDArray[np.float32]:
    """Return what a new Python process answers with nothing but the export; it inherits the chosen Keras backend."""
    import numpy as np

    rows, answers = out / "golden.jsonl", out / "golden.npy"
    pairs = golden.pairs or [None] * len(golden.texts)
    references: Sequence[str | None] = golden.references or [None] * len(golden.texts)
    questions = [
        {"text": text, "text_pair": pair, "reference": reference}
        for text, pair, reference in zip(golden.texts, pairs, references, strict=True)
    ]
    rows.write_text("".join(json.dumps(question) + "\n" for question in questions), "utf-8")
    answers.unlink(missing_ok=True)
    command = [sys.executable, "-m", reopen.__name__, str(export), str(rows), str(answers), str(_texts_file(out))]
    try:
        process = subprocess.run(command, capture_output=True, text=True, timeout=PROOF_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise PublishError(
            f"the export did not answer {len(golden.texts)} rows in a fresh process within {PROOF_SECONDS} s; nothing "
            "is published. Check the machine's load and try again"
        ) from error
    if process.returncode:
        raise PublishError(
            f"the export cannot be used by a fresh process (exit {process.returncode}); nothing is published. Its last "
            f"words: {' | '.join(process.stderr.strip().splitlines()[-3:])}"
        )
    return np.asarray(np.load(answers, allow_pickle=False), dtype=np.float32)


def _card(
    name: str,
    recipe: Mapping[str, Any],
    task: str,
    metrics: Mapping[str, Any],
    gate: Mapping[str, Any],
    proof: Mapping[str, Any],
) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - Markdown, not HTML
    )
    return environment.get_template(CARD).render(
        name=name, recipe=recipe, task=task, goal=recipe["tasks"][task], metrics=metrics, gate=gate, proof=proof
    )
